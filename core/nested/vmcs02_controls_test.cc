// SPDX-License-Identifier: Apache-2.0
//
// The controls of VMCS02: L1's and L0's. SDM Vol. 3C, 25.6 to 25.8.
#include "core/nested/vmcs02_controls.h"

#include "core/nested/nested_entry.h"
#include "core/nested/tsc.h"
#include "core/nested/vmcs02.h"
#include "core/nested/vmcs12.h"
#include "core/testing/builders.h"
#include "core/testing/core_objects.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/hole_embedder.h"
#include "core/testing/matchers.h"
#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using enum VmcsField;

constexpr uint64_t kPage = 0x30000;
constexpr uint64_t kOtherPage = 0x31000;

class Vmcs02ControlsTest : public testing::Test {
 protected:
  void SetBits(VmcsField field, uint64_t bits) { v_.Write(field, v_.Read(field) | bits); }
  void UseSecondary(uint32_t controls) {
    SetBits(kPrimaryProcessorBasedControls, PrimaryProcessorBased::kActivateSecondaryControls);
    SetBits(kSecondaryProcessorBasedControls, controls);
  }
  void UseTprShadow() {
    SetBits(kPrimaryProcessorBasedControls, PrimaryProcessorBased::kUseTprShadow);
    v_.Set<kVirtualApicAddress>(kPage);
  }
  void UseIoBitmaps() {
    SetBits(kPrimaryProcessorBasedControls, PrimaryProcessorBased::kUseIoBitmaps);
    v_.Set<kIoBitmapAAddress>(kPage);
    v_.Set<kIoBitmapBAddress>(kOtherPage);
  }
  uint64_t In02(VmcsField field) { return l1_.vmcs.vmcs02().Read(field); }
  uint32_t Primary02() { return static_cast<uint32_t>(In02(kPrimaryProcessorBasedControls)); }
  uint32_t Secondary02() { return static_cast<uint32_t>(In02(kSecondaryProcessorBasedControls)); }
  void Run() { l1_.RunL2(v_); }

  FakeVcpu l1_;
  VmcsImage v_ = ValidVmcs12(l1_.state.offered);
};

TEST_F(Vmcs02ControlsTest, WhatL1AsksForIsAsked) {
  constexpr uint32_t kPrimary =
      PrimaryProcessorBased::kHltExiting | PrimaryProcessorBased::kInvlpgExiting |
      PrimaryProcessorBased::kMwaitExiting | PrimaryProcessorBased::kRdpmcExiting |
      PrimaryProcessorBased::kRdtscExiting | PrimaryProcessorBased::kCr8LoadExiting |
      PrimaryProcessorBased::kCr8StoreExiting | PrimaryProcessorBased::kMovDrExiting |
      PrimaryProcessorBased::kUnconditionalIoExiting | PrimaryProcessorBased::kMonitorTrapFlag |
      PrimaryProcessorBased::kMonitorExiting | PrimaryProcessorBased::kPauseExiting |
      PrimaryProcessorBased::kInterruptWindowExiting;
  constexpr uint32_t kSecondary = Secondary::kDescriptorTableExiting | Secondary::kEnableRdtscp |
                                  Secondary::kWbinvdExiting | Secondary::kRdrandExiting |
                                  Secondary::kEnableInvpcid | Secondary::kRdseedExiting;
  SetBits(kPrimaryProcessorBasedControls, kPrimary);
  SetBits(kPinBasedControls, PinBased::kExternalInterruptExiting);
  SetBits(kVmExitControls, VmExit::kAcknowledgeInterruptOnExit);
  UseSecondary(kSecondary);
  Run();
  EXPECT_EQ(Primary02() & kPrimary, kPrimary);
  EXPECT_EQ(Secondary02() & kSecondary, kSecondary);
  EXPECT_NE(In02(kPinBasedControls) & PinBased::kExternalInterruptExiting, 0u);
  EXPECT_NE(In02(kVmExitControls) & VmExit::kAcknowledgeInterruptOnExit, 0u);
}

