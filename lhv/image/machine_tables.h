// SPDX-License-Identifier: Apache-2.0
//
// The part of a CPU's window that is the machine's, as the simulated machine fills it.
#ifndef NVMX_LHV_IMAGE_MACHINE_TABLES_H_
#define NVMX_LHV_IMAGE_MACHINE_TABLES_H_

#include <cstdint>

#include "lhv/l1_mode.h"
#include "lhv/layout.h"
#include "lhv/tables_of_32_bits.h"

namespace nvmx::lhv {

inline constexpr uint64_t kMachineGdtLimit = kTssSelector + 16 - 1;
inline constexpr uint64_t kMachineIdtLimit = kVectorCount * 16 - 1;
inline constexpr uint64_t kMachineTssLimit = 0x67;
// The same for either mode.
constexpr uint16_t GdtLimit(L1Mode mode) {
  return mode == L1Mode::k64Bit ? kMachineGdtLimit : kGdtLimitOf32Bits;
}
constexpr uint16_t IdtLimit(L1Mode mode) {
  return mode == L1Mode::k64Bit ? kMachineIdtLimit : kIdtLimitOf32Bits;
}

// Fills the tables; `memory` is where address 0 of memory is. `beyond` is what these tables have
// beyond those of the simulated machine, or 0 if nothing: for 64-bit mode the address of a page
// directory for the fourth GByte, where the local APIC is; for 32-bit paging the entry of its page
// of 4 MBytes.
void WriteMachineTables(uint8_t* memory, uint32_t cpu, uint64_t beyond,
                        L1Mode mode = L1Mode::k64Bit);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_IMAGE_MACHINE_TABLES_H_
