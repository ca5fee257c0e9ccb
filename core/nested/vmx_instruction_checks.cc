// SPDX-License-Identifier: Apache-2.0
#include "core/nested/vmx_instruction_checks.h"

#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/rflags.h"
#include "core/x86/segment.h"

namespace nvmx {

bool ModeForbidsVmx(Vcpu& vcpu) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  const bool protected_mode = (vmcs.Read(VmcsField::kGuestCr0) & Cr0::kPe) != 0;
  const bool virtual_8086 = (vmcs.Read(VmcsField::kGuestRflags) & Rflags::kVm) != 0;
  const bool long_mode = (vmcs.Read(VmcsField::kGuestIa32Efer) & Efer::kLma) != 0;
  const bool code_64 = (vmcs.Read(VmcsField::kGuestCsAccessRights) & AccessRights::kL) != 0;
  return !protected_mode || virtual_8086 || (long_mode && !code_64);
}

unsigned CurrentPrivilegeLevel(Vcpu& vcpu) {
  const AccessRights ss{
      static_cast<uint32_t>(vcpu.ports.vmcs.Read(VmcsField::kGuestSsAccessRights))};
  return ss.dpl();
}

std::optional<VmxOutcome> CheckInVmxOperation(Vcpu& vcpu) {
  if (vcpu.state.operation == VmxOperation::kOff || ModeForbidsVmx(vcpu)) return Undefined();
  if (CurrentPrivilegeLevel(vcpu) != 0) return GeneralProtection();
  return std::nullopt;
}

std::optional<VmcsField> OfferedField(const Vcpu& vcpu, uint64_t encoding) {
  if (encoding > ~uint32_t{0}) return std::nullopt;
  const std::optional<VmcsField> field = FieldOf(static_cast<uint32_t>(encoding));
  if (!field || !vcpu.state.offered_fields.Has(*field)) return std::nullopt;
  return field;
}

bool MayBeWritten(const Vcpu& vcpu, VmcsField field) {
  return Type(field) != FieldType::kReadOnlyData ||
         (vcpu.state.offered.misc & VmxMisc::kVmwriteToAnyField) != 0;
}

}  // namespace nvmx
