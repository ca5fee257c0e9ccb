// SPDX-License-Identifier: Apache-2.0
//
// INIT that L1's root operation has held back, and the wait for a SIPI, when L2 is about to run.
// SDM Vol. 3C, 24.8 "Restrictions on VMX Operation", 26.2 "Other Causes of VM Exits".
#include "core/nested/init_sipi.h"

#include <algorithm>

#include "core/nested/hypervisor.h"
#include "core/nested/vmcs01.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/control_registers.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

class InitSipiTest : public testing::Test {
 protected:
  // L1 gets an INIT in VMX root operation, then enters L2.
  void EnterWithInit() {
    l1_.MakeCurrentVmcs12(v_);
    l1_.Exit(ExitReason::kInitSignal);
    EXPECT_EQ(l1_.state.init_latched, 1u);
    l1_.Exit(ExitReason::kVmlaunch);
  }
  void Inject(InterruptionInformation event) {
    v_.Set<VmcsField::kVmEntryInterruptionInformation>(event.value());
  }
  void ExpectInitExit() {
    EXPECT_FALSE(l1_.L2Runs());
    EXPECT_EQ(l1_.state.vmcs12.Get<VmcsField::kExitReason>(), 3u);
    EXPECT_EQ(l1_.state.init_latched, 0u);
  }

  FakeVcpu l1_;
  VmcsImage v_ = ValidVmcs12(l1_.state.offered);
};

TEST_F(InitSipiTest, AHeldBackInitExitsAsSoonAsL2Runs) {
  EnterWithInit();
  ExpectInitExit();
}

TEST_F(InitSipiTest, AnEventThatL1InjectsGoesFirstAndNothingElse) {
  Inject(InterruptionInformation::ExternalInterrupt(0x21));
  EnterWithInit();
  ASSERT_TRUE(l1_.L2Runs());
  const VmcsImage& l2 = l1_.vmcs.vmcs02();
  EXPECT_NE(l2.Get<VmcsField::kPinBasedControls>() & PinBased::kActivateVmxPreemptionTimer, 0u);
  EXPECT_EQ(l2.Get<VmcsField::kVmxPreemptionTimerValue>(), 0u);
  l1_.Exit(ExitReason::kVmxPreemptionTimerExpired);
  ExpectInitExit();
}

// SDM Vol. 3C, 26.5.2 "Monitor Trap Flag": INIT has priority over the exit that is pending.
TEST_F(InitSipiTest, ExitsOfL1sBehindTheEventComeBehindInit) {
  v_.Set<VmcsField::kPrimaryProcessorBasedControls>(
      v_.Get<VmcsField::kPrimaryProcessorBasedControls>() |
      PrimaryProcessorBased::kMonitorTrapFlag);
  v_.Set<VmcsField::kPinBasedControls>(v_.Get<VmcsField::kPinBasedControls>() |
                                       PinBased::kActivateVmxPreemptionTimer);
  for (const ExitReason reason :
       {ExitReason::kMonitorTrapFlag, ExitReason::kVmxPreemptionTimerExpired}) {
    Inject(InterruptionInformation::ExternalInterrupt(0x21));
    EnterWithInit();
    ASSERT_TRUE(l1_.L2Runs());
    l1_.Exit(reason);
    ExpectInitExit();
  }
}

// SDM Vol. 3C, 27.7.7 "VM Exits Induced by the TPR Threshold".
TEST_F(InitSipiTest, AnExitForTheTprThresholdGoesFirst) {
  constexpr uint64_t kPage = 0x7000;
  v_.Set<VmcsField::kPrimaryProcessorBasedControls>(
      v_.Get<VmcsField::kPrimaryProcessorBasedControls>() | PrimaryProcessorBased::kUseTprShadow |
      PrimaryProcessorBased::kActivateSecondaryControls);
  v_.Set<VmcsField::kSecondaryProcessorBasedControls>(Secondary::kVirtualizeApicAccesses);
  v_.Set<VmcsField::kVirtualApicAddress>(kPage);
  v_.Set<VmcsField::kApicAccessAddress>(kPage + kPageSize);
  v_.Set<VmcsField::kTprThreshold>(2);
  EnterWithInit();
  ASSERT_TRUE(l1_.L2Runs());
  l1_.Exit(ExitReason::kTprBelowThreshold);
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(l1_.state.vmcs12.Get<VmcsField::kExitReason>(), 43u);
  EXPECT_EQ(l1_.state.init_latched, 1u);
}

