// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROGRAM_PROGRAM_YAML_H_
#define NVMX_BACKENDS_SIM_PROGRAM_PROGRAM_YAML_H_

#include <string>

#include "lhv/assembled.h"

namespace nvmx::sim {

// The program as a file that the assembler takes (lhv/README.md), with numbers for everything that
// has no name of its own. Assembled again it is the same program, if each of its VM entries is
// preceded by the operation that writes HOST_RIP for it, as in all assembled programs.
std::string ProgramYaml(const lhv::GuestProgram& program);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_PROGRAM_YAML_H_
