// SPDX-License-Identifier: Apache-2.0
//
// What L1 is offered. SDM Vol. 3D, Appendix A "VMX Capability Reporting Facility".
#include "core/nested/offered_capabilities.h"

#include "core/nested/vcpu.h"
#include "core/nested/vmcs12_region.h"
#include "core/testing/builders.h"
#include "core/x86/control_registers.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr Capabilities kHardware = BuildHardwareCapabilities();
const Capabilities kOffered = OfferedCapabilities(kHardware);

constexpr uint64_t Capabilities::*kControls[] = {
    &Capabilities::pinbased_ctls,      &Capabilities::procbased_ctls,
    &Capabilities::exit_ctls,          &Capabilities::entry_ctls,
    &Capabilities::true_pinbased_ctls, &Capabilities::true_procbased_ctls,
    &Capabilities::true_exit_ctls,     &Capabilities::true_entry_ctls};

TEST(OfferedCapabilitiesTest, BasicTellsOfOurOwnRegion) {
  EXPECT_EQ(kOffered.basic & VmxBasic::kRevisionIdentifier, kVmcs12Revision);
  EXPECT_EQ((kOffered.basic & VmxBasic::kRegionSize) >> VmxBasic::kRegionSizeShift, 4096u);
  EXPECT_EQ((kOffered.basic & VmxBasic::kMemoryType) >> VmxBasic::kMemoryTypeShift, 6u);
  EXPECT_EQ(kOffered.basic & (uint64_t{1} << 31), 0u);
  EXPECT_EQ(kOffered.basic & VmxBasic::kDualMonitorTreatment, 0u);
  EXPECT_TRUE(kOffered.HasTrueControls());
}

TEST(OfferedCapabilitiesTest, Bit56OfBasicIsTheCpus) {
  EXPECT_EQ(kOffered.basic & VmxBasic::kAnyHardwareExceptionErrorCode, 0u);
  Capabilities relaxed = kHardware;
  relaxed.basic |= VmxBasic::kAnyHardwareExceptionErrorCode;
  EXPECT_NE(OfferedCapabilities(relaxed).basic & VmxBasic::kAnyHardwareExceptionErrorCode, 0u);
}

TEST(OfferedCapabilitiesTest, NothingIsOfferedThatTheCpuCannotDo) {
  for (uint64_t Capabilities::*controls : kControls) {
    const uint64_t offered = kOffered.*controls;
    const uint64_t hardware = kHardware.*controls;
    EXPECT_EQ(~offered & hardware & 0xFFFFFFFF, 0u);
    EXPECT_EQ(offered >> 32 & ~(hardware >> 32), 0u);
    EXPECT_EQ(offered & 0xFFFFFFFF & ~(offered >> 32), 0u);
  }
  EXPECT_EQ(kOffered.ept_vpid_cap & ~kHardware.ept_vpid_cap, 0u);
  EXPECT_EQ(kOffered.vmfunc & ~kHardware.vmfunc, 0u);
}

// One optional control of each kind, taken from the CPU.
TEST(OfferedCapabilitiesTest, ACpuWithoutAControlTakesItFromL1) {
  Capabilities without = kHardware;
  without.true_pinbased_ctls &= ~(uint64_t{PinBased::kVirtualNmis} << 32);
  without.true_procbased_ctls &= ~(uint64_t{PrimaryProcessorBased::kMonitorTrapFlag} << 32);
  without.true_exit_ctls &= ~(uint64_t{VmExit::kLoadIa32PerfGlobalCtrl} << 32);
  without.true_entry_ctls &= ~(uint64_t{VmEntry::kLoadIa32Pat} << 32);
  without.procbased_ctls2 &= ~(uint64_t{Secondary::kUseTscScaling} << 32);
  const Capabilities offered = OfferedCapabilities(without);
  EXPECT_FALSE(offered.SupportsPinBased(PinBased::kVirtualNmis));
  EXPECT_TRUE(offered.SupportsPinBased(PinBased::kNmiExiting));
  EXPECT_FALSE(offered.SupportsPrimary(PrimaryProcessorBased::kMonitorTrapFlag));
  EXPECT_FALSE(offered.SupportsVmExit(VmExit::kLoadIa32PerfGlobalCtrl));
  EXPECT_FALSE(offered.SupportsVmEntry(VmEntry::kLoadIa32Pat));
  EXPECT_FALSE(offered.SupportsSecondary(Secondary::kUseTscScaling));
  EXPECT_TRUE(offered.SupportsSecondary(Secondary::kEnableVpid));
}

