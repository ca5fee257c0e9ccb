// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_DUMP_H_
#define NVMX_LHV_DUMP_H_

#include <string>

#include "lhv/assembled.h"

namespace nvmx::lhv {

// The program as a listing: for each CPU its memory blocks, then one line per operation with the
// operation's index and the line of the source that it comes from. Equal CPUs are listed once.
std::string Dump(const GuestProgram& program);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_DUMP_H_
