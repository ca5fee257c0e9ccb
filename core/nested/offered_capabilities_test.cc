// SPDX-License-Identifier: Apache-2.0
//
// What L1 is offered. SDM Vol. 3D, Appendix A "VMX Capability Reporting Facility".
#include "core/nested/offered_capabilities.h"

#include "core/nested/vcpu.h"
#include "core/nested/vmcs12_region.h"
#include "core/testing/builders.h"
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

TEST(OfferedCapabilitiesTest, NothingIsOfferedThatTheCpuCannotDo) {
  for (uint64_t Capabilities::*controls : kControls) {
    const uint64_t offered = kOffered.*controls;
    const uint64_t hardware = kHardware.*controls;
    EXPECT_EQ(offered & 0xFFFFFFFF, hardware & 0xFFFFFFFF);
    EXPECT_EQ(offered >> 32 & ~(hardware >> 32), 0u);
    EXPECT_EQ(offered & 0xFFFFFFFF & ~(offered >> 32), 0u);
  }
}

TEST(OfferedCapabilitiesTest, ACpuWithoutAControlTakesItFromL1) {
  Capabilities without = kHardware;
  without.true_pinbased_ctls &= ~(uint64_t{PinBased::kVirtualNmis} << 32);
  without.true_entry_ctls &= ~(uint64_t{VmEntry::kLoadIa32Pat} << 32);
  EXPECT_FALSE(OfferedCapabilities(without).SupportsPinBased(PinBased::kVirtualNmis));
  EXPECT_TRUE(OfferedCapabilities(without).SupportsPinBased(PinBased::kNmiExiting));
  EXPECT_FALSE(OfferedCapabilities(without).SupportsVmEntry(VmEntry::kLoadIa32Pat));
  without.basic &= ~VmxBasic::kTrueControls;
  EXPECT_FALSE(OfferedCapabilities(without).HasTrueControls());
}

TEST(OfferedCapabilitiesTest, WhatTheCoreCarriesThroughIsOffered) {
  EXPECT_TRUE(kOffered.SupportsPinBased(PinBased::kNmiExiting | PinBased::kVirtualNmis));
  EXPECT_TRUE(kOffered.SupportsPrimary(PrimaryProcessorBased::kHltExiting |
                                       PrimaryProcessorBased::kNmiWindowExiting));
  EXPECT_TRUE(kOffered.SupportsVmExit(VmExit::kHostAddressSpaceSize | VmExit::kSaveIa32Pat |
                                      VmExit::kLoadIa32Pat | VmExit::kSaveIa32Efer |
                                      VmExit::kLoadIa32Efer | VmExit::kSaveDebugControls));
  EXPECT_TRUE(kOffered.SupportsVmEntry(VmEntry::kIa32eModeGuest | VmEntry::kLoadIa32Pat |
                                       VmEntry::kLoadIa32Efer | VmEntry::kLoadDebugControls));
}

TEST(OfferedCapabilitiesTest, WhatTheCoreDoesNotCarryThroughIsNotOffered) {
  EXPECT_FALSE(kOffered.SupportsPinBased(PinBased::kExternalInterruptExiting));
  EXPECT_FALSE(kOffered.SupportsPinBased(PinBased::kActivateVmxPreemptionTimer));
  EXPECT_FALSE(kOffered.SupportsPrimary(PrimaryProcessorBased::kActivateSecondaryControls));
  EXPECT_FALSE(kOffered.SupportsPrimary(PrimaryProcessorBased::kActivateTertiaryControls));
  EXPECT_FALSE(kOffered.SupportsPrimary(PrimaryProcessorBased::kUseMsrBitmaps));
  EXPECT_FALSE(kOffered.SupportsPrimary(PrimaryProcessorBased::kMonitorTrapFlag));
  EXPECT_FALSE(kOffered.SupportsVmExit(VmExit::kActivateSecondaryControls));
  EXPECT_FALSE(kOffered.SupportsVmExit(VmExit::kLoadIa32PerfGlobalCtrl));
  EXPECT_EQ(kOffered.procbased_ctls2, 0u);
  EXPECT_EQ(kOffered.ept_vpid_cap, 0u);
  EXPECT_EQ(kOffered.vmfunc, 0u);
}

TEST(OfferedCapabilitiesTest, MiscOffersHltAndTheListLengthButNoCr3TargetsAndNoVmwriteToAnyField) {
  EXPECT_NE(kOffered.misc & VmxMisc::kActivityStateHlt, 0u);
  EXPECT_NE(kOffered.misc & VmxMisc::kStoreLmaOnExit, 0u);
  EXPECT_EQ(kOffered.misc & VmxMisc::kActivityStateShutdown, 0u);
  EXPECT_EQ(kOffered.misc & VmxMisc::kActivityStateWaitForSipi, 0u);
  EXPECT_EQ(kOffered.misc & VmxMisc::kVmwriteToAnyField, 0u);
  EXPECT_EQ(kOffered.Cr3TargetCount(), 0u);
  Capabilities longer = kHardware;
  longer.misc |= uint64_t{5} << VmxMisc::kMaximumMsrListShift;
  EXPECT_EQ((OfferedCapabilities(longer).misc & VmxMisc::kMaximumMsrList) >>
                VmxMisc::kMaximumMsrListShift,
            5u);
}

TEST(OfferedCapabilitiesTest, FixedBitsAndWidthsAreTheCpus) {
  EXPECT_EQ(kOffered.cr0_fixed0, kHardware.cr0_fixed0);
  EXPECT_EQ(kOffered.cr0_fixed1, kHardware.cr0_fixed1);
  EXPECT_EQ(kOffered.cr4_fixed0, kHardware.cr4_fixed0);
  EXPECT_EQ(kOffered.cr4_fixed1, kHardware.cr4_fixed1);
  EXPECT_EQ(kOffered.physical_address_width, kHardware.physical_address_width);
  EXPECT_EQ(kOffered.linear_address_width, kHardware.linear_address_width);
}

TEST(OfferedCapabilitiesTest, VmcsEnumIsTheHighestIndexOfAnOfferedField) {
  uint64_t highest = 0;
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (Exists(row.field, kOffered)) highest = std::max<uint64_t>(highest, Index(row.field));
  }
  EXPECT_EQ(kOffered.vmcs_enum, highest << 1);
  EXPECT_LT(kOffered.vmcs_enum, kHardware.vmcs_enum);
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
