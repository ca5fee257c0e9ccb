// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_FUZZ_SEEDS_H_
#define NVMX_FUZZ_SEEDS_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "fuzz/input.h"

namespace nvmx::fuzz {

struct Seed {
  std::string name;
  std::vector<std::byte> bytes;
};

// Inputs of the target made of what people wrote: the programs of the suites that are about what
// the target is about (`suites` is the directory lhv/suites), and the recorded schedules. Programs
// that do not fit the target's form are left out. An error names the file that cannot be read.
absl::StatusOr<std::vector<Seed>> SeedsOf(const TargetInformation& target,
                                          const std::string& suites);

// A dictionary for libFuzzer: the encodings of VMCS fields, MSRs and exit reasons as an input of
// the target holds them, or their names and those of the keys of the text form.
std::string DictionaryOf(const TargetInformation& target);

}  // namespace nvmx::fuzz

#endif  // NVMX_FUZZ_SEEDS_H_
