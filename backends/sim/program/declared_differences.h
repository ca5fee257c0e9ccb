// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROGRAM_DECLARED_DIFFERENCES_H_
#define NVMX_BACKENDS_SIM_PROGRAM_DECLARED_DIFFERENCES_H_

#include <span>

#include "backends/sim/program/comparison.h"
#include "lhv/assembled.h"

namespace nvmx::sim {

// Something that a guest program can tell the core from a processor by, and that stays so.
struct DeclaredDifference {
  const char* name;
  const char* reason;
  // Whether the first difference of the logs is of this kind.
  bool (*matches)(const lhv::GuestProgram& program, const Comparison& comparison);
};

// The rows of declared_differences.def.
std::span<const DeclaredDifference> AllDeclaredDifferences();

// The row that explains the first difference, or nullptr.
const DeclaredDifference* FindDeclaredDifference(const lhv::GuestProgram& program,
                                                 const Comparison& comparison);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_DECLARED_DIFFERENCES_H_
