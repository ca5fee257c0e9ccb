// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROGRAM_NOT_COMPARABLE_H_
#define NVMX_BACKENDS_SIM_PROGRAM_NOT_COMPARABLE_H_

#include <string>

#include "lhv/assembled.h"

namespace nvmx::sim {

// What keeps the program from looking the same on two machines; empty if nothing is known to.
std::string WhyNotComparable(const lhv::GuestProgram& program);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_NOT_COMPARABLE_H_
