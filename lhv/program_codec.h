// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_PROGRAM_CODEC_H_
#define NVMX_LHV_PROGRAM_CODEC_H_

#include <cstddef>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "lhv/assembled.h"

namespace nvmx::lhv {

// The program in the form of binary_program.h. Names, lines and what is expected are not kept, and
// memory that is zero is not either. The program has at most 255 CPUs, and is one that Assemble()
// gave or whose operations are valid.
std::vector<std::byte> EncodeProgram(const GuestProgram& program);

// The program in the bytes; its memory blocks are called by their offsets. Any bytes are a program
// or InvalidArgument.
absl::StatusOr<GuestProgram> DecodeProgram(std::span<const std::byte> bytes);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_PROGRAM_CODEC_H_
