// SPDX-License-Identifier: Apache-2.0
#include "core/vmx/capabilities.h"

#include <cstdint>
#include <initializer_list>
#include <optional>

#include "core/vmx/interruptibility.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

// A CPU on which every control may be 1.
Capabilities Everything() {
  Capabilities cpu;
  constexpr uint64_t kAll = MakeControlCapability(0, 0xFFFFFFFF);
  cpu.pinbased_ctls = kAll;
  cpu.procbased_ctls = kAll;
  cpu.procbased_ctls2 = kAll;
  cpu.exit_ctls = kAll;
  cpu.entry_ctls = kAll;
  cpu.vmfunc = VmFunction::kEptpSwitching;
  cpu.procbased_ctls3 = ~uint64_t{0};
  cpu.exit_ctls2 = ~uint64_t{0};
  cpu.misc = uint64_t{4} << VmxMisc::kCr3TargetCountShift;
  return cpu;
}

// The same without the 1-setting of `control`.
uint64_t Without(uint32_t control) { return MakeControlCapability(0, ~control); }

TEST(AllowsControlsTest, ABitThatMustBe1MustBe1) {
  constexpr uint64_t kCapability = MakeControlCapability(0x16, 0x7F);
  EXPECT_TRUE(AllowsControls(kCapability, 0x16));
  for (uint32_t bit : {0x2u, 0x4u, 0x10u}) {
    EXPECT_FALSE(AllowsControls(kCapability, 0x16 & ~bit)) << bit;
  }
}

TEST(AllowsControlsTest, ABitThatMayNotBe1MustBe0) {
  constexpr uint64_t kCapability = MakeControlCapability(0x16, 0x7F);
  EXPECT_TRUE(AllowsControls(kCapability, 0x7F));
  for (unsigned bit = 7; bit < 32; ++bit) {
    EXPECT_FALSE(AllowsControls(kCapability, 0x16 | uint32_t{1} << bit)) << bit;
  }
}

TEST(MakeControlCapabilityTest, WhatMustBe1MayBe1) {
  EXPECT_EQ(MakeControlCapability(0x16, 0), 0x0000001600000016u);
}

TEST(CapabilitiesTest, TheTrueMsrsDecideIfBasicBit55IsSet) {
  Capabilities cpu;
  cpu.procbased_ctls = MakeControlCapability(PrimaryProcessorBased::kDefault1, 0xFFFFFFFF);
  cpu.true_procbased_ctls = MakeControlCapability(0, 0xFFFFFFFF);
  EXPECT_EQ(cpu.PrimaryProcessorBasedControls(), cpu.procbased_ctls);
  cpu.basic = VmxBasic::kTrueControls;
  EXPECT_EQ(cpu.PrimaryProcessorBasedControls(), cpu.true_procbased_ctls);
}

TEST(CapabilitiesTest, EachMsrReadsItsOwnMember) {
  Capabilities cpu;
  cpu.basic = 0x480;
  cpu.pinbased_ctls = 0x481;
  cpu.procbased_ctls = 0x482;
  cpu.exit_ctls = 0x483;
  cpu.entry_ctls = 0x484;
  cpu.misc = 0x485;
  cpu.cr0_fixed0 = 0x486;
  cpu.cr0_fixed1 = 0x487;
  cpu.cr4_fixed0 = 0x488;
  cpu.cr4_fixed1 = 0x489;
  cpu.vmcs_enum = 0x48A;
  cpu.procbased_ctls2 = 0x48B;
  cpu.ept_vpid_cap = 0x48C;
  cpu.true_pinbased_ctls = 0x48D;
  cpu.true_procbased_ctls = 0x48E;
  cpu.true_exit_ctls = 0x48F;
  cpu.true_entry_ctls = 0x490;
  cpu.vmfunc = 0x491;
  cpu.procbased_ctls3 = 0x492;
  cpu.exit_ctls2 = 0x493;
  for (uint32_t msr = 0x480; msr <= 0x493; ++msr) EXPECT_EQ(cpu.Read(msr), msr);
  EXPECT_EQ(cpu.Read(0x47F), std::nullopt);
  EXPECT_EQ(cpu.Read(0x494), std::nullopt);
}

TEST(CapabilitiesTest, SecondaryControlsNeedTheirActivation) {
  Capabilities cpu = Everything();
  EXPECT_TRUE(cpu.SupportsSecondary(Secondary::kEnableEpt));
  cpu.procbased_ctls = Without(PrimaryProcessorBased::kActivateSecondaryControls);
  EXPECT_FALSE(cpu.SupportsSecondary(Secondary::kEnableEpt));
}

