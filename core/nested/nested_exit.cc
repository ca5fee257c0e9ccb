// SPDX-License-Identifier: Apache-2.0
#include "core/nested/nested_exit.h"

#include "core/nested/event_injection.h"
#include "core/nested/guest_nmi.h"
#include "core/nested/host_state.h"
#include "core/nested/msr_lists.h"
#include "core/nested/nested_paging.h"
#include "core/nested/preemption_timer.h"
#include "core/nested/vmcs01.h"
#include "core/nested/vmcs02.h"
#include "core/nested/vmcs12_region.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/interruption_info.h"

namespace nvmx {
namespace {

MsrList ExitStoreList(const VmcsImage& vmcs12) {
  return {GuestPhysicalAddress{vmcs12.Get<VmcsField::kVmExitMsrStoreAddress>()},
          vmcs12.Get<VmcsField::kVmExitMsrStoreCount>()};
}
MsrList ExitLoadList(const VmcsImage& vmcs12) {
  return {GuestPhysicalAddress{vmcs12.Get<VmcsField::kVmExitMsrLoadAddress>()},
          vmcs12.Get<VmcsField::kVmExitMsrLoadCount>()};
}

// VMCS01 becomes current with L1's host state in it, then the MSR-load list runs as the last step
// of the exit. False if that ended in a VMX abort.
bool EnterHost(Vcpu& vcpu) {
  LeaveTranslationOfL2(vcpu);
  const std::optional<VmxAbort> abort = LoadHostStateIntoVmcs01(vcpu);
  vcpu.state.operation = VmxOperation::kRoot;
  if (abort) {
    EnterVmxAbort(vcpu, *abort);
    return false;
  }
  if (LoadMsrsOnExit(vcpu, ExitLoadList(vcpu.state.vmcs12)) == 0) return true;
  EnterVmxAbort(vcpu, VmxAbort::kLoadingHostMsrs);
  return false;
}

void SetL1BlockingByNmi(Vcpu& vcpu, bool blocked) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  const uint64_t old = vmcs.Read(VmcsField::kGuestInterruptibilityState);
  const uint64_t bit = Interruptibility::kBlockingByNmi;
  const uint64_t state = blocked ? old | bit : old & ~bit;
  if (state != old) vmcs.Write(VmcsField::kGuestInterruptibilityState, state);
}

// Whether debug exceptions that VMCS02 has pending are still there after an exit with this reason.
// They are saved for an INIT, and where MOV SS holds them back; but VM entry into shutdown or
// wait-for-SIPI has dropped them. SDM Vol. 3C, 28.3.4 "Saving Non-Register State"; 27.7.3 "Delivery
// of Pending Debug Exceptions after VM Entry".
bool KeepsPendingDebugExceptions(Vcpu& vcpu, ExitReason reason) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  if ((vmcs.Read(VmcsField::kGuestInterruptibilityState) & Interruptibility::kBlockingByMovSs) !=
      0) {
    return true;
  }
  const auto activity = static_cast<ActivityState>(vmcs.Read(VmcsField::kGuestActivityState));
  return reason == ExitReason::kInitSignal &&
         (activity == ActivityState::kActive || activity == ActivityState::kHlt);
}

void SaveAndLeave(Vcpu& vcpu, const MadeExit& exit, bool nmi_blocked_in_l1) {
  if (!KeepsPendingDebugExceptions(vcpu, exit.reason)) {
    vcpu.ports.vmcs.Write(VmcsField::kGuestPendingDebugExceptions, 0);
  }
  SaveGuestStateToVmcs12(vcpu);
  VmcsImage& vmcs12 = vcpu.state.vmcs12;
  ClearExitInformation(vmcs12);
  vmcs12.Set<VmcsField::kExitReason>(static_cast<uint32_t>(exit.reason));
  vmcs12.Set<VmcsField::kExitQualification>(exit.qualification);
  vmcs12.Set<VmcsField::kVmExitInterruptionInformation>(exit.event.value());
  vmcs12.Set<VmcsField::kVmExitInterruptionErrorCode>(exit.error_code);
  vmcs12.Set<VmcsField::kIdtVectoringInformation>(exit.vectored.value());
  vmcs12.Set<VmcsField::kIdtVectoringErrorCode>(exit.vectored_error_code);
  vmcs12.Set<VmcsField::kVmExitInstructionLength>(exit.instruction_length);
  LeaveL2(vcpu, nmi_blocked_in_l1);
}

}  // namespace

// The exit information first: saving the guest's state forgets what VMCS12 injected.
void SaveL2Exit(Vcpu& vcpu) {
  SaveExitInformationToVmcs12(vcpu);
  TranslateEventInformationForL1(vcpu);
  SaveGuestStateToVmcs12(vcpu);
}

void LeaveL2(Vcpu& vcpu, bool nmi_blocked_in_l1) {
  StopPreemptionTimer(vcpu);
  if (StoreMsrsOnExit(vcpu, ExitStoreList(vcpu.state.vmcs12)) != 0) {
    LoadHostStateIntoVmcs01(vcpu);
    vcpu.state.operation = VmxOperation::kRoot;
    EnterVmxAbort(vcpu, VmxAbort::kSavingGuestMsrs);
    return;
  }
  if (!EnterHost(vcpu)) return;
  SetL1BlockingByNmi(vcpu, nmi_blocked_in_l1);
  vcpu.ports.trace.Record(TraceKind::kNestedExit, vcpu.state.vmcs12.Get<VmcsField::kExitReason>(),
                          vcpu.state.vmcs12.Get<VmcsField::kExitQualification>());
}

void ReflectExit(Vcpu& vcpu, const ReflectableExit&) {
  const bool blocked = NmiBlockedAfterL2Exit(vcpu);
  SaveL2Exit(vcpu);
  LeaveL2(vcpu, blocked);
}

void ReflectMadeExit(Vcpu& vcpu, const MadeExit& exit) {
  SaveAndLeave(vcpu, exit, NmiBlockedAfterL2Exit(vcpu));
}

// SDM Vol. 3C, 28.1 "Architectural State Before a VM Exit": an NMI blocks the next one only after
// the exit that it causes.
void ReflectNmi(Vcpu& vcpu) {
  SaveAndLeave(vcpu,
               {.reason = ExitReason::kExceptionOrNmi, .event = InterruptionInformation::Nmi()},
               /*nmi_blocked_in_l1=*/true);
}

void ReflectInit(Vcpu& vcpu) { ReflectMadeExit(vcpu, {.reason = ExitReason::kInitSignal}); }

void ReflectEntryFailure(Vcpu& vcpu, uint32_t reason, uint64_t qualification) {
  VmcsImage& vmcs12 = vcpu.state.vmcs12;
  KeepGuestStateOfVmcs12(vcpu);
  vmcs12.Set<VmcsField::kExitReason>(reason);
  vmcs12.Set<VmcsField::kExitQualification>(qualification);
  if (!EnterHost(vcpu)) return;
  vcpu.ports.trace.Record(TraceKind::kNestedExit, reason, qualification);
}

void EnterVmxAbort(Vcpu& vcpu, VmxAbort indicator) {
  WriteVmxAbortIndicator(vcpu, indicator);
  vcpu.state.in_vmx_abort = 1;
  ShutDownL1(vcpu);
  vcpu.ports.trace.Record(TraceKind::kVmxAbort, static_cast<uint64_t>(indicator), 0);
}

}  // namespace nvmx
