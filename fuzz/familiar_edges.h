// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_FUZZ_FAMILIAR_EDGES_H_
#define NVMX_FUZZ_FAMILIAR_EDGES_H_

#include <cstdint>
#include <span>
#include <vector>

namespace nvmx::fuzz {

// Keeps from libFuzzer the edges that it has seen thousands of times.
//
// Behind each execution libFuzzer goes through all edges that were taken: here hundreds, of
// which all but a few are taken by most inputs. That was a fifth of the time of an execution. An
// edge that it knows can make no input new; what it would still be good for is that a smaller input
// with the same edges replaces a larger one, and the rarity of edges by which inputs are chosen,
// for which libFuzzer itself disregards those that are as frequent as these.
class FamiliarEdges {
 public:
  // `counters`: one for each edge, not 0 if it was taken.
  explicit FamiliarEdges(std::span<uint8_t> counters);

  // Behind an execution: clears the counters of the edges that are familiar.
  void Hide();

 private:
  // An execution of so many is looked at; in so many of these an edge was taken that is familiar.
  static constexpr unsigned kLookEvery = 16;
  static constexpr uint8_t kOften = 0xFF;

  void Look();

  const std::span<uint8_t> counters_;
  std::vector<uint8_t> times_;  // that the edge was seen taken, up to kOften
  std::vector<uint8_t> shown_;  // 0 for a familiar edge, otherwise all ones
  unsigned executions_ = 0;
};

// The counters that the compiler has put into this program; none if it is built without.
std::span<uint8_t> EdgeCounters();

}  // namespace nvmx::fuzz

#endif  // NVMX_FUZZ_FAMILIAR_EDGES_H_
