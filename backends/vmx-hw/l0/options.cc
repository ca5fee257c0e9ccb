// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/options.h"

#include "backends/vmx-hw/machine/command_line.h"

namespace nvmx::metal {
namespace {

constexpr uint32_t kMostSeconds = 3600;

std::string_view ApplyLog(std::string_view value, Options& options) {
  constexpr struct {
    std::string_view name;
    LogMode mode;
  } kModes[] = {{"serial", LogMode::kSerial}, {"ring", LogMode::kRing}, {"none", LogMode::kNone}};
  for (const auto& row : kModes) {
    if (value != row.name) continue;
    options.log = row.mode;
    return {};
  }
  return "log= takes serial, ring or none";
}

// Why the word cannot be, or empty.
std::string_view Apply(const CommandLine::Word& word, uint32_t most_cpus, Options& options) {
  if (word.name == "cpus") {
    const auto number = ParseNumber(word.value);
    if (!number || *number == 0 || *number > most_cpus) return "cpus= takes 1 to 16";
    options.cpus = *number;
    return {};
  }
  if (word.name == "log") return ApplyLog(word.value, options);
  if (word.name == "watchdog") {
    const auto seconds = ParseNumber(word.value);
    if (!seconds || *seconds == 0 || *seconds > kMostSeconds) {
      return "watchdog= takes 1 to 3600 seconds";
    }
    options.watchdog_seconds = *seconds;
    return {};
  }
  if (word.name == kSerialPortOption) return {};  // every image has it
  if (word.name == "check") {
    options.checks_ports = word.value == "ports";
    return options.checks_ports ? std::string_view() : "check= takes ports";
  }
  if (word.name == "variant") {
    options.variant = FindVariant(word.value);
    return options.variant == nullptr ? "there is no such variant" : std::string_view();
  }
  if (word.name == "l1") {
    if (word.value != "multiboot" && word.value != "linux") return "l1= takes multiboot or linux";
    options.l1 = word.value == "linux" ? L1Kind::kLinux : L1Kind::kMultiboot;
    return {};
  }
  return "there are cpus=N, l1=multiboot|linux, log=serial|ring|none, watchdog=SECONDS, "
         "variant=NAME, check=ports and serial-port=0xPORT";
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
    parsed.is_unknown_variant = parsed.options.variant == nullptr;
    return parsed;
  }
  return parsed;
}

}  // namespace nvmx::metal
