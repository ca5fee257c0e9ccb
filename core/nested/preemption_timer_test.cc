// SPDX-License-Identifier: Apache-2.0
//
// L1's VMX-preemption timer: what VMCS02 counts, what L1 finds, and what is an exit of L1's. The
// clock stands still unless a test moves it. SDM Vol. 3C, 26.5.1 "VMX-Preemption Timer".
#include "core/nested/preemption_timer.h"

#include "core/nested/boundary_exit.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/msr.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint64_t kRate = 5;
constexpr uint64_t kTick = uint64_t{1} << kRate;

class PreemptionTimerTest : public testing::Test {
 protected:
  PreemptionTimerTest() {
    l1_.state.offered.misc = (l1_.state.offered.misc & ~VmxMisc::kPreemptionTimerRate) | kRate;
  }
  void UseTimer(uint32_t value, bool save = true) {
    v_.Set<VmcsField::kPinBasedControls>(v_.Get<VmcsField::kPinBasedControls>() |
                                         PinBased::kActivateVmxPreemptionTimer);
    if (save) {
      v_.Set<VmcsField::kVmExitControls>(v_.Get<VmcsField::kVmExitControls>() |
                                         VmExit::kSaveVmxPreemptionTimerValue);
    }
    v_.Set<VmcsField::kVmxPreemptionTimerValue>(value);
  }
  void Enter(uint64_t tsc) {
    l1_.MakeCurrentVmcs12(v_);
    l1_.clock.Set(tsc);
    l1_.Exit(ExitReason::kVmlaunch);
    ASSERT_TRUE(l1_.L2Runs());
  }
  VmcsImage& L2() { return l1_.vmcs.vmcs02(); }
  bool IsOn() {
    return (L2().Get<VmcsField::kPinBasedControls>() & PinBased::kActivateVmxPreemptionTimer) != 0;
  }
  uint32_t InVmcs02() { return L2().Get<VmcsField::kVmxPreemptionTimerValue>(); }
  uint32_t InVmcs12() { return l1_.state.vmcs12.Get<VmcsField::kVmxPreemptionTimerValue>(); }

  FakeVcpu l1_;
  VmcsImage v_ = ValidVmcs12(l1_.state.offered);
};

TEST_F(PreemptionTimerTest, ItIsOffUnlessL1TurnsItOn) {
  Enter(0);
  EXPECT_FALSE(IsOn());
  EXPECT_EQ(l1_.state.l2_timer_deadline, 0u);
}

TEST_F(PreemptionTimerTest, L2StartsWithL1sValue) {
  UseTimer(100);
  Enter(7 * kTick);
  EXPECT_TRUE(IsOn());
  EXPECT_EQ(InVmcs02(), 100u);
}

TEST_F(PreemptionTimerTest, ItCountsChangesOfTheBitNotTicksSinceTheEntry) {
  UseTimer(100);
  Enter(7 * kTick - 2);
  l1_.clock.Set(7 * kTick);
  EXPECT_EQ(PreemptionTimerValue(l1_.vcpu()), 99u);
}

TEST_F(PreemptionTimerTest, TheTimeThatAnExitToL0TakesCounts) {
  UseTimer(100);
  Enter(0);
  l1_.clock.Set(30 * kTick);
  l1_.NmiExit();  // L1 uses virtual NMIs: it becomes an exit of its own
  EXPECT_EQ(InVmcs12(), 70u);
  EXPECT_EQ(l1_.state.l2_timer_deadline, 0u);
  Enter(1000 * kTick);
  l1_.clock.Set(1040 * kTick);
  l1_.Exit(ExitReason::kNmiWindow);
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_EQ(InVmcs02(), 60u);
}

TEST_F(PreemptionTimerTest, OnceExpiredItStaysAt0) {
  UseTimer(100);
  Enter(0);
  l1_.clock.Set(5000 * kTick);
  l1_.Exit(ExitReason::kNmiWindow);
  EXPECT_EQ(InVmcs02(), 0u);
  EXPECT_TRUE(PreemptionTimerHasExpired(l1_.vcpu()));
}

TEST_F(PreemptionTimerTest, AWriteOfTheTscDoesNotMoveIt) {
  constexpr uint64_t kNewTsc = 0x1'0000'0000;
  l1_.cpu.msrs()[Index(Msr::IA32_TIME_STAMP_COUNTER)] = 0;
  l1_.cpu.OnWrmsr(Index(Msr::IA32_TIME_STAMP_COUNTER),
                  [this](uint64_t value) { l1_.clock.Set(value); });
  UseTimer(100);
  Enter(7 * kTick);
  l1_.clock.Set(17 * kTick);
  ASSERT_TRUE(WriteTscBesidePreemptionTimer(l1_.vcpu(), kNewTsc));
  EXPECT_EQ(PreemptionTimerValue(l1_.vcpu()), 90u);
  l1_.clock.Set(kNewTsc + 5 * kTick);
  EXPECT_EQ(PreemptionTimerValue(l1_.vcpu()), 85u);
}

