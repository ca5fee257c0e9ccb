// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_FUZZ_PROGRAM_TARGET_H_
#define NVMX_FUZZ_PROGRAM_TARGET_H_

#include <memory>

#include "fuzz/target.h"

namespace nvmx::fuzz {

// A target whose inputs are guest programs: native log == nested log.
std::unique_ptr<Target> MakeProgramTarget(const TargetInformation& information);

}  // namespace nvmx::fuzz

#endif  // NVMX_FUZZ_PROGRAM_TARGET_H_
