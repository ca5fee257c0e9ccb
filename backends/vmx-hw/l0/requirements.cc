// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/requirements.h"

#include "core/nested/vmcs02_controls.h"
#include "core/x86/msr.h"

namespace nvmx::metal {
namespace {

// Controls that the processor allows to be 1, in their capability MSR.
constexpr uint64_t Allowed1(uint32_t controls) { return uint64_t{controls} << 32; }

// An L0 for i386 has no guests in IA-32e mode.
constexpr bool kIs64Bit = sizeof(void*) == 8;

constexpr Requirement kRequirements[] = {
    {"the TRUE VMX capability MSRs", Msr::IA32_VMX_BASIC, VmxBasic::kTrueControls},
    {"virtual NMIs", Msr::IA32_VMX_TRUE_PINBASED_CTLS,
     Allowed1(PinBased::kNmiExiting | PinBased::kVirtualNmis)},
    {"MSR bitmaps", Msr::IA32_VMX_TRUE_PROCBASED_CTLS,
     Allowed1(PrimaryProcessorBased::kUseMsrBitmaps)},
    {"secondary processor-based VM-execution controls", Msr::IA32_VMX_TRUE_PROCBASED_CTLS,
     Allowed1(PrimaryProcessorBased::kActivateSecondaryControls)},
    {"EPT", Msr::IA32_VMX_PROCBASED_CTLS2, Allowed1(Secondary::kEnableEpt)},
    {"unrestricted guest", Msr::IA32_VMX_PROCBASED_CTLS2, Allowed1(Secondary::kUnrestrictedGuest)},
    {"a VM-exit control that switches PAT, EFER or DR7", Msr::IA32_VMX_TRUE_EXIT_CTLS,
     Allowed1(kIs64Bit ? kL0ExitControls : kL0ExitControls & ~VmExit::kHostAddressSpaceSize)},
    {"a VM-entry control that switches PAT, EFER or DR7", Msr::IA32_VMX_TRUE_ENTRY_CTLS,
     Allowed1(kIs64Bit ? kL0EntryControls | VmEntry::kIa32eModeGuest : kL0EntryControls)},
    {"the activity state wait-for-SIPI", Msr::IA32_VMX_MISC, VmxMisc::kActivityStateWaitForSipi},
    {"EPT with 2-MByte pages, WB and INVEPT", Msr::IA32_VMX_EPT_VPID_CAP,
     EptVpidCap::kPageWalkLength4 | EptVpidCap::kWriteBack | EptVpidCap::k2MByteMapping |
         EptVpidCap::kInvept | EptVpidCap::kInveptAllContext},
};

}  // namespace

std::string_view WhyVmxIsOff(bool cpuid_has_vmx, uint64_t feature_control) {
  if (!cpuid_has_vmx) return "this CPU has no VMX (CPUID.1:ECX.VMX = 0)";
  if ((feature_control & FeatureControl::kLock) != 0 &&
      (feature_control & FeatureControl::kEnableVmxOutsideSmx) == 0) {
    return "the firmware has locked VMX off (IA32_FEATURE_CONTROL); turn virtualization on in its "
           "setup";
  }
  return {};
}

std::span<const Requirement> Requirements() { return kRequirements; }

std::string_view WhatIsMissing(const Capabilities& hardware) {
  for (const Requirement& needed : kRequirements) {
    const uint64_t value = hardware.Read(Index(needed.msr)).value_or(0);
    if ((value & needed.bits) != needed.bits) return needed.name;
  }
  return {};
}

}  // namespace nvmx::metal