TEST_F(Vmcs02ControlsTest, WhatL1DoesNotAskForIsNotAsked) {
  Run();
  EXPECT_EQ(Primary02(), v_.Get<kPrimaryProcessorBasedControls>() |
                             PrimaryProcessorBased::kActivateSecondaryControls);
  EXPECT_EQ(Secondary02() & ~Secondary::kEnableVpid, 0u);
}

TEST_F(Vmcs02ControlsTest, SecondaryControlsThatL1DoesNotActivateDoNotCount) {
  SetBits(kSecondaryProcessorBasedControls, Secondary::kWbinvdExiting);
  Run();
  EXPECT_EQ(Secondary02() & Secondary::kWbinvdExiting, 0u);
}

TEST_F(Vmcs02ControlsTest, Cr3LoadAndStoreExitingMayBe0) {
  constexpr uint32_t kBoth =
      PrimaryProcessorBased::kCr3LoadExiting | PrimaryProcessorBased::kCr3StoreExiting;
  Run();
  EXPECT_EQ(Primary02() & kBoth, 0u);
}

TEST_F(Vmcs02ControlsTest, ShadowingAndPmlAreDoneBySoftware) {
  UseSecondary(Secondary::kVmcsShadowing);
  Run();
  EXPECT_EQ(Secondary02() & (Secondary::kVmcsShadowing | Secondary::kEnablePml), 0u);
  EXPECT_EQ(In02(kVmcsLinkPointer), ~uint64_t{0});
}

TEST_F(Vmcs02ControlsTest, Cr3TargetsAreL1s) {
  v_.Set<kCr3TargetCount>(2);
  v_.Set<kCr3TargetValue0>(0x5000);
  v_.Set<kCr3TargetValue1>(0x6000);
  Run();
  EXPECT_EQ(In02(kCr3TargetCount), 2u);
  EXPECT_EQ(In02(kCr3TargetValue0), 0x5000u);
  EXPECT_EQ(In02(kCr3TargetValue1), 0x6000u);
}

// --- CR4 ---

TEST_F(Vmcs02ControlsTest, BitsOfCr4ThatAreNotOfferedAreL0s) {
  v_.Set<kCr4GuestHostMask>(Cr4::kPge);
  v_.Set<kCr4ReadShadow>(Cr4::kPge | Cr4::kSmxe);
  Run();
  EXPECT_EQ(In02(kCr4GuestHostMask), ~l1_.state.offered.cr4_fixed1 | Cr4::kPge);
  EXPECT_EQ(In02(kCr4ReadShadow), Cr4::kPge);
}

TEST_F(Vmcs02ControlsTest, ABitOfCr4ThatL1OwnsReadsAsL1Says) {
  v_.Set<kCr4GuestHostMask>(Cr4::kSmxe);
  v_.Set<kCr4ReadShadow>(Cr4::kSmxe);
  Run();
  EXPECT_EQ(In02(kCr4ReadShadow), Cr4::kSmxe);
}

// --- Time: SDM Vol. 3C, 26.3 "Changes to Instruction Behavior in VMX Non-Root Operation" ---

TEST_F(Vmcs02ControlsTest, TheTscOffsetIsL1sIfL0HasNone) {
  SetBits(kPrimaryProcessorBasedControls, PrimaryProcessorBased::kUseTscOffsetting);
  v_.Set<kTscOffset>(1000);
  Run();
  EXPECT_EQ(In02(kTscOffset), 1000u);
  EXPECT_NE(Primary02() & PrimaryProcessorBased::kUseTscOffsetting, 0u);
}

TEST_F(Vmcs02ControlsTest, AnOffsetThatL1DoesNotUseDoesNotCount) {
  v_.Set<kTscOffset>(1000);
  Run();
  EXPECT_EQ(In02(kTscOffset), 0u);
  EXPECT_EQ(Primary02() & PrimaryProcessorBased::kUseTscOffsetting, 0u);
}

