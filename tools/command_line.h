// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_TOOLS_COMMAND_LINE_H_
#define NVMX_TOOLS_COMMAND_LINE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace nvmx::tools {

// Exit statuses of the program.
inline constexpr int kAsExpected = 0;
inline constexpr int kNotAsExpected = 1;  // the verdict, the replay or a table differs
inline constexpr int kBadInput = 2;
inline constexpr int kCutOff = 3;  // interrupted or out of bounds: nothing is proved

// Sets Abseil flags from arguments of the forms --name=value, --name value and, for flags of type
// bool, --name. A dash in a name counts as an underscore. Only the flags in `allowed` are taken.
// Returns the other arguments, in order; "--" makes the rest such. InvalidArgument names the
// argument and what was wrong with it.
absl::StatusOr<std::vector<std::string>> ParseFlags(const std::vector<std::string>& arguments,
                                                    const std::vector<std::string>& allowed);

// The flags in `allowed` with their help texts and defaults.
std::string DescribeFlags(const std::vector<std::string>& allowed);

}  // namespace nvmx::tools

#endif  // NVMX_TOOLS_COMMAND_LINE_H_
