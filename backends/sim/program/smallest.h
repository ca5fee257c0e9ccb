// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROGRAM_SMALLEST_H_
#define NVMX_BACKENDS_SIM_PROGRAM_SMALLEST_H_

#include <string>

#include "backends/sim/machine/processor_profile.h"
#include "core/vmx/capabilities.h"
#include "lhv/assembled.h"

namespace nvmx::sim {

// The smallest program that Shrink() finds whose difference has that signature (campaign.h); the
// program itself must have it. `hardware` is what the processors can do.
lhv::GuestProgram SmallestWithSignature(const lhv::GuestProgram& program,
                                        const std::string& signature,
                                        const Capabilities& hardware = SimulatedCapabilities());

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_SMALLEST_H_
