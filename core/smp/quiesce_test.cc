// SPDX-License-Identifier: Apache-2.0
#include "core/smp/quiesce.h"

#include <utility>

#include "core/smp/console.h"
#include "core/testing/core_objects.h"
#include "core/testing/fake_ports.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using testing::ElementsAre;

constexpr uint32_t kCpus = 3;
constexpr uint64_t kOthers = kCpus - 1;

// CPU 1 of three, and a way to act for the others.
class QuiesceTest : public testing::Test {
 protected:
  QuiesceCells& cells() { return system_.quiesce; }
  bool Acknowledge() { return CoreQuiesce().AcknowledgeIfRequested(context_); }
  // The other CPUs do what is asked of them.
  void OthersAnswer() {
    cpu_.WhileWaiting([this](const SpinCondition& condition) {
      if (condition.cell == &cells().acknowledged) cells().acknowledged.Add(other_, kOthers);
      if (condition.cell == &cells().resumed) cells().resumed.Add(other_, kOthers);
    });
  }

  EventLog log_;
  EventLog others_log_;
  FakeCpu cpu_{1, log_};
  FakeCpu other_{2, others_log_};
  FakeApic apic_{log_};
  FakeTrace trace_{log_};
  System system_{kCpus};
  CpuCells own_;
  SmpContext context_{cpu_, apic_, trace_, system_, own_};
};

TEST_F(QuiesceTest, StopTakesBothLocksBeforeTheNmiAndGivesOneBackWhenAllHaveAcknowledged) {
  OthersAnswer();
  StoppedWorld world = CoreQuiesce().Stop(context_);
  EXPECT_THAT(
      log_,
      ElementsAre("acquire quiesce_lock", "acquire print_lock", "load quiesce_left_out",
                  "store quiesce_acknowledged", "store quiesce_initiator", "NMI to all others",
                  "spin quiesce_acknowledged>=2", "release print_lock", "trace QuiesceBegin"));
  EXPECT_EQ(apic_.nmis_sent(), 1);
  CoreQuiesce().Resume(context_, std::move(world));
}

TEST_F(QuiesceTest, ResumeWithdrawsTheRequestBeforeItRaisesTheSignal) {
  OthersAnswer();
  StoppedWorld world = CoreQuiesce().Stop(context_);
  log_.clear();
  CoreQuiesce().Resume(context_, std::move(world));
  EXPECT_THAT(
      log_, ElementsAre("store quiesce_initiator", "store quiesce_resumed",
                        "store quiesce_resume_signal", "spin quiesce_resumed>=2",
                        "store quiesce_resume_signal", "release quiesce_lock", "trace QuiesceEnd"));
}

TEST_F(QuiesceTest, TheRequestNamesTheInitiatorWhileItIsOpenAndNobodyAfterwards) {
  bool waited_for_acknowledgements = false;
  bool waited_for_resumption = false;
  cpu_.WhileWaiting([&](const SpinCondition& condition) {
    if (condition.cell == &cells().acknowledged) {
      waited_for_acknowledgements = true;
      EXPECT_EQ(cells().initiator.Peek(), cpu_.Index() + 1);
      EXPECT_EQ(cells().resume_signal.Peek(), 0u);
      cells().acknowledged.Add(other_, kOthers);
    }
    if (condition.cell == &cells().resumed) {
      waited_for_resumption = true;
      EXPECT_EQ(cells().initiator.Peek(), 0u);
      EXPECT_EQ(cells().resume_signal.Peek(), 1u);
      cells().resumed.Add(other_, kOthers);
    }
  });
  StoppedWorld world = CoreQuiesce().Stop(context_);
  EXPECT_EQ(cells().initiator.Peek(), cpu_.Index() + 1);
  CoreQuiesce().Resume(context_, std::move(world));
  EXPECT_TRUE(waited_for_acknowledgements);
  EXPECT_TRUE(waited_for_resumption);
  EXPECT_EQ(cells().initiator.Peek(), 0u);
  EXPECT_EQ(cells().resume_signal.Peek(), 0u);
}

