// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_GUEST_TABLES_H_
#define NVMX_BACKENDS_SIM_MACHINE_GUEST_TABLES_H_

#include <cstdint>

#include "backends/sim/machine/memory.h"
#include "lhv/l1_mode.h"
#include "lhv/layout.h"

namespace nvmx::sim {

// The limits of the tables that WriteGuestTables() fills.
inline constexpr uint64_t kGuestGdtLimit = lhv::kTssSelector + 16 - 1;
inline constexpr uint64_t kGuestIdtLimit = lhv::kVectorCount * 16 - 1;
inline constexpr uint64_t kGuestTssLimit = 0x67;
// RSP0, as an offset in the window: where an event finds a stack that takes a guest program from
// CPL 3 to CPL 0.
inline constexpr uint64_t kGuestRsp0Offset = lhv::kGdtOffset;

// Fills the part of the CPU's window that is the machine's, at the places of lhv/layout.h: the IDTs
// of L1 and L2, whose gates lead to the handlers; a GDT with flat segments and a TSS; and paging
// structures that map everything a guest program names to itself. The limits above are those of
// 64-bit mode.
void WriteGuestTables(Memory& memory, uint32_t cpu, lhv::L1Mode mode = lhv::L1Mode::k64Bit);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_GUEST_TABLES_H_