TEST_F(InitSipiTest, InitComesBeforeAPendingMtfExitAndAPendingDebugException) {
  Inject(InterruptionInformation::MonitorTrapFlag());
  v_.Set<VmcsField::kGuestPendingDebugExceptions>(PendingDebugExceptions::kBs);
  EnterWithInit();
  ExpectInitExit();
  EXPECT_EQ(l1_.state.vmcs12.Get<VmcsField::kGuestPendingDebugExceptions>(),
            PendingDebugExceptions::kBs);
}

TEST_F(InitSipiTest, AnL2ThatWaitsForASipiDoesNotExitForInit) {
  v_.Set<VmcsField::kGuestActivityState>(static_cast<uint64_t>(ActivityState::kWaitForSipi));
  EnterWithInit();
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_EQ(l1_.state.init_latched, 1u);
  // The SIPI ends the wait; INIT stays blocked in L1's root operation.
  l1_.Exit(ExitReason::kStartUpIpi, 0x12);
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(l1_.state.vmcs12.Get<VmcsField::kExitReason>(), 4u);
  EXPECT_EQ(l1_.state.vmcs12.Get<VmcsField::kExitQualification>(), 0x12u);
  EXPECT_EQ(l1_.state.init_latched, 1u);
}

// --- L1 outside VMX operation ---

// SDM Vol. 3A, Table 10-1 "IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT".
TEST_F(InitSipiTest, AfterInitL1IsInRealModeAtTheResetVector) {
  VmcsImage& l1 = l1_.vmcs.vmcs01();
  WriteL1Cr0(l1_.vcpu(), ReadL1Cr0(l1_.vcpu()) | Cr0::kCd);
  l1_.Register(GeneralRegister::kRbx) = 7;
  l1_.state.cr2 = 0x1234;
  l1_.Exit(ExitReason::kInitSignal);
  EXPECT_EQ(ReadL1Cr0(l1_.vcpu()), Cr0::kEt | Cr0::kCd);
  EXPECT_EQ(ReadL1Cr4(l1_.vcpu()), 0u);
  EXPECT_EQ(l1.Get<VmcsField::kGuestIa32Efer>(), 0u);
  EXPECT_EQ(l1.Get<VmcsField::kVmEntryControls>() & VmEntry::kIa32eModeGuest, 0u);
  EXPECT_EQ(l1.Get<VmcsField::kGuestRflags>(), 2u);
  EXPECT_EQ(l1.Get<VmcsField::kGuestRip>(), 0xFFF0u);
  EXPECT_EQ(l1.Get<VmcsField::kGuestCsSelector>(), 0xF000u);
  EXPECT_EQ(l1.Get<VmcsField::kGuestCsBase>(), 0xFFFF0000u);
  EXPECT_EQ(l1.Get<VmcsField::kGuestCsLimit>(), 0xFFFFu);
  EXPECT_EQ(l1.Get<VmcsField::kGuestSsSelector>(), 0u);
  EXPECT_EQ(l1.Get<VmcsField::kGuestSsBase>(), 0u);
  EXPECT_EQ(l1.Get<VmcsField::kGuestDsLimit>(), 0xFFFFu);
  EXPECT_EQ(l1.Get<VmcsField::kGuestIdtrBase>(), 0u);
  EXPECT_EQ(l1.Get<VmcsField::kGuestIdtrLimit>(), 0xFFFFu);
  EXPECT_EQ(l1.Get<VmcsField::kGuestDr7>(), 0x400u);
  EXPECT_EQ(l1_.Register(GeneralRegister::kRbx), 0u);
  EXPECT_EQ(l1_.Register(GeneralRegister::kRdx), l1_.cpu.Cpuid(1, 0).eax);
  EXPECT_EQ(l1_.state.cr2, 0u);
  EXPECT_EQ(l1.Get<VmcsField::kGuestActivityState>(),
            static_cast<uint64_t>(ActivityState::kWaitForSipi));
}

// SDM Vol. 3A, 9.4 "Multiple-Processor (MP) Initialization": the vector is the number of a page.
TEST_F(InitSipiTest, ASipiStartsL1AtThePageThatItNames) {
  VmcsImage& l1 = l1_.vmcs.vmcs01();
  l1_.Exit(ExitReason::kInitSignal);
  l1_.Exit(ExitReason::kStartUpIpi, 0x9A);
  EXPECT_EQ(l1.Get<VmcsField::kGuestCsSelector>(), 0x9A00u);
  EXPECT_EQ(l1.Get<VmcsField::kGuestCsBase>(), 0x9A000u);
  EXPECT_EQ(l1.Get<VmcsField::kGuestRip>(), 0u);
  EXPECT_EQ(l1.Get<VmcsField::kGuestActivityState>(), 0u);
}

// --- A backend that takes them off L1's hands ---

