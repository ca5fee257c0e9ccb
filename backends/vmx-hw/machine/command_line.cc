// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/machine/command_line.h"

#include <algorithm>

namespace nvmx::metal {

std::optional<CommandLine::Word> CommandLine::Next() {
  rest_.remove_prefix(std::min(rest_.find_first_not_of(' '), rest_.size()));
  if (rest_.empty()) return std::nullopt;
  const std::string_view word = rest_.substr(0, rest_.find(' '));
  rest_.remove_prefix(word.size());
  const size_t equals = word.find('=');
  if (equals == std::string_view::npos) return Word{word, {}, false};
  return Word{word.substr(0, equals), word.substr(equals + 1), true};
}

std::optional<uint32_t> ParseNumber(std::string_view digits) {
  uint64_t number = 0;
  if (digits.empty()) return std::nullopt;
  for (char digit : digits) {
    if (digit < '0' || digit > '9') return std::nullopt;
    number = number * 10 + static_cast<uint64_t>(digit - '0');
    if (number > UINT32_MAX) return std::nullopt;
  }
  return static_cast<uint32_t>(number);
}

}  // namespace nvmx::metal
