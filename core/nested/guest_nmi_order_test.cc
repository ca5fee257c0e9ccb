// SPDX-License-Identifier: Apache-2.0
//
// What goes before a guest NMI that is pending while L2 runs, and how L0 gets control behind it.
// SDM Vol. 3C, 26.2 "Other Causes of VM Exits", 27.6 "Event Injection", 27.7 "Special Features of
// VM Entry".
#include "core/nested/guest_nmi.h"
#include "core/testing/guest_nmi_fixture.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

// --- Events ---

TEST_F(GuestNmiTest, AnEventThatL1InjectsGoesBeforeTheNmi) {
  for (uint32_t blocking : {0u, kBlocked}) {
    UseMode(Mode::kVirtualNmis);
    v_.Set<VmcsField::kGuestInterruptibilityState>(blocking);
    v_.Set<VmcsField::kVmEntryInterruptionInformation>(
        InterruptionInformation::ExternalInterrupt(0x21).value());
    EnterWithPendingNmi();
    EXPECT_TRUE(l1_.L2Runs());
    EXPECT_EQ(Injection(L2()), InterruptionInformation::ExternalInterrupt(0x21).value());
    EXPECT_FALSE(Window(L2()));
    EXPECT_TRUE(TimerIs(0));
    l1_.Exit(ExitReason::kVmxPreemptionTimerExpired);
    ExpectNmiExitToL1();
    EXPECT_EQ(Blocking(Vmcs12()), blocking);
  }
}

// VMCS02's virtual blocking, which the injection brings, does not hold back the exit behind it.
TEST_F(GuestNmiTest, AnNmiThatL1InjectsGoesBeforeThePendingOne) {
  UseMode(Mode::kVirtualNmis);
  v_.Set<VmcsField::kVmEntryInterruptionInformation>(kNmi);
  EnterWithPendingNmi();
  EXPECT_EQ(Injection(L2()), kNmi);
  EXPECT_TRUE(TimerIs(0));
  L2().Set<VmcsField::kGuestInterruptibilityState>(kBlocked);  // by delivery
  l1_.Exit(ExitReason::kVmxPreemptionTimerExpired);
  ExpectNmiExitToL1();
  EXPECT_EQ(Blocking(Vmcs12()), kBlocked);
}

TEST_F(GuestNmiTest, WithoutATimerTheMonitorTrapFlagExitsBehindTheEvent) {
  l1_.state.offered.true_pinbased_ctls &= ~(uint64_t{PinBased::kActivateVmxPreemptionTimer} << 32);
  UseMode(Mode::kVirtualNmis);
  v_.Set<VmcsField::kVmEntryInterruptionInformation>(kNmi);
  EnterWithPendingNmi();
  EXPECT_TRUE(MonitorTrapFlag(L2()));
  l1_.Exit(ExitReason::kMonitorTrapFlag);
  ExpectNmiExitToL1();
  l1_.Exit(ExitReason::kVmresume);
  ASSERT_TRUE(l1_.L2Runs());
  EXPECT_FALSE(MonitorTrapFlag(L2()));
}

// The NMI then exits late: README.md, "Limits".
TEST_F(GuestNmiTest, WithNeitherOnlyTheWindowIsLeft) {
  l1_.state.offered.true_pinbased_ctls &= ~(uint64_t{PinBased::kActivateVmxPreemptionTimer} << 32);
  l1_.state.offered.true_procbased_ctls &=
      ~(uint64_t{PrimaryProcessorBased::kMonitorTrapFlag} << 32);
  UseMode(Mode::kVirtualNmis);
  v_.Set<VmcsField::kVmEntryInterruptionInformation>(kNmi);
  EnterWithPendingNmi();
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_TRUE(Window(L2()));
  L2().Set<VmcsField::kVmEntryInterruptionInformation>(0);  // by delivery
  L2().Set<VmcsField::kGuestInterruptibilityState>(Interruptibility::kBlockingByMovSs);
  SetNmiWindowExiting(l1_.vcpu(), false);
  Deliver();
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_TRUE(Window(L2()));
  EXPECT_FALSE(MonitorTrapFlag(L2()));
  L2().Set<VmcsField::kGuestInterruptibilityState>(0);
  l1_.Exit(ExitReason::kNmiWindow);
  ExpectNmiExitToL1();
}

TEST_F(GuestNmiTest, ADebugExceptionThatIsPendingGoesBeforeTheNmi) {
  RunL2(Mode::kVirtualNmis);
  L2().Set<VmcsField::kGuestPendingDebugExceptions>(PendingDebugExceptions::kBs);
  Pend(1);
  Deliver();
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_TRUE(TimerIs(0));
}

