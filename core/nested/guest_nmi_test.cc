// SPDX-License-Identifier: Apache-2.0
//
// To whom a pending guest NMI goes, and when; and blocking by NMI across VM entries and VM exits in
// the three modes. SDM Vol. 3C, 25.6.1 "Pin-Based VM-Execution Controls", 27.7 "Special Features of
// VM Entry", 28.2 and 28.5.5.
#include "core/nested/guest_nmi.h"

#include "core/nested/boundary_exit.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/matchers.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/interruption_info.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint32_t kNmi = 0x80000202;
constexpr uint32_t kBlocked = Interruptibility::kBlockingByNmi;
constexpr uint64_t kVirtualApicPage = 0x7000;

// How L1 runs L2: with neither NMI control, with "NMI exiting", or with "virtual NMIs" as well.
enum class Mode { kNeither, kNmiExiting, kVirtualNmis };

class GuestNmiTest : public testing::Test {
 protected:
  void UseMode(Mode mode) {
    uint32_t pin =
        v_.Get<VmcsField::kPinBasedControls>() & ~PinBased::kNmiExiting & ~PinBased::kVirtualNmis;
    if (mode != Mode::kNeither) pin |= PinBased::kNmiExiting;
    if (mode == Mode::kVirtualNmis) pin |= PinBased::kVirtualNmis;
    v_.Set<VmcsField::kPinBasedControls>(pin);
  }
  void AskForNmiWindow() {
    v_.Set<VmcsField::kPrimaryProcessorBasedControls>(
        v_.Get<VmcsField::kPrimaryProcessorBasedControls>() |
        PrimaryProcessorBased::kNmiWindowExiting);
  }
  void EnterBlocked() { v_.Set<VmcsField::kGuestInterruptibilityState>(kBlocked); }
  void RunL2(Mode mode) {
    UseMode(mode);
    l1_.RunL2(v_);
  }
  void Pend(uint64_t count) { l1_.own.guest_nmis_pending.Store(l1_.cpu, count); }
  uint64_t Pending() const { return l1_.own.guest_nmis_pending.Peek(); }
  void Deliver() {
    if (l1_.L2Runs()) ArmExitsOfL1(l1_.vcpu());
    DeliverPendingGuestNmi(l1_.vcpu());
  }

  VmcsImage& L1() { return l1_.vmcs.vmcs01(); }
  VmcsImage& L2() { return l1_.vmcs.vmcs02(); }
  VmcsImage& Vmcs12() { return l1_.state.vmcs12; }
  static uint32_t Injection(const VmcsImage& image) {
    return image.Get<VmcsField::kVmEntryInterruptionInformation>();
  }
  static bool Window(const VmcsImage& image) {
    return (image.Get<VmcsField::kPrimaryProcessorBasedControls>() &
            PrimaryProcessorBased::kNmiWindowExiting) != 0;
  }
  static uint32_t Blocking(const VmcsImage& image) {
    return image.Get<VmcsField::kGuestInterruptibilityState>() & kBlocked;
  }
  static bool MonitorTrapFlag(const VmcsImage& image) {
    return (image.Get<VmcsField::kPrimaryProcessorBasedControls>() &
            PrimaryProcessorBased::kMonitorTrapFlag) != 0;
  }
  bool TimerIs(uint32_t value) {
    return (L2().Get<VmcsField::kPinBasedControls>() & PinBased::kActivateVmxPreemptionTimer) !=
               0 &&
           L2().Get<VmcsField::kVmxPreemptionTimerValue>() == value;
  }
  void UseTimer(uint32_t value) {
    v_.Set<VmcsField::kPinBasedControls>(v_.Get<VmcsField::kPinBasedControls>() |
                                         PinBased::kActivateVmxPreemptionTimer);
    v_.Set<VmcsField::kVmxPreemptionTimerValue>(value);
  }
  // The threshold is compared behind the entry only with "virtualize APIC accesses".
  void UseTprThreshold(uint32_t threshold) {
    v_.Set<VmcsField::kPrimaryProcessorBasedControls>(
        v_.Get<VmcsField::kPrimaryProcessorBasedControls>() | PrimaryProcessorBased::kUseTprShadow |
        PrimaryProcessorBased::kActivateSecondaryControls);
    v_.Set<VmcsField::kSecondaryProcessorBasedControls>(Secondary::kVirtualizeApicAccesses);
    v_.Set<VmcsField::kVirtualApicAddress>(kVirtualApicPage);
    v_.Set<VmcsField::kApicAccessAddress>(kVirtualApicPage + kPageSize);
    v_.Set<VmcsField::kTprThreshold>(threshold);
  }
  void SetVtpr(uint8_t value) {
    ASSERT_TRUE(l1_.memory.WriteValue(GuestPhysicalAddress{kVirtualApicPage + 0x80}, value));
  }
  // L1, which blocks NMIs and has one pending, enters L2.
  void EnterWithPendingNmi() {
    l1_.MakeCurrentVmcs12(v_);
    L1().Set<VmcsField::kGuestInterruptibilityState>(kBlocked);
    Pend(1);
    l1_.Exit(ExitReason::kVmlaunch);
  }
  void ExpectNmiExitToL1() {
    EXPECT_FALSE(l1_.L2Runs());
    EXPECT_EQ(l1_.vmcs.Current(), VmcsRole::kVmcs01);
    EXPECT_EQ(Vmcs12().Get<VmcsField::kExitReason>(), 0u);
    EXPECT_EQ(Vmcs12().Get<VmcsField::kVmExitInterruptionInformation>(), kNmi);
    EXPECT_EQ(Blocking(L1()), kBlocked);
  }

