// SPDX-License-Identifier: Apache-2.0
#include "core/nested/shadow_vmcs.h"

#include <cstddef>

#include "core/nested/event_injection.h"
#include "core/nested/l2_memory.h"
#include "core/nested/nested_paging.h"
#include "core/nested/operand.h"
#include "core/nested/vmcs12_region.h"
#include "core/nested/vmx_instruction_checks.h"
#include "core/nested/vmx_instructions.h"

namespace nvmx {
namespace {

// The VMCS that the link pointer names: a region in L1's memory, as VMPTRLD would find it.
class LinkedVmcs12 {
 public:
  explicit LinkedVmcs12(Vcpu& vcpu)
      : memory_(vcpu.ports.memory), region_(vcpu.state.vmcs12.Get<VmcsField::kVmcsLinkPointer>()) {}

  bool exists() const { return region_ != kNoVmcs; }
  uint64_t Read(VmcsField field) const {
    uint64_t value = ~uint64_t{0};
    memory_.ReadValue(AddressOf(field), value);
    return value & ValueMask(field);
  }
  void Write(VmcsField field, uint64_t value) {
    memory_.WriteValue(AddressOf(field), value & ValueMask(field));
  }

 private:
  GuestPhysicalAddress AddressOf(VmcsField field) const {
    return GuestPhysicalAddress{region_ + offsetof(Vmcs12Region, fields) +
                                Slot(field) * sizeof(uint64_t)};
  }

  GuestMemory& memory_;
  uint64_t region_;
};

// What is checked before anything else.
std::optional<VmxOutcome> CheckLinkedVmcs(Vcpu& vcpu, const LinkedVmcs12& linked) {
  if (CurrentPrivilegeLevel(vcpu) != 0) return GeneralProtection();
  if (!linked.exists()) return VmxOutcome::FailInvalid();
  return std::nullopt;
}

// A page fault's address is in CR2 only once L2 takes it.
void Finish(Vcpu& vcpu, const VmxOutcome& outcome, uint64_t cr2) {
  if (!outcome.is_fault()) {
    FinishVmxInstruction(vcpu, outcome);
    return;
  }
  const uint64_t linear = vcpu.state.cr2;
  vcpu.state.cr2 = cr2;
  RaiseFault(vcpu, outcome, linear);
}

// The operand in memory may not be translated by EPT12: then that is what L2 exits with.
bool ExitsForMemory(Vcpu& vcpu, const L2Memory& memory, uint64_t cr2) {
  if (!memory.untranslated()) return false;
  vcpu.state.cr2 = cr2;
  HandleUntranslatedOperandOfL2(vcpu, *memory.untranslated());
  return true;
}

VmxOutcome WriteShadow(Vcpu& vcpu, LinkedVmcs12& linked, uint64_t value) {
  const uint64_t encoding = RegisterOperand(vcpu);
  const std::optional<VmcsField> field = OfferedField(vcpu, encoding);
  if (!field) return VmxOutcome::FailValid(VmInstructionError::kUnsupportedVmcsComponent);
  if (!MayBeWritten(vcpu, *field)) {
    return VmxOutcome::FailValid(VmInstructionError::kVmwriteToReadOnlyVmcsComponent);
  }
  constexpr uint64_t kLowHalf = 0xFFFFFFFF;
  linked.Write(*field, IsHigh(static_cast<uint32_t>(encoding))
                           ? (linked.Read(*field) & kLowHalf) | value << 32
                           : value);
  return VmxOutcome::Succeed();
}

}  // namespace

void VmreadOfShadowVmcs(Vcpu& vcpu, const ReflectableExit&) {
  const LinkedVmcs12 linked(vcpu);
  if (const auto refusal = CheckLinkedVmcs(vcpu, linked)) {
    FinishVmxInstruction(vcpu, *refusal);
    return;
  }
  const uint64_t encoding = RegisterOperand(vcpu);
  const std::optional<VmcsField> field = OfferedField(vcpu, encoding);
  if (!field) {
    FinishVmxInstruction(vcpu,
                         VmxOutcome::FailValid(VmInstructionError::kUnsupportedVmcsComponent));
    return;
  }
  const uint64_t value = linked.Read(*field);
  const uint64_t cr2 = vcpu.state.cr2;
  L2Memory memory(vcpu);
  Vcpu in_l2 = WithMemory(vcpu, memory);
  const auto fault =
      WriteValueOperand(in_l2, IsHigh(static_cast<uint32_t>(encoding)) ? value >> 32 : value);
  if (ExitsForMemory(vcpu, memory, cr2)) return;
  Finish(vcpu, fault ? *fault : VmxOutcome::Succeed(), cr2);
}

// The source is read before the field is looked at, as where L1 executes the instruction.
void VmwriteOfShadowVmcs(Vcpu& vcpu, const ReflectableExit&) {
  LinkedVmcs12 linked(vcpu);
  if (const auto refusal = CheckLinkedVmcs(vcpu, linked)) {
    FinishVmxInstruction(vcpu, *refusal);
    return;
  }
  const uint64_t cr2 = vcpu.state.cr2;
  L2Memory memory(vcpu);
  Vcpu in_l2 = WithMemory(vcpu, memory);
  const OperandResult source = ReadValueOperand(in_l2);
  if (ExitsForMemory(vcpu, memory, cr2)) return;
  Finish(vcpu, source.fault ? *source.fault : WriteShadow(vcpu, linked, source.value), cr2);
}

}  // namespace nvmx
