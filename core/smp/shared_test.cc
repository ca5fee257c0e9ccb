// SPDX-License-Identifier: Apache-2.0
#include "core/smp/shared.h"

#include <utility>

#include "core/smp/console.h"
#include "core/smp/lock.h"
#include "core/smp/quiesce.h"
#include "core/testing/core_objects.h"
#include "core/testing/fake_ports.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using testing::ElementsAre;

class SharedTest : public testing::Test {
 protected:
  EventLog log_;
  FakeCpu cpu_{0, log_};
  FakeCpu other_{1, log_};
};

TEST_F(SharedTest, EachOperationAnnouncesItselfBeforeItHappens) {
  Shared cell("cell");
  uint64_t announced = 0;
  cpu_.BeforeEachAccess([&](const SharedAccess& access) {
    EXPECT_EQ(access.cell, &cell);
    announced = announced * 10 + cell.Peek();
  });
  cell.Store(cpu_, 5);
  cell.Add(cpu_, 2);
  EXPECT_EQ(cell.Load(cpu_), 7u);
  EXPECT_EQ(announced, 57u);  // 0 before the store, 5 before the addition, 7 before the load
  EXPECT_THAT(log_, ElementsAre("store cell", "add cell", "load cell"));
}

TEST_F(SharedTest, AWaitForAtLeastAValueIsOverFromThatValueOn) {
  Shared cell("cell");
  const SpinCondition at_least{&cell, 3, SpinCondition::Comparison::kAtLeast};
  const SpinCondition equals{&cell, 3, SpinCondition::Comparison::kEquals};
  for (uint64_t value = 2; value <= 4; ++value) {
    cell.Store(cpu_, value);
    EXPECT_EQ(at_least.Holds(), value >= 3);
    EXPECT_EQ(equals.Holds(), value == 3);
  }
  cell.SpinUntilAtLeast(cpu_, 3);
}

TEST_F(SharedTest, BytesAreTheValue) {
  Shared cell("cell");
  cell.Store(cpu_, 0x0201);
  ASSERT_EQ(cell.bytes().size(), 8u);
  EXPECT_EQ(cell.bytes()[0], std::byte{1});
  EXPECT_EQ(cell.bytes()[1], std::byte{2});
}

TEST_F(SharedTest, ABlockIsReplacedByACpuThatHasStoppedAllOthers) {
  struct Pair {
    uint64_t a, b;
  };
  SharedBlock<Pair> block("block");
  System system(1);
  CpuCells own;
  FakeApic apic(log_);
  FakeTrace trace(log_);
  SmpContext context{cpu_, apic, trace, system, own};
  StoppedWorld world = CoreQuiesce().Stop(context);
  block.Store(cpu_, world, Pair{1, 2});
  CoreQuiesce().Resume(context, std::move(world));
  EXPECT_EQ(block.Load(cpu_).a, 1u);
  EXPECT_EQ(block.Load(cpu_).b, 2u);
  EXPECT_EQ(block.kind(), CellKind::kBlock);
}

TEST_F(SharedTest, ALockKnowsItsHolder) {
  Lock lock("lock");
  EXPECT_EQ(lock.cell().kind(), CellKind::kLock);
  lock.Acquire(other_);
  EXPECT_EQ(lock.cell().Peek(), other_.Index() + 1);
  lock.Release(other_);
  EXPECT_EQ(lock.cell().Peek(), 0u);
}

TEST_F(SharedTest, AcquireWaitsForTheHolder) {
  Lock lock("lock");
  lock.Acquire(other_);
  bool waited = false;
  cpu_.WhileWaiting([&](const SpinCondition& condition) {
    EXPECT_EQ(condition.comparison, SpinCondition::Comparison::kAcquires);
    waited = true;
    lock.Release(other_);
  });
  lock.Acquire(cpu_);
  EXPECT_TRUE(waited);
  EXPECT_EQ(lock.cell().Peek(), cpu_.Index() + 1);
}

// As on metal, where another CPU may come between the wait and the exchange.
TEST_F(SharedTest, AcquireWaitsAgainIfAnotherCpuWasFaster) {
  class RacingCpu final : public Cpu {
   public:
    RacingCpu(Lock& lock, FakeCpu& other) : lock_(lock), other_(other) {}
    CpuIndex Index() const override { return 0; }
    std::optional<uint64_t> ReadMsr(uint32_t) override { return std::nullopt; }
    bool WriteMsr(uint32_t, uint64_t) override { return false; }
    CpuidRegisters Cpuid(uint32_t, uint32_t) override { return {}; }
    void UnblockNmi() override {}
    void Invalidate(const Invalidation&) override {}
    void WriteXcr0(uint64_t) override {}
    void WriteCacheControl(uint64_t) override {}
    void BeforeSharedAccess(const SharedAccess&) override {}
    void SpinUntil(const SpinCondition&) override {
      ++waits;
      if (waits == 1) lock_.Acquire(other_);
      if (waits == 2) lock_.Release(other_);
    }
    int waits = 0;

   private:
    Lock& lock_;
    FakeCpu& other_;
  };
  Lock lock("lock");
  RacingCpu cpu(lock, other_);
  lock.Acquire(cpu);
  EXPECT_EQ(cpu.waits, 2);
  EXPECT_EQ(lock.cell().Peek(), 1u);
}

TEST_F(SharedTest, ALineIsPrintedUnderThePrintLock) {
  System system(1);
  CpuCells own;
  FakeApic apic(log_);
  FakeTrace trace(log_);
  SmpContext context{cpu_, apic, trace, system, own};
  PrintLine(context, LogLine::kMtrrWrite, 0x2FF);
  EXPECT_THAT(log_, ElementsAre("acquire print_lock", "trace LogLine", "release print_lock"));
  EXPECT_THAT(trace.events(),
              ElementsAre(TraceEvent{TraceKind::kLogLine,
                                     static_cast<uint64_t>(LogLine::kMtrrWrite), 0x2FF}));
}

}  // namespace
}  // namespace nvmx
