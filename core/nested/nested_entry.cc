// SPDX-License-Identifier: Apache-2.0
#include "core/nested/nested_entry.h"

#include "core/nested/choreography.h"
#include "core/nested/entry_checks.h"
#include "core/nested/entry_conditions.h"
#include "core/nested/entry_rules.h"
#include "core/nested/entry_surroundings.h"
#include "core/nested/msr_lists.h"
#include "core/nested/nested_exit.h"
#include "core/nested/nested_paging.h"
#include "core/nested/pdptes.h"
#include "core/nested/preemption_timer.h"
#include "core/nested/vmcs02.h"
#include "core/nested/vmcs12.h"
#include "core/nested/vmcs12_shadow.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/msr.h"

namespace nvmx {
namespace {

EntryOutcome Fail(VmInstructionError error) {
  return EntryOutcome::Fail(VmxOutcome::FailValid(error));
}

// Checks them again only if they, or what their rules look at beside them, may have changed since
// they passed: L1's mode, its virtual-APIC page, and CR0 of the guest for an event.
std::optional<EntryOutcome> CheckControlsAndHostStateOnce(Vcpu& vcpu,
                                                          const EntrySurroundings& surroundings) {
  VcpuState& state = vcpu.state;
  const uint64_t as_now = surroundings.l1_in_ia32e_mode ? kCheckedInIa32eMode : kCheckedOutside;
  if (state.checked_controls == as_now && !Injection(state.vmcs12).valid() &&
      !HasPrimary(state.vmcs12, PrimaryProcessorBased::kUseTprShadow)) {
    return std::nullopt;
  }
  const std::optional<EntryOutcome> refusal =
      CheckControlsAndHostState(state.vmcs12, state.offered, surroundings);
  state.checked_controls = refusal ? 0 : as_now;
  return refusal;
}

// SDM Vol. 3C, 31.3, "VMLAUNCH/VMRESUME": what precedes the checks of chapter 27.
std::optional<EntryOutcome> CheckInstruction(Vcpu& vcpu, bool launch,
                                             const EntrySurroundings& surroundings) {
  const VcpuState& state = vcpu.state;
  // A shadow VMCS cannot be entered.
  if (state.vmcs12_is_shadow != 0) return EntryOutcome::Fail(VmxOutcome::FailInvalid());
  if ((vcpu.ports.vmcs.Read(VmcsField::kGuestInterruptibilityState) &
       Interruptibility::kBlockingByMovSs) != 0) {
    return Fail(VmInstructionError::kVmEntryWithEventsBlockedByMovSs);
  }
  if (launch && state.vmcs12_launched != 0)
    return Fail(VmInstructionError::kVmlaunchWithNonClearVmcs);
  if (!launch && state.vmcs12_launched == 0) {
    return Fail(VmInstructionError::kVmresumeWithNonLaunchedVmcs);
  }
  return CheckControlsAndHostStateOnce(vcpu, surroundings);
}

// By software, because VMCS02 is entered more often than VMCS12.
void LoadPerfGlobalCtrl(Vcpu& vcpu) {
  const VmcsImage& vmcs12 = vcpu.state.vmcs12;
  if (!HasEntry(vmcs12, VmEntry::kLoadIa32PerfGlobalCtrl)) return;
  vcpu.ports.cpu.WriteMsr(Index(Msr::IA32_PERF_GLOBAL_CTRL),
                          vmcs12.Get<VmcsField::kGuestIa32PerfGlobalCtrl>());
}

void TellBrokenRule(Vcpu& vcpu, const EntryOutcome& outcome) {
  if (const std::optional<EntryRuleNumber> rule = BrokenRule(outcome)) {
    vcpu.ports.trace.Record(TraceKind::kEntryRefused, static_cast<uint64_t>(*rule), 0);
  }
}

EntryOutcome FailAfterGuestState(Vcpu& vcpu, const EntryOutcome& failure) {
  ReflectEntryFailure(vcpu, failure.exit_reason_value().value, failure.qualification());
  return failure;
}

}  // namespace

EntryOutcome EnterL2(Vcpu& vcpu, bool launch) {
  VcpuState& state = vcpu.state;
  if (state.current_vmcs == kNoVmcs) return EntryOutcome::Fail(VmxOutcome::FailInvalid());
  FetchFromShadow(vcpu);
  const EntrySurroundings surroundings = ReadEntrySurroundings(vcpu);
  if (std::optional<EntryOutcome> refusal = CheckInstruction(vcpu, launch, surroundings)) {
    TellBrokenRule(vcpu, *refusal);
    return *refusal;
  }
  if (std::optional<EntryOutcome> failure =
          CheckGuestState(state.vmcs12, state.offered, surroundings)) {
    TellBrokenRule(vcpu, *failure);
    return FailAfterGuestState(vcpu, *failure);
  }
  const MsrList list = {GuestPhysicalAddress{state.vmcs12.Get<VmcsField::kVmEntryMsrLoadAddress>()},
                        state.vmcs12.Get<VmcsField::kVmEntryMsrLoadCount>()};
  if (Vmcs02HoldsUnsavedState(vcpu)) CompleteVmcs12(vcpu);
  const std::optional<Pdptes> pdptes = PdptesOfVmcs12(vcpu);
  const uint64_t eptp01 = ReadEptp01(vcpu);
  BuildVmcs02(vcpu);
  PrepareTranslationForL2(vcpu, eptp01);
  if (pdptes) WritePdpteFields(vcpu, *pdptes);
  LoadPerfGlobalCtrl(vcpu);
  if (FailedMsrListEntry failed = LoadMsrsOnEntry(vcpu, list)) {
    return FailAfterGuestState(
        vcpu, EntryOutcome::EntryFailure(ExitReason::kVmEntryFailureMsrLoading, failed));
  }
  StartPreemptionTimer(vcpu);
  state.vmcs12_launched = 1;
  state.operation = VmxOperation::kNonRoot;
  vcpu.choreography.FinishNestedEntry(vcpu);
  return EntryOutcome::Entered();
}

}  // namespace nvmx
