// SPDX-License-Identifier: Apache-2.0
//
// EPT01: what L1 calls physical memory. Every address is itself, but L0's own are not there.
#ifndef NVMX_BACKENDS_VMX_HW_L0_EPT01_H_
#define NVMX_BACKENDS_VMX_HW_L0_EPT01_H_

#include <cstddef>
#include <cstdint>

#include "backends/vmx-hw/machine/memory_map.h"
#include "core/nested/embedder.h"
#include "core/nested/host_pages.h"
#include "core/x86/mtrr.h"

namespace nvmx::metal {

class Ept01 {
 public:
  // What is mapped begins at 0 and ends here; beyond, an access raises #GP.
  static constexpr uint64_t kSpan = uint64_t{1} << 39;
  // How many pages Fill() needs at most: each border of a memory type, of which the MTRRs make at
  // most 31, and each end of what is absent, splits one page of 1 GByte and one of 2 MBytes.
  static constexpr size_t PagesNeeded(bool has_1gbyte_pages) {
    constexpr size_t kSplits = 33;
    return 2 + (has_1gbyte_pages ? kSplits : kSpan >> 30) + kSplits;
  }

  // `absent` is not mapped; its ends are multiples of 2 MBytes. `pages` are at least PagesNeeded().
  Ept01(HostPages pages, AddressRange absent, bool has_1gbyte_pages)
      : pages_(pages), absent_(absent), has_1gbyte_pages_(has_1gbyte_pages) {}

  // Writes all paging structures, with the largest pages that memory types allow. The processor may
  // hold on to older ones until INVEPT; no guest may run meanwhile.
  void Fill(const MtrrSettings& memory_types);
  // A value of the EPT-pointer field.
  uint64_t pointer() const;
  // What the structures say of the address.
  Ept01Mapping Map(GuestPhysicalAddress address) const;

 private:
  uint64_t NextPage();
  uint64_t Entry(uint64_t base, unsigned level, const MtrrSettings& memory_types);

  HostPages pages_;
  AddressRange absent_;
  bool has_1gbyte_pages_;
  size_t used_ = 0;
};

// Whether all bytes of the block have one memory type. `size` is a power of 2, at least 4096, and
// the block begins at a multiple of it.
bool HasOneMemoryType(const MtrrSettings& memory_types, uint64_t base, uint64_t size);

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_EPT01_H_