  FakeVcpu l1_;
  VmcsImage v_ = ValidVmcs12(l1_.state.offered);
};

// --- L1 runs ---

TEST_F(GuestNmiTest, NothingPendingChangesNothing) {
  Deliver();
  EXPECT_EQ(Injection(L1()), 0u);
  EXPECT_FALSE(Window(L1()));
}

TEST_F(GuestNmiTest, L1IsGivenAPendingNmiByInjection) {
  Pend(1);
  Deliver();
  EXPECT_EQ(Injection(L1()), kNmi);
  EXPECT_EQ(Pending(), 0u);
  EXPECT_FALSE(Window(L1()));
  EXPECT_THAT(l1_.trace.events(),
              testing::ElementsAre(TraceEvent{TraceKind::kNmiInjected,
                                              static_cast<uint64_t>(VmcsRole::kVmcs01), 0}));
}

TEST_F(GuestNmiTest, BlockingByStiEndsWithTheNmi) {
  Pend(1);
  L1().Set<VmcsField::kGuestInterruptibilityState>(Interruptibility::kBlockingBySti);
  Deliver();
  EXPECT_EQ(Injection(L1()), kNmi);
  EXPECT_EQ(L1().Get<VmcsField::kGuestInterruptibilityState>(), 0u);
}

TEST_F(GuestNmiTest, OfTwoPendingNmisL1IsGivenOneAndTheOtherWaitsForTheWindow) {
  Pend(2);
  Deliver();
  EXPECT_EQ(Injection(L1()), kNmi);
  EXPECT_EQ(Pending(), 1u);
  EXPECT_TRUE(Window(L1()));
}

TEST_F(GuestNmiTest, WhileL1CannotTakeAnNmiItWaitsForTheWindow) {
  for (uint32_t blocking : {Interruptibility::kBlockingByNmi, Interruptibility::kBlockingByMovSs}) {
    Pend(1);
    L1().Set<VmcsField::kGuestInterruptibilityState>(blocking);
    Deliver();
    EXPECT_EQ(Injection(L1()), 0u);
    EXPECT_EQ(Pending(), 1u);
    EXPECT_TRUE(Window(L1()));
  }
  L1().Set<VmcsField::kGuestInterruptibilityState>(0);
  l1_.Exit(ExitReason::kNmiWindow);
  EXPECT_EQ(Injection(L1()), kNmi);
  EXPECT_EQ(Pending(), 0u);
  EXPECT_FALSE(Window(L1()));
}

TEST_F(GuestNmiTest, AnotherEventThatL1IsAboutToTakeGoesFirst) {
  const uint32_t fault = InterruptionInformation::HardwareException(Vector::kInvalidOpcode).value();
  L1().Set<VmcsField::kVmEntryInterruptionInformation>(fault);
  Pend(1);
  Deliver();
  EXPECT_EQ(Injection(L1()), fault);
  EXPECT_EQ(Pending(), 1u);
  EXPECT_TRUE(Window(L1()));
}

