// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_EPT_WALK_H_
#define NVMX_BACKENDS_SIM_MACHINE_EPT_WALK_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "backends/sim/machine/memory.h"
#include "core/vmx/capabilities.h"

namespace nvmx::sim {

// Where a processor finds the next EPT paging structure, and what the entries so far allow.
struct EptPosition {
  uint64_t table;        // physical address
  unsigned level;        // 5: PML5 table, ..., 1: page table
  uint64_t permissions;  // the AND of bits 2:0 of the entries used so far
};

// Where a walk begins. SDM Vol. 3C, 25.6.11 "Extended-Page-Table Pointer (EPTP)".
EptPosition EptRoot(uint64_t eptp);

// What the EPT paging structures say about one guest-physical address. SDM Vol. 3C, 29.3.2 "EPT
// Translation Mechanism".
struct EptWalk {
  enum class End : uint8_t { kPage, kNotPresent, kMisconfiguration };

  // An entry that the walk used.
  struct Entry {
    uint64_t address;
    uint64_t value;
  };

  End end = End::kNotPresent;
  unsigned page_shift = 0;   // with kPage: 12, 21 or 30
  uint64_t page = 0;         // with kPage: the physical address of its first byte
  uint64_t permissions = 0;  // the AND of bits 2:0 of the entries used, the last one included
  size_t count = 0;
  std::array<Entry, 5> entries;
  // Where the last table lies; useful if count > 0.
  EptPosition last_table{};
};

// Reads the entries from `from` on; changes nothing.
EptWalk WalkEpt(const Memory& memory, const Capabilities& capabilities, EptPosition from,
                uint64_t guest_physical);

// Whether an entry with one of bits 2:0 set is misconfigured. SDM Vol. 3C, 29.3.3.1 "EPT
// Misconfigurations".
bool IsEptMisconfigured(const Capabilities& capabilities, unsigned level, uint64_t entry);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_EPT_WALK_H_
