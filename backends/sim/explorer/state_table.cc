// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/explorer/state_table.h"

#include <algorithm>
#include <cstring>

#include "xxhash.h"

namespace nvmx::sim {

uint64_t StateTable::Hash(const uint64_t* words, uint32_t count) {
  return XXH3_64bits(words, count * sizeof *words);
}

void StateTable::Pack(const GlobalState& state, uint64_t* words) const {
  words[0] = state.shared;
  std::copy_n(state.cpu.begin(), words_ - 1, words + 1);
}

GlobalState StateTable::At(Number number) const {
  const uint64_t* words = packed_.data() + size_t{number} * words_;
  GlobalState state{};
  state.shared = words[0];
  std::copy_n(words + 1, words_ - 1, state.cpu.begin());
  return state;
}

// The slot that holds these words, or the empty one where they belong.
size_t StateTable::SlotOf(const uint64_t* words) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = Hash(words, words_) & mask;
  while (slots_[slot] != kNone && std::memcmp(packed_.data() + size_t{slots_[slot]} * words_, words,
                                              words_ * sizeof *words) != 0) {
    slot = (slot + 1) & mask;
  }
  return slot;
}

StateTable::Number StateTable::Find(const GlobalState& state) const {
  uint64_t words[kMaxExploredCpus + 1];
  Pack(state, words);
  return slots_[SlotOf(words)];
}

std::pair<StateTable::Number, bool> StateTable::Insert(const GlobalState& state, Number parent,
                                                       ScheduleStep by) {
  uint64_t words[kMaxExploredCpus + 1];
  Pack(state, words);
  const size_t slot = SlotOf(words);
  if (slots_[slot] != kNone) return {slots_[slot], false};
  const Number number = size();
  slots_[slot] = number;
  packed_.insert(packed_.end(), words, words + words_);
  parents_.push_back(parent);
  by_.push_back(by);
  if (size() * uint64_t{10} > slots_.size() * uint64_t{7}) Grow();
  return {number, true};
}

void StateTable::Grow() {
  slots_.assign(slots_.size() * 2, kNone);
  for (Number number = 0; number < size(); ++number) {
    slots_[SlotOf(packed_.data() + size_t{number} * words_)] = number;
  }
}

uint64_t StateTable::Digest() const {
  uint64_t digest = 0;
  for (Number number = 0; number < size(); ++number) {
    digest += Hash(packed_.data() + size_t{number} * words_, words_);
  }
  return digest;
}

}  // namespace nvmx::sim
