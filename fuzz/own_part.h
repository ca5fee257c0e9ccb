// SPDX-License-Identifier: Apache-2.0
//
// The way back from a guest program to a fuzz input, for seeds.
#ifndef NVMX_FUZZ_OWN_PART_H_
#define NVMX_FUZZ_OWN_PART_H_

#include "absl/status/statusor.h"
#include "fuzz/input.h"
#include "lhv/assembled.h"

namespace nvmx::fuzz {

// What a guest program does beyond `form`'s setup, if it begins as most programs do. Its VM entries
// become those of the form.
absl::StatusOr<lhv::GuestProgram> OwnPart(InputForm form, const lhv::GuestProgram& program);

}  // namespace nvmx::fuzz

#endif  // NVMX_FUZZ_OWN_PART_H_
