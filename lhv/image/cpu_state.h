// SPDX-License-Identifier: Apache-2.0
//
// Puts the CPU into the state in which the simulated machine starts a guest program
// (backends/sim/machine/initial_state.cc).
#ifndef NVMX_LHV_IMAGE_CPU_STATE_H_
#define NVMX_LHV_IMAGE_CPU_STATE_H_

#include <cstdint>

#include "lhv/image/cpu_area.h"

namespace nvmx::lhv {

// Leaves VMX operation and whatever tables the last program left, for those of the image. `level`
// is the one that the CPU is at.
void TakeBackCpu(CpuArea& area, uint32_t cpu, uint32_t level);

// Loads the registers that a program finds. Its window holds the machine's tables.
void LoadInitialState(CpuArea& area, uint32_t cpu);

// Lets the CPU enter VMX operation, if nothing has locked that.
void AllowVmx();

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_IMAGE_CPU_STATE_H_
