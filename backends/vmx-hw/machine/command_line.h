// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_MACHINE_COMMAND_LINE_H_
#define NVMX_BACKENDS_VMX_HW_MACHINE_COMMAND_LINE_H_

#include <cstdint>
#include <optional>
#include <string_view>

namespace nvmx::metal {

// Words of the form "name" or "name=value", separated by spaces.
class CommandLine {
 public:
  struct Word {
    std::string_view name;
    std::string_view value;  // empty if there is no "="
    bool has_value;
  };

  explicit CommandLine(std::string_view text) : rest_(text) {}
  // The next word, or nothing.
  std::optional<Word> Next();

 private:
  std::string_view rest_;
};

// The decimal digits, and nothing else, as a number of 32 bits.
std::optional<uint32_t> ParseNumber(std::string_view digits);

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_MACHINE_COMMAND_LINE_H_
