// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_EXPLORER_STATE_TABLE_H_
#define NVMX_BACKENDS_SIM_EXPLORER_STATE_TABLE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "backends/sim/explorer/global_model.h"

namespace nvmx::sim {

// All states found so far, numbered in the order in which they were found, with how each was found
// first. Stored packed and compared in full; an open-addressing table of numbers beside them finds
// them again.
class StateTable {
 public:
  using Number = uint32_t;
  static constexpr Number kNone = ~Number{0};

  explicit StateTable(uint32_t cpus) : words_(cpus + 1), slots_(size_t{1} << 12, kNone) {}

  // The state's number, and whether it is new.
  std::pair<Number, bool> Insert(const GlobalState& state, Number parent, ScheduleStep by);
  // kNone if it is not there.
  Number Find(const GlobalState& state) const;
  GlobalState At(Number number) const;
  Number parent(Number number) const { return parents_[number]; }
  ScheduleStep by(Number number) const { return by_[number]; }
  Number size() const { return static_cast<Number>(parents_.size()); }
  uint64_t bytes() const {
    return packed_.capacity() * sizeof(uint64_t) + parents_.capacity() * sizeof(Number) +
           by_.capacity() * sizeof(ScheduleStep) + slots_.capacity() * sizeof(Number);
  }
  // A digest of the set of states, whatever their order.
  uint64_t Digest() const;

 private:
  static uint64_t Hash(const uint64_t* words, uint32_t count);
  void Pack(const GlobalState& state, uint64_t* words) const;
  size_t SlotOf(const uint64_t* words) const;
  void Grow();

  const uint32_t words_;
  std::vector<uint64_t> packed_;
  std::vector<Number> parents_;
  std::vector<ScheduleStep> by_;
  std::vector<Number> slots_;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_EXPLORER_STATE_TABLE_H_
