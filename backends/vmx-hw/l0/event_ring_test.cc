// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/event_ring.h"

#include <atomic>
#include <memory>
#include <thread>

#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

using Unfinished = EventRing::Unfinished;

Event Numbered(uint64_t number) { return {number, TraceKind::kLogLine, number * 3, number * 5}; }

TEST(EventRing, GivesEachEventOnceInOrder) {
  EventRing ring;
  EXPECT_FALSE(ring.HasMore());
  EXPECT_FALSE(ring.Take(Unfinished::kComeAgain).has_value());
  ring.Put({7, TraceKind::kNmiAcknowledged, 1, 2});
  ring.Put({8, TraceKind::kQuiesceEnd, 3, 4});
  EXPECT_TRUE(ring.HasMore());
  const auto first = ring.Take(Unfinished::kComeAgain);
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->tsc, 7u);
  EXPECT_EQ(first->kind, TraceKind::kNmiAcknowledged);
  EXPECT_EQ(first->first, 1u);
  EXPECT_EQ(first->second, 2u);
  ASSERT_EQ(ring.Take(Unfinished::kComeAgain)->tsc, 8u);
  EXPECT_FALSE(ring.Take(Unfinished::kSkip).has_value());
  EXPECT_EQ(ring.TakeLost(), 0u);
}

TEST(EventRing, KeepsTheLatestAndCountsWhatIsLost) {
  EventRing ring;
  for (uint64_t n = 0; n < EventRing::kEvents + 3; ++n) ring.Put(Numbered(n));
  for (uint64_t n = 3; n < EventRing::kEvents + 3; ++n) {
    ASSERT_EQ(ring.Take(Unfinished::kComeAgain)->tsc, n);
  }
  EXPECT_FALSE(ring.HasMore());
  EXPECT_EQ(ring.TakeLost(), 3u);
  EXPECT_EQ(ring.TakeLost(), 0u);
}

// A reader on another CPU gets whole events, in order, and none twice; the rest is counted.
TEST(EventRing, AReaderMeanwhileSeesWholeEvents) {
  constexpr uint64_t kCount = 200'000;
  const auto ring = std::make_unique<EventRing>();
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (uint64_t n = 1; n <= kCount; ++n) ring->Put(Numbered(n));
    done = true;
  });
  uint64_t last = 0, taken = 0;
  for (bool last_round = false;;) {
    while (const auto event = ring->Take(Unfinished::kComeAgain)) {
      ASSERT_GT(event->tsc, last);
      ASSERT_EQ(event->first, event->tsc * 3);
      ASSERT_EQ(event->second, event->tsc * 5);
      last = event->tsc;
      ++taken;
    }
    if (last_round) break;
    last_round = done.load();
  }
  writer.join();
  EXPECT_EQ(last, kCount);
  EXPECT_EQ(taken + ring->TakeLost(), kCount);
}

}  // namespace
}  // namespace nvmx::metal
