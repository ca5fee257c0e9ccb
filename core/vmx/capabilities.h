// SPDX-License-Identifier: Apache-2.0
//
// What a CPU supports, as its VMX capability MSRs report it.
// Source: SDM Vol. 3D, Appendix A "VMX Capability Reporting Facility".
#ifndef NVMX_CORE_VMX_CAPABILITIES_H_
#define NVMX_CORE_VMX_CAPABILITIES_H_

#include <array>
#include <cstdint>
#include <optional>
#include <type_traits>

#include "core/vmx/controls.h"
#include "core/vmx/ept.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/msr.h"

namespace nvmx {

// IA32_VMX_BASIC. A.1 "Basic VMX Information".
struct VmxBasic {
  static constexpr uint64_t kRevisionIdentifier = 0x7FFFFFFF;
  static constexpr unsigned kRegionSizeShift = 32;
  static constexpr uint64_t kRegionSize = uint64_t{0x1FFF} << kRegionSizeShift;
  static constexpr uint64_t kAddressesLimitedTo32Bits = uint64_t{1} << 48;
  static constexpr uint64_t kDualMonitorTreatment = uint64_t{1} << 49;
  static constexpr unsigned kMemoryTypeShift = 50;
  static constexpr uint64_t kMemoryType = uint64_t{0xF} << kMemoryTypeShift;
  static constexpr uint64_t kInstructionInformationForInsAndOuts = uint64_t{1} << 54;
  static constexpr uint64_t kTrueControls = uint64_t{1} << 55;
  static constexpr uint64_t kAnyHardwareExceptionErrorCode = uint64_t{1} << 56;
};

// IA32_VMX_MISC. A.6 "Miscellaneous Data".
struct VmxMisc {
  static constexpr uint64_t kPreemptionTimerRate = 0x1F;
  static constexpr uint64_t kStoreLmaOnExit = uint64_t{1} << 5;
  static constexpr uint64_t kActivityStateHlt = uint64_t{1} << 6;
  static constexpr uint64_t kActivityStateShutdown = uint64_t{1} << 7;
  static constexpr uint64_t kActivityStateWaitForSipi = uint64_t{1} << 8;
  static constexpr uint64_t kIntelPtInVmxOperation = uint64_t{1} << 14;
  static constexpr uint64_t kSmbaseReadableInSmm = uint64_t{1} << 15;
  static constexpr unsigned kCr3TargetCountShift = 16;
  static constexpr uint64_t kCr3TargetCount = uint64_t{0x1FF} << kCr3TargetCountShift;
  static constexpr unsigned kMaximumMsrListShift = 25;
  static constexpr uint64_t kMaximumMsrList = uint64_t{7} << kMaximumMsrListShift;
  static constexpr uint64_t kSmmMonitorCtlBit2 = uint64_t{1} << 28;
  static constexpr uint64_t kVmwriteToAnyField = uint64_t{1} << 29;
  static constexpr uint64_t kInstructionLengthZero = uint64_t{1} << 30;
};

// IA32_VMX_EPT_VPID_CAP. A.10 "VPID and EPT Capabilities".
struct EptVpidCap {
  static constexpr uint64_t kExecuteOnly = uint64_t{1} << 0;
  static constexpr uint64_t kPageWalkLength4 = uint64_t{1} << 6;
  static constexpr uint64_t kPageWalkLength5 = uint64_t{1} << 7;
  static constexpr uint64_t kUncacheable = uint64_t{1} << 8;
  static constexpr uint64_t kWriteBack = uint64_t{1} << 14;
  static constexpr uint64_t k2MByteMapping = uint64_t{1} << 16;
  static constexpr uint64_t k1GByteMapping = uint64_t{1} << 17;
  static constexpr uint64_t kInvept = uint64_t{1} << 20;
  static constexpr uint64_t kAccessedAndDirtyFlags = uint64_t{1} << 21;
  static constexpr uint64_t kAdvancedEptViolationInformation = uint64_t{1} << 22;
  static constexpr uint64_t kSupervisorShadowStackControl = uint64_t{1} << 23;
  static constexpr uint64_t kInveptSingleContext = uint64_t{1} << 25;
  static constexpr uint64_t kInveptAllContext = uint64_t{1} << 26;
  static constexpr uint64_t kInvvpid = uint64_t{1} << 32;
  static constexpr uint64_t kInvvpidIndividualAddress = uint64_t{1} << 40;
  static constexpr uint64_t kInvvpidSingleContext = uint64_t{1} << 41;
  static constexpr uint64_t kInvvpidAllContext = uint64_t{1} << 42;
  static constexpr uint64_t kInvvpidSingleContextRetainingGlobals = uint64_t{1} << 43;
};

// The bit of IA32_VMX_EPT_VPID_CAP that stands for a type of INVEPT or INVVPID; 0 for one that
// there is not.
constexpr uint64_t CapabilityOf(InveptType type) {
  switch (type) {
    case InveptType::kSingleContext:
      return EptVpidCap::kInveptSingleContext;
    case InveptType::kAllContexts:
      return EptVpidCap::kInveptAllContext;
  }
  return 0;
}
constexpr uint64_t CapabilityOf(InvvpidType type) {
  switch (type) {
    case InvvpidType::kIndividualAddress:
      return EptVpidCap::kInvvpidIndividualAddress;
    case InvvpidType::kSingleContext:
      return EptVpidCap::kInvvpidSingleContext;
    case InvvpidType::kAllContexts:
      return EptVpidCap::kInvvpidAllContext;
    case InvvpidType::kSingleContextRetainingGlobals:
      return EptVpidCap::kInvvpidSingleContextRetainingGlobals;
  }
  return 0;
}

// IA32_VMX_VMCS_ENUM. A.9 "VMCS Enumeration": bits 9:1 are the highest index of any field.
struct VmcsEnum {
  static constexpr unsigned kHighestIndexShift = 1;
  static constexpr uint64_t kHighestIndex = uint64_t{0x1FF} << kHighestIndexShift;
};

// True if a control field may hold `controls` under its capability MSR: every bit that is 1 in bits
// 31:0 of the MSR is 1 in it, every bit that is 0 in bits 63:32 is 0. For all 32-bit controls;
// the tertiary processor-based and the secondary VM-exit controls have no allowed-0 settings.
constexpr bool AllowsControls(uint64_t capability_msr, uint32_t controls) {
  const auto must_be_1 = static_cast<uint32_t>(capability_msr);
  const auto may_be_1 = static_cast<uint32_t>(capability_msr >> 32);
  return (must_be_1 & ~controls) == 0 && (controls & ~may_be_1) == 0;
}

// True if the capability MSR allows the 1-setting of every control in `controls`.
constexpr bool Supports1Setting(uint64_t capability_msr, uint32_t controls) {
  return (controls & ~static_cast<uint32_t>(capability_msr >> 32)) == 0;
}

// A capability MSR: bits that must be 1 in the low half, bits that may be 1 in the high half.
constexpr uint64_t MakeControlCapability(uint32_t must_be_1, uint32_t may_be_1) {
  return uint64_t{may_be_1 | must_be_1} << 32 | must_be_1;
}

// The values of the MSRs; 0 for an MSR that the CPU does not have.
struct Capabilities {
  uint64_t basic = 0;
  uint64_t pinbased_ctls = 0;
  uint64_t procbased_ctls = 0;
  uint64_t exit_ctls = 0;
  uint64_t entry_ctls = 0;
  uint64_t misc = 0;
  uint64_t cr0_fixed0 = 0;
  uint64_t cr0_fixed1 = 0;
  uint64_t cr4_fixed0 = 0;
  uint64_t cr4_fixed1 = 0;
  uint64_t vmcs_enum = 0;
  uint64_t procbased_ctls2 = 0;
  uint64_t ept_vpid_cap = 0;
  uint64_t true_pinbased_ctls = 0;
  uint64_t true_procbased_ctls = 0;
  uint64_t true_exit_ctls = 0;
  uint64_t true_entry_ctls = 0;
  uint64_t vmfunc = 0;
  uint64_t procbased_ctls3 = 0;
  uint64_t exit_ctls2 = 0;
  // In bits: MAXPHYADDR, and 48 or 57.
  uint64_t physical_address_width = 0;
  uint64_t linear_address_width = 0;

