// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROGRAM_GENERATOR_GENERATOR_H_
#define NVMX_BACKENDS_SIM_PROGRAM_GENERATOR_GENERATOR_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "lhv/assembled.h"

namespace nvmx::sim {

struct GeneratorOptions {
  uint64_t seed = 1;
  // The only topic, by its name; empty: one to three of all.
  std::string topic;
};

// InvalidArgument, with the names that there are, if there is no such topic.
absl::Status CheckTopic(const std::string& topic);

// Program `number` of the seed: a guest program that nobody wrote, and that follows from the two
// numbers alone. Its name tells the topics.
lhv::GuestProgram GenerateProgram(const GeneratorOptions& options, uint64_t number);

// The program that does nothing but what all generated ones begin with: their setup, and the memory
// that the setup uses.
lhv::GuestProgram GeneratedSetup();

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_GENERATOR_GENERATOR_H_
