// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/fiber.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx::sim {
namespace {

using testing::ElementsAre;

// What two fibers write into one log, in the order in which they run.
struct Writer {
  Fiber fiber;
  std::vector<int>* log;
  int next;

  static void Main(void* argument) {
    auto* self = static_cast<Writer*>(argument);
    for (;;) {
      self->log->push_back(self->next++);
      self->fiber.Suspend();
    }
  }
};

TEST(Fiber, RunsFromSuspendToSuspend) {
  std::vector<int> log;
  Writer writer{.fiber = Fiber(), .log = &log, .next = 0};
  writer.fiber.Start(&Writer::Main, &writer);
  EXPECT_THAT(log, ElementsAre());
  writer.fiber.Resume();
  log.push_back(100);
  writer.fiber.Resume();
  EXPECT_THAT(log, ElementsAre(0, 100, 1));
}

TEST(Fiber, TwoRunInTheOrderOfTheCalls) {
  std::vector<int> log;
  Writer a{.fiber = Fiber(), .log = &log, .next = 0};
  Writer b{.fiber = Fiber(), .log = &log, .next = 10};
  a.fiber.Start(&Writer::Main, &a);
  b.fiber.Start(&Writer::Main, &b);
  b.fiber.Resume();
  a.fiber.Resume();
  a.fiber.Resume();
  b.fiber.Resume();
  EXPECT_THAT(log, ElementsAre(10, 0, 1, 11));
}

// Suspends at a depth that the test chooses.
struct Diver {
  Fiber fiber;
  int depth;

  [[gnu::noinline]] static int Dive(Diver* self, int depth) {
    volatile int kept = depth;  // not a tail call
    if (depth == 0) {
      self->fiber.Suspend();
    } else {
      kept = kept + Dive(self, depth - 1);
    }
    return kept;
  }
  static void Main(void* argument) {
    auto* self = static_cast<Diver*>(argument);
    for (;;) Dive(self, self->depth);
  }
};

TEST(Fiber, ForgetsWhateverRanWhenItStartsAgain) {
  std::vector<int> log;
  Writer writer{.fiber = Fiber(), .log = &log, .next = 0};
  Diver diver{.fiber = Fiber(), .depth = 20};
  for (int round = 0; round < 3; ++round) {
    diver.fiber.Start(&Diver::Main, &diver);
    diver.fiber.Resume();  // left 20 calls deep
    writer.fiber.Start(&Writer::Main, &writer);
    writer.next = 0;
    writer.fiber.Resume();
  }
  EXPECT_THAT(log, ElementsAre(0, 0, 0));
}

TEST(Fiber, TheBacktraceHasAFrameForEachCall) {
  Diver shallow{.fiber = Fiber(), .depth = 1};
  Diver deep{.fiber = Fiber(), .depth = 31};
  for (Diver* diver : {&shallow, &deep}) {
    diver->fiber.Start(&Diver::Main, diver);
    diver->fiber.Resume();
  }
  EXPECT_GE(shallow.fiber.Backtrace().size(), 3u);
  EXPECT_EQ(deep.fiber.Backtrace().size(), shallow.fiber.Backtrace().size() + 30);
}

TEST(Fiber, TheBacktraceOfAFullStackEnds) {
  // As many calls as there is room for, more or less: the walk must stay inside.
  Diver diver{.fiber = Fiber(64 * 1024), .depth = 300};
  diver.fiber.Start(&Diver::Main, &diver);
  diver.fiber.Resume();
  const auto backtrace = diver.fiber.Backtrace();
  EXPECT_GE(backtrace.size(), 300u);
  EXPECT_LE(backtrace.size(), 64u * 1024 / (2 * sizeof(uintptr_t)));
  for (uintptr_t address : backtrace) EXPECT_NE(address, 0u);
}

TEST(Fiber, LocalsSurviveASuspension) {
  struct Counter {
    Fiber fiber;
    int seen;
    static void Main(void* argument) {
      auto* self = static_cast<Counter*>(argument);
      int local = 0;
      for (;;) {
        self->seen = ++local;
        self->fiber.Suspend();
      }
    }
  } counter{.fiber = Fiber(), .seen = 0};
  counter.fiber.Start(&Counter::Main, &counter);
  for (int expected = 1; expected <= 3; ++expected) {
    counter.fiber.Resume();
    EXPECT_EQ(counter.seen, expected);
  }
}

}  // namespace
}  // namespace nvmx::sim
