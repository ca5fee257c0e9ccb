// SPDX-License-Identifier: Apache-2.0
#include "fuzz/familiar_edges.h"

#include <cstddef>

// The linker's names for both ends of the section in which -fsanitize-coverage=inline-8bit-counters
// puts them.
extern "C" {
__attribute__((weak, visibility("hidden"))) extern uint8_t __start___sancov_cntrs[];
__attribute__((weak, visibility("hidden"))) extern uint8_t __stop___sancov_cntrs[];
}

namespace nvmx::fuzz {

FamiliarEdges::FamiliarEdges(std::span<uint8_t> counters)
    : counters_(counters), times_(counters.size()), shown_(counters.size(), 0xFF) {}

// Both loops are over thousands of bytes at each execution: what they need is in local variables,
// so that the compiler sees that no byte that they write is one of these, and does many at a time.
void FamiliarEdges::Hide() {
  uint8_t* const __restrict counters = counters_.data();
  const uint8_t* const __restrict shown = shown_.data();
  const size_t size = counters_.size();
  for (size_t i = 0; i < size; ++i) counters[i] &= shown[i];
  if (++executions_ % kLookEvery == 0) Look();
}

void FamiliarEdges::Look() {
  const uint8_t* const __restrict counters = counters_.data();
  uint8_t* const __restrict times = times_.data();
  uint8_t* const __restrict shown = shown_.data();
  const size_t size = counters_.size();
  for (size_t i = 0; i < size; ++i) {
    times[i] = static_cast<uint8_t>(times[i] + (counters[i] != 0));
    shown[i] = times[i] == kOften ? 0 : 0xFF;
  }
}

std::span<uint8_t> EdgeCounters() {
  return {__start___sancov_cntrs,
          static_cast<size_t>(__stop___sancov_cntrs - __start___sancov_cntrs)};
}

}  // namespace nvmx::fuzz
