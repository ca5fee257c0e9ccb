// SPDX-License-Identifier: Apache-2.0
//
// NMIs that L1 injects, and unblocking of NMIs, in the modes that have no virtual NMIs. SDM Vol.
// 3C, 27.6 "Event Injection", 28.2.
#include "core/nested/event_injection.h"
#include "core/nested/hypervisor.h"
#include "core/testing/event_injection_fixture.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

TEST_F(EventInjectionTest, AnInjectedNmiThatCannotBlockIsInjectedAsAnException) {
  v_.Set<VmcsField::kVmEntryInterruptionInformation>(kNmi);
  v_.Set<VmcsField::kGuestActivityState>(static_cast<uint64_t>(ActivityState::kHlt));
  UsePin(PinBased::kNmiExiting);
  l1_.MakeCurrentVmcs12(v_);
  l1_.Exit(ExitReason::kVmlaunch);
  ASSERT_TRUE(l1_.L2Runs());
  EXPECT_EQ(Injection(), kNmiAsException);
  EXPECT_EQ(L2().Get<VmcsField::kGuestActivityState>(), 0u);
}

TEST_F(EventInjectionTest, WithVirtualNmisAnInjectedNmiIsInjectedAsOne) {
  v_.Set<VmcsField::kVmEntryInterruptionInformation>(kNmi);
  l1_.MakeCurrentVmcs12(v_);
  l1_.Exit(ExitReason::kVmlaunch);
  EXPECT_EQ(Injection(), kNmi);
}

TEST_F(EventInjectionTest, L1IsShownThatAnNmiWasInterrupted) {
  v_.Set<VmcsField::kVmEntryInterruptionInformation>(kNmi);
  UsePin(0);
  RunL2();
  Vectoring(kNmiAsException);
  l1_.Exit(ExitReason::kTaskSwitch);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kIdtVectoringInformation>(), kNmi);
}

TEST_F(EventInjectionTest, AnExceptionWithVector2ThatL1InjectedStaysOne) {
  v_.Set<VmcsField::kVmEntryInterruptionInformation>(kNmiAsException);
  UsePin(0);
  RunL2();
  Vectoring(kNmiAsException);
  l1_.Exit(ExitReason::kTaskSwitch);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kIdtVectoringInformation>(), kNmiAsException);
}

TEST_F(EventInjectionTest, UnblockingThatL1CannotKnowOfIsNotShown) {
  UseEmptyEpt12();
  UsePin(PinBased::kNmiExiting);
  RunL2();
  l1_.Exit(ExitReason::kEptViolation, kIretUnblocked | 1);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kExitQualification>(), 1u);
  UsePin(PinBased::kNmiExiting | PinBased::kVirtualNmis);
  RunL2();
  l1_.Exit(ExitReason::kEptViolation, kIretUnblocked | 1);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kExitQualification>(), kIretUnblocked | 1);
}

TEST_F(EventInjectionTest, NorIsThatOfAnExceptionThatL1Intercepts) {
  const auto fault_of_iret = [&] {
    RunL2();
    L2().Set<VmcsField::kVmExitInterruptionInformation>(0x80000B0D | kIretUnblocked);
    ExitWas(ExitReason::kExceptionOrNmi);
    HandleVmExit(l1_.vcpu(), RawExit::FromHardware(VmcsRole::kVmcs02));
  };
  Intercept(Vector::kGeneralProtection);
  UsePin(PinBased::kNmiExiting);
  fault_of_iret();
  ExpectExit(0, 0x80000B0D);
  UsePin(PinBased::kNmiExiting | PinBased::kVirtualNmis);
  fault_of_iret();
  ExpectExit(0, 0x80000B0D | kIretUnblocked);
}

}  // namespace
}  // namespace nvmx