TEST(CapabilitiesTest, TertiaryControlsNeedTheirActivation) {
  Capabilities cpu = Everything();
  EXPECT_TRUE(cpu.SupportsTertiary(Tertiary::kEnableHlat));
  cpu.procbased_ctls = Without(PrimaryProcessorBased::kActivateTertiaryControls);
  EXPECT_FALSE(cpu.SupportsTertiary(Tertiary::kEnableHlat));
}

TEST(ExistsTest, ACpuWithoutOptionalFeaturesHasTheFieldsThatAlwaysExist) {
  const Capabilities none;
  for (const VmcsFieldInformation& row : kVmcsFields) {
    EXPECT_EQ(Exists(row.field, none), row.existence == FieldExistence::kAlways) << row.name;
  }
}

TEST(ExistsTest, ACpuWithEveryFeatureHasEveryFieldThatIsEnumerated) {
  for (const VmcsFieldInformation& row : kVmcsFields) {
    EXPECT_EQ(Exists(row.field, Everything()), row.existence != FieldExistence::kNotEnumerated)
        << row.name;
  }
}

TEST(ExistsTest, AFieldGoesWithItsPinBasedControl) {
  Capabilities cpu = Everything();
  cpu.pinbased_ctls = Without(PinBased::kActivateVmxPreemptionTimer);
  EXPECT_FALSE(Exists(VmcsField::kVmxPreemptionTimerValue, cpu));
  EXPECT_TRUE(Exists(VmcsField::kPostedInterruptDescriptorAddress, cpu));
  cpu.pinbased_ctls = Without(PinBased::kProcessPostedInterrupts);
  EXPECT_FALSE(Exists(VmcsField::kPostedInterruptDescriptorAddress, cpu));
  EXPECT_FALSE(Exists(VmcsField::kPostedInterruptNotificationVector, cpu));
}

TEST(ExistsTest, AFieldGoesWithItsPrimaryControl) {
  Capabilities cpu = Everything();
  cpu.procbased_ctls = Without(PrimaryProcessorBased::kUseTprShadow);
  EXPECT_FALSE(Exists(VmcsField::kTprThreshold, cpu));
  EXPECT_FALSE(Exists(VmcsField::kVirtualApicAddress, cpu));
  cpu.procbased_ctls = Without(PrimaryProcessorBased::kUseMsrBitmaps);
  EXPECT_FALSE(Exists(VmcsField::kMsrBitmapAddress, cpu));
  cpu.procbased_ctls = Without(PrimaryProcessorBased::kActivateSecondaryControls);
  EXPECT_FALSE(Exists(VmcsField::kSecondaryProcessorBasedControls, cpu));
}

struct SecondaryField {
  uint32_t control;
  VmcsField field;
};

TEST(ExistsTest, AFieldGoesWithItsSecondaryControl) {
  for (const SecondaryField& expected : std::initializer_list<SecondaryField>{
           {Secondary::kVirtualizeApicAccesses, VmcsField::kApicAccessAddress},
           {Secondary::kEnableEpt, VmcsField::kEptPointer},
           {Secondary::kEnableEpt, VmcsField::kGuestPhysicalAddress},
           {Secondary::kEnableEpt, VmcsField::kGuestPdpte0},
           {Secondary::kEnableVpid, VmcsField::kVirtualProcessorIdentifier},
           {Secondary::kVirtualInterruptDelivery, VmcsField::kGuestInterruptStatus},
           {Secondary::kPauseLoopExiting, VmcsField::kPleGap},
           {Secondary::kEnableVmFunctions, VmcsField::kVmFunctionControls},
           {Secondary::kVmcsShadowing, VmcsField::kVmreadBitmapAddress},
           {Secondary::kEnableEnclsExiting, VmcsField::kEnclsExitingBitmap},
           {Secondary::kEnablePml, VmcsField::kPmlAddress},
           {Secondary::kEptViolationVe, VmcsField::kEptpIndex},
           {Secondary::kEnableXsavesXrstors, VmcsField::kXssExitingBitmap},
           {Secondary::kPasidTranslation, VmcsField::kLowPasidDirectoryAddress},
           {Secondary::kSubPageWritePermissionsForEpt, VmcsField::kSubPagePermissionTablePointer},
           {Secondary::kUseTscScaling, VmcsField::kTscMultiplier},
           {Secondary::kEnablePconfig, VmcsField::kPconfigExitingBitmap},
           {Secondary::kEnableEnclvExiting, VmcsField::kEnclvExitingBitmap},
           {Secondary::kInstructionTimeout, VmcsField::kInstructionTimeoutControl}}) {
    Capabilities cpu = Everything();
    EXPECT_TRUE(Exists(expected.field, cpu)) << Name(expected.field);
    cpu.procbased_ctls2 = Without(expected.control);
    EXPECT_FALSE(Exists(expected.field, cpu)) << Name(expected.field);
  }
}

