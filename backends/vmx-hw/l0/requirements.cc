// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/requirements.h"

#include "core/nested/vmcs02_controls.h"
#include "core/x86/msr.h"

namespace nvmx::metal {

std::string_view WhyVmxIsOff(bool cpuid_has_vmx, uint64_t feature_control) {
  if (!cpuid_has_vmx) return "this CPU has no VMX (CPUID.1:ECX.VMX = 0)";
  if ((feature_control & FeatureControl::kLock) != 0 &&
      (feature_control & FeatureControl::kEnableVmxOutsideSmx) == 0) {
    return "the firmware has locked VMX off (IA32_FEATURE_CONTROL); turn virtualization on in its "
           "setup";
  }
  return {};
}

std::string_view WhatIsMissing(const Capabilities& h) {
  if ((h.basic & VmxBasic::kTrueControls) == 0) return "the TRUE VMX capability MSRs";
  if (!h.SupportsPinBased(PinBased::kNmiExiting | PinBased::kVirtualNmis)) return "virtual NMIs";
  if (!h.SupportsPrimary(PrimaryProcessorBased::kUseMsrBitmaps)) return "MSR bitmaps";
  if (!h.SupportsPrimary(PrimaryProcessorBased::kActivateSecondaryControls)) {
    return "secondary processor-based VM-execution controls";
  }
  if (!h.SupportsSecondary(Secondary::kEnableEpt)) return "EPT";
  if (!h.SupportsSecondary(Secondary::kUnrestrictedGuest)) return "unrestricted guest";
  if (!h.SupportsVmExit(kL0ExitControls)) return "a VM-exit control that switches PAT, EFER or DR7";
  if (!h.SupportsVmEntry(kL0EntryControls | VmEntry::kIa32eModeGuest)) {
    return "a VM-entry control that switches PAT, EFER or DR7";
  }
  if ((h.misc & VmxMisc::kActivityStateWaitForSipi) == 0) return "the activity state wait-for-SIPI";
  constexpr uint64_t kEpt = EptVpidCap::kPageWalkLength4 | EptVpidCap::kWriteBack |
                            EptVpidCap::k2MByteMapping | EptVpidCap::kInvept |
                            EptVpidCap::kInveptAllContext;
  if ((h.ept_vpid_cap & kEpt) != kEpt) return "EPT with 2-MByte pages, WB and INVEPT";
  return {};
}

}  // namespace nvmx::metal
