// SPDX-License-Identifier: Apache-2.0
//
// VM exits of L1 that are neither VMX instructions nor NMIs.
#include "core/nested/hypervisor.h"

#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/matchers.h"
#include "core/testing/serving_embedder.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using enum GeneralRegister;

const VmxOutcome kGeneralProtection = VmxOutcome::Fault(Vector::kGeneralProtection);
constexpr uint32_t kLstar = Index(Msr::IA32_LSTAR);
constexpr uint64_t kGarbage = 0xAAAA'AAAA'0000'0000;

class HypervisorTest : public testing::Test {
 protected:
  HypervisorTest() { l1_.cpu.msrs() = {{kLstar, 0x1122'3344'5566'7788}}; }
  VmxOutcome Rdmsr(uint32_t msr) {
    l1_.Register(kRcx) = kGarbage | msr;
    l1_.Register(kRax) = kGarbage;
    l1_.Register(kRdx) = kGarbage;
    return l1_.Execute(ExitReason::kRdmsr);
  }
  VmxOutcome Wrmsr(uint32_t msr, uint64_t value) {
    l1_.Register(kRcx) = kGarbage | msr;
    l1_.Register(kRax) = kGarbage | (value & 0xFFFFFFFF);
    l1_.Register(kRdx) = kGarbage | value >> 32;
    return l1_.Execute(ExitReason::kWrmsr);
  }
  uint64_t EdxEax() { return l1_.Register(kRdx) << 32 | l1_.Register(kRax); }

  FakeVcpu l1_;
};

TEST_F(HypervisorTest, RdmsrReturnsTheValueInEdxEaxAndClearsTheUpperHalves) {
  EXPECT_EQ(Rdmsr(kLstar), VmxOutcome::Succeed());
  EXPECT_EQ(l1_.Register(kRax), 0x55667788u);
  EXPECT_EQ(l1_.Register(kRdx), 0x11223344u);
}

TEST_F(HypervisorTest, WrmsrTakesTheLowHalvesOnly) {
  EXPECT_EQ(Wrmsr(kLstar, 0x8877'6655'4433'2211), VmxOutcome::Succeed());
  EXPECT_EQ(l1_.cpu.msrs()[kLstar], 0x8877'6655'4433'2211u);
}

TEST_F(HypervisorTest, AnMsrThatDoesNotExistIsGeneralProtection) {
  EXPECT_EQ(Rdmsr(0x12345), kGeneralProtection);
  EXPECT_EQ(l1_.Register(kRax), kGarbage);
  EXPECT_EQ(Wrmsr(0x12345, 0), kGeneralProtection);
}

TEST_F(HypervisorTest, L1ReadsTheOfferedVmxCapabilitiesAndCannotWriteThem) {
  EXPECT_EQ(Rdmsr(Index(Msr::IA32_VMX_MISC)), VmxOutcome::Succeed());
  EXPECT_EQ(EdxEax(), l1_.state.offered.misc);
  EXPECT_EQ(Rdmsr(Index(Msr::IA32_VMX_PROCBASED_CTLS3)), kGeneralProtection);
  EXPECT_EQ(Wrmsr(Index(Msr::IA32_VMX_MISC), 0), kGeneralProtection);
}

TEST_F(HypervisorTest, L1sSwitchedMsrsAreInVmcs01) {
  EXPECT_EQ(Wrmsr(Index(Msr::IA32_PAT), 0x0606'0606'0606'0606), VmxOutcome::Succeed());
  EXPECT_EQ(l1_.vmcs.vmcs01().Get<VmcsField::kGuestIa32Pat>(), 0x0606'0606'0606'0606u);
  EXPECT_EQ(l1_.vmcs.vmcs02().Get<VmcsField::kGuestIa32Pat>(), 0u);
  EXPECT_EQ(Wrmsr(Index(Msr::IA32_GS_BASE), 0x5000), VmxOutcome::Succeed());
  EXPECT_EQ(Rdmsr(Index(Msr::IA32_GS_BASE)), VmxOutcome::Succeed());
  EXPECT_EQ(EdxEax(), 0x5000u);
  EXPECT_EQ(Wrmsr(Index(Msr::IA32_FS_BASE), uint64_t{1} << 47), kGeneralProtection);
}

TEST_F(HypervisorTest, AMicrocodeUpdateDoesNothing) {
  l1_.cpu.msrs()[Index(Msr::IA32_BIOS_UPDT_TRIG)] = 0x99;
  EXPECT_EQ(Wrmsr(Index(Msr::IA32_BIOS_UPDT_TRIG), 0x1000), VmxOutcome::Succeed());
  EXPECT_EQ(l1_.cpu.msrs()[Index(Msr::IA32_BIOS_UPDT_TRIG)], 0x99u);
  EXPECT_EQ(Rdmsr(Index(Msr::IA32_BIOS_UPDT_TRIG)), kGeneralProtection);
}

TEST_F(HypervisorTest, CpuidReturnsFourRegistersOf32Bits) {
  l1_.cpu.SetCpuid(0, 0, {0x10, 0, 0, 0});
  l1_.Register(kRax) = kGarbage | 0x10;
  l1_.Register(kRcx) = kGarbage | 0x20;
  l1_.Register(kRbx) = kGarbage;
  l1_.Register(kRdx) = kGarbage;
  EXPECT_EQ(l1_.Execute(ExitReason::kCpuid), VmxOutcome::Succeed());
  EXPECT_EQ(l1_.Register(kRax), 0x11u);
  EXPECT_EQ(l1_.Register(kRbx), 0x22u);
  EXPECT_EQ(l1_.Register(kRcx), 0x13u);
  EXPECT_EQ(l1_.Register(kRdx), 0x24u);
}

TEST_F(HypervisorTest, InvdIsDoneWithoutLosingWhatIsInTheCaches) {
  EXPECT_EQ(l1_.Execute(ExitReason::kInvd), VmxOutcome::Succeed());
}

TEST_F(HypervisorTest, GetsecIsUndefined) {
  EXPECT_EQ(l1_.Execute(ExitReason::kGetsec), VmxOutcome::Fault(Vector::kInvalidOpcode));
}

TEST_F(HypervisorTest, ATripleFaultShutsL1Down) {
  l1_.Exit(ExitReason::kTripleFault);
  EXPECT_EQ(l1_.vmcs.vmcs01().Get<VmcsField::kGuestActivityState>(), 2u);
}

// SDM Vol. 3C, 27.3.1.5 "Checks on Guest Non-Register State": with such blocking VM entry accepts
// the active state alone.
TEST_F(HypervisorTest, AnL1ThatShutsDownBehindStiOrMovSsCanBeEntered) {
  for (const uint32_t shadow :
       {Interruptibility::kBlockingBySti, Interruptibility::kBlockingByMovSs}) {
    l1_.vmcs.vmcs01().Set<VmcsField::kGuestInterruptibilityState>(shadow |
                                                                  Interruptibility::kBlockingByNmi);
    l1_.Exit(ExitReason::kTripleFault);
    EXPECT_EQ(l1_.vmcs.vmcs01().Get<VmcsField::kGuestInterruptibilityState>(),
              Interruptibility::kBlockingByNmi);
  }
}

TEST_F(HypervisorTest, ATaskSwitchShutsL1DownAndIsReported) {
  l1_.Exit(ExitReason::kTaskSwitch);
  EXPECT_EQ(l1_.vmcs.vmcs01().Get<VmcsField::kGuestActivityState>(), 2u);
  EXPECT_EQ(l1_.trace.Count(TraceKind::kAssertionFailed), 1);
}

TEST_F(HypervisorTest, AnAccessThatEpt01ForbidsIsGeneralProtection) {
  EXPECT_EQ(l1_.Execute(ExitReason::kEptViolation), kGeneralProtection);
}

TEST_F(HypervisorTest, AnMsrOfAFeatureThatIsNotOfferedIsGeneralProtection) {
  l1_.cpu.msrs()[Index(Msr::IA32_RTIT_CTL)] = 0;
  EXPECT_EQ(Rdmsr(Index(Msr::IA32_RTIT_CTL)), kGeneralProtection);
  EXPECT_EQ(Wrmsr(Index(Msr::IA32_RTIT_CTL), 0), kGeneralProtection);
}

TEST_F(HypervisorTest, FeatureControlIsLocked) {
  EXPECT_EQ(Rdmsr(Index(Msr::IA32_FEATURE_CONTROL)), VmxOutcome::Succeed());
  EXPECT_EQ(EdxEax(), 5u);
  EXPECT_EQ(Wrmsr(Index(Msr::IA32_FEATURE_CONTROL), 5), kGeneralProtection);
}

TEST_F(HypervisorTest, TheEmbedderMayRefuseTheWriteOfAnMtrr) {
  const ServingEmbedder embedder;
  l1_.SetEmbedder(embedder);
  l1_.OthersAnswerQuiesce();
  EXPECT_EQ(Wrmsr(Index(Msr::IA32_MTRR_PHYSBASE0), 0x100006), kGeneralProtection);
  EXPECT_EQ(Wrmsr(Index(Msr::IA32_MTRR_DEF_TYPE), 0x806), VmxOutcome::Succeed());
}

TEST_F(HypervisorTest, L1sOwnOffsetCountsWhenItReadsTheTimeStampCounter) {
  VmcsImage& vmcs01 = l1_.vmcs.vmcs01();
  vmcs01.Set<VmcsField::kPrimaryProcessorBasedControls>(
      vmcs01.Get<VmcsField::kPrimaryProcessorBasedControls>() |
      PrimaryProcessorBased::kUseTscOffsetting);
  vmcs01.Set<VmcsField::kTscOffset>(0x1000);
  l1_.clock.Set(0x234);
  EXPECT_EQ(Rdmsr(Index(Msr::IA32_TIME_STAMP_COUNTER)), VmxOutcome::Succeed());
  EXPECT_EQ(EdxEax(), 0x1234u);
}

TEST_F(HypervisorTest, AnExitThatNobodyAskedForIsReported) {
  l1_.Exit(ExitReason::kHlt);
  EXPECT_EQ(l1_.trace.events().back(), (TraceEvent{TraceKind::kAssertionFailed, 12, 0}));
}

TEST_F(HypervisorTest, WhatL2DoesIsL1sNotL0s) {
  l1_.RunL2();
  l1_.Exit(ExitReason::kRdmsr);
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(l1_.state.vmcs12.Get<VmcsField::kExitReason>(), 31u);
}

TEST_F(HypervisorTest, BothVmcssRunWithNmiExitingAndVirtualNmis) {
  constexpr uint32_t kBoth = PinBased::kNmiExiting | PinBased::kVirtualNmis;
  EXPECT_EQ(l1_.vmcs.vmcs01().Get<VmcsField::kPinBasedControls>() & kBoth, kBoth);
  EXPECT_EQ(l1_.vmcs.vmcs01().Get<VmcsField::kVmcsLinkPointer>(), ~uint64_t{0});
  l1_.RunL2();
  EXPECT_EQ(l1_.vmcs.vmcs02().Get<VmcsField::kPinBasedControls>() & kBoth, kBoth);
  EXPECT_EQ(l1_.vmcs.vmcs02().Get<VmcsField::kVmcsLinkPointer>(), ~uint64_t{0});
}

}  // namespace
}  // namespace nvmx