// --- Blocking by MOV SS ---

TEST_F(GuestNmiTest, BlockingByMovSsHoldsTheNmiBackForOneInstruction) {
  RunL2(Mode::kVirtualNmis);
  L2().Set<VmcsField::kGuestInterruptibilityState>(Interruptibility::kBlockingByMovSs);
  Pend(1);
  Deliver();
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_TRUE(MonitorTrapFlag(L2()));
  EXPECT_FALSE(Window(L2()));
  L2().Set<VmcsField::kGuestInterruptibilityState>(0);
  l1_.Exit(ExitReason::kMonitorTrapFlag);
  ExpectNmiExitToL1();
}

// The window would stay closed behind an STI, which holds back no NMI.
TEST_F(GuestNmiTest, BlockingByMovSsHoldsAnInjectionBackForOneInstruction) {
  RunL2(Mode::kNeither);
  L2().Set<VmcsField::kGuestInterruptibilityState>(Interruptibility::kBlockingByMovSs);
  Pend(1);
  Deliver();
  EXPECT_TRUE(MonitorTrapFlag(L2()));
  L2().Set<VmcsField::kGuestInterruptibilityState>(Interruptibility::kBlockingBySti);
  l1_.Exit(ExitReason::kMonitorTrapFlag);
  EXPECT_EQ(Injection(L2()), kNmi);
}

TEST_F(GuestNmiTest, AnMtfExitThatL1InjectsIntoBlockingByMovSsIsL1s) {
  v_.Set<VmcsField::kGuestInterruptibilityState>(Interruptibility::kBlockingByMovSs);
  v_.Set<VmcsField::kVmEntryInterruptionInformation>(
      InterruptionInformation::MonitorTrapFlag().value());
  UseMode(Mode::kNeither);
  EnterWithPendingNmi();
  ASSERT_TRUE(l1_.L2Runs());
  EXPECT_FALSE(MonitorTrapFlag(L2()));
  l1_.Exit(ExitReason::kMonitorTrapFlag);
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(Vmcs12().Get<VmcsField::kExitReason>(), 37u);
}

TEST_F(GuestNmiTest, WithNmisBlockedBesideMovSsTheWindowIsEnough) {
  RunL2(Mode::kNeither);
  L2().Set<VmcsField::kGuestInterruptibilityState>(kBlocked | Interruptibility::kBlockingByMovSs);
  Pend(1);
  Deliver();
  EXPECT_FALSE(MonitorTrapFlag(L2()));
  EXPECT_TRUE(Window(L2()));
}

// --- Exits of L1 ---

// SDM Vol. 3C, 27.7.7 "VM Exits Induced by the TPR Threshold".
TEST_F(GuestNmiTest, AnExitForTheTprThresholdGoesBeforeTheNmi) {
  UseTprThreshold(2);
  for (Mode mode : {Mode::kNeither, Mode::kVirtualNmis}) {
    SetVtpr(0x10);
    RunL2(mode);
    Pend(1);
    Deliver();
    EXPECT_TRUE(l1_.L2Runs());
    EXPECT_EQ(Injection(L2()), 0u);
    EXPECT_EQ(Pending(), 1u);
    l1_.Exit(ExitReason::kTprBelowThreshold);
    EXPECT_FALSE(l1_.L2Runs());
    EXPECT_EQ(Vmcs12().Get<VmcsField::kExitReason>(), 43u);
    EXPECT_EQ(Injection(L1()), kNmi);
    L1().Set<VmcsField::kVmEntryInterruptionInformation>(0);
  }
  SetVtpr(0x20);
  RunL2(Mode::kVirtualNmis);
  Pend(1);
  Deliver();
  ExpectNmiExitToL1();
}

TEST_F(GuestNmiTest, L1sTimerThatHasExpiredGoesBeforeTheNmi) {
  UseTimer(0);
  for (Mode mode : {Mode::kNeither, Mode::kVirtualNmis}) {
    RunL2(mode);
    Pend(1);
    Deliver();
    EXPECT_TRUE(l1_.L2Runs());
    EXPECT_EQ(Injection(L2()), 0u);
    l1_.Exit(ExitReason::kVmxPreemptionTimerExpired);
    EXPECT_FALSE(l1_.L2Runs());
    EXPECT_EQ(Vmcs12().Get<VmcsField::kExitReason>(), 52u);
    l1_.clock.Set(0);
  }
}

}  // namespace
}  // namespace nvmx
