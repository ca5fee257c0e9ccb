// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/replay/backtrace.h"

#include <cxxabi.h>

#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "libbacktrace/backtrace.h"

namespace nvmx::sim {
namespace {

void IgnoreError(void*, const char*, int) {}

// "void nvmx::(anonymous namespace)::Walk<int>(int)" -> "nvmx::Walk".
std::string ShortName(const char* mangled) {
  int status = 0;
  char* demangled = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
  std::string name = status == 0 ? demangled : mangled;
  std::free(demangled);
  std::string plain;
  int depth = 0;  // of template arguments
  constexpr char kAnonymous[] = "(anonymous namespace)::";
  for (size_t at = 0; at < name.size(); ++at) {
    if (name.compare(at, sizeof kAnonymous - 1, kAnonymous) == 0) {
      at += sizeof kAnonymous - 2;
      continue;
    }
    if (name[at] == '<') ++depth;
    if (name[at] == '(' && depth == 0) break;
    if (depth == 0) plain += name[at];
    if (name[at] == '>') --depth;
  }
  // A function template's name is preceded by its return type.
  const size_t space = plain.rfind(' ');
  return space == std::string::npos ? plain : plain.substr(space + 1);
}

int AddFrame(void* data, uintptr_t, const char* file, int line, const char* function) {
  if (file == nullptr || function == nullptr) return 0;
  auto& frames = *static_cast<std::vector<Frame>*>(data);
  frames.push_back({ShortName(function), std::string(absl::StripPrefix(file, "./")), line});
  return 0;
}

// The simulator's side of the ports: where a CPU waits for the scheduler, and where hardware calls
// L0.
bool IsMachinery(const Frame& frame) {
  return absl::StartsWith(frame.function, "nvmx::sim::SimCpu::") ||
         absl::StartsWith(frame.function, "nvmx::sim::Processor::") ||
         absl::StartsWith(frame.function, "nvmx::sim::Fiber") ||
         absl::StartsWith(frame.function, "nvmx::lhv::");
}

}  // namespace

std::vector<Frame> Symbolize(const std::vector<uintptr_t>& return_addresses) {
  static backtrace_state* const state =
      backtrace_create_state(nullptr, /*threaded=*/0, IgnoreError, nullptr);
  std::vector<Frame> frames;
  for (uintptr_t address : return_addresses) {
    // The call is before the return address.
    backtrace_pcinfo(state, address - 1, AddFrame, IgnoreError, &frames);
  }
  std::vector<Frame> story;
  for (Frame& frame : frames) {
    if (!IsMachinery(frame)) story.push_back(std::move(frame));
  }
  return story;
}

}  // namespace nvmx::sim
