// SPDX-License-Identifier: Apache-2.0
//
// To whom a pending guest NMI goes, and whether it can be taken now. SDM Vol. 3C, 25.6.1 "Pin-Based
// VM-Execution Controls", 27.7.1 "Interruptibility State".
#include "core/nested/guest_nmi.h"

#include "core/testing/guest_nmi_fixture.h"
#include "core/testing/matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

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

TEST_F(GuestNmiTest, ANmiThatIsPendingAtVmEntryExitsAtOnce) {
  UseMode(Mode::kVirtualNmis);
  l1_.MakeCurrentVmcs12(v_);
  L1().Set<VmcsField::kGuestInterruptibilityState>(kBlocked);
  Pend(1);
  l1_.Exit(ExitReason::kVmlaunch);
  ExpectNmiExitToL1();
}

}  // namespace
}  // namespace nvmx
