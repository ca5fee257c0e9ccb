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

namespace {

// "0x" and up to four hexadecimal digits.
std::optional<uint16_t> ParsePort(std::string_view text) {
  if (!text.starts_with("0x") || text.size() < 3 || text.size() > 6) return std::nullopt;
  unsigned port = 0;
  for (char digit : text.substr(2)) {
    const std::string_view kDigits = "0123456789abcdef";
    const size_t value = kDigits.find(digit >= 'A' && digit <= 'F' ? digit - 'A' + 'a' : digit);
    if (value == std::string_view::npos) return std::nullopt;
    port = port << 4 | static_cast<unsigned>(value);
  }
  return static_cast<uint16_t>(port);
}

}  // namespace

std::optional<SerialPortOption> FindSerialPort(std::string_view command_line) {
  CommandLine words(command_line);
  while (const auto word = words.Next()) {
    if (word->name != kSerialPortOption) continue;
    const auto port = ParsePort(word->value);
    // The last of its eight registers has to have a port too.
    if (!port || *port == 0 || *port > 0xFFF8) return SerialPortOption{.is_wrong = true};
    return SerialPortOption{.port = *port};
  }
  return std::nullopt;
}

}  // namespace nvmx::metal
