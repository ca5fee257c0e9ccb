// SPDX-License-Identifier: Apache-2.0
//
// Entries of the VM-entry MSR-load, VM-exit MSR-store and VM-exit MSR-load areas.
// Source: SDM Vol. 3C, 25.7.2 "VM-Exit Controls for MSRs", 25.8.2 "VM-Entry Controls for MSRs";
// Vol. 3D, A.6 "Miscellaneous Data".
#ifndef NVMX_CORE_VMX_MSR_LIST_H_
#define NVMX_CORE_VMX_MSR_LIST_H_

#include <cstdint>
#include <type_traits>

namespace nvmx {

struct MsrListEntry {
  uint32_t index = 0;
  uint32_t reserved = 0;  // must be 0, or processing the entry fails
  uint64_t data = 0;
  friend constexpr bool operator==(const MsrListEntry&, const MsrListEntry&) = default;
};
static_assert(sizeof(MsrListEntry) == 16);
static_assert(std::has_unique_object_representations_v<MsrListEntry>);

// The area must start at a multiple of this many bytes.
inline constexpr uint64_t kMsrListAlignment = 16;

// The recommended maximum number of entries of each list on a CPU with this IA32_VMX_MISC:
// 512 * (bits 27:25 + 1). What more entries do is undefined, a machine check included.
constexpr uint32_t MaximumMsrListEntries(uint64_t ia32_vmx_misc) {
  return 512 * (static_cast<uint32_t>((ia32_vmx_misc >> 25) & 7) + 1);
}

// The length in bytes of a list with this many entries: at most 2^36 - 16, so it cannot wrap.
constexpr uint64_t MsrListLength(uint32_t count) { return uint64_t{count} * sizeof(MsrListEntry); }

}  // namespace nvmx

#endif  // NVMX_CORE_VMX_MSR_LIST_H_
