// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/options.h"

#include "backends/vmx-hw/machine/command_line.h"

namespace nvmx::metal {
namespace {

// Why the word cannot be, or empty.
std::string_view Apply(const CommandLine::Word& word, uint32_t most_cpus, Options& options) {
  if (word.name == "cpus") {
    const auto number = ParseNumber(word.value);
    if (!number || *number == 0 || *number > most_cpus) return "cpus= takes 1 to 16";
    options.cpus = *number;
    return {};
  }
  if (word.name == "log") {
    if (word.value != "serial" && word.value != "none") return "log= takes serial or none";
    options.log_events = word.value == "serial";
    return {};
  }
  if (word.name == kSerialPortOption) return {};  // every image has it
  return "there are cpus=N, log=serial|none and serial-port=0xPORT";
}

}  // namespace

ParsedOptions ParseOptions(std::string_view command_line, uint32_t most_cpus) {
  ParsedOptions parsed;
  CommandLine words(command_line);
  while (const auto word = words.Next()) {
    const std::string_view why = Apply(*word, most_cpus, parsed.options);
    if (why.empty()) continue;
    parsed.bad_word = word->name;
    parsed.why = why;
    return parsed;
  }
  return parsed;
}

}  // namespace nvmx::metal