TEST(ExistsTest, TheEptpListGoesWithTheVmFunctionThatReadsIt) {
  Capabilities cpu = Everything();
  cpu.vmfunc = 0;
  EXPECT_FALSE(Exists(VmcsField::kEptpListAddress, cpu));
  EXPECT_TRUE(Exists(VmcsField::kVmFunctionControls, cpu));
}

TEST(ExistsTest, AGuestRegisterExistsIfEntryLoadsItOrExitSavesIt) {
  Capabilities cpu = Everything();
  cpu.entry_ctls = Without(VmEntry::kLoadIa32Pat | VmEntry::kLoadIa32Efer);
  EXPECT_TRUE(Exists(VmcsField::kGuestIa32Pat, cpu));
  EXPECT_TRUE(Exists(VmcsField::kGuestIa32Efer, cpu));
  cpu.exit_ctls = Without(VmExit::kSaveIa32Pat | VmExit::kSaveIa32Efer);
  EXPECT_FALSE(Exists(VmcsField::kGuestIa32Pat, cpu));
  EXPECT_FALSE(Exists(VmcsField::kGuestIa32Efer, cpu));
}

TEST(ExistsTest, AHostRegisterExistsIfExitLoadsIt) {
  Capabilities cpu = Everything();
  cpu.exit_ctls = Without(VmExit::kLoadIa32Pat | VmExit::kLoadIa32Efer | VmExit::kLoadCetState |
                          VmExit::kLoadPkrs | VmExit::kLoadIa32PerfGlobalCtrl);
  for (VmcsField field :
       {VmcsField::kHostIa32Pat, VmcsField::kHostIa32Efer, VmcsField::kHostIa32PerfGlobalCtrl,
        VmcsField::kHostIa32Pkrs, VmcsField::kHostIa32SCet, VmcsField::kHostSsp}) {
    EXPECT_FALSE(Exists(field, cpu)) << Name(field);
  }
  EXPECT_TRUE(Exists(VmcsField::kGuestIa32SCet, cpu));
}

TEST(ExistsTest, ThereAreAsManyCr3TargetValuesAsMiscTells) {
  Capabilities cpu = Everything();
  cpu.misc = uint64_t{2} << VmxMisc::kCr3TargetCountShift;
  EXPECT_TRUE(Exists(VmcsField::kCr3TargetValue1, cpu));
  EXPECT_FALSE(Exists(VmcsField::kCr3TargetValue2, cpu));
}

TEST(VmcsEnumTest, IsTheHighestIndexOfAFieldThatExists) {
  Capabilities cpu = Everything();
  EXPECT_EQ(MakeVmcsEnum(cpu), 0x4Cu);
  cpu.procbased_ctls3 = ~Tertiary::kVirtualizeIa32SpecCtrl;
  EXPECT_EQ(MakeVmcsEnum(cpu), 0x44u);
  EXPECT_EQ(MakeVmcsEnum(Capabilities()), 0x2Au);
}

TEST(InterruptibilityTest, BlockingBitsAreTheLowFour) {
  EXPECT_EQ(Interruptibility::kBlockingBySti, 1u);
  EXPECT_EQ(Interruptibility::kBlockingByMovSs, 2u);
  EXPECT_EQ(Interruptibility::kBlockingBySmi, 4u);
  EXPECT_EQ(Interruptibility::kBlockingByNmi, 8u);
  EXPECT_EQ(PendingDebugExceptions::kDefined, 0x1580Fu);
}

TEST(ControlsTest, DefaultSettingsAreThoseOfAppendixA) {
  // With "CR3-load exiting" and "CR3-store exiting", which the TRUE MSRs let be 0.
  EXPECT_EQ(PrimaryProcessorBased::kDefault1 &
                (PrimaryProcessorBased::kCr3LoadExiting | PrimaryProcessorBased::kCr3StoreExiting),
            0x18000u);
  EXPECT_NE(VmExit::kDefault1 & VmExit::kSaveDebugControls, 0u);
  EXPECT_NE(VmEntry::kDefault1 & VmEntry::kLoadDebugControls, 0u);
  EXPECT_EQ(VmExit::kDefault1 & VmExit::kHostAddressSpaceSize, 0u);
}

}  // namespace
}  // namespace nvmx
