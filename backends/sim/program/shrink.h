// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROGRAM_SHRINK_H_
#define NVMX_BACKENDS_SIM_PROGRAM_SHRINK_H_

#include <functional>

#include "lhv/assembled.h"

namespace nvmx::sim {

// The program without the operations, memory blocks and last CPUs that `still_shows` does not need:
// it is called with candidates, and says whether what is looked for is still there. It must be so
// for the program itself.
lhv::GuestProgram Shrink(const lhv::GuestProgram& program,
                         const std::function<bool(const lhv::GuestProgram&)>& still_shows);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_SHRINK_H_
