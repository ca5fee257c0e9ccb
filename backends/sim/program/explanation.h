// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROGRAM_EXPLANATION_H_
#define NVMX_BACKENDS_SIM_PROGRAM_EXPLANATION_H_

#include <string>

#include "backends/sim/program/comparison.h"
#include "lhv/assembled.h"

namespace nvmx::sim {

// What a program comes down to, for a person: whether it looks the same on both machines; if not,
// the first difference; and for each CPU what it saw on the core behind its setup, each line with
// the operation that it comes from, and each refused VM entry with the rule that VMCS12 breaks.
std::string ExplanationText(const lhv::GuestProgram& program, const Comparison& comparison);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_EXPLANATION_H_
