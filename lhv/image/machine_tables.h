// SPDX-License-Identifier: Apache-2.0
//
// The part of a CPU's window that is the machine's, as the simulated machine fills it.
#ifndef NVMX_LHV_IMAGE_MACHINE_TABLES_H_
#define NVMX_LHV_IMAGE_MACHINE_TABLES_H_

#include <cstdint>

#include "lhv/layout.h"

namespace nvmx::lhv {

inline constexpr uint64_t kMachineGdtLimit = kTssSelector + 16 - 1;
inline constexpr uint64_t kMachineIdtLimit = kVectorCount * 16 - 1;
inline constexpr uint64_t kMachineTssLimit = 0x67;

// Fills the tables; `memory` is where address 0 of memory is. `beyond` is the address of a page
// directory for the fourth GByte, where the local APIC is, or 0 if nothing is mapped there. It is
// what these tables have beyond those of the simulated machine.
void WriteMachineTables(uint8_t* memory, uint32_t cpu, uint64_t beyond);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_IMAGE_MACHINE_TABLES_H_
