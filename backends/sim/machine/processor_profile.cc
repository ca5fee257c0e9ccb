// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/processor_profile.h"

#include <algorithm>

#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"

namespace nvmx::sim {
namespace {

// What must be 1 on either, and what may be 1 on both.
uint64_t Common(uint64_t a, uint64_t b) {
  constexpr uint64_t kMustBe1 = 0xFFFFFFFF;
  return ((a | b) & kMustBe1) | (a & b & ~kMustBe1);
}

}  // namespace

Capabilities SimulatedCapabilities() {
  constexpr uint64_t kRevision = 0x51;
  constexpr uint64_t kRegionSize = 4096;
  constexpr uint64_t kWriteBack = 6;
  constexpr uint64_t kPreemptionTimerRate = 5;
  constexpr uint64_t kCr3Targets = 4;
  constexpr uint32_t kPin = PinBased::kExternalInterruptExiting | PinBased::kNmiExiting |
                            PinBased::kVirtualNmis | PinBased::kActivateVmxPreemptionTimer;
  using P = PrimaryProcessorBased;
  constexpr uint32_t kPrimary =
      P::kInterruptWindowExiting | P::kUseTscOffsetting | P::kHltExiting | P::kInvlpgExiting |
      P::kMwaitExiting | P::kRdpmcExiting | P::kRdtscExiting | P::kCr3LoadExiting |
      P::kCr3StoreExiting | P::kCr8LoadExiting | P::kCr8StoreExiting | P::kUseTprShadow |
      P::kNmiWindowExiting | P::kMovDrExiting | P::kUnconditionalIoExiting | P::kUseIoBitmaps |
      P::kMonitorTrapFlag | P::kUseMsrBitmaps | P::kMonitorExiting | P::kPauseExiting |
      P::kActivateSecondaryControls;
  constexpr uint32_t kSecondary =
      Secondary::kVirtualizeApicAccesses | Secondary::kEnableEpt |
      Secondary::kDescriptorTableExiting | Secondary::kEnableRdtscp |
      Secondary::kVirtualizeX2ApicMode | Secondary::kEnableVpid | Secondary::kWbinvdExiting |
      Secondary::kUnrestrictedGuest | Secondary::kRdrandExiting | Secondary::kEnableInvpcid |
      Secondary::kEnableVmFunctions | Secondary::kVmcsShadowing | Secondary::kRdseedExiting |
      Secondary::kEnablePml | Secondary::kUseTscScaling;
  constexpr uint32_t kExit = VmExit::kSaveDebugControls | VmExit::kHostAddressSpaceSize |
                             VmExit::kLoadIa32PerfGlobalCtrl | VmExit::kAcknowledgeInterruptOnExit |
                             VmExit::kSaveIa32Pat | VmExit::kLoadIa32Pat | VmExit::kSaveIa32Efer |
                             VmExit::kLoadIa32Efer | VmExit::kSaveVmxPreemptionTimerValue;
  constexpr uint32_t kEntry = VmEntry::kLoadDebugControls | VmEntry::kIa32eModeGuest |
                              VmEntry::kLoadIa32PerfGlobalCtrl | VmEntry::kLoadIa32Pat |
                              VmEntry::kLoadIa32Efer;
  Capabilities c;
  c.basic = kRevision | kRegionSize << VmxBasic::kRegionSizeShift |
            kWriteBack << VmxBasic::kMemoryTypeShift | VmxBasic::kTrueControls;
  c.pinbased_ctls = c.true_pinbased_ctls = MakeControlCapability(PinBased::kDefault1, kPin);
  c.procbased_ctls = MakeControlCapability(P::kDefault1, kPrimary);
  c.true_procbased_ctls =
      MakeControlCapability(P::kDefault1 & ~(P::kCr3LoadExiting | P::kCr3StoreExiting), kPrimary);
  c.procbased_ctls2 = MakeControlCapability(0, kSecondary);
  c.exit_ctls = MakeControlCapability(VmExit::kDefault1, kExit);
  c.true_exit_ctls = MakeControlCapability(VmExit::kDefault1 & ~VmExit::kSaveDebugControls, kExit);
  c.entry_ctls = MakeControlCapability(VmEntry::kDefault1, kEntry);
  c.true_entry_ctls =
      MakeControlCapability(VmEntry::kDefault1 & ~VmEntry::kLoadDebugControls, kEntry);
  c.misc = kPreemptionTimerRate | VmxMisc::kStoreLmaOnExit | VmxMisc::kActivityStateHlt |
           VmxMisc::kActivityStateShutdown | VmxMisc::kActivityStateWaitForSipi |
           kCr3Targets << VmxMisc::kCr3TargetCountShift | VmxMisc::kVmwriteToAnyField |
           VmxMisc::kInstructionLengthZero;
  using E = EptVpidCap;
  c.ept_vpid_cap = E::kExecuteOnly | E::kPageWalkLength4 | E::kPageWalkLength5 | E::kUncacheable |
                   E::kWriteBack | E::k2MByteMapping | E::k1GByteMapping | E::kInvept |
                   E::kAccessedAndDirtyFlags | E::kInveptSingleContext | E::kInveptAllContext |
                   E::kInvvpid | E::kInvvpidIndividualAddress | E::kInvvpidSingleContext |
                   E::kInvvpidAllContext | E::kInvvpidSingleContextRetainingGlobals;
  c.vmfunc = VmFunction::kEptpSwitching;
  c.cr0_fixed0 = Cr0::kPe | Cr0::kNe | Cr0::kPg;
  c.cr0_fixed1 = 0xFFFFFFFF;
  c.cr4_fixed0 = Cr4::kVmxe;
  c.cr4_fixed1 = Cr4::kVme | Cr4::kPvi | Cr4::kTsd | Cr4::kDe | Cr4::kPse | Cr4::kPae | Cr4::kMce |
                 Cr4::kPge | Cr4::kPce | Cr4::kOsfxsr | Cr4::kOsxmmexcpt | Cr4::kUmip | Cr4::kLa57 |
                 Cr4::kVmxe | Cr4::kFsgsbase | Cr4::kPcide | Cr4::kOsxsave | Cr4::kSmep |
                 Cr4::kSmap;
  c.physical_address_width = 40;
  c.linear_address_width = 57;
  c.vmcs_enum = MakeVmcsEnum(c);
  return c;
}

Capabilities SimulatedCapabilities(const Capabilities& processor) {
  const Capabilities& p = processor;
  Capabilities c = SimulatedCapabilities();
  if (!p.HasTrueControls()) c.basic &= ~VmxBasic::kTrueControls;
  c.pinbased_ctls = Common(c.pinbased_ctls, p.pinbased_ctls);
  c.procbased_ctls = Common(c.procbased_ctls, p.procbased_ctls);
  c.procbased_ctls2 = Common(c.procbased_ctls2, p.procbased_ctls2);
  c.exit_ctls = Common(c.exit_ctls, p.exit_ctls);
  c.entry_ctls = Common(c.entry_ctls, p.entry_ctls);
  const bool has_true = p.HasTrueControls();
  c.true_pinbased_ctls = has_true ? Common(c.true_pinbased_ctls, p.true_pinbased_ctls) : 0;
  c.true_procbased_ctls = has_true ? Common(c.true_procbased_ctls, p.true_procbased_ctls) : 0;
  c.true_exit_ctls = has_true ? Common(c.true_exit_ctls, p.true_exit_ctls) : 0;
  c.true_entry_ctls = has_true ? Common(c.true_entry_ctls, p.true_entry_ctls) : 0;
  constexpr uint64_t kNumbers = VmxMisc::kPreemptionTimerRate | VmxMisc::kCr3TargetCount;
  const uint64_t targets = std::min(c.Cr3TargetCount(), p.Cr3TargetCount());
  c.misc = (c.misc & p.misc & ~kNumbers) | (p.misc & VmxMisc::kPreemptionTimerRate) |
           targets << VmxMisc::kCr3TargetCountShift;
  c.ept_vpid_cap &= p.ept_vpid_cap;
  c.vmfunc &= p.vmfunc;
  c.cr0_fixed0 |= p.cr0_fixed0;
  c.cr0_fixed1 &= p.cr0_fixed1;
  c.cr4_fixed0 |= p.cr4_fixed0;
  c.cr4_fixed1 &= p.cr4_fixed1;
  c.physical_address_width = std::min(c.physical_address_width, p.physical_address_width);
  c.linear_address_width = std::min(c.linear_address_width, p.linear_address_width);
  c.vmcs_enum = MakeVmcsEnum(c);
  return c;
}

}  // namespace nvmx::sim