TEST_F(GuestNmiTest, ASingleStepThatIsPendingGoesFirst) {
  L1().Set<VmcsField::kGuestPendingDebugExceptions>(PendingDebugExceptions::kBs);
  Pend(1);
  Deliver();
  EXPECT_EQ(Injection(L1()), 0u);
  EXPECT_TRUE(Window(L1()));
}

TEST_F(GuestNmiTest, OfTwoThatCannotBeGivenOneStays) {
  L1().Set<VmcsField::kGuestInterruptibilityState>(kBlocked);
  Pend(2);
  Deliver();
  EXPECT_EQ(Pending(), 1u);
  EXPECT_TRUE(Window(L1()));
  EXPECT_THAT(l1_.trace.events(),
              testing::ElementsAre(TraceEvent{TraceKind::kNmiMergedWhileHeld, 0, 0}));
}

// The guest can take it now; but the second came while the first was in the latch.
TEST_F(GuestNmiTest, AnNmiMergesWithOneThatWasHeldUntilTheWindowOpened) {
  L1().Set<VmcsField::kGuestInterruptibilityState>(kBlocked);
  Pend(1);
  Deliver();
  ASSERT_EQ(Pending(), 1u);
  L1().Set<VmcsField::kGuestInterruptibilityState>(0);
  Pend(2);
  Deliver();
  EXPECT_EQ(Injection(L1()), kNmi);
  EXPECT_EQ(Pending(), 0u);
}

TEST_F(GuestNmiTest, AnNmiThatComesBehindOneThatWasGivenIsKept) {
  L1().Set<VmcsField::kGuestInterruptibilityState>(kBlocked);
  Pend(1);
  Deliver();
  L1().Set<VmcsField::kGuestInterruptibilityState>(0);
  Deliver();
  ASSERT_EQ(Injection(L1()), kNmi);
  L1().Set<VmcsField::kVmEntryInterruptionInformation>(0);  // delivered, and without blocking
  Pend(2);
  Deliver();
  EXPECT_EQ(Injection(L1()), kNmi);
  EXPECT_EQ(Pending(), 1u);
}

TEST_F(GuestNmiTest, OneThatWasHeldInL1ExitsFromL2Once) {
  UseMode(Mode::kVirtualNmis);
  EnterWithPendingNmi();
  ExpectNmiExitToL1();
  L1().Set<VmcsField::kGuestInterruptibilityState>(kBlocked);
  Pend(1);
  Deliver();
  Pend(2);
  l1_.Exit(ExitReason::kVmresume);
  ExpectNmiExitToL1();
  EXPECT_EQ(Pending(), 0u);
}

TEST_F(GuestNmiTest, ACpuThatWaitsForASipiIsGivenNoNmi) {
  L1().Set<VmcsField::kGuestActivityState>(static_cast<uint64_t>(ActivityState::kWaitForSipi));
  Pend(1);
  Deliver();
  EXPECT_EQ(Injection(L1()), 0u);
  EXPECT_EQ(Pending(), 1u);
  L1().Set<VmcsField::kGuestActivityState>(static_cast<uint64_t>(ActivityState::kHlt));
  Deliver();
  EXPECT_EQ(Injection(L1()), kNmi);
}

TEST_F(GuestNmiTest, MaskedNmisAreWithheldUntilTheyAreUnmasked) {
  Pend(1);
  MaskGuestNmis(l1_.vcpu(), true);
  Deliver();
  EXPECT_EQ(Injection(L1()), 0u);
  EXPECT_FALSE(Window(L1()));
  EXPECT_EQ(Pending(), 1u);
  MaskGuestNmis(l1_.vcpu(), false);
  Deliver();
  EXPECT_EQ(Injection(L1()), kNmi);
  EXPECT_EQ(Pending(), 0u);
}

// --- L2 runs, L1 does not intercept NMIs ---