  // The MSR that decides about a control field: the TRUE one if IA32_VMX_BASIC[55] is 1.
  // A.2 "Reserved Controls and Default Settings".
  constexpr bool HasTrueControls() const { return (basic & VmxBasic::kTrueControls) != 0; }
  constexpr uint64_t PinBasedControls() const {
    return HasTrueControls() ? true_pinbased_ctls : pinbased_ctls;
  }
  constexpr uint64_t PrimaryProcessorBasedControls() const {
    return HasTrueControls() ? true_procbased_ctls : procbased_ctls;
  }
  constexpr uint64_t VmExitControls() const {
    return HasTrueControls() ? true_exit_ctls : exit_ctls;
  }
  constexpr uint64_t VmEntryControls() const {
    return HasTrueControls() ? true_entry_ctls : entry_ctls;
  }

  // True if the CPU supports the 1-setting of all these controls.
  constexpr bool SupportsPinBased(uint32_t controls) const {
    return Supports1Setting(PinBasedControls(), controls);
  }
  constexpr bool SupportsPrimary(uint32_t controls) const {
    return Supports1Setting(PrimaryProcessorBasedControls(), controls);
  }
  constexpr bool SupportsSecondary(uint32_t controls) const {
    return SupportsPrimary(PrimaryProcessorBased::kActivateSecondaryControls) &&
           Supports1Setting(procbased_ctls2, controls);
  }
  constexpr bool SupportsTertiary(uint64_t controls) const {
    return SupportsPrimary(PrimaryProcessorBased::kActivateTertiaryControls) &&
           (controls & ~procbased_ctls3) == 0;
  }
  constexpr bool SupportsVmExit(uint32_t controls) const {
    return Supports1Setting(VmExitControls(), controls);
  }
  constexpr bool SupportsVmEntry(uint32_t controls) const {
    return Supports1Setting(VmEntryControls(), controls);
  }
  constexpr unsigned Cr3TargetCount() const {
    return static_cast<unsigned>((misc & VmxMisc::kCr3TargetCount) >>
                                 VmxMisc::kCr3TargetCountShift);
  }

