// SPDX-License-Identifier: Apache-2.0
#include "core/nested/offered_capabilities.h"

#include <algorithm>

#include "core/nested/vmcs12_region.h"
#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"

namespace nvmx {
namespace {

// The optional 1-settings that the core carries through to L2 correctly.
constexpr uint32_t kPinBased = PinBased::kExternalInterruptExiting | PinBased::kNmiExiting |
                               PinBased::kVirtualNmis | PinBased::kActivateVmxPreemptionTimer;
constexpr uint32_t kPrimary =
    PrimaryProcessorBased::kInterruptWindowExiting | PrimaryProcessorBased::kUseTscOffsetting |
    PrimaryProcessorBased::kHltExiting | PrimaryProcessorBased::kInvlpgExiting |
    PrimaryProcessorBased::kMwaitExiting | PrimaryProcessorBased::kRdpmcExiting |
    PrimaryProcessorBased::kRdtscExiting | PrimaryProcessorBased::kCr3LoadExiting |
    PrimaryProcessorBased::kCr3StoreExiting | PrimaryProcessorBased::kCr8LoadExiting |
    PrimaryProcessorBased::kCr8StoreExiting | PrimaryProcessorBased::kUseTprShadow |
    PrimaryProcessorBased::kNmiWindowExiting | PrimaryProcessorBased::kMovDrExiting |
    PrimaryProcessorBased::kUnconditionalIoExiting | PrimaryProcessorBased::kUseIoBitmaps |
    PrimaryProcessorBased::kMonitorTrapFlag | PrimaryProcessorBased::kUseMsrBitmaps |
    PrimaryProcessorBased::kMonitorExiting | PrimaryProcessorBased::kPauseExiting |
    PrimaryProcessorBased::kActivateSecondaryControls;
constexpr uint32_t kSecondary =
    Secondary::kVirtualizeApicAccesses | Secondary::kDescriptorTableExiting |
    Secondary::kEnableRdtscp | Secondary::kVirtualizeX2ApicMode | Secondary::kEnableVpid |
    Secondary::kWbinvdExiting | Secondary::kRdrandExiting | Secondary::kEnableInvpcid |
    Secondary::kVmcsShadowing | Secondary::kRdseedExiting | Secondary::kUseTscScaling;
// Those that mean nothing without EPT.
constexpr uint32_t kSecondaryWithEpt = Secondary::kEnableEpt | Secondary::kUnrestrictedGuest |
                                       Secondary::kEnableVmFunctions | Secondary::kEnablePml;
constexpr uint32_t kExit = VmExit::kSaveDebugControls | VmExit::kHostAddressSpaceSize |
                           VmExit::kLoadIa32PerfGlobalCtrl | VmExit::kAcknowledgeInterruptOnExit |
                           VmExit::kSaveIa32Pat | VmExit::kLoadIa32Pat | VmExit::kSaveIa32Efer |
                           VmExit::kLoadIa32Efer | VmExit::kSaveVmxPreemptionTimerValue;
constexpr uint32_t kEntry = VmEntry::kLoadDebugControls | VmEntry::kIa32eModeGuest |
                            VmEntry::kLoadIa32PerfGlobalCtrl | VmEntry::kLoadIa32Pat |
                            VmEntry::kLoadIa32Efer;
// The members of the default1 class whose 0-setting has a meaning.
constexpr uint32_t kPrimaryMayBe0 =
    PrimaryProcessorBased::kCr3LoadExiting | PrimaryProcessorBased::kCr3StoreExiting;

constexpr uint64_t kEptCap =
    EptVpidCap::kExecuteOnly | EptVpidCap::kPageWalkLength4 | EptVpidCap::kPageWalkLength5 |
    EptVpidCap::kUncacheable | EptVpidCap::kWriteBack | EptVpidCap::k2MByteMapping |
    EptVpidCap::k1GByteMapping | EptVpidCap::kInvept | EptVpidCap::kAccessedAndDirtyFlags |
    EptVpidCap::kInveptSingleContext | EptVpidCap::kInveptAllContext;
constexpr uint64_t kVpidCap = EptVpidCap::kInvvpid | EptVpidCap::kInvvpidIndividualAddress |
                              EptVpidCap::kInvvpidSingleContext | EptVpidCap::kInvvpidAllContext |
                              EptVpidCap::kInvvpidSingleContextRetainingGlobals;
// What EPT02 is made with.
constexpr uint64_t kNeededForEpt = EptVpidCap::kPageWalkLength4 | EptVpidCap::kWriteBack;

constexpr uint64_t kMisc = VmxMisc::kPreemptionTimerRate | VmxMisc::kStoreLmaOnExit |
                           VmxMisc::kActivityStateHlt | VmxMisc::kActivityStateShutdown |
                           VmxMisc::kActivityStateWaitForSipi | VmxMisc::kVmwriteToAnyField |
                           VmxMisc::kInstructionLengthZero;
constexpr unsigned kCr3TargetCount = 4;

// The others belong to features that the core does not hold apart between L1 and L2 (SMX, CET,
// protection keys, Key Locker, user interrupts, LAM).
constexpr uint64_t kCr4 = Cr4::kVme | Cr4::kPvi | Cr4::kTsd | Cr4::kDe | Cr4::kPse | Cr4::kPae |
                          Cr4::kMce | Cr4::kPge | Cr4::kPce | Cr4::kOsfxsr | Cr4::kOsxmmexcpt |
                          Cr4::kUmip | Cr4::kLa57 | Cr4::kVmxe | Cr4::kFsgsbase | Cr4::kPcide |
                          Cr4::kOsxsave | Cr4::kSmep | Cr4::kSmap;

// The default1 controls outside `may_be_0` must be 1, whatever else the CPU allows.
uint64_t Restrict(uint64_t hardware, uint32_t supported, uint32_t default1, uint32_t may_be_0) {
  const auto must_be_1 = static_cast<uint32_t>(hardware) | (default1 & ~may_be_0);
  const auto may_be_1 = static_cast<uint32_t>(hardware >> 32);
  return MakeControlCapability(must_be_1, may_be_1 & (supported | default1));
}

void OfferControls(const Capabilities& hardware, Capabilities& offered) {
  offered.pinbased_ctls = Restrict(hardware.pinbased_ctls, kPinBased, PinBased::kDefault1, 0);
  offered.procbased_ctls =
      Restrict(hardware.procbased_ctls, kPrimary, PrimaryProcessorBased::kDefault1, 0);
  offered.exit_ctls = Restrict(hardware.exit_ctls, kExit, VmExit::kDefault1, 0);
  offered.entry_ctls = Restrict(hardware.entry_ctls, kEntry, VmEntry::kDefault1, 0);
  if (!hardware.HasTrueControls()) return;
  offered.true_pinbased_ctls =
      Restrict(hardware.true_pinbased_ctls, kPinBased, PinBased::kDefault1, 0);
  offered.true_procbased_ctls = Restrict(hardware.true_procbased_ctls, kPrimary,
                                         PrimaryProcessorBased::kDefault1, kPrimaryMayBe0);
  offered.true_exit_ctls =
      Restrict(hardware.true_exit_ctls, kExit, VmExit::kDefault1, VmExit::kSaveDebugControls);
  offered.true_entry_ctls =
      Restrict(hardware.true_entry_ctls, kEntry, VmEntry::kDefault1, VmEntry::kLoadDebugControls);
}

// The secondary controls, and the MSRs that tell more of them: EPT and VPIDs, VM functions.
void OfferSecondaryControls(const Capabilities& hardware, Capabilities& offered) {
  if (!hardware.SupportsPrimary(PrimaryProcessorBased::kActivateSecondaryControls)) return;
  const bool ept = hardware.SupportsSecondary(Secondary::kEnableEpt) &&
                   (hardware.ept_vpid_cap & kNeededForEpt) == kNeededForEpt;
  const bool vpid = hardware.SupportsSecondary(Secondary::kEnableVpid);
  offered.ept_vpid_cap = hardware.ept_vpid_cap & ((ept ? kEptCap : 0) | (vpid ? kVpidCap : 0));
  uint32_t supported = kSecondary | (ept ? kSecondaryWithEpt : 0);
  if ((offered.ept_vpid_cap & EptVpidCap::kAccessedAndDirtyFlags) == 0) {
    supported &= ~Secondary::kEnablePml;
  }
  if ((hardware.vmfunc & VmFunction::kEptpSwitching) == 0) {
    supported &= ~Secondary::kEnableVmFunctions;
  }
  offered.procbased_ctls2 = Restrict(hardware.procbased_ctls2, supported, 0, 0);
  if (offered.SupportsSecondary(Secondary::kEnableVmFunctions)) {
    offered.vmfunc = VmFunction::kEptpSwitching;
  }
}

}  // namespace

Capabilities OfferedCapabilities(const Capabilities& hardware) {
  Capabilities offered;
  constexpr uint64_t kRegionSize = 4096;
  constexpr uint64_t kWriteBack = 6;
  offered.basic =
      kVmcs12Revision | kRegionSize << VmxBasic::kRegionSizeShift |
      kWriteBack << VmxBasic::kMemoryTypeShift |
      (hardware.basic & (VmxBasic::kTrueControls | VmxBasic::kAnyHardwareExceptionErrorCode));
  OfferControls(hardware, offered);
  OfferSecondaryControls(hardware, offered);
  // The lists are processed by software, so that their length is the core's to choose: 512 entries.
  offered.misc =
      (hardware.misc & kMisc) | uint64_t{std::min(kCr3TargetCount, hardware.Cr3TargetCount())}
                                    << VmxMisc::kCr3TargetCountShift;
  offered.cr0_fixed0 = hardware.cr0_fixed0;
  offered.cr0_fixed1 = hardware.cr0_fixed1;
  offered.cr4_fixed0 = hardware.cr4_fixed0;
  offered.cr4_fixed1 = hardware.cr4_fixed1 & kCr4;
  offered.physical_address_width = hardware.physical_address_width;
  offered.linear_address_width = hardware.linear_address_width;
  offered.vmcs_enum = MakeVmcsEnum(offered);
  return offered;
}

}  // namespace nvmx
