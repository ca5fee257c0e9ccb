// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROGRAM_PROGRAM_FILES_H_
#define NVMX_BACKENDS_SIM_PROGRAM_PROGRAM_FILES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lhv/assembled.h"

namespace nvmx::sim {

// The files that the arguments name: each itself, or every .yaml file below it if it is a
// directory, in alphabetical order. An error names the argument.
absl::StatusOr<std::vector<std::string>> ProgramFiles(const std::vector<std::string>& arguments);

// The guest program in the file, for that many CPUs; 0: as many as its entries make, where "all"
// counts as one. An error names file, place and rule. Its L1 runs in the mode that the program
// says, or in `otherwise`; outside IA-32e mode it is then another program than was written, and
// what that expects is left out.
absl::StatusOr<lhv::GuestProgram> LoadProgram(const std::string& path, uint32_t cpus,
                                              lhv::L1Mode otherwise = lhv::L1Mode::k64Bit);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_PROGRAM_FILES_H_
