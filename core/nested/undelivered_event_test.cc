// SPDX-License-Identifier: Apache-2.0
//
// What L1 sees of an L2 whose event was not delivered. SDM Vol. 3C, 28.3.3 "Saving RIP, RSP,
// RFLAGS, and SSP", 28.3.4 "Saving Non-Register State".
#include "core/nested/event_injection.h"
#include "core/nested/guest_nmi.h"
#include "core/testing/event_injection_fixture.h"
#include "core/x86/rflags.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

TEST_F(EventInjectionTest, ATripleFaultDuringAFaultOfL0sShowsRfAsItWas) {
  RunL2();
  Raise(Vector::kGeneralProtection);
  ASSERT_NE(L2().Get<VmcsField::kGuestRflags>() & Rflags::kRf, 0u);
  l1_.Exit(ExitReason::kTripleFault);
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(Vmcs12().Get<VmcsField::kGuestRflags>() & Rflags::kRf, 0u);
}

TEST_F(EventInjectionTest, ATripleFaultBehindAReinjectedFaultShowsNoRf) {
  RunL2();
  Vectoring(0x80000306);
  L2().Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | Rflags::kRf);
  Reinject();
  Vectoring(0);
  l1_.Exit(ExitReason::kTripleFault);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kGuestRflags>(), Rflags::kFixed1);
}

TEST_F(EventInjectionTest, ATripleFaultOfAnInstructionThatWasTakenUpAgainShowsNoRf) {
  RunL2();
  Vectoring(0);
  L2().Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | Rflags::kRf);
  Reinject();
  EXPECT_NE(L2().Get<VmcsField::kGuestRflags>() & Rflags::kRf, 0u);
  l1_.Exit(ExitReason::kTripleFault);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kGuestRflags>(), Rflags::kFixed1);
}

// The RF of the exit is that of the fault, not of what was being delivered.
TEST_F(EventInjectionTest, AFaultThatMeetsASoftwareInterruptShowsRf) {
  RunL2();
  Vectoring(0);
  L2().Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | Rflags::kRf);
  Reinject();
  ExitWas(ExitReason::kExceptionOrNmi);
  L2().Set<VmcsField::kVmExitInterruptionInformation>(0x80000B0D);
  Vectoring(0x8000047B);
  TakeBackChangesForEvent(l1_.vcpu());
  EXPECT_EQ(L2().Get<VmcsField::kGuestRflags>(), Rflags::kFixed1 | Rflags::kRf);
}

TEST_F(EventInjectionTest, ADoubleFaultExitTakesBackBlockingByStiToo) {
  UsePin(0);
  RunL2();
  L2().Set<VmcsField::kGuestInterruptibilityState>(Interruptibility::kBlockingBySti);
  InjectNmi(l1_.vcpu());
  ASSERT_EQ(Blocking(), 0u);
  ExitWas(ExitReason::kExceptionOrNmi);
  L2().Set<VmcsField::kVmExitInterruptionInformation>(0x80000B08);
  TakeBackChangesForEvent(l1_.vcpu());
  EXPECT_EQ(Blocking(), Interruptibility::kBlockingBySti);
}

TEST_F(EventInjectionTest, ATripleFaultOfTheHandlerShowsItsOwnRf) {
  RunL2();
  Raise(Vector::kGeneralProtection);
  L2().Set<VmcsField::kGuestRip>(0x12345000);
  l1_.Exit(ExitReason::kTripleFault);
  EXPECT_NE(Vmcs12().Get<VmcsField::kGuestRflags>() & Rflags::kRf, 0u);
}

TEST_F(EventInjectionTest, AnNmiThatL0InjectsIntoBlockingByStiLeavesItIfItIsNotDelivered) {
  UsePin(0);
  for (const bool delivered : {false, true}) {
    RunL2();
    L2().Set<VmcsField::kGuestInterruptibilityState>(Interruptibility::kBlockingBySti);
    InjectNmi(l1_.vcpu());
    EXPECT_EQ(Blocking(), 0u);
    if (delivered) L2().Set<VmcsField::kGuestRip>(0x12345000);
    l1_.Exit(ExitReason::kTripleFault);
    EXPECT_EQ(Vmcs12().Get<VmcsField::kGuestInterruptibilityState>(),
              delivered ? 0u : Interruptibility::kBlockingBySti);
  }
}

}  // namespace
}  // namespace nvmx
