// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROGRAM_DIFFERENCE_TEXT_H_
#define NVMX_BACKENDS_SIM_PROGRAM_DIFFERENCE_TEXT_H_

#include <string>

#include "backends/sim/program/comparison.h"
#include "lhv/assembled.h"

namespace nvmx::sim {

// The first difference for a person: what both saw before it, what each saw then, the operation
// that it is about, and the last VM exit. Several lines.
std::string DifferenceText(const lhv::GuestProgram& program, const Comparison& comparison);

// Which rule it was, and where the SDM has it.
std::string RuleText(const RefusedEntry& refused);

// One log, a line for each observation: "CPU 0  L1 #7: ...".
std::string LogText(const ProgramResult& result);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_DIFFERENCE_TEXT_H_
