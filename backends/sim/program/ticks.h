// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROGRAM_TICKS_H_
#define NVMX_BACKENDS_SIM_PROGRAM_TICKS_H_

#include <cstdint>

namespace nvmx::sim {

// How far the time-stamp counter advances with each completed instruction of a guest program: one
// tick of the VMX-preemption timer.
inline constexpr uint64_t kTicksPerInstruction = 32;

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_TICKS_H_
