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
// counts as one. An error names file, place and rule.
absl::StatusOr<lhv::GuestProgram> LoadProgram(const std::string& path, uint32_t cpus);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_PROGRAM_FILES_H_