TEST_F(PreemptionTimerTest, TheTscCanPassItsEnd) {
  UseTimer(100);
  Enter(-10 * kTick);
  l1_.clock.Set(-1);
  EXPECT_EQ(PreemptionTimerValue(l1_.vcpu()), 91u);
  l1_.clock.Set(20 * kTick);
  EXPECT_EQ(PreemptionTimerValue(l1_.vcpu()), 70u);
  l1_.clock.Set(90 * kTick);
  EXPECT_EQ(PreemptionTimerValue(l1_.vcpu()), 0u);
  l1_.clock.Set(5000 * kTick);
  EXPECT_EQ(PreemptionTimerValue(l1_.vcpu()), 0u);
}

TEST_F(PreemptionTimerTest, ARefusedWriteOfTheTscChangesNothing) {
  UseTimer(100);
  Enter(7 * kTick);
  const uint64_t deadline = l1_.state.l2_timer_deadline;
  l1_.clock.Set(17 * kTick);
  EXPECT_FALSE(WriteTscBesidePreemptionTimer(l1_.vcpu(), 1)) << "the processor has no such MSR";
  EXPECT_EQ(l1_.state.l2_timer_deadline, deadline);
}

TEST_F(PreemptionTimerTest, WithoutTheControlTheFieldKeepsItsValue) {
  UseTimer(100, /*save=*/false);
  Enter(0);
  l1_.clock.Set(30 * kTick);
  l1_.Exit(ExitReason::kCpuid);
  EXPECT_EQ(InVmcs12(), 100u);
}

TEST_F(PreemptionTimerTest, ItsExpiryIsAnExitOfL1s) {
  UseTimer(100);
  Enter(0);
  l1_.clock.Set(100 * kTick);
  l1_.Exit(ExitReason::kVmxPreemptionTimerExpired);
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(l1_.state.vmcs12.Get<VmcsField::kExitReason>(), 52u);
  EXPECT_EQ(InVmcs12(), 0u);
}

TEST_F(PreemptionTimerTest, AnExitThatL0ArrangedWithItIsNotL1s) {
  UseTimer(100);
  Enter(0);
  ExitBehindEvent(l1_.vcpu());
  EXPECT_EQ(InVmcs02(), 0u);
  l1_.clock.Set(99 * kTick);
  l1_.Exit(ExitReason::kVmxPreemptionTimerExpired);
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_EQ(InVmcs02(), 1u);
}

TEST_F(PreemptionTimerTest, WhereL1DoesNotUseItL0TurnsItOffAgain) {
  Enter(0);
  ExitBehindEvent(l1_.vcpu());
  EXPECT_TRUE(IsOn());
  l1_.Exit(ExitReason::kVmxPreemptionTimerExpired);
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_FALSE(IsOn());
}

// --- The monitor trap flag, which L0 uses in the same way ---

TEST_F(PreemptionTimerTest, AnMtfExitOfL1sIsL1s) {
  v_.Set<VmcsField::kPrimaryProcessorBasedControls>(
      v_.Get<VmcsField::kPrimaryProcessorBasedControls>() |
      PrimaryProcessorBased::kMonitorTrapFlag);
  Enter(0);
  ExitBehindInstruction(l1_.vcpu());
  l1_.Exit(ExitReason::kMonitorTrapFlag);
  EXPECT_FALSE(l1_.L2Runs());
}

TEST_F(PreemptionTimerTest, AnMtfExitThatL1InjectedIsL1sWithoutTheControl) {
  v_.Set<VmcsField::kVmEntryInterruptionInformation>(
      InterruptionInformation::MonitorTrapFlag().value());
  Enter(0);
  EXPECT_EQ(L2().Get<VmcsField::kVmEntryInterruptionInformation>(),
            InterruptionInformation::MonitorTrapFlag().value());
  l1_.Exit(ExitReason::kMonitorTrapFlag);
  EXPECT_FALSE(l1_.L2Runs());
}

TEST_F(PreemptionTimerTest, AnMtfExitThatL0ArrangedIsNotL1s) {
  Enter(0);
  ExitBehindInstruction(l1_.vcpu());
  l1_.Exit(ExitReason::kMonitorTrapFlag);
  EXPECT_TRUE(l1_.L2Runs());
}

}  // namespace
}  // namespace nvmx