class TscOf01Test : public Vmcs02ControlsTest {
 protected:
  void UseOffset01(uint64_t offset) {
    VmcsImage& vmcs01 = l1_.vmcs.vmcs01();
    vmcs01.Set<kPrimaryProcessorBasedControls>(vmcs01.Get<kPrimaryProcessorBasedControls>() |
                                               PrimaryProcessorBased::kUseTscOffsetting);
    vmcs01.Set<kTscOffset>(offset);
  }
};

TEST_F(TscOf01Test, OffsetsAddUp) {
  UseOffset01(70);
  SetBits(kPrimaryProcessorBasedControls, PrimaryProcessorBased::kUseTscOffsetting);
  v_.Set<kTscOffset>(1000);
  Run();
  EXPECT_EQ(In02(kTscOffset), 1070u);
}

TEST_F(TscOf01Test, L0sOffsetCountsWithoutL1s) {
  UseOffset01(70);
  Run();
  EXPECT_EQ(In02(kTscOffset), 70u);
  EXPECT_NE(Primary02() & PrimaryProcessorBased::kUseTscOffsetting, 0u);
}

TEST_F(TscOf01Test, L1sScaleAppliesToL0sOffset) {
  UseOffset01(70);
  SetBits(kPrimaryProcessorBasedControls, PrimaryProcessorBased::kUseTscOffsetting);
  UseSecondary(Secondary::kUseTscScaling);
  v_.Set<kTscMultiplier>(2 * TscView::kUnscaled);
  v_.Set<kTscOffset>(1000);
  Run();
  EXPECT_EQ(In02(kTscOffset), 1140u);
  EXPECT_EQ(In02(kTscMultiplier), 2 * TscView::kUnscaled);
  EXPECT_NE(Secondary02() & Secondary::kUseTscScaling, 0u);
}

TEST_F(TscOf01Test, ScalingWithoutOffsettingDoesNotCount) {
  UseSecondary(Secondary::kUseTscScaling);
  v_.Set<kTscMultiplier>(2 * TscView::kUnscaled);
  Run();
  EXPECT_EQ(Secondary02() & Secondary::kUseTscScaling, 0u);
}

TEST_F(TscOf01Test, L0sScaleCountsToo) {
  UseOffset01(70);
  VmcsImage& vmcs01 = l1_.vmcs.vmcs01();
  vmcs01.Set<kSecondaryProcessorBasedControls>(vmcs01.Get<kSecondaryProcessorBasedControls>() |
                                               Secondary::kUseTscScaling);
  vmcs01.Set<kTscMultiplier>(3 * TscView::kUnscaled);
  SetBits(kPrimaryProcessorBasedControls, PrimaryProcessorBased::kUseTscOffsetting);
  UseSecondary(Secondary::kUseTscScaling);
  v_.Set<kTscMultiplier>(2 * TscView::kUnscaled);
  v_.Set<kTscOffset>(1000);
  Run();
  EXPECT_EQ(In02(kTscMultiplier), 6 * TscView::kUnscaled);
  EXPECT_EQ(In02(kTscOffset), 1140u);
}

TEST_F(TscOf01Test, ANewOffsetOfL0sIsFollowed) {
  UseOffset01(70);
  Run();
  l1_.Exit(ExitReason::kVmcall);
  UseOffset01(90);
  ASSERT_THAT(EnterL2(l1_.vcpu(), /*launch=*/false), Enters());
  EXPECT_EQ(In02(kTscOffset), 90u);
}

TEST_F(TscOf01Test, OffsettingThatL1BeginsToUseIsFollowed) {
  v_.Set<kTscOffset>(1000);
  Run();
  l1_.Exit(ExitReason::kVmcall);
  WriteVmcs12(l1_.vcpu(), kPrimaryProcessorBasedControls,
              v_.Get<kPrimaryProcessorBasedControls>() | PrimaryProcessorBased::kUseTscOffsetting);
  ASSERT_THAT(EnterL2(l1_.vcpu(), /*launch=*/false), Enters());
  EXPECT_EQ(In02(kTscOffset), 1000u);
}

