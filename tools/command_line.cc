// SPDX-License-Identifier: Apache-2.0
#include "tools/command_line.h"

#include <algorithm>

#include "absl/flags/commandlineflag.h"
#include "absl/flags/reflection.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace nvmx::tools {
namespace {

std::string AsTyped(const std::string& name) {
  return absl::StrCat("--", absl::StrReplaceAll(name, {{"_", "-"}}));
}

absl::Status UnknownFlag(const std::string& typed, const std::vector<std::string>& allowed) {
  std::vector<std::string> names;
  for (const std::string& name : allowed) names.push_back(AsTyped(name));
  return absl::InvalidArgumentError(
      absl::StrCat(typed, ": this command has no such flag; it has ",
                   names.empty() ? "none" : absl::StrJoin(names, ", ")));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ParseFlags(const std::vector<std::string>& arguments,
                                                    const std::vector<std::string>& allowed) {
  std::vector<std::string> others;
  for (size_t at = 0; at < arguments.size(); ++at) {
    const std::string& argument = arguments[at];
    if (argument == "--") {
      others.insert(others.end(), arguments.begin() + static_cast<ptrdiff_t>(at) + 1,
                    arguments.end());
      break;
    }
    if (!absl::StartsWith(argument, "--")) {
      others.push_back(argument);
      continue;
    }
    const size_t equals = argument.find('=');
    const std::string typed = argument.substr(0, equals);
    const std::string name = absl::StrReplaceAll(typed.substr(2), {{"-", "_"}});
    absl::CommandLineFlag* flag = absl::FindCommandLineFlag(name);
    if (flag == nullptr || std::find(allowed.begin(), allowed.end(), name) == allowed.end()) {
      return UnknownFlag(typed, allowed);
    }
    std::string value = "true";
    if (equals != std::string::npos) {
      value = argument.substr(equals + 1);
    } else if (!flag->IsOfType<bool>()) {
      if (at + 1 >= arguments.size()) {
        return absl::InvalidArgumentError(absl::StrCat(typed, ": a value must follow"));
      }
      value = arguments[++at];
    }
    std::string error;
    if (!flag->ParseFrom(value, &error)) {
      return absl::InvalidArgumentError(
          absl::StrCat(typed, ": \"", value, "\" is not a value for it",
                       error.empty() ? "" : absl::StrCat(": ", error)));
    }
  }
  return others;
}

std::string DescribeFlags(const std::vector<std::string>& allowed) {
  std::string text;
  for (const std::string& name : allowed) {
    const absl::CommandLineFlag* flag = absl::FindCommandLineFlag(name);
    const std::string value = flag->DefaultValue();
    absl::StrAppend(
        &text, "  ", AsTyped(name), "\n      ", flag->Help(),
        value.empty() || flag->IsOfType<bool>() ? "" : absl::StrCat(" (default: ", value, ")"),
        "\n");
  }
  return text;
}

}  // namespace nvmx::tools
