// SPDX-License-Identifier: Apache-2.0
//
// What becomes of an event whose delivery an exit interrupted, and of an instruction that is taken
// up again. SDM Vol. 3C, 28.2.3 "Information About NMI Unblocking Due to IRET", 28.2.4 "Information
// for VM Exits During Event Delivery".
#include "core/nested/event_injection.h"

#include "core/testing/event_injection_fixture.h"
#include "core/x86/msr.h"
#include "core/x86/rflags.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

TEST_F(EventInjectionTest, WithoutAnInterruptedEventNothingIsInjected) {
  RunL2();
  L2().Set<VmcsField::kIdtVectoringInformation>(0x30D);
  Reinject();
  EXPECT_EQ(Injection(), 0u);
}

TEST_F(EventInjectionTest, AnInterruptedExceptionIsInjectedWithItsErrorCode) {
  RunL2();
  Vectoring(0x80000B0E, 7);
  Reinject();
  EXPECT_EQ(Injection(), 0x80000B0Eu);
  EXPECT_EQ(L2().Get<VmcsField::kVmEntryExceptionErrorCode>(), 7u);
}

TEST_F(EventInjectionTest, AnInterruptedSoftwareEventIsInjectedWithItsLength) {
  for (InterruptionType type :
       {InterruptionType::kSoftwareInterrupt, InterruptionType::kPrivilegedSoftwareException,
        InterruptionType::kSoftwareException}) {
    RunL2();
    const InterruptionInformation event = InterruptionInformation::Make(type, 3);
    Vectoring(event.value(), 0, 2);
    Reinject();
    EXPECT_EQ(Injection(), event.value());
    EXPECT_EQ(L2().Get<VmcsField::kVmEntryInstructionLength>(), 2u);
  }
}

TEST_F(EventInjectionTest, TheUndefinedBit12IsNotInjected) {
  RunL2();
  Vectoring(0x80000021 | kIretUnblocked);
  Reinject();
  EXPECT_EQ(Injection(), 0x80000021u);
}

TEST_F(EventInjectionTest, AnInterruptedNmiIsUnblockedFirst) {
  RunL2();
  L2().Set<VmcsField::kGuestInterruptibilityState>(kBlocked | Interruptibility::kBlockingBySti);
  Vectoring(kNmi);
  Reinject();
  EXPECT_EQ(Injection(), kNmi);
  EXPECT_EQ(Blocking(), 0u) << "some processors inject no NMI into blocking by STI";
}

// SDM Vol. 3C, 27.3.1.5: VM entry refuses TF with such blocking and nothing pending.
TEST_F(EventInjectionTest, ADebugExceptionThatWasInterruptedInAShadowStaysEnterable) {
  constexpr uint64_t kDebug = 0x80000301;
  for (const uint32_t shadow :
       {Interruptibility::kBlockingBySti, Interruptibility::kBlockingByMovSs}) {
    RunL2();
    Vectoring(kDebug);
    L2().Set<VmcsField::kGuestInterruptibilityState>(shadow);
    L2().Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | Rflags::kTf);
    Reinject();
    EXPECT_EQ(Injection(), kDebug);
    EXPECT_EQ(L2().Get<VmcsField::kGuestPendingDebugExceptions>(), PendingDebugExceptions::kBs);
    EXPECT_EQ(Blocking(), shadow) << "L1 sees it if the delivery exits to L1";
  }
}

TEST_F(EventInjectionTest, WithoutShadowOrSingleStepNothingBecomesPending) {
  struct {
    uint32_t blocking;
    uint64_t rflags, debugctl;
  } const kCases[] = {{0, Rflags::kTf, 0},
                      {Interruptibility::kBlockingBySti, 0, 0},
                      {Interruptibility::kBlockingBySti, Rflags::kTf, DebugCtl::kBtf}};
  for (const auto& c : kCases) {
    RunL2();
    Vectoring(0x80000301);
    L2().Set<VmcsField::kGuestInterruptibilityState>(c.blocking);
    L2().Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | c.rflags);
    L2().Set<VmcsField::kGuestIa32Debugctl>(c.debugctl);
    Reinject();
    EXPECT_EQ(L2().Get<VmcsField::kGuestPendingDebugExceptions>(), 0u);
  }
}

TEST_F(EventInjectionTest, AnotherInterruptedEventLeavesBlockingAlone) {
  RunL2();
  L2().Set<VmcsField::kGuestInterruptibilityState>(kBlocked);
  Vectoring(0x80000021);
  Reinject();
  EXPECT_EQ(Blocking(), kBlocked);
}

TEST_F(EventInjectionTest, AnIretThatWillBeExecutedAgainFindsNmisBlockedAgain) {
  for (ExitReason reason : {ExitReason::kEptViolation, ExitReason::kPageModificationLogFull}) {
    for (uint32_t pin : {0u, PinBased::kNmiExiting | PinBased::kVirtualNmis}) {
      UsePin(pin);
      RunL2();
      Vectoring(0);
      ExitWas(reason);
      Reinject();
      EXPECT_EQ(Blocking(), 0u);
      ExitWas(reason, kIretUnblocked);
      Reinject();
      EXPECT_EQ(Blocking(), kBlocked);
    }
  }
}

TEST_F(EventInjectionTest, Bit12OfAnotherExitMeansNothing) {
  RunL2();
  ExitWas(ExitReason::kIoInstruction, kIretUnblocked);
  Reinject();
  EXPECT_EQ(Blocking(), 0u);
  ExitWas(ExitReason::kEptViolation, kIretUnblocked);
  Vectoring(0x80000021);
  Reinject();
  EXPECT_EQ(Blocking(), 0u);
}

TEST_F(EventInjectionTest, WhereIretEndsNoBlockingOfL1sVmcs02StaysUnblocked) {
  UsePin(PinBased::kNmiExiting);
  RunL2();
  ExitWas(ExitReason::kEptViolation, kIretUnblocked);
  Reinject();
  EXPECT_EQ(Blocking(), 0u);
}

}  // namespace
}  // namespace nvmx
