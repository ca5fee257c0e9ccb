// SPDX-License-Identifier: Apache-2.0
//
// The text form of guest programs, in YAML; lhv/README.md explains it.
#ifndef NVMX_LHV_ASSEMBLER_H_
#define NVMX_LHV_ASSEMBLER_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "lhv/assembled.h"

namespace YAML {
class Node;
}  // namespace YAML

namespace nvmx::lhv {

// The program for a machine with cpu_count CPUs, whose L1 runs in the mode `otherwise` if the
// program says none. Every error is InvalidArgument with the text "file:line:column: what is wrong;
// what was expected".
absl::StatusOr<GuestProgram> Assemble(const std::string& file_name, const std::string& text,
                                      uint32_t cpu_count, L1Mode otherwise = L1Mode::k64Bit);

// The same for a program that is part of a larger document; file_name is for the error texts.
absl::StatusOr<GuestProgram> AssembleNode(const std::string& file_name, const YAML::Node& program,
                                          uint32_t cpu_count, L1Mode otherwise = L1Mode::k64Bit);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_ASSEMBLER_H_
