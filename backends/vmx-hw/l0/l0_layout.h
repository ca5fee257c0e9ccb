// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_L0_L0_LAYOUT_H_
#define NVMX_BACKENDS_VMX_HW_L0_L0_LAYOUT_H_

#include <cstddef>
#include <cstdint>

#include "backends/vmx-hw/machine/memory_map.h"
#include "core/nested/host_pages.h"

namespace nvmx::metal {

// L0's memory: one range of physical addresses, that begins at a multiple of 2 MBytes and holds the
// image, then EPT01, then each CPU's pages. L0 sees it at the addresses that the image is linked
// for; everything else it sees twice: the first 4 GiB at their own addresses (but for where its own
// linear addresses are), and all RAM behind kDirectMap.
class L0Layout {
 public:
  static constexpr uint64_t kLargePage = uint64_t{1} << 21;
  // Of each CPU: VMXON region, VMCS01, VMCS02, the shadow VMCS with its two bitmaps, then host
  // pages.
  static constexpr size_t kShadowPages = 3;
  static constexpr size_t kVmxPages = 3 + kShadowPages;
  static constexpr size_t kHostPages = kFirstEpt02Page + 509;

  L0Layout(uint64_t linear_begin, uint64_t image_bytes, size_t ept01_pages, uint32_t cpus)
      : linear_begin_(linear_begin),
        image_bytes_((image_bytes + kPageSize - 1) & ~(kPageSize - 1)),
        ept01_pages_(ept01_pages),
        cpus_(cpus) {}

  // How many bytes there are, a multiple of kLargePage.
  uint64_t size() const {
    const uint64_t pages = ept01_pages_ + cpus_ * (kVmxPages + kHostPages);
    return (image_bytes_ + pages * kPageSize + kLargePage - 1) & ~(kLargePage - 1);
  }
  // Where things lie behind the beginning of the range.
  uint64_t Ept01Offset() const { return image_bytes_; }
  uint64_t VmxOffset(uint32_t cpu) const {
    return image_bytes_ + (ept01_pages_ + cpu * (kVmxPages + kHostPages)) * kPageSize;
  }
  uint64_t ShadowPagesOffset(uint32_t cpu) const {
    return VmxOffset(cpu) + (kVmxPages - kShadowPages) * kPageSize;
  }
  uint64_t HostPagesOffset(uint32_t cpu) const { return VmxOffset(cpu) + kVmxPages * kPageSize; }
  size_t ept01_pages() const { return ept01_pages_; }
  uint64_t linear_begin() const { return linear_begin_; }

  void MoveTo(uint64_t physical_begin) { physical_begin_ = physical_begin; }
  AddressRange physical() const { return {physical_begin_, physical_begin_ + size()}; }
  uint64_t PhysicalOf(uint64_t offset) const { return physical_begin_ + offset; }
  template <typename T>
  T* At(uint64_t offset) const {
    return reinterpret_cast<T*>(static_cast<uintptr_t>(linear_begin_ + offset));
  }

 private:
  uint64_t linear_begin_;
  uint64_t image_bytes_;
  size_t ept01_pages_;
  uint32_t cpus_;
  uint64_t physical_begin_ = 0;
};

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_L0_LAYOUT_H_