TEST_F(GuestNmiTest, WithoutNmiExitingL2IsGivenTheNmi) {
  RunL2(Mode::kNeither);
  Pend(1);
  Deliver();
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_EQ(Injection(L2()), kNmi);
  EXPECT_EQ(Injection(L1()), 0u);
  EXPECT_EQ(Pending(), 0u);
  EXPECT_EQ(l1_.trace.events().back(),
            (TraceEvent{TraceKind::kNmiInjected, static_cast<uint64_t>(VmcsRole::kVmcs02), 0}));
}

TEST_F(GuestNmiTest, WithoutNmiExitingABlockedL2IsGivenTheNmiAfterIret) {
  EnterBlocked();
  RunL2(Mode::kNeither);
  Pend(1);
  Deliver();
  EXPECT_EQ(Injection(L2()), 0u);
  EXPECT_TRUE(Window(L2()));
  L2().Set<VmcsField::kGuestInterruptibilityState>(0);  // L2 executes IRET
  l1_.Exit(ExitReason::kNmiWindow);
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_EQ(Injection(L2()), kNmi);
  EXPECT_FALSE(Window(L2()));
}

// --- L2 runs, L1 intercepts NMIs ---

TEST_F(GuestNmiTest, WithNmiExitingTheNmiIsAVmExitThatLeavesL1Blocked) {
  for (Mode mode : {Mode::kNmiExiting, Mode::kVirtualNmis}) {
    RunL2(mode);
    Pend(1);
    Deliver();
    ExpectNmiExitToL1();
    EXPECT_EQ(Pending(), 0u);
    EXPECT_EQ(Injection(L1()), 0u);
  }
  EXPECT_EQ(l1_.trace.Count(TraceKind::kNmiExitToL1), 2);
}

TEST_F(GuestNmiTest, AnNmiExitHasNoInformationOfTheExitBefore) {
  RunL2(Mode::kVirtualNmis);
  for (VmcsField field :
       {VmcsField::kExitQualification, VmcsField::kIdtVectoringInformation,
        VmcsField::kVmExitInterruptionErrorCode, VmcsField::kVmExitInstructionInformation}) {
    Vmcs12().Write(field, 0x77);
  }
  Pend(1);
  Deliver();
  EXPECT_EQ(Vmcs12().Get<VmcsField::kExitQualification>(), 0u);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kIdtVectoringInformation>(), 0u);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kVmExitInterruptionErrorCode>(), 0u);
}

TEST_F(GuestNmiTest, AfterAnNmiExitASecondNmiWaitsUntilL1ExecutesIret) {
  RunL2(Mode::kVirtualNmis);
  Pend(2);
  Deliver();
  ExpectNmiExitToL1();
  EXPECT_EQ(Pending(), 1u);
  EXPECT_EQ(Injection(L1()), 0u);
  EXPECT_TRUE(Window(L1()));
}

TEST_F(GuestNmiTest, VirtualBlockingDoesNotKeepAnNmiFromExiting) {
  EnterBlocked();
  RunL2(Mode::kVirtualNmis);
  Pend(1);
  Deliver();
  ExpectNmiExitToL1();
  EXPECT_EQ(Blocking(Vmcs12()), kBlocked);
}

TEST_F(GuestNmiTest, PhysicalBlockingKeepsAnNmiFromExitingAndL2Runs) {
  EnterBlocked();
  RunL2(Mode::kNmiExiting);
  Pend(1);
  Deliver();
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_EQ(Pending(), 1u);
  // Nothing that L2 does unblocks: a window would open before each instruction.
  EXPECT_FALSE(Window(L2()));
  l1_.Exit(ExitReason::kCpuid);
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(Blocking(L1()), kBlocked);
  EXPECT_TRUE(Window(L1()));
}

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

