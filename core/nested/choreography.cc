// SPDX-License-Identifier: Apache-2.0
#include "core/nested/choreography.h"

#include "core/nested/boundary_exit.h"
#include "core/nested/event_injection.h"
#include "core/nested/guest_nmi.h"
#include "core/nested/init_sipi.h"
#include "core/nested/l2_exits.h"
#include "core/nested/nested_exit.h"
#include "core/vmx/controls.h"

namespace nvmx {

void Choreography::HandleL2Exit(Vcpu& vcpu, RawExit raw) const {
  std::optional<ReflectableExit> exit = SettleExit(vcpu, std::move(raw));
  TakeBackChangesForEvent(vcpu);
  if (!exit) return;
  EndWaitForSipi(vcpu);
  if (ExitReasonValue{exit->reason()}.is_vm_entry_failure()) {
    // The processor refused VMCS02 although VMCS12 had passed: L0's rules lack one. L1 gets the
    // failure that is its own.
    vcpu.ports.trace.Record(TraceKind::kAssertionFailed, exit->reason(), 0);
    ReflectEntryFailure(vcpu, exit->reason(), vcpu.ports.vmcs.Read(VmcsField::kExitQualification));
    return;
  }
  if (IsExitOfL0(vcpu, exit->basic_reason())) {
    if (exit->basic_reason() == ExitReason::kNmiWindow) HandleNmiWindow(vcpu);
    return;
  }
  HandleSettledL2Exit(vcpu, *exit);
}

void Choreography::AfterNmiExit(Vcpu& vcpu) const { vcpu.ports.cpu.UnblockNmi(); }

uint32_t Choreography::Vmcs02PinBasedControls(uint32_t vmcs12_controls) const {
  return vmcs12_controls | PinBased::kNmiExiting | PinBased::kVirtualNmis;
}

void Choreography::FinishNestedEntry(Vcpu& vcpu) const {
  vcpu.ports.trace.Record(TraceKind::kNestedEntry, vcpu.state.current_vmcs, 0);
}

void Choreography::DeliverGuestNmi(Vcpu& vcpu) const { DeliverPendingGuestNmi(vcpu); }

// The window is only a reason to look again, which DeliverGuestNmi does before the next entry.
void Choreography::HandleNmiWindow(Vcpu&) const {}

}  // namespace nvmx
