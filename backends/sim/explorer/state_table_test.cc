// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/explorer/state_table.h"

#include "gtest/gtest.h"

namespace nvmx::sim {
namespace {

GlobalState State(uint64_t shared, uint64_t cpu0 = 0, uint64_t cpu1 = 0) {
  GlobalState state{};
  state.shared = shared;
  state.cpu[0] = cpu0;
  state.cpu[1] = cpu1;
  return state;
}
bool Same(const GlobalState& a, const GlobalState& b) {
  return a.shared == b.shared && a.cpu == b.cpu;
}
constexpr ScheduleStep kNoStep{0, Choice::kStep};

TEST(StateTable, NumbersStatesInTheOrderInWhichTheyCame) {
  StateTable table(2);
  EXPECT_EQ(table.size(), 0u);
  EXPECT_EQ(table.Insert(State(7), StateTable::kNone, kNoStep), std::pair(0u, true));
  EXPECT_EQ(table.Insert(State(8), 0, kNoStep), std::pair(1u, true));
  EXPECT_EQ(table.size(), 2u);
}

TEST(StateTable, KeepsTheFirstWayToAState) {
  StateTable table(2);
  table.Insert(State(7), StateTable::kNone, kNoStep);
  table.Insert(State(8), 0, {1, Choice::kTakeNmi});
  EXPECT_EQ(table.Insert(State(8), 1, {0, Choice::kStep}), std::pair(1u, false));
  EXPECT_EQ(table.size(), 2u);
  EXPECT_EQ(table.parent(1), 0u);
  EXPECT_EQ(table.by(1), (ScheduleStep{1, Choice::kTakeNmi}));
  EXPECT_EQ(table.parent(0), StateTable::kNone);
}

TEST(StateTable, FindsWhatIsThereAndNothingElse) {
  StateTable table(2);
  table.Insert(State(7, 1, 2), StateTable::kNone, kNoStep);
  EXPECT_EQ(table.Find(State(7, 1, 2)), 0u);
  EXPECT_EQ(table.Find(State(7, 2, 1)), StateTable::kNone);
  EXPECT_EQ(table.Find(State(6, 1, 2)), StateTable::kNone);
}

TEST(StateTable, GivesBackWhatWasPutIn) {
  StateTable table(2);
  table.Insert(State(~uint64_t{0}, 1, ~uint64_t{0}), StateTable::kNone, kNoStep);
  EXPECT_TRUE(Same(table.At(0), State(~uint64_t{0}, 1, ~uint64_t{0})));
}

TEST(StateTable, GrowsWithoutLosingAnything) {
  StateTable table(2);
  constexpr uint32_t kStates = 100'000;  // several times the first capacity
  for (uint32_t i = 0; i < kStates; ++i) {
    ASSERT_EQ(table.Insert(State(i, i * 3, i * 5), i == 0 ? StateTable::kNone : i - 1,
                           {static_cast<uint8_t>(i % 2), Choice::kStep}),
              std::pair(i, true));
  }
  for (uint32_t i = 0; i < kStates; ++i) {
    ASSERT_EQ(table.Find(State(i, i * 3, i * 5)), i);
    ASSERT_TRUE(Same(table.At(i), State(i, i * 3, i * 5)));
    ASSERT_EQ(table.by(i).cpu, i % 2);
  }
  EXPECT_EQ(table.Find(State(1, 3, 6)), StateTable::kNone);
  EXPECT_GE(table.bytes(), kStates * 3 * sizeof(uint64_t));
}

TEST(StateTable, StatesDifferByTheLastCpuToo) {
  constexpr uint32_t kCpus = kMaxExploredCpus;
  StateTable table(kCpus);
  GlobalState state{};
  table.Insert(state, StateTable::kNone, kNoStep);
  state.cpu[kCpus - 1] = 1;
  EXPECT_EQ(table.Insert(state, 0, kNoStep), std::pair(1u, true));
  EXPECT_EQ(table.At(1).cpu[kCpus - 1], 1u);
}

TEST(StateTable, TheDigestIsThatOfTheSet) {
  StateTable forwards(2), backwards(2), other(2);
  for (uint64_t i = 0; i < 10; ++i) {
    forwards.Insert(State(i), StateTable::kNone, kNoStep);
    backwards.Insert(State(9 - i), StateTable::kNone, kNoStep);
    other.Insert(State(i + 1), StateTable::kNone, kNoStep);
  }
  EXPECT_EQ(forwards.Digest(), backwards.Digest());
  EXPECT_NE(forwards.Digest(), other.Digest());
}

}  // namespace
}  // namespace nvmx::sim
