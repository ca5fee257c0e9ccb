// SPDX-License-Identifier: Apache-2.0
#include "core/nested/nested_entry.h"

#include "core/nested/choreography.h"
#include "core/nested/entry_checks.h"
#include "core/nested/entry_surroundings.h"
#include "core/nested/msr_lists.h"
#include "core/nested/nested_exit.h"
#include "core/nested/vmcs02.h"
#include "core/vmx/interruptibility.h"

namespace nvmx {
namespace {

EntryOutcome Fail(VmInstructionError error) {
  return EntryOutcome::Fail(VmxOutcome::FailValid(error));
}

// SDM Vol. 3C, 31.3, "VMLAUNCH/VMRESUME": what precedes the checks of chapter 27.
std::optional<EntryOutcome> CheckInstruction(Vcpu& vcpu, bool launch,
                                             const EntrySurroundings& surroundings) {
  const VcpuState& state = vcpu.state;
  if (state.current_vmcs == kNoVmcs) return EntryOutcome::Fail(VmxOutcome::FailInvalid());
  if ((vcpu.ports.vmcs.Read(VmcsField::kGuestInterruptibilityState) &
       Interruptibility::kBlockingByMovSs) != 0) {
    return Fail(VmInstructionError::kVmEntryWithEventsBlockedByMovSs);
  }
  if (launch && state.vmcs12_launched != 0)
    return Fail(VmInstructionError::kVmlaunchWithNonClearVmcs);
  if (!launch && state.vmcs12_launched == 0) {
    return Fail(VmInstructionError::kVmresumeWithNonLaunchedVmcs);
  }
  return CheckControlsAndHostState(state.vmcs12, state.offered, surroundings);
}

EntryOutcome FailAfterGuestState(Vcpu& vcpu, const EntryOutcome& failure) {
  ReflectEntryFailure(vcpu, failure.exit_reason_value().value, failure.qualification());
  return failure;
}

}  // namespace

EntryOutcome EnterL2(Vcpu& vcpu, bool launch) {
  VcpuState& state = vcpu.state;
  const EntrySurroundings surroundings = ReadEntrySurroundings(vcpu);
  if (std::optional<EntryOutcome> refusal = CheckInstruction(vcpu, launch, surroundings)) {
    return *refusal;
  }
  if (std::optional<EntryOutcome> failure =
          CheckGuestState(state.vmcs12, state.offered, surroundings)) {
    return FailAfterGuestState(vcpu, *failure);
  }
  BuildVmcs02(vcpu);
  const MsrList list = {GuestPhysicalAddress{state.vmcs12.Get<VmcsField::kVmEntryMsrLoadAddress>()},
                        state.vmcs12.Get<VmcsField::kVmEntryMsrLoadCount>()};
  if (FailedMsrListEntry failed = LoadMsrsOnEntry(vcpu, list)) {
    return FailAfterGuestState(
        vcpu, EntryOutcome::EntryFailure(ExitReason::kVmEntryFailureMsrLoading, failed));
  }
  state.vmcs12_launched = 1;
  state.operation = VmxOperation::kNonRoot;
  vcpu.choreography.FinishNestedEntry(vcpu);
  return EntryOutcome::Entered();
}

}  // namespace nvmx
