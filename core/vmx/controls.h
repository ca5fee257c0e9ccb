// SPDX-License-Identifier: Apache-2.0
//
// The bits of the VM-execution, VM-exit and VM-entry controls.
// Source: SDM Vol. 3C, 25.6 "VM-Execution Control Fields", 25.7 "VM-Exit Control Fields", 25.8
// "VM-Entry Control Fields". kDefault1 is the default1 class: Vol. 3D, A.2 "Reserved Controls and
// Default Settings".
#ifndef NVMX_CORE_VMX_CONTROLS_H_
#define NVMX_CORE_VMX_CONTROLS_H_

#include <cstdint>

namespace nvmx {

struct PinBased {
  static constexpr uint32_t kExternalInterruptExiting = uint32_t{1} << 0;
  static constexpr uint32_t kNmiExiting = uint32_t{1} << 3;
  static constexpr uint32_t kVirtualNmis = uint32_t{1} << 5;
  static constexpr uint32_t kActivateVmxPreemptionTimer = uint32_t{1} << 6;
  static constexpr uint32_t kProcessPostedInterrupts = uint32_t{1} << 7;
  static constexpr uint32_t kDefault1 = 0x00000016;
};

struct PrimaryProcessorBased {
  static constexpr uint32_t kInterruptWindowExiting = uint32_t{1} << 2;
  static constexpr uint32_t kUseTscOffsetting = uint32_t{1} << 3;
  static constexpr uint32_t kHltExiting = uint32_t{1} << 7;
  static constexpr uint32_t kInvlpgExiting = uint32_t{1} << 9;
  static constexpr uint32_t kMwaitExiting = uint32_t{1} << 10;
  static constexpr uint32_t kRdpmcExiting = uint32_t{1} << 11;
  static constexpr uint32_t kRdtscExiting = uint32_t{1} << 12;
  static constexpr uint32_t kCr3LoadExiting = uint32_t{1} << 15;
  static constexpr uint32_t kCr3StoreExiting = uint32_t{1} << 16;
  static constexpr uint32_t kActivateTertiaryControls = uint32_t{1} << 17;
  static constexpr uint32_t kCr8LoadExiting = uint32_t{1} << 19;
  static constexpr uint32_t kCr8StoreExiting = uint32_t{1} << 20;
  static constexpr uint32_t kUseTprShadow = uint32_t{1} << 21;
  static constexpr uint32_t kNmiWindowExiting = uint32_t{1} << 22;
  static constexpr uint32_t kMovDrExiting = uint32_t{1} << 23;
  static constexpr uint32_t kUnconditionalIoExiting = uint32_t{1} << 24;
  static constexpr uint32_t kUseIoBitmaps = uint32_t{1} << 25;
  static constexpr uint32_t kMonitorTrapFlag = uint32_t{1} << 27;
  static constexpr uint32_t kUseMsrBitmaps = uint32_t{1} << 28;
  static constexpr uint32_t kMonitorExiting = uint32_t{1} << 29;
  static constexpr uint32_t kPauseExiting = uint32_t{1} << 30;
  static constexpr uint32_t kActivateSecondaryControls = uint32_t{1} << 31;
  static constexpr uint32_t kDefault1 = 0x0401E172;
};

struct Secondary {
  static constexpr uint32_t kVirtualizeApicAccesses = uint32_t{1} << 0;
  static constexpr uint32_t kEnableEpt = uint32_t{1} << 1;
  static constexpr uint32_t kDescriptorTableExiting = uint32_t{1} << 2;
  static constexpr uint32_t kEnableRdtscp = uint32_t{1} << 3;
  static constexpr uint32_t kVirtualizeX2ApicMode = uint32_t{1} << 4;
  static constexpr uint32_t kEnableVpid = uint32_t{1} << 5;
  static constexpr uint32_t kWbinvdExiting = uint32_t{1} << 6;
  static constexpr uint32_t kUnrestrictedGuest = uint32_t{1} << 7;
  static constexpr uint32_t kApicRegisterVirtualization = uint32_t{1} << 8;
  static constexpr uint32_t kVirtualInterruptDelivery = uint32_t{1} << 9;
  static constexpr uint32_t kPauseLoopExiting = uint32_t{1} << 10;
  static constexpr uint32_t kRdrandExiting = uint32_t{1} << 11;
  static constexpr uint32_t kEnableInvpcid = uint32_t{1} << 12;
  static constexpr uint32_t kEnableVmFunctions = uint32_t{1} << 13;
  static constexpr uint32_t kVmcsShadowing = uint32_t{1} << 14;
  static constexpr uint32_t kEnableEnclsExiting = uint32_t{1} << 15;
  static constexpr uint32_t kRdseedExiting = uint32_t{1} << 16;
  static constexpr uint32_t kEnablePml = uint32_t{1} << 17;
  static constexpr uint32_t kEptViolationVe = uint32_t{1} << 18;
  static constexpr uint32_t kConcealVmxFromPt = uint32_t{1} << 19;
  static constexpr uint32_t kEnableXsavesXrstors = uint32_t{1} << 20;
  static constexpr uint32_t kPasidTranslation = uint32_t{1} << 21;
  static constexpr uint32_t kModeBasedExecuteControlForEpt = uint32_t{1} << 22;
  static constexpr uint32_t kSubPageWritePermissionsForEpt = uint32_t{1} << 23;
  static constexpr uint32_t kIntelPtUsesGuestPhysicalAddresses = uint32_t{1} << 24;
  static constexpr uint32_t kUseTscScaling = uint32_t{1} << 25;
  static constexpr uint32_t kEnableUserWaitAndPause = uint32_t{1} << 26;
  static constexpr uint32_t kEnablePconfig = uint32_t{1} << 27;
  static constexpr uint32_t kEnableEnclvExiting = uint32_t{1} << 28;
  static constexpr uint32_t kVmmBusLockDetection = uint32_t{1} << 30;
  static constexpr uint32_t kInstructionTimeout = uint32_t{1} << 31;
};

struct Tertiary {
  static constexpr uint64_t kLoadiwkeyExiting = uint64_t{1} << 0;
  static constexpr uint64_t kEnableHlat = uint64_t{1} << 1;
  static constexpr uint64_t kEptPagingWriteControl = uint64_t{1} << 2;
  static constexpr uint64_t kGuestPagingVerification = uint64_t{1} << 3;
  static constexpr uint64_t kIpiVirtualization = uint64_t{1} << 4;
  static constexpr uint64_t kVirtualizeIa32SpecCtrl = uint64_t{1} << 7;
};

struct VmExit {
  static constexpr uint32_t kSaveDebugControls = uint32_t{1} << 2;
  static constexpr uint32_t kHostAddressSpaceSize = uint32_t{1} << 9;
  static constexpr uint32_t kLoadIa32PerfGlobalCtrl = uint32_t{1} << 12;
  static constexpr uint32_t kAcknowledgeInterruptOnExit = uint32_t{1} << 15;
  static constexpr uint32_t kSaveIa32Pat = uint32_t{1} << 18;
  static constexpr uint32_t kLoadIa32Pat = uint32_t{1} << 19;
  static constexpr uint32_t kSaveIa32Efer = uint32_t{1} << 20;
  static constexpr uint32_t kLoadIa32Efer = uint32_t{1} << 21;
  static constexpr uint32_t kSaveVmxPreemptionTimerValue = uint32_t{1} << 22;
  static constexpr uint32_t kClearIa32Bndcfgs = uint32_t{1} << 23;
  static constexpr uint32_t kConcealVmxFromPt = uint32_t{1} << 24;
  static constexpr uint32_t kClearIa32RtitCtl = uint32_t{1} << 25;
  static constexpr uint32_t kClearIa32LbrCtl = uint32_t{1} << 26;
  static constexpr uint32_t kClearUinv = uint32_t{1} << 27;
  static constexpr uint32_t kLoadCetState = uint32_t{1} << 28;
  static constexpr uint32_t kLoadPkrs = uint32_t{1} << 29;
  static constexpr uint32_t kSaveIa32PerfGlobalCtrl = uint32_t{1} << 30;
  static constexpr uint32_t kActivateSecondaryControls = uint32_t{1} << 31;
  static constexpr uint32_t kDefault1 = 0x00036DFF;
};

struct SecondaryVmExit {
  static constexpr uint64_t kPrematurelyBusyShadowStack = uint64_t{1} << 3;
};

struct VmEntry {
  static constexpr uint32_t kLoadDebugControls = uint32_t{1} << 2;
  static constexpr uint32_t kIa32eModeGuest = uint32_t{1} << 9;
  static constexpr uint32_t kEntryToSmm = uint32_t{1} << 10;
  static constexpr uint32_t kDeactivateDualMonitorTreatment = uint32_t{1} << 11;
  static constexpr uint32_t kLoadIa32PerfGlobalCtrl = uint32_t{1} << 13;
  static constexpr uint32_t kLoadIa32Pat = uint32_t{1} << 14;
  static constexpr uint32_t kLoadIa32Efer = uint32_t{1} << 15;
  static constexpr uint32_t kLoadIa32Bndcfgs = uint32_t{1} << 16;
  static constexpr uint32_t kConcealVmxFromPt = uint32_t{1} << 17;
  static constexpr uint32_t kLoadIa32RtitCtl = uint32_t{1} << 18;
  static constexpr uint32_t kLoadUinv = uint32_t{1} << 19;
  static constexpr uint32_t kLoadCetState = uint32_t{1} << 20;
  static constexpr uint32_t kLoadGuestIa32LbrCtl = uint32_t{1} << 21;
  static constexpr uint32_t kLoadPkrs = uint32_t{1} << 22;
  static constexpr uint32_t kDefault1 = 0x000011FF;
};

// VM-function controls (VmcsField::kVmFunctionControls and IA32_VMX_VMFUNC).
// 25.6.14 "VM-Function Controls".
struct VmFunction {
  static constexpr uint64_t kEptpSwitching = uint64_t{1} << 0;
};

}  // namespace nvmx

#endif  // NVMX_CORE_VMX_CONTROLS_H_