  // The value that RDMSR of a VMX capability MSR returns, or nothing if `msr` is not one of them.
  // Whether the CPU has the MSR is the caller's question.
  constexpr std::optional<uint64_t> Read(uint32_t msr) const;

  friend constexpr bool operator==(const Capabilities&, const Capabilities&) = default;
};
static_assert(std::has_unique_object_representations_v<Capabilities>);

constexpr std::optional<uint64_t> Capabilities::Read(uint32_t msr) const {
  constexpr uint64_t Capabilities::*kMembers[] = {&Capabilities::basic,
                                                  &Capabilities::pinbased_ctls,
                                                  &Capabilities::procbased_ctls,
                                                  &Capabilities::exit_ctls,
                                                  &Capabilities::entry_ctls,
                                                  &Capabilities::misc,
                                                  &Capabilities::cr0_fixed0,
                                                  &Capabilities::cr0_fixed1,
                                                  &Capabilities::cr4_fixed0,
                                                  &Capabilities::cr4_fixed1,
                                                  &Capabilities::vmcs_enum,
                                                  &Capabilities::procbased_ctls2,
                                                  &Capabilities::ept_vpid_cap,
                                                  &Capabilities::true_pinbased_ctls,
                                                  &Capabilities::true_procbased_ctls,
                                                  &Capabilities::true_exit_ctls,
                                                  &Capabilities::true_entry_ctls,
                                                  &Capabilities::vmfunc,
                                                  &Capabilities::procbased_ctls3,
                                                  &Capabilities::exit_ctls2};
  // The members follow each other as the indices of the MSRs do.
  static_assert(std::size(kMembers) ==
                Index(Msr::IA32_VMX_EXIT_CTLS2) - Index(Msr::IA32_VMX_BASIC) + 1);
  if (msr < Index(Msr::IA32_VMX_BASIC) || msr > Index(Msr::IA32_VMX_EXIT_CTLS2)) {
    return std::nullopt;
  }
  return this->*kMembers[msr - Index(Msr::IA32_VMX_BASIC)];
}

// True if a CPU with these capabilities has what `existence` asks for.
constexpr bool IsSatisfied(FieldExistence existence, const Capabilities& capabilities) {
  const Capabilities& cpu = capabilities;
  using enum FieldExistence;
  switch (existence) {
    case kAlways:
      return true;
    case kNotEnumerated:
      return false;
    case kIfVpid:
      return cpu.SupportsSecondary(Secondary::kEnableVpid);
    case kIfPostedInterrupts:
      return cpu.SupportsPinBased(PinBased::kProcessPostedInterrupts);
    case kIfEptViolationVe:
      return cpu.SupportsSecondary(Secondary::kEptViolationVe);
    case kIfHlat:
      return cpu.SupportsTertiary(Tertiary::kEnableHlat);
    case kIfIpiVirtualization:
      return cpu.SupportsTertiary(Tertiary::kIpiVirtualization);
    case kIfVirtualInterruptDelivery:
      return cpu.SupportsSecondary(Secondary::kVirtualInterruptDelivery);
    case kIfPml:
      return cpu.SupportsSecondary(Secondary::kEnablePml);
    case kIfUinv:
      return cpu.SupportsVmEntry(VmEntry::kLoadUinv) || cpu.SupportsVmExit(VmExit::kClearUinv);
    case kIfMsrBitmaps:
      return cpu.SupportsPrimary(PrimaryProcessorBased::kUseMsrBitmaps);
    case kIfTprShadow:
      return cpu.SupportsPrimary(PrimaryProcessorBased::kUseTprShadow);
    case kIfVirtualizeApicAccesses:
      return cpu.SupportsSecondary(Secondary::kVirtualizeApicAccesses);
    case kIfVmFunctions:
      return cpu.SupportsSecondary(Secondary::kEnableVmFunctions);
    case kIfEptpSwitching:
      return cpu.SupportsSecondary(Secondary::kEnableVmFunctions) &&
             (cpu.vmfunc & VmFunction::kEptpSwitching) != 0;
    case kIfEpt:
      return cpu.SupportsSecondary(Secondary::kEnableEpt);
    case kIfVmcsShadowing:
      return cpu.SupportsSecondary(Secondary::kVmcsShadowing);
    case kIfXsaves:
      return cpu.SupportsSecondary(Secondary::kEnableXsavesXrstors);
    case kIfEnclsExiting:
      return cpu.SupportsSecondary(Secondary::kEnableEnclsExiting);
    case kIfSubPageWritePermissions:
      return cpu.SupportsSecondary(Secondary::kSubPageWritePermissionsForEpt);
    case kIfTscScaling:
      return cpu.SupportsSecondary(Secondary::kUseTscScaling);
    case kIfTertiaryControls:
      return cpu.SupportsPrimary(PrimaryProcessorBased::kActivateTertiaryControls);
    case kIfEnclvExiting:
      return cpu.SupportsSecondary(Secondary::kEnableEnclvExiting);
    case kIfPasidTranslation:
      return cpu.SupportsSecondary(Secondary::kPasidTranslation);
    case kIfPconfig:
      return cpu.SupportsSecondary(Secondary::kEnablePconfig);
    case kIfSecondaryVmExitControls:
      return cpu.SupportsVmExit(VmExit::kActivateSecondaryControls);
    case kIfVirtualizeIa32SpecCtrl:
      return cpu.SupportsTertiary(Tertiary::kVirtualizeIa32SpecCtrl);
    case kIfGuestPat:
      return cpu.SupportsVmEntry(VmEntry::kLoadIa32Pat) || cpu.SupportsVmExit(VmExit::kSaveIa32Pat);
    case kIfGuestEfer:
      return cpu.SupportsVmEntry(VmEntry::kLoadIa32Efer) ||
             cpu.SupportsVmExit(VmExit::kSaveIa32Efer);
    case kIfGuestPerfGlobalCtrl:
      return cpu.SupportsVmEntry(VmEntry::kLoadIa32PerfGlobalCtrl) ||
             cpu.SupportsVmExit(VmExit::kSaveIa32PerfGlobalCtrl);
    case kIfGuestBndcfgs:
      return cpu.SupportsVmEntry(VmEntry::kLoadIa32Bndcfgs) ||
             cpu.SupportsVmExit(VmExit::kClearIa32Bndcfgs);
    case kIfGuestRtitCtl:
      return cpu.SupportsVmEntry(VmEntry::kLoadIa32RtitCtl) ||
             cpu.SupportsVmExit(VmExit::kClearIa32RtitCtl);
    case kIfGuestLbrCtl:
      return cpu.SupportsVmEntry(VmEntry::kLoadGuestIa32LbrCtl) ||
             cpu.SupportsVmExit(VmExit::kClearIa32LbrCtl);
    case kIfGuestPkrs:
      return cpu.SupportsVmEntry(VmEntry::kLoadPkrs);
    case kIfGuestCet:
      return cpu.SupportsVmEntry(VmEntry::kLoadCetState);
    case kIfHostPat:
      return cpu.SupportsVmExit(VmExit::kLoadIa32Pat);
    case kIfHostEfer:
      return cpu.SupportsVmExit(VmExit::kLoadIa32Efer);
    case kIfHostPerfGlobalCtrl:
      return cpu.SupportsVmExit(VmExit::kLoadIa32PerfGlobalCtrl);
    case kIfHostPkrs:
      return cpu.SupportsVmExit(VmExit::kLoadPkrs);
    case kIfHostCet:
      return cpu.SupportsVmExit(VmExit::kLoadCetState);
    case kIfSecondaryControls:
      return cpu.SupportsPrimary(PrimaryProcessorBased::kActivateSecondaryControls);
    case kIfPauseLoopExiting:
      return cpu.SupportsSecondary(Secondary::kPauseLoopExiting);
    case kIfInstructionTimeout:
      return cpu.SupportsSecondary(Secondary::kInstructionTimeout);
    case kIfVmxPreemptionTimer:
      return cpu.SupportsPinBased(PinBased::kActivateVmxPreemptionTimer);
    case kIfCr3TargetValue0:
      return cpu.Cr3TargetCount() > 0;
    case kIfCr3TargetValue1:
      return cpu.Cr3TargetCount() > 1;
    case kIfCr3TargetValue2:
      return cpu.Cr3TargetCount() > 2;
    case kIfCr3TargetValue3:
      return cpu.Cr3TargetCount() > 3;
  }
  return false;
}

// True if a CPU with these capabilities has the field: VMREAD of any other is VMfailValid(12).
constexpr bool Exists(VmcsField field, const Capabilities& capabilities) {
  return IsSatisfied(Existence(field), capabilities);
}

// The IA32_VMX_VMCS_ENUM of a CPU with these capabilities: the highest index of a field it has.
constexpr uint64_t MakeVmcsEnum(const Capabilities& capabilities) {
  uint64_t highest = 0;
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (IsSatisfied(row.existence, capabilities) && Index(row.field) > highest) {
      highest = Index(row.field);
    }
  }
  return highest << VmcsEnum::kHighestIndexShift;
}

}  // namespace nvmx

#endif  // NVMX_CORE_VMX_CAPABILITIES_H_
