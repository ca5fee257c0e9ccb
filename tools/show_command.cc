// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <string>
#include <vector>

#include "tools/command_line.h"
#include "tools/commands.h"
#include "tools/input_files.h"

namespace nvmx::tools {

int RunShow(const std::vector<std::string>& arguments) {
  if (arguments.size() != 1) return Complain("show: name one file");
  absl::StatusOr<Input> input = LoadInput(arguments[0]);
  if (!input.ok()) return Complain(std::string(input.status().message()));
  std::fputs(InputText(*input).c_str(), stdout);
  return kAsExpected;
}

}  // namespace nvmx::tools
