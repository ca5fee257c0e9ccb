// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_EPT12_H_
#define NVMX_CORE_NESTED_EPT12_H_

#include <array>
#include <cstdint>

#include "core/ports/guest_memory.h"
#include "core/vmx/capabilities.h"
#include "core/vmx/ept.h"
#include "core/x86/address.h"

namespace nvmx {

// EPT12: the EPT paging structures that L1 made for L2. They lie in L1's memory and are walked by
// software. Here is the translation itself; what an access leaves behind in EPT12 is in
// ept12_access.h.

// True if a VM entry with "enable EPT" would accept this EPT pointer. INVEPT and EPTP switching
// refuse exactly the others. SDM Vol. 3C, 27.2.1.1 "VM-Execution Control Fields".
bool IsValidEptp(uint64_t eptp, const Capabilities& c);

// True if an entry of that level is present. SDM Vol. 3C, 29.3.2 "EPT Translation Mechanism".
constexpr bool IsEptEntryPresent(uint64_t entry) { return (entry & EptEntry::kPermissions) != 0; }

// True if the entry, which is present, maps a page and does not refer to another structure.
bool IsEptLeaf(uint64_t entry, unsigned level, const Capabilities& c);

// True if the use of this entry is an EPT misconfiguration. SDM Vol. 3C, 29.3.3.1 "EPT
// Misconfigurations".
bool IsEptMisconfigured(uint64_t entry, unsigned level, const Capabilities& c);

// What EPT12 makes of one access to one guest-physical address of L2.
struct Ept12Walk {
  enum class Result : uint8_t { kTranslated, kViolation, kMisconfiguration };

  // An entry that was used: where it lies, and what it was.
  struct Step {
    GuestPhysicalAddress address;
    uint64_t entry;
  };

  Result result = Result::kViolation;
  // Bits 2:0 that all entries on the way have; 0 if one of them is not present.
  uint64_t permissions = 0;
  // The rest is of kTranslated only. The address is L1's, of the byte that was asked for; the block
  // is the page that the last entry maps.
  GuestPhysicalAddress address = {};
  unsigned block_shift = kPageShift;
  // Bits 6:3 (memory type and "ignore PAT") of the last entry.
  uint64_t memory_type = 0;
  // The entries that were used, the one that maps the page last.
  std::array<Step, kMostEptLevels> steps = {};
  unsigned step_count = 0;
};

// Walks EPT12 for an access that needs these permissions (EptEntry::kRead, kWrite, kExecute).
// `eptp` is valid. Changes nothing. An entry that no memory backs reads as all ones. SDM Vol. 3C,
// 29.3.2 "EPT Translation Mechanism", 29.3.3.3 "Prioritization of EPT Misconfigurations and EPT
// Violations": permissions are compared when the walk is complete, so that a misconfiguration comes
// before a violation.
Ept12Walk WalkEpt12(GuestMemory& memory, const Capabilities& c, uint64_t eptp,
                    GuestPhysicalAddress address, uint64_t needed);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_EPT12_H_