// --- IA32_PERF_GLOBAL_CTRL and the preemption timer ---

TEST_F(Vmcs02ControlsTest, PerfGlobalCtrlIsLoadedBySoftware) {
  constexpr uint32_t kMsr = Index(Msr::IA32_PERF_GLOBAL_CTRL);
  l1_.cpu.SetCpuid(0xA, 0, {0x0830'0402, 0, 0, 0x603});
  l1_.cpu.msrs()[kMsr] = 0;
  SetBits(kVmEntryControls, VmEntry::kLoadIa32PerfGlobalCtrl);
  SetBits(kVmExitControls, VmExit::kLoadIa32PerfGlobalCtrl);
  v_.Set<kGuestIa32PerfGlobalCtrl>(3);
  v_.Set<kHostIa32PerfGlobalCtrl>(5);
  Run();
  EXPECT_EQ(l1_.cpu.msrs()[kMsr], 3u);
  EXPECT_EQ(In02(kVmEntryControls) & VmEntry::kLoadIa32PerfGlobalCtrl, 0u);
  EXPECT_EQ(In02(kVmExitControls) & VmExit::kLoadIa32PerfGlobalCtrl, 0u);
  l1_.cpu.msrs()[kMsr] = 1;
  l1_.Exit(ExitReason::kVmcall);
  EXPECT_EQ(l1_.cpu.msrs()[kMsr], 5u);
  EXPECT_EQ(ReadVmcs12(l1_.vcpu(), kGuestIa32PerfGlobalCtrl), 3u);
}

TEST_F(Vmcs02ControlsTest, PerfGlobalCtrlStaysIfItIsNotLoaded) {
  constexpr uint32_t kMsr = Index(Msr::IA32_PERF_GLOBAL_CTRL);
  l1_.cpu.msrs()[kMsr] = 1;
  v_.Set<kGuestIa32PerfGlobalCtrl>(3);
  v_.Set<kHostIa32PerfGlobalCtrl>(5);
  Run();
  EXPECT_EQ(l1_.cpu.msrs()[kMsr], 1u);
  l1_.Exit(ExitReason::kVmcall);
  EXPECT_EQ(l1_.cpu.msrs()[kMsr], 1u);
}

// --- Addresses that hardware uses ---

TEST_F(Vmcs02ControlsTest, AddressesAreTranslatedWithEpt01) {
  const EmbedderWithHole embedder({.shift = uint64_t{1} << 32});
  l1_.SetEmbedder(embedder);
  UseTprShadow();
  UseIoBitmaps();
  UseSecondary(Secondary::kVirtualizeApicAccesses);
  v_.Set<kApicAccessAddress>(kOtherPage);
  Run();
  EXPECT_EQ(In02(kVirtualApicAddress), 0x1'0000'0000 + kPage);
  EXPECT_EQ(In02(kIoBitmapAAddress), 0x1'0000'0000 + kPage);
  EXPECT_EQ(In02(kIoBitmapBAddress), 0x1'0000'0000 + kOtherPage);
  EXPECT_EQ(In02(kApicAccessAddress), 0x1'0000'0000 + kOtherPage);
  EXPECT_NE(Primary02() & PrimaryProcessorBased::kUseTprShadow, 0u);
  EXPECT_NE(Primary02() & PrimaryProcessorBased::kUseIoBitmaps, 0u);
  EXPECT_NE(Secondary02() & Secondary::kVirtualizeApicAccesses, 0u);
}

TEST_F(Vmcs02ControlsTest, AnIoBitmapThatL1CannotReachMakesAllIoExit) {
  const EmbedderWithHole embedder({.hole = kOtherPage});
  l1_.SetEmbedder(embedder);
  UseIoBitmaps();
  Run();
  EXPECT_EQ(Primary02() & PrimaryProcessorBased::kUseIoBitmaps, 0u);
  EXPECT_NE(Primary02() & PrimaryProcessorBased::kUnconditionalIoExiting, 0u);
}

TEST_F(Vmcs02ControlsTest, AVirtualApicPageThatL1CannotReachIsNotGivenToHardware) {
  const EmbedderWithHole embedder({.hole = kPage});
  l1_.SetEmbedder(embedder);
  UseTprShadow();
  UseSecondary(Secondary::kVirtualizeX2ApicMode);
  Run();
  EXPECT_EQ(Primary02() & PrimaryProcessorBased::kUseTprShadow, 0u);
  EXPECT_NE(Primary02() & PrimaryProcessorBased::kCr8LoadExiting, 0u);
  EXPECT_NE(Primary02() & PrimaryProcessorBased::kCr8StoreExiting, 0u);
  EXPECT_EQ(Secondary02() & Secondary::kVirtualizeX2ApicMode, 0u);
  EXPECT_EQ(In02(kVirtualApicAddress), 0u);
}

TEST_F(Vmcs02ControlsTest, APageThatL1MayOnlyReadIsNoVirtualApicPage) {
  const EmbedderWithHole embedder({.hole = kPage, .hole_is_readable = true});
  l1_.SetEmbedder(embedder);
  UseTprShadow();
  Run();
  EXPECT_EQ(Primary02() & PrimaryProcessorBased::kUseTprShadow, 0u);
}

// It is a page of L0's instead. Without the control the TPR threshold would be checked.
TEST_F(Vmcs02ControlsTest, AnApicAccessPageThatL1CannotReachIsNotGivenToHardware) {
  const EmbedderWithHole embedder({.hole = kOtherPage});
  l1_.SetEmbedder(embedder);
  UseTprShadow();
  UseSecondary(Secondary::kVirtualizeApicAccesses);
  v_.Set<kApicAccessAddress>(kOtherPage);
  Run();
  EXPECT_NE(Primary02() & PrimaryProcessorBased::kUseTprShadow, 0u);
  EXPECT_NE(Secondary02() & Secondary::kVirtualizeApicAccesses, 0u);
  EXPECT_EQ(In02(kApicAccessAddress), l1_.vcpu().host_pages.AddressOf(kMsrBitmapPage).value);
}

TEST_F(Vmcs02ControlsTest, WithoutPagesOfL0sThereIsNeitherShadowNorApicAccessPage) {
  const EmbedderWithHole embedder({.hole = kOtherPage});
  l1_.SetEmbedder(embedder);
  l1_.TakeHostPages();
  UseTprShadow();
  UseSecondary(Secondary::kVirtualizeApicAccesses);
  v_.Set<kApicAccessAddress>(kOtherPage);
  Run();
  EXPECT_EQ(Primary02() & PrimaryProcessorBased::kUseTprShadow, 0u);
  EXPECT_EQ(Secondary02() & Secondary::kVirtualizeApicAccesses, 0u);
}

TEST_F(Vmcs02ControlsTest, AChangeOfEpt01IsFollowed) {
  EmbedderWithHole embedder({.hole = kOtherPage});
  l1_.SetEmbedder(embedder);
  UseTprShadow();
  Run();
  EXPECT_TRUE(HasTranslatedAddresses(v_));
  embedder.Change({.hole = kPage});
  TranslateAddressesAgain(l1_.vcpu());
  EXPECT_EQ(Primary02() & PrimaryProcessorBased::kUseTprShadow, 0u);
  embedder.Change({.shift = uint64_t{1} << 32});
  TranslateAddressesAgain(l1_.vcpu());
  EXPECT_NE(Primary02() & PrimaryProcessorBased::kUseTprShadow, 0u);
  EXPECT_EQ(In02(kVirtualApicAddress), 0x1'0000'0000 + kPage);
}

TEST_F(Vmcs02ControlsTest, WithoutSuchPagesThereAreNoTranslatedAddresses) {
  EXPECT_FALSE(HasTranslatedAddresses(v_));
}

}  // namespace
}  // namespace nvmx