TEST_F(QuiesceTest, ThePrintLockIsHeldUntilAllHaveAcknowledgedAndFreeAfterwards) {
  const uint64_t mine = cpu_.Index() + 1;
  cpu_.WhileWaiting([&](const SpinCondition& condition) {
    if (condition.cell == &cells().acknowledged) {
      EXPECT_EQ(system_.print_lock.cell().Peek(), mine);
      EXPECT_EQ(cells().lock.cell().Peek(), mine);
      cells().acknowledged.Add(other_, kOthers);
    }
    if (condition.cell == &cells().resumed) {
      EXPECT_EQ(cells().lock.cell().Peek(), mine);
      cells().resumed.Add(other_, kOthers);
    }
  });
  StoppedWorld world = CoreQuiesce().Stop(context_);
  EXPECT_EQ(system_.print_lock.cell().Peek(), 0u);
  EXPECT_EQ(cells().lock.cell().Peek(), mine);
  PrintLine(context_, LogLine::kMemoryTypesChanged, 0);
  CoreQuiesce().Resume(context_, std::move(world));
  EXPECT_EQ(cells().lock.cell().Peek(), 0u);
}

TEST_F(QuiesceTest, StopWaitsForAnInitiatorThatCameFirst) {
  cells().lock.Acquire(other_);
  bool waited_for_lock = false;
  cpu_.WhileWaiting([&](const SpinCondition& condition) {
    if (condition.cell == &cells().lock.cell()) {
      waited_for_lock = true;
      EXPECT_EQ(cells().initiator.Peek(), 0u);
      EXPECT_EQ(apic_.nmis_sent(), 0);
      cells().lock.Release(other_);
    }
    if (condition.cell == &cells().acknowledged) cells().acknowledged.Add(other_, kOthers);
    if (condition.cell == &cells().resumed) cells().resumed.Add(other_, kOthers);
  });
  CoreQuiesce().Resume(context_, CoreQuiesce().Stop(context_));
  EXPECT_TRUE(waited_for_lock);
}

TEST_F(QuiesceTest, CountsOfTheQuiesceBeforeAreForgotten) {
  OthersAnswer();
  for (int time = 0; time < 2; ++time) {
    CoreQuiesce().Resume(context_, CoreQuiesce().Stop(context_));
    EXPECT_EQ(cells().acknowledged.Peek(), kOthers);
    EXPECT_EQ(cells().resumed.Peek(), kOthers);
  }
}

TEST_F(QuiesceTest, ACpuThatIsAloneWaitsForNobody) {
  System alone(1);
  SmpContext context{cpu_, apic_, trace_, alone, own_};
  CoreQuiesce().Resume(context, CoreQuiesce().Stop(context));
  EXPECT_EQ(trace_.Count(TraceKind::kQuiesceEnd), 1);
}

TEST_F(QuiesceTest, ARequestOfAnotherCpuIsAcknowledgedThenStoodStillForThenResumedFrom) {
  cells().initiator.Store(other_, other_.Index() + 1);
  cpu_.WhileWaiting([&](const SpinCondition& condition) {
    EXPECT_EQ(cells().acknowledged.Peek(), 1u);
    EXPECT_EQ(cells().resumed.Peek(), 0u);
    if (condition.cell == &cells().resume_signal) cells().resume_signal.Store(other_, 1);
  });
  EXPECT_TRUE(Acknowledge());
  EXPECT_THAT(log_, ElementsAre("load quiesce_initiator", "add quiesce_acknowledged",
                                "trace NmiAcknowledged", "spin quiesce_resume_signal=1", "INVEPT",
                                "add quiesce_resumed"));
  EXPECT_EQ(cells().acknowledged.Peek(), 1u);
  EXPECT_EQ(cells().resumed.Peek(), 1u);
  EXPECT_THAT(trace_.events(),
              ElementsAre(TraceEvent{TraceKind::kNmiAcknowledged, other_.Index(), 0}));
}

TEST_F(QuiesceTest, WithoutARequestNothingIsAcknowledged) {
  EXPECT_FALSE(Acknowledge());
  EXPECT_THAT(log_, ElementsAre("load quiesce_initiator"));
  EXPECT_EQ(cells().acknowledged.Peek(), 0u);
}

