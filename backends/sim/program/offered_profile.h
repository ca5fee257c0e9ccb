// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROGRAM_OFFERED_PROFILE_H_
#define NVMX_BACKENDS_SIM_PROGRAM_OFFERED_PROFILE_H_

#include "backends/sim/machine/processor_profile.h"
#include "core/nested/offered_capabilities.h"

namespace nvmx::sim {

// What the core offers L1 on the simulated CPU, which the reference has natively.
inline Capabilities OfferedProfile() { return OfferedCapabilities(SimulatedCapabilities()); }

// How far the time-stamp counter advances with each completed instruction of a guest program: one
// tick of the VMX-preemption timer.
inline constexpr uint64_t kTicksPerInstruction = 32;

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_OFFERED_PROFILE_H_
