// SPDX-License-Identifier: Apache-2.0
//
// EPT01: what L1 calls physical memory. Every address is itself, but L0's own are not there, and
// one page is not writable.
#ifndef NVMX_BACKENDS_VMX_HW_L0_EPT01_H_
#define NVMX_BACKENDS_VMX_HW_L0_EPT01_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "backends/vmx-hw/machine/memory_map.h"
#include "core/nested/embedder.h"
#include "core/nested/host_pages.h"
#include "core/x86/mtrr.h"

namespace nvmx::metal {

// Of MTRR settings what decides about memory types. Equal ones make all types equal.
class EffectiveMtrrs {
 public:
  // None: not equal to any settings.
  EffectiveMtrrs() = default;
  explicit EffectiveMtrrs(const MtrrSettings& settings);

  const MtrrSettings& settings() const { return settings_; }
  // Where a page begins, behind the address, up to which all bytes have the type of the one at the
  // address. Those behind it may have that type too.
  uint64_t SameTypeUntil(uint64_t address) const;

  friend bool operator==(const EffectiveMtrrs&, const EffectiveMtrrs&) = default;

 private:
  MtrrSettings settings_{};
  bool is_any_ = false;
  size_t ranges_ = 0;  // of settings_.variable, from the first on; the others are 0
};

class Ept01 {
 public:
  // What is mapped begins at 0 and ends here; beyond, an access raises #GP.
  static constexpr uint64_t kSpan = uint64_t{1} << 39;
  // How many pages Fill() needs at most: each border of a memory type, of which the MTRRs make at
  // most 31, each end of what is absent, and the page that is not writable, splits one page of 1
  // GByte and one of 2 MBytes.
  static constexpr size_t PagesNeeded(bool has_1gbyte_pages) {
    constexpr size_t kSplits = 34;
    return 2 + (has_1gbyte_pages ? kSplits : kSpan >> 30) + kSplits;
  }

  // `absent` is not mapped; its ends are multiples of 2 MBytes. The page at `read_only` is not
  // writable. `pages` are at least PagesNeeded().
  Ept01(HostPages pages, AddressRange absent, uint64_t read_only, bool has_1gbyte_pages)
      : pages_(pages),
        absent_(absent),
        read_only_(read_only),
        has_1gbyte_pages_(has_1gbyte_pages) {}

  // Writes all paging structures, with the largest pages that memory types allow, unless they are
  // as these settings want them. The processor may hold on to older ones until INVEPT; no guest may
  // run meanwhile. Returns whether it wrote.
  bool Fill(const MtrrSettings& memory_types);
  // The structures that Fill() wrote.
  std::span<const uint64_t> words() const {
    return {pages_.pages.data()->words.data(), used_ * pages_.pages.data()->words.size()};
  }
  // A value of the EPT-pointer field.
  uint64_t pointer() const;
  // What the structures say of the address.
  Ept01Mapping Map(GuestPhysicalAddress address) const;

 private:
  HostPages pages_;
  AddressRange absent_;
  uint64_t read_only_;
  bool has_1gbyte_pages_;
  size_t used_ = 0;  // how many of the pages have structures, the first ones
  // What the structures were filled for.
  EffectiveMtrrs types_;
};

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_EPT01_H_