TEST_F(QuiesceTest, TheInitiatorDoesNotAcknowledgeItsOwnRequest) {
  cells().initiator.Store(other_, cpu_.Index() + 1);
  EXPECT_FALSE(Acknowledge());
  EXPECT_THAT(log_, ElementsAre("load quiesce_initiator"));
  EXPECT_EQ(cells().acknowledged.Peek(), 0u);
}

TEST_F(QuiesceTest, AnNmiAfterTheRequestWasWithdrawnIsNotAcknowledged) {
  OthersAnswer();
  StoppedWorld world = CoreQuiesce().Stop(context_);
  // Between the withdrawal and the signal another CPU takes an NMI that is the guest's.
  EventLog log;
  FakeTrace trace(log);
  SmpContext others_context{other_, apic_, trace, system_, own_};
  bool looked = false;
  cpu_.BeforeEachAccess([&](const SharedAccess& access) {
    if (access.cell != &cells().resume_signal || looked) return;
    looked = true;
    EXPECT_FALSE(CoreQuiesce().AcknowledgeIfRequested(others_context));
  });
  CoreQuiesce().Resume(context_, std::move(world));
  EXPECT_TRUE(looked);
}

// --- CPUs that are left out ---

TEST_F(QuiesceTest, ACpuLeavesItselfOutAndTakesPartAgainUnderTheLock) {
  uint64_t left_out = 0;
  QuiesceProtocol::LeaveOut(context_, left_out);
  EXPECT_EQ(left_out, 1u);
  EXPECT_EQ(cells().left_out.Peek(), 1u << 1);
  EXPECT_THAT(log_,
              ElementsAre("acquire quiesce_lock", "add quiesce_left_out", "release quiesce_lock"));
  log_.clear();
  QuiesceProtocol::TakePart(context_, left_out);
  EXPECT_EQ(left_out, 0u);
  EXPECT_EQ(cells().left_out.Peek(), 0u);
  EXPECT_THAT(log_, ElementsAre("acquire quiesce_lock", "add quiesce_left_out", "INVEPT",
                                "release quiesce_lock"));
}

TEST_F(QuiesceTest, WhatIsSoAlreadyIsNotDoneAgain) {
  uint64_t left_out = 0;
  QuiesceProtocol::TakePart(context_, left_out);
  EXPECT_THAT(log_, ElementsAre());
  QuiesceProtocol::LeaveOut(context_, left_out);
  log_.clear();
  QuiesceProtocol::LeaveOut(context_, left_out);
  EXPECT_THAT(log_, ElementsAre());
}

TEST_F(QuiesceTest, ACpuThatIsLeftOutIsNeitherSentAnNmiNorWaitedFor) {
  cells().left_out.Store(other_, 1u << 2);
  log_.clear();
  cpu_.WhileWaiting([this](const SpinCondition& condition) {
    if (condition.cell == &cells().acknowledged) cells().acknowledged.Add(other_, 1);
    if (condition.cell == &cells().resumed) cells().resumed.Add(other_, 1);
  });
  StoppedWorld world = CoreQuiesce().Stop(context_);
  EXPECT_THAT(
      log_,
      ElementsAre("acquire quiesce_lock", "acquire print_lock", "load quiesce_left_out",
                  "store quiesce_acknowledged", "store quiesce_initiator", "NMI to 0",
                  "spin quiesce_acknowledged>=1", "release print_lock", "trace QuiesceBegin"));
  log_.clear();
  CoreQuiesce().Resume(context_, std::move(world));
  EXPECT_THAT(log_, testing::Contains("spin quiesce_resumed>=1"));
}

TEST_F(QuiesceTest, ACpuThatIsLeftOutAcknowledgesNothing) {
  cells().initiator.Store(other_, other_.Index() + 1);
  context_.left_out = true;
  EXPECT_FALSE(Acknowledge());
  EXPECT_EQ(cells().acknowledged.Peek(), 0u);
}

}  // namespace
}  // namespace nvmx
