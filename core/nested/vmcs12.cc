// SPDX-License-Identifier: Apache-2.0
#include "core/nested/vmcs12.h"

#include "core/nested/vmcs02_controls.h"
#include "core/nested/vmcs12_shadow.h"

namespace nvmx {
namespace {

#define NVMX_SEGMENT(name)                                          \
  VmcsField::kGuest##name##Selector, VmcsField::kGuest##name##Base, \
      VmcsField::kGuest##name##Limit, VmcsField::kGuest##name##AccessRights
// The access rights of CS and SS, which tell L2's mode and privilege, are not among them.
constexpr FieldSet kRare =
    FieldSet{NVMX_SEGMENT(Es),
             NVMX_SEGMENT(Cs),
             NVMX_SEGMENT(Ss),
             NVMX_SEGMENT(Ds),
             NVMX_SEGMENT(Fs),
             NVMX_SEGMENT(Gs),
             NVMX_SEGMENT(Ldtr),
             NVMX_SEGMENT(Tr),
             VmcsField::kGuestGdtrBase,
             VmcsField::kGuestGdtrLimit,
             VmcsField::kGuestIdtrBase,
             VmcsField::kGuestIdtrLimit,
             VmcsField::kGuestIa32SysenterCs,
             VmcsField::kGuestIa32SysenterEsp,
             VmcsField::kGuestIa32SysenterEip,
             VmcsField::kGuestIa32Pat,
             VmcsField::kGuestIa32Debugctl,
             VmcsField::kGuestDr7} -
    FieldSet{VmcsField::kGuestCsAccessRights, VmcsField::kGuestSsAccessRights};
#undef NVMX_SEGMENT

// Of what an exit leaves in VMCS02.
constexpr FieldSet kLoadedByEntry = {
#define NVMX_SWITCHED_MSR(msr, field) VmcsField::field,
#include "core/nested/msr_kinds.def"
    VmcsField::kGuestDr7,
};

// What VcpuState::checked_controls is about. An event to be injected is checked with each entry.
consteval FieldSet CheckedControlsAndHostState() {
  FieldSet fields;
  for (const VmcsFieldInformation& row : kVmcsFields) {
    const FieldType type = Type(row.field);
    if (type == FieldType::kControl || type == FieldType::kHostState) fields.Add(row.field);
  }
  return fields - FieldSet{VmcsField::kVmEntryInterruptionInformation,
                           VmcsField::kVmEntryExceptionErrorCode,
                           VmcsField::kVmEntryInstructionLength};
}
constexpr FieldSet kChecked = CheckedControlsAndHostState();

}  // namespace

constinit const FieldSet kRarelyReadGuestState = kRare;

uint64_t ReadVmcs12(Vcpu& vcpu, VmcsField field) {
  if (IsShadowedForWrite(field)) FetchFromShadow(vcpu);
  if (vcpu.state.vmcs12_stale.Has(field)) CompleteVmcs12(vcpu);
  return vcpu.state.vmcs12.Read(field);
}

void WriteVmcs12(Vcpu& vcpu, VmcsField field, uint64_t value) {
  const bool shadowed = vcpu.state.shadowing == Shadowing::kOn && IsShadowed(field);
  if (shadowed) FetchFromShadow(vcpu);
  ChangeVmcs12(vcpu, field, value);
  if (shadowed) BeginShadowing(vcpu);
}

void ChangeVmcs12(Vcpu& vcpu, VmcsField field, uint64_t value) {
  VcpuState& state = vcpu.state;
  if (!state.vmcs12_stale.Has(field)) {
    const uint64_t changed = state.vmcs12.Read(field) ^ (value & ValueMask(field));
    if (changed == 0) return;
    state.vmcs02_stale |= ControlsThatDependOn(field, changed);
  }
  state.vmcs12.Write(field, value);
  state.vmcs12_stale.Remove(field);
  state.vmcs02_stale.Add(field);
  if (kChecked.Has(field)) state.checked_controls = 0;
}

// All at once: what is dear is to make VMCS02 current and VMCS01 again.
void CompleteVmcs12(Vcpu& vcpu) {
  VcpuState& state = vcpu.state;
  if (state.vmcs12_stale.IsEmpty()) return;
  Vmcs& vmcs = vcpu.ports.vmcs;
  vmcs.MakeCurrent(VmcsRole::kVmcs02);
  state.vmcs12_stale.ForEach([&](VmcsField field) { state.vmcs12.Write(field, vmcs.Read(field)); });
  vmcs.MakeCurrent(VmcsRole::kVmcs01);
  state.vmcs12_stale = {};
}

void SaveRegistersThatEntryLoads(Vcpu& vcpu) {
  VcpuState& state = vcpu.state;
  const FieldSet fields = state.vmcs12_stale & kLoadedByEntry;
  fields.ForEach([&](VmcsField field) { state.vmcs12.Write(field, vcpu.ports.vmcs.Read(field)); });
  state.vmcs12_stale -= fields;
}

}  // namespace nvmx
