// SPDX-License-Identifier: Apache-2.0
//
// Which programs are worth running on a real machine.
#ifndef NVMX_BACKENDS_SIM_PROGRAM_FIT_FOR_MACHINES_H_
#define NVMX_BACKENDS_SIM_PROGRAM_FIT_FOR_MACHINES_H_

#include <string>

#include "backends/sim/program/program_result.h"
#include "lhv/assembled.h"

namespace nvmx::sim {

// What keeps the program, of which `reference` came on the reference, from that: its end is one
// that a machine has to be booted behind or takes long to come to, or the program asks for what two
// machines cannot do alike. Empty if nothing is known to.
std::string WhyUnfitForMachines(const lhv::GuestProgram& program, const ProgramResult& reference);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_FIT_FOR_MACHINES_H_
