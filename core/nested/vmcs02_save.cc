// SPDX-License-Identifier: Apache-2.0
//
// What a VM exit out of VMCS02 leaves in VMCS12.
#include "core/nested/entry_conditions.h"
#include "core/nested/guest_nmi.h"
#include "core/nested/pdptes.h"
#include "core/nested/vmcs02.h"
#include "core/nested/vmcs12.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruption_info.h"

namespace nvmx {
namespace {

// The guest state that hardware keeps in VMCS02 for L2.
consteval FieldSet GuestStateInVmcs02() {
  FieldSet fields;
  for (const VmcsFieldInformation& row : kVmcsFields) {
    const bool kept = row.policy == Vmcs02Policy::kCopy || row.policy == Vmcs02Policy::kMerge;
    if (Type(row.field) == FieldType::kGuestState && kept) fields.Add(row.field);
  }
  return fields;
}
constexpr FieldSet kGuestState = GuestStateInVmcs02();

// What an exit writes about itself.
consteval FieldSet ExitInformation() {
  FieldSet fields;
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (row.policy == Vmcs02Policy::kExitInformation) fields.Add(row.field);
  }
  fields.Remove(VmcsField::kVmInstructionError);
  return fields;
}
constexpr FieldSet kExitInformation = ExitInformation();

// IA32_PERF_GLOBAL_CTRL is loaded by software, and saved by no control that is offered; the others
// are saved by other parts (guest_nmi.h, pdptes.h, preemption_timer.h).
constexpr FieldSet kNotSavedHere = {VmcsField::kGuestIa32PerfGlobalCtrl,
                                    VmcsField::kGuestInterruptibilityState,
                                    VmcsField::kVmxPreemptionTimerValue,
                                    VmcsField::kGuestPdpte0,
                                    VmcsField::kGuestPdpte1,
                                    VmcsField::kGuestPdpte2,
                                    VmcsField::kGuestPdpte3};

constexpr FieldSet kSavedGuestState = kGuestState - kNotSavedHere;

void ReadFields(Vmcs& from, const FieldSet& fields, VmcsImage& to) {
  fields.ForEachSlot([&](size_t slot) { to.WriteSlot(slot, from.Read(FieldAt(slot))); });
}

// What an exit saves only if a control says so. VMCS12 else keeps its value.
struct SavedRegister {
  uint32_t save;
  FieldSet fields;
};
constexpr SavedRegister kSavedRegisters[] = {
    {VmExit::kSaveDebugControls, {VmcsField::kGuestDr7, VmcsField::kGuestIa32Debugctl}},
    {VmExit::kSaveIa32Pat, {VmcsField::kGuestIa32Pat}},
    {VmExit::kSaveIa32Efer, {VmcsField::kGuestIa32Efer}},
};

FieldSet Unsaved(const VmcsImage& vmcs12) {
  FieldSet unsaved;
  for (const SavedRegister& row : kSavedRegisters) {
    if (!HasExit(vmcs12, row.save)) unsaved |= row.fields;
  }
  return unsaved;
}

}  // namespace

void SaveGuestStateToVmcs12(Vcpu& vcpu) {
  VcpuState& state = vcpu.state;
  VmcsImage& vmcs12 = state.vmcs12;
  Vmcs& vmcs = vcpu.ports.vmcs;
  const FieldSet unsaved = Unsaved(vmcs12);
  const FieldSet saved = kSavedGuestState - unsaved;
  state.vmcs12_stale = saved & kRarelyReadGuestState & state.offered_fields;
  ReadFields(vmcs, (saved - kRarelyReadGuestState) & state.offered_fields, vmcs12);
  state.vmcs02_stale -= saved;
  state.vmcs02_stale |= unsaved;
  vmcs12.Set<VmcsField::kGuestInterruptibilityState>(L2InterruptibilityForL1(vcpu));
  // SDM Vol. 3C, 28.2: the entry control follows IA32_EFER.LMA, and the valid bit of the injection
  // field is cleared.
  const uint32_t entry = vmcs12.Get<VmcsField::kVmEntryControls>();
  const uint64_t mode = vmcs.Read(VmcsField::kVmEntryControls) & VmEntry::kIa32eModeGuest;
  if ((entry & VmEntry::kIa32eModeGuest) != mode) {
    vmcs12.Set<VmcsField::kVmEntryControls>((entry & ~VmEntry::kIa32eModeGuest) | mode);
    state.checked_controls = 0;
  }
  SavePdptesToVmcs12(vcpu);
  vmcs12.Set<VmcsField::kVmEntryInterruptionInformation>(
      vmcs12.Get<VmcsField::kVmEntryInterruptionInformation>() & ~InterruptionInformation::kValid);
}

bool Vmcs02HoldsUnsavedState(const Vcpu& vcpu) {
  return vcpu.state.vmcs12_stale.Intersects(Unsaved(vcpu.state.vmcs12));
}

void KeepGuestStateOfVmcs12(Vcpu& vcpu) {
  vcpu.state.vmcs02_stale |= kGuestState - vcpu.state.vmcs12_stale;
}

void SaveExitInformationToVmcs12(Vcpu& vcpu) {
  ReadFields(vcpu.ports.vmcs, kExitInformation & vcpu.state.offered_fields, vcpu.state.vmcs12);
}

void ClearExitInformation(VmcsImage& vmcs12) {
  kExitInformation.ForEach([&](VmcsField field) { vmcs12.Write(field, 0); });
}

}  // namespace nvmx
