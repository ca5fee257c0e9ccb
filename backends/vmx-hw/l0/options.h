// SPDX-License-Identifier: Apache-2.0
//
// What may stand behind the image on the boot loader's command line.
#ifndef NVMX_BACKENDS_VMX_HW_L0_OPTIONS_H_
#define NVMX_BACKENDS_VMX_HW_L0_OPTIONS_H_

#include <cstdint>
#include <string_view>

namespace nvmx::metal {

struct Options {
  // cpus=N: how many CPUs L0 takes and L1 has, the one that booted included. 0: all.
  uint32_t cpus = 0;
  // log=serial: events of L0 on the console as they happen. log=none: only what is wrong.
  bool log_events = false;
};

struct ParsedOptions {
  Options options;
  // The word that was not understood, and why; empty if all were.
  std::string_view bad_word;
  std::string_view why;
};
ParsedOptions ParseOptions(std::string_view command_line, uint32_t most_cpus);

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_OPTIONS_H_
