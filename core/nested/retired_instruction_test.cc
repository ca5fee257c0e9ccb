// SPDX-License-Identifier: Apache-2.0
//
// What an instruction that L0 performs leaves behind. SDM Vol. 3B, 18.3.1.4 "Single-Step Exception
// Condition"; Vol. 3C, 26.5.2 "Monitor Trap Flag".
#include "core/nested/event_injection.h"
#include "core/testing/event_injection_fixture.h"
#include "core/x86/msr.h"
#include "core/x86/rflags.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

TEST_F(EventInjectionTest, RetiringMovesRipAndEndsShadowsAndRf) {
  RunL2();
  L2().Set<VmcsField::kVmExitInstructionLength>(3);
  L2().Set<VmcsField::kGuestInterruptibilityState>(Interruptibility::kBlockingByMovSs | kBlocked);
  L2().Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | Rflags::kRf);
  RetireInstructionOfL2(l1_.vcpu());
  EXPECT_EQ(L2().Get<VmcsField::kGuestRip>(), v_.Get<VmcsField::kGuestRip>() + 3);
  EXPECT_EQ(Blocking(), kBlocked);
  EXPECT_EQ(L2().Get<VmcsField::kGuestRflags>(), Rflags::kFixed1);
  EXPECT_EQ(L2().Get<VmcsField::kGuestPendingDebugExceptions>(), 0u);
  EXPECT_EQ(Injection(), 0u);
}

TEST_F(EventInjectionTest, RetiringEndsBlockingBySti) {
  RunL2();
  L2().Set<VmcsField::kGuestInterruptibilityState>(Interruptibility::kBlockingBySti | kBlocked);
  RetireInstructionOfL2(l1_.vcpu());
  EXPECT_EQ(Blocking(), kBlocked);
}

TEST_F(EventInjectionTest, RipWrapsAroundOutside64BitMode) {
  RunL2();
  L2().Set<VmcsField::kVmExitInstructionLength>(2);
  L2().Set<VmcsField::kGuestRip>(0xFFFFFFFF);
  RetireInstructionOfL2(l1_.vcpu());
  EXPECT_EQ(L2().Get<VmcsField::kGuestRip>(), 0x100000001u);
  L2().Set<VmcsField::kGuestCsAccessRights>(0xC09B);
  L2().Set<VmcsField::kGuestRip>(0xFFFFFFFF);
  RetireInstructionOfL2(l1_.vcpu());
  EXPECT_EQ(L2().Get<VmcsField::kGuestRip>(), 1u);
}

TEST_F(EventInjectionTest, ASingleStepTrapsBehindARetiredInstruction) {
  RunL2();
  L2().Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | Rflags::kTf);
  L2().Set<VmcsField::kGuestIa32Debugctl>(DebugCtl::kBtf);
  RetireInstructionOfL2(l1_.vcpu());
  EXPECT_EQ(L2().Get<VmcsField::kGuestPendingDebugExceptions>(), 0u);
  L2().Set<VmcsField::kGuestIa32Debugctl>(0);
  RetireInstructionOfL2(l1_.vcpu());
  EXPECT_EQ(L2().Get<VmcsField::kGuestPendingDebugExceptions>(), PendingDebugExceptions::kBs);
}

TEST_F(EventInjectionTest, L1CanStepOverItsVmxInstructions) {
  l1_.EnterVmxRoot();
  L1().Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | Rflags::kTf);
  EXPECT_TRUE(l1_.Execute(ExitReason::kVmptrst, {.displacement = FakeVcpu::kOperand}).succeeded());
  EXPECT_EQ(L1().Get<VmcsField::kGuestPendingDebugExceptions>(), PendingDebugExceptions::kBs);
}

TEST_F(EventInjectionTest, TheMonitorTrapFlagExitsBehindARetiredInstructionBeforeTheTrap) {
  v_.Set<VmcsField::kPrimaryProcessorBasedControls>(
      v_.Get<VmcsField::kPrimaryProcessorBasedControls>() |
      PrimaryProcessorBased::kMonitorTrapFlag);
  RunL2();
  L2().Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | Rflags::kTf);
  RetireInstructionOfL2(l1_.vcpu());
  EXPECT_EQ(Injection(), InterruptionInformation::MonitorTrapFlag().value());
  EXPECT_EQ(L2().Get<VmcsField::kGuestPendingDebugExceptions>(), PendingDebugExceptions::kBs);
}

}  // namespace
}  // namespace nvmx
