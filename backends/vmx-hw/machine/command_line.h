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

// Every image understands "serial-port=0xPORT": the I/O port of the UART that it writes to. Nothing
// if the command line has no such word; `is_wrong` if what it says is no I/O port.
struct SerialPortOption {
  uint16_t port = 0;
  bool is_wrong = false;
};
std::optional<SerialPortOption> FindSerialPort(std::string_view command_line);
inline constexpr std::string_view kSerialPortOption = "serial-port";

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_MACHINE_COMMAND_LINE_H_