TEST_F(GuestNmiTest, WithoutVirtualNmisAnInjectedNmiBlocksNothing) {
  for (Mode mode : {Mode::kNeither, Mode::kNmiExiting}) {
    UseMode(mode);
    v_.Set<VmcsField::kVmEntryInterruptionInformation>(kNmi);
    l1_.MakeCurrentVmcs12(v_);
    l1_.Exit(ExitReason::kVmlaunch);
    ASSERT_TRUE(l1_.L2Runs());
    EXPECT_EQ(Injection(L2()), 0x80000302u);
    l1_.Exit(ExitReason::kCpuid);
    EXPECT_EQ(Blocking(Vmcs12()), 0u);
    EXPECT_EQ(Blocking(L1()), 0u);
  }
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
  RunL2(Mode::kNeither);
  L2().Set<VmcsField::kGuestInterruptibilityState>(Interruptibility::kBlockingByMovSs);
  L2().Set<VmcsField::kVmEntryInterruptionInformation>(
      InterruptionInformation::MonitorTrapFlag().value());
  Pend(1);
  Deliver();
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

// SDM Vol. 3C, 26.2 "Other Causes of VM Exits": blocking by STI shuts the window.
TEST_F(GuestNmiTest, BlockingByStiShutsTheWindowAndNotTheNmi) {
  AskForNmiWindow();
  RunL2(Mode::kVirtualNmis);
  L2().Set<VmcsField::kGuestInterruptibilityState>(Interruptibility::kBlockingBySti);
  Pend(1);
  Deliver();
  ExpectNmiExitToL1();
}

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

TEST_F(GuestNmiTest, AnL2ThatWaitsForASipiTakesNoNmi) {
  for (Mode mode : {Mode::kNeither, Mode::kVirtualNmis}) {
    v_.Set<VmcsField::kGuestActivityState>(static_cast<uint64_t>(ActivityState::kWaitForSipi));
    RunL2(mode);
    Pend(1);
    Deliver();
    EXPECT_TRUE(l1_.L2Runs());
    EXPECT_EQ(Injection(L2()), 0u);
    EXPECT_FALSE(Window(L2()));
    EXPECT_EQ(Pending(), 1u);
  }
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

TEST_F(GuestNmiTest, ANmiThatIsPendingAtVmEntryExitsAtOnce) {
  UseMode(Mode::kVirtualNmis);
  l1_.MakeCurrentVmcs12(v_);
  L1().Set<VmcsField::kGuestInterruptibilityState>(kBlocked);
  Pend(1);
  l1_.Exit(ExitReason::kVmlaunch);
  ExpectNmiExitToL1();
}

TEST_F(GuestNmiTest, ANmiWindowExitThatL1AskedForGoesBeforeTheNmi) {
  UseMode(Mode::kVirtualNmis);
  AskForNmiWindow();
  l1_.MakeCurrentVmcs12(v_);
  L1().Set<VmcsField::kGuestInterruptibilityState>(kBlocked);
  Pend(1);
  l1_.Exit(ExitReason::kVmlaunch);
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_EQ(Pending(), 1u);
  EXPECT_TRUE(Window(L2()));
  l1_.Exit(ExitReason::kNmiWindow);
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(Vmcs12().Get<VmcsField::kExitReason>(), 8u);
  EXPECT_EQ(Injection(L1()), kNmi);
}

TEST_F(GuestNmiTest, WhileTheWindowThatL1AskedForIsShutTheNmiExits) {
  UseMode(Mode::kVirtualNmis);
  AskForNmiWindow();
  EnterBlocked();
  l1_.RunL2(v_);
  Pend(1);
  Deliver();
  ExpectNmiExitToL1();
}

TEST_F(GuestNmiTest, L1sOwnNmiWindowIsKeptWhateverIsPending) {
  UseMode(Mode::kVirtualNmis);
  AskForNmiWindow();
  l1_.RunL2(v_);
  Deliver();
  EXPECT_TRUE(Window(L2()));
  l1_.Exit(ExitReason::kNmiWindow);
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(Vmcs12().Get<VmcsField::kExitReason>(), 8u);
}

TEST_F(GuestNmiTest, AWindowThatOnlyL0AskedForIsNotL1s) {
  RunL2(Mode::kVirtualNmis);
  SetNmiWindowExiting(l1_.vcpu(), true);
  l1_.Exit(ExitReason::kNmiWindow);
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_FALSE(Window(L2()));
}

TEST_F(GuestNmiTest, MaskedNmisDoNotExitToL1EitherAndLeaveItsWindow) {
  AskForNmiWindow();
  RunL2(Mode::kVirtualNmis);
  MaskGuestNmis(l1_.vcpu(), true);
  Pend(1);
  Deliver();
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_TRUE(Window(L2()));
}

}  // namespace
}  // namespace nvmx
