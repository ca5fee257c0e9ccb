// SPDX-License-Identifier: Apache-2.0
//
// Whether the image can run a program under the EPT12 that the program brings along, and whether a
// machine finds in it what the simulator finds.
#ifndef NVMX_BACKENDS_SIM_PROGRAM_EPT_OF_PROGRAM_H_
#define NVMX_BACKENDS_SIM_PROGRAM_EPT_OF_PROGRAM_H_

#include <cstdint>

#include "lhv/assembled.h"

namespace nvmx::sim {

struct EptOfProgram {
  // An EPT structure lies outside the program's memory.
  bool names_foreign_table = false;
  // L2's code or handlers are mapped to other memory than that which holds them.
  bool moves_code = false;
};

// Of all EPT12 that the program's VMWRITEs name, as they are when it begins.
EptOfProgram LookAtEpt(const lhv::CpuProgram& program, uint32_t cpu);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_EPT_OF_PROGRAM_H_
