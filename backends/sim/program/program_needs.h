// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROGRAM_PROGRAM_NEEDS_H_
#define NVMX_BACKENDS_SIM_PROGRAM_PROGRAM_NEEDS_H_

#include <string>
#include <vector>

#include "core/vmx/capabilities.h"
#include "lhv/assembled.h"

namespace nvmx::sim {

// What the program asks for that `all` offers L1 and `offered` does not: controls that it wants in
// VMCSs, fields that it reads and writes, kinds of INVEPT, INVVPID and EPT, bits of CR4; each once,
// in the words of programs. Such a program runs, and looks the same on the core as on the
// reference, but it is not about what it was written for, and what it expects need not come.
std::vector<std::string> MissingCapabilities(const lhv::GuestProgram& program,
                                             const Capabilities& all, const Capabilities& offered);

// What L0 itself needs and a processor with these capabilities lacks.
std::vector<std::string> MissingForL0(const Capabilities& hardware);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_PROGRAM_NEEDS_H_