TEST(OfferedCapabilitiesTest, WithoutTrueControlsThereAreNone) {
  Capabilities without = kHardware;
  without.basic &= ~VmxBasic::kTrueControls;
  const Capabilities offered = OfferedCapabilities(without);
  EXPECT_FALSE(offered.HasTrueControls());
  EXPECT_EQ(offered.true_pinbased_ctls, 0u);
  EXPECT_EQ(offered.true_procbased_ctls, 0u);
  EXPECT_EQ(offered.true_exit_ctls, 0u);
  EXPECT_EQ(offered.true_entry_ctls, 0u);
}

// The scope, once, in numbers: SDM Vol. 3C, 25.6 to 25.8.
TEST(OfferedCapabilitiesTest, TheScopeIsOfferedOnACpuThatHasItAll) {
  Capabilities all = kHardware;
  for (uint64_t Capabilities::*controls : kControls) all.*controls |= uint64_t{0xFFFFFFFF} << 32;
  all.procbased_ctls2 = uint64_t{0xFFFFFFFF} << 32;
  all.procbased_ctls3 = ~uint64_t{0};
  all.exit_ctls2 = ~uint64_t{0};
  all.ept_vpid_cap = ~uint64_t{0};
  all.vmfunc = ~uint64_t{0};
  const Capabilities offered = OfferedCapabilities(all);
  const auto optional = [](uint64_t capability, uint32_t default1) {
    return static_cast<uint32_t>(capability >> 32) & ~default1;
  };
  EXPECT_EQ(optional(offered.true_pinbased_ctls, PinBased::kDefault1), 0x69u);
  EXPECT_EQ(optional(offered.true_procbased_ctls, PrimaryProcessorBased::kDefault1), 0xFBF81E8Cu);
  EXPECT_EQ(optional(offered.true_exit_ctls, VmExit::kDefault1), 0x007C9200u);
  EXPECT_EQ(optional(offered.true_entry_ctls, VmEntry::kDefault1), 0x0000E200u);
  EXPECT_EQ(offered.procbased_ctls2, 0x020378FFull << 32);
  EXPECT_EQ(offered.ept_vpid_cap, 0x00000F01'063341C1u);
  EXPECT_EQ(offered.vmfunc, 1u);
  EXPECT_EQ(offered.procbased_ctls3, 0u);
  EXPECT_EQ(offered.exit_ctls2, 0u);
}

TEST(OfferedCapabilitiesTest, OfTheDefault1ControlsFourMayBe0) {
  Capabilities all = kHardware;
  for (uint64_t Capabilities::*controls : kControls) all.*controls = uint64_t{0xFFFFFFFF} << 32;
  const Capabilities offered = OfferedCapabilities(all);
  EXPECT_EQ(static_cast<uint32_t>(offered.true_pinbased_ctls), PinBased::kDefault1);
  EXPECT_EQ(static_cast<uint32_t>(offered.true_procbased_ctls), 0x04006172u);
  EXPECT_EQ(static_cast<uint32_t>(offered.true_exit_ctls), 0x00036DFBu);
  EXPECT_EQ(static_cast<uint32_t>(offered.true_entry_ctls), 0x000011FBu);
  EXPECT_EQ(static_cast<uint32_t>(offered.procbased_ctls), PrimaryProcessorBased::kDefault1);
}

constexpr uint32_t kNeedEpt = Secondary::kEnableEpt | Secondary::kUnrestrictedGuest |
                              Secondary::kEnableVmFunctions | Secondary::kEnablePml;

TEST(OfferedCapabilitiesTest, WithoutEptNothingThatNeedsEptIsOffered) {
  Capabilities without = kHardware;
  without.procbased_ctls2 &= ~(uint64_t{Secondary::kEnableEpt} << 32);
  const Capabilities offered = OfferedCapabilities(without);
  EXPECT_EQ(offered.procbased_ctls2 >> 32 & kNeedEpt, 0u);
  EXPECT_TRUE(offered.SupportsSecondary(Secondary::kEnableVpid));
  EXPECT_EQ(offered.ept_vpid_cap, kHardware.ept_vpid_cap & 0xFFFFFFFF'00000000);
  EXPECT_EQ(offered.vmfunc, 0u);
  EXPECT_TRUE(kOffered.SupportsSecondary(kNeedEpt));
}

TEST(OfferedCapabilitiesTest, EptNeedsAWalkOfFourLevelsAndWriteBack) {
  for (uint64_t bit : {EptVpidCap::kPageWalkLength4, EptVpidCap::kWriteBack}) {
    Capabilities without = kHardware;
    without.ept_vpid_cap &= ~bit;
    EXPECT_EQ(OfferedCapabilities(without).procbased_ctls2 >> 32 & kNeedEpt, 0u);
  }
}

TEST(OfferedCapabilitiesTest, PmlNeedsDirtyFlags) {
  Capabilities without = kHardware;
  without.ept_vpid_cap &= ~EptVpidCap::kAccessedAndDirtyFlags;
  EXPECT_FALSE(OfferedCapabilities(without).SupportsSecondary(Secondary::kEnablePml));
  EXPECT_TRUE(OfferedCapabilities(without).SupportsSecondary(Secondary::kEnableEpt));
}

TEST(OfferedCapabilitiesTest, VmFunctionsNeedEptpSwitching) {
  Capabilities without = kHardware;
  without.vmfunc = 0;
  EXPECT_FALSE(OfferedCapabilities(without).SupportsSecondary(Secondary::kEnableVmFunctions));
}

TEST(OfferedCapabilitiesTest, WithoutVpidNoInvvpidIsOffered) {
  Capabilities without = kHardware;
  without.procbased_ctls2 &= ~(uint64_t{Secondary::kEnableVpid} << 32);
  EXPECT_EQ(OfferedCapabilities(without).ept_vpid_cap >> 32, 0u);
}

TEST(OfferedCapabilitiesTest, WithoutSecondaryControlsNoneIsOffered) {
  Capabilities without = kHardware;
  without.true_procbased_ctls &=
      ~(uint64_t{PrimaryProcessorBased::kActivateSecondaryControls} << 32);
  const Capabilities offered = OfferedCapabilities(without);
  EXPECT_EQ(offered.procbased_ctls2, 0u);
  EXPECT_EQ(offered.ept_vpid_cap, 0u);
  EXPECT_EQ(offered.vmfunc, 0u);
}

TEST(OfferedCapabilitiesTest, MiscIsWhatTheCpuCanDoOfTheScope) {
  constexpr uint64_t kScope = VmxMisc::kPreemptionTimerRate | VmxMisc::kStoreLmaOnExit |
                              VmxMisc::kActivityStateHlt | VmxMisc::kActivityStateShutdown |
                              VmxMisc::kActivityStateWaitForSipi | VmxMisc::kVmwriteToAnyField |
                              VmxMisc::kInstructionLengthZero;
  EXPECT_EQ(kOffered.misc & ~VmxMisc::kCr3TargetCount, kHardware.misc & kScope);
  for (uint64_t bit : {VmxMisc::kActivityStateHlt, VmxMisc::kInstructionLengthZero}) {
    Capabilities without = kHardware;
    without.misc &= ~bit;
    EXPECT_EQ(OfferedCapabilities(without).misc & bit, 0u);
  }
}

TEST(OfferedCapabilitiesTest, AListHas512EntriesWhateverTheCpuRecommends) {
  Capabilities longer = kHardware;
  longer.misc |= uint64_t{5} << VmxMisc::kMaximumMsrListShift;
  EXPECT_EQ(OfferedCapabilities(longer).misc & VmxMisc::kMaximumMsrList, 0u);
}

TEST(OfferedCapabilitiesTest, Cr3TargetsAreTheCpusButNotMoreThan4) {
  const auto offered = [](uint64_t count) {
    Capabilities cpu = kHardware;
    cpu.misc = (cpu.misc & ~VmxMisc::kCr3TargetCount) | count << VmxMisc::kCr3TargetCountShift;
    return OfferedCapabilities(cpu).Cr3TargetCount();
  };
  EXPECT_EQ(offered(0), 0u);
  EXPECT_EQ(offered(2), 2u);
  EXPECT_EQ(offered(4), 4u);
  EXPECT_EQ(offered(256), 4u);
}

TEST(OfferedCapabilitiesTest, FixedBitsAndWidthsAreTheCpus) {
  EXPECT_EQ(kOffered.cr0_fixed0, kHardware.cr0_fixed0);
  EXPECT_EQ(kOffered.cr0_fixed1, kHardware.cr0_fixed1);
  EXPECT_EQ(kOffered.cr4_fixed0, kHardware.cr4_fixed0);
  EXPECT_EQ(kOffered.cr4_fixed1, kHardware.cr4_fixed1);
  EXPECT_EQ(kOffered.physical_address_width, kHardware.physical_address_width);
  EXPECT_EQ(kOffered.linear_address_width, kHardware.linear_address_width);
}

TEST(OfferedCapabilitiesTest, BitsOfCr4ThatTurnOnWhatIsNotOfferedAreFixedTo0) {
  Capabilities all = kHardware;
  all.cr4_fixed1 = ~uint64_t{0};
  const uint64_t fixed1 = OfferedCapabilities(all).cr4_fixed1;
  EXPECT_EQ(fixed1 & (Cr4::kSmxe | Cr4::kCet | Cr4::kPke | Cr4::kPks | Cr4::kKl | Cr4::kUintr |
                      Cr4::kLamSup),
            0u);
  EXPECT_EQ(fixed1 & ~uint64_t{0x377FFF}, 0u);
  EXPECT_NE(fixed1 & Cr4::kLa57, 0u);
}

TEST(OfferedCapabilitiesTest, VmcsEnumIsTheHighestIndexOfAnOfferedField) {
  uint64_t highest = 0;
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (Exists(row.field, kOffered)) highest = std::max<uint64_t>(highest, Index(row.field));
  }
  EXPECT_EQ(kOffered.vmcs_enum, highest << 1);
  EXPECT_LE(kOffered.vmcs_enum, kHardware.vmcs_enum);
}

TEST(InitializeVcpuStateTest, L1StartsOutsideVmxOperation) {
  VcpuState state;
  __builtin_memset(static_cast<void*>(&state), 0xFF, sizeof state);
  InitializeVcpuState(state, kOffered);
  EXPECT_EQ(state.operation, VmxOperation::kOff);
  EXPECT_EQ(state.vmxon_region, kNoVmcs);
  EXPECT_EQ(state.current_vmcs, kNoVmcs);
  EXPECT_EQ(state.offered, kOffered);
  EXPECT_EQ(state.in_vmx_abort, 0u);
  EXPECT_EQ(state.l2_blocking_by_nmi, 0u);
  EXPECT_EQ(state.mtrr, MtrrSettings());
}

}  // namespace
}  // namespace nvmx
