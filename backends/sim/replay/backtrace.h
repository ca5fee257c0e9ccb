// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_REPLAY_BACKTRACE_H_
#define NVMX_BACKENDS_SIM_REPLAY_BACKTRACE_H_

#include <cstdint>
#include <string>
#include <vector>

namespace nvmx::sim {

struct Frame {
  std::string function;  // qualified, without its arguments
  std::string file;      // relative to the repository
  int line = 0;
};

// The frames behind return addresses of this program, innermost first, inlined functions too. What
// belongs to the simulator's own machinery (from the point where a CPU gives control back, and
// above the VM exit) is left out: what remains is the core's story.
std::vector<Frame> Symbolize(const std::vector<uintptr_t>& return_addresses);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_REPLAY_BACKTRACE_H_
