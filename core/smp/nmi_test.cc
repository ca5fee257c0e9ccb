// SPDX-License-Identifier: Apache-2.0
#include "core/smp/nmi.h"

#include "core/testing/core_objects.h"
#include "core/testing/fake_ports.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using testing::ElementsAre;

class SettleNmiTest : public testing::Test {
 protected:
  NmiOwner Settle() { return SettleNmi(context_, CoreQuiesce()); }
  uint64_t Pending() const { return own_.guest_nmis_pending.Peek(); }

  EventLog log_;
  FakeCpu cpu_{0, log_};
  FakeCpu other_{1, log_};
  FakeApic apic_{log_};
  FakeTrace trace_{log_};
  System system_{2};
  CpuCells own_;
  SmpContext context_{cpu_, apic_, trace_, system_, own_};
};

TEST_F(SettleNmiTest, AnNmiWithoutARequestIsTheGuests) {
  EXPECT_EQ(Settle(), NmiOwner::kGuest);
  EXPECT_EQ(Pending(), 1u);
  EXPECT_THAT(trace_.events(), ElementsAre(TraceEvent{TraceKind::kNmiToGuest, 1, 0}));
}

TEST_F(SettleNmiTest, AnNmiDuringAnotherCpusRequestAcknowledgesAndIsNotTheGuests) {
  system_.quiesce.initiator.Store(other_, other_.Index() + 1);
  system_.quiesce.resume_signal.Store(other_, 1);
  EXPECT_EQ(Settle(), NmiOwner::kL0);
  EXPECT_EQ(Pending(), 0u);
  EXPECT_EQ(system_.quiesce.acknowledged.Peek(), 1u);
  EXPECT_EQ(system_.quiesce.resumed.Peek(), 1u);
}

TEST_F(SettleNmiTest, AnNmiDuringThisCpusOwnRequestIsTheGuests) {
  system_.quiesce.initiator.Store(cpu_, cpu_.Index() + 1);
  EXPECT_EQ(Settle(), NmiOwner::kGuest);
  EXPECT_EQ(Pending(), 1u);
  EXPECT_EQ(system_.quiesce.acknowledged.Peek(), 0u);
}

TEST_F(SettleNmiTest, TwoNmisCanBePendingAndAThirdIsMerged) {
  EXPECT_EQ(Settle(), NmiOwner::kGuest);
  EXPECT_EQ(Settle(), NmiOwner::kGuest);
  EXPECT_EQ(Pending(), 2u);
  EXPECT_EQ(trace_.Count(TraceKind::kNmiMergedForGuest), 0);
  EXPECT_EQ(Settle(), NmiOwner::kGuest);
  EXPECT_EQ(Pending(), 2u);
  EXPECT_THAT(trace_.events(), ElementsAre(TraceEvent{TraceKind::kNmiToGuest, 1, 0},
                                           TraceEvent{TraceKind::kNmiToGuest, 2, 0},
                                           TraceEvent{TraceKind::kNmiMergedForGuest, 2, 0}));
}

TEST_F(SettleNmiTest, AnNmiIsSettledWithoutALockWhoeverOwnsIt) {
  system_.quiesce.lock.Acquire(other_);
  system_.print_lock.Acquire(other_);
  system_.quiesce.initiator.Store(other_, other_.Index() + 1);
  system_.quiesce.resume_signal.Store(other_, 1);
  log_.clear();
  EXPECT_EQ(Settle(), NmiOwner::kL0);
  EXPECT_THAT(log_, ElementsAre("load quiesce_initiator", "add quiesce_acknowledged",
                                "trace NmiAcknowledged", "spin quiesce_resume_signal=1", "INVEPT",
                                "add quiesce_resumed"));
  system_.quiesce.initiator.Store(other_, 0);
  log_.clear();
  EXPECT_EQ(Settle(), NmiOwner::kGuest);
  EXPECT_THAT(log_, ElementsAre("load quiesce_initiator", "load guest_nmis_pending",
                                "add guest_nmis_pending", "trace NmiToGuest"));
}

}  // namespace
}  // namespace nvmx