TEST_F(InitSipiTest, InitAndSipiBetweenTwoExitsDoWhatTheirExitsDo) {
  VmcsImage& l1 = l1_.vmcs.vmcs01();
  SendInitToGuest(l1_.vcpu());
  ArrangeEntry(l1_.vcpu());
  EXPECT_EQ(l1.Get<VmcsField::kGuestRip>(), 0xFFF0u);
  EXPECT_EQ(l1.Get<VmcsField::kGuestActivityState>(),
            static_cast<uint64_t>(ActivityState::kWaitForSipi));
  EXPECT_EQ(l1_.state.left_out, 1u);
  l1_.Register(GeneralRegister::kRbx) = 7;
  SendInitToGuest(l1_.vcpu());
  ArrangeEntry(l1_.vcpu());
  EXPECT_EQ(l1_.Register(GeneralRegister::kRbx), 7u) << "it waits already";
  SendSipiToL1(l1_.vcpu(), 0x9A);
  EXPECT_EQ(l1.Get<VmcsField::kGuestCsSelector>(), 0x9A00u);
  EXPECT_EQ(l1.Get<VmcsField::kGuestCsBase>(), 0x9A000u);
  EXPECT_EQ(l1.Get<VmcsField::kGuestRip>(), 0u);
  EXPECT_EQ(l1.Get<VmcsField::kGuestActivityState>(), 0u);
  EXPECT_EQ(l1_.state.left_out, 0u);
}

TEST_F(InitSipiTest, ASipiThatL1DoesNotWaitForIsDropped) {
  const uint64_t rip = l1_.vmcs.vmcs01().Get<VmcsField::kGuestRip>();
  SendSipiToL1(l1_.vcpu(), 0x9A);
  EXPECT_EQ(l1_.vmcs.vmcs01().Get<VmcsField::kGuestRip>(), rip);
  v_.Set<VmcsField::kGuestActivityState>(static_cast<uint64_t>(ActivityState::kWaitForSipi));
  l1_.MakeCurrentVmcs12(v_);
  l1_.Exit(ExitReason::kVmlaunch);
  SendSipiToL1(l1_.vcpu(), 0x9A);
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_EQ(l1_.state.left_out, 1u);
}

TEST_F(InitSipiTest, AnInitBetweenTwoExitsIsL2sExit) {
  l1_.RunL2(v_);
  SendInitToGuest(l1_.vcpu());
  ArrangeEntry(l1_.vcpu());
  ExpectInitExit();
  SendInitToGuest(l1_.vcpu());
  ArrangeEntry(l1_.vcpu());
  EXPECT_EQ(l1_.state.init_latched, 1u) << "blocked in L1's root operation";
}

// --- Quiesces, which an NMI cannot bring to a CPU that waits ---

TEST_F(InitSipiTest, WhileL2WaitsForASipiTheCpuIsLeftOutOfQuiesces) {
  v_.Set<VmcsField::kGuestActivityState>(static_cast<uint64_t>(ActivityState::kWaitForSipi));
  l1_.MakeCurrentVmcs12(v_);
  l1_.Exit(ExitReason::kVmlaunch);
  EXPECT_EQ(l1_.state.left_out, 1u);
  EXPECT_TRUE(l1_.smp().left_out);
  l1_.log.clear();
  l1_.Exit(ExitReason::kStartUpIpi);
  EXPECT_EQ(l1_.state.left_out, 0u);
  // It takes part again before anything of the exit is handled.
  const auto taken_part = std::find(l1_.log.begin(), l1_.log.end(), "release quiesce_lock");
  const auto to_l1 = std::find(l1_.log.begin(), l1_.log.end(), "VMPTRLD VMCS01");
  EXPECT_LT(taken_part - l1_.log.begin(), to_l1 - l1_.log.begin());
}

TEST_F(InitSipiTest, WhileL1WaitsForASipiTheCpuIsLeftOutOfQuiesces) {
  l1_.Exit(ExitReason::kInitSignal);
  EXPECT_EQ(l1_.vmcs.vmcs01().Get<VmcsField::kGuestActivityState>(),
            static_cast<uint64_t>(ActivityState::kWaitForSipi));
  EXPECT_EQ(l1_.state.left_out, 1u);
  l1_.Exit(ExitReason::kStartUpIpi, 0x12);
  EXPECT_EQ(l1_.state.left_out, 0u);
}

TEST_F(InitSipiTest, AnotherActivityStateIsStoppedAsEver) {
  v_.Set<VmcsField::kGuestActivityState>(static_cast<uint64_t>(ActivityState::kHlt));
  l1_.RunL2(v_);
  l1_.Exit(ExitReason::kNmiWindow);
  EXPECT_EQ(l1_.state.left_out, 0u);
}

}  // namespace
}  // namespace nvmx
