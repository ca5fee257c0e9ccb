// SPDX-License-Identifier: Apache-2.0
//
// VMX instructions on a VMCS, and those that invalidate translations. SDM Vol. 3C, chapter 31 "VMX
// Instruction Reference".
#include "backends/sim/machine/operand_registers.h"
#include "backends/sim/machine/processor.h"
#include "backends/sim/machine/vm_entry_checks.h"
#include "core/vmx/controls.h"
#include "core/vmx/ept.h"
#include "core/x86/address.h"

namespace nvmx::sim {
namespace {

constexpr unsigned kHalf = 32;
constexpr uint64_t kLow32 = 0xFFFFFFFF;

// VMREAD and VMWRITE have operands of 64 bits in 64-bit mode, of 32 otherwise.
size_t OperandBytes(bool is_64_bit_mode) { return is_64_bit_mode ? 8 : 4; }

uint64_t ValueOf(const VmcsImage& fields, VmcsField field, bool high) {
  const uint64_t value = fields.Read(field);
  return high ? value >> kHalf : value;
}

void StoreField(VmcsImage& fields, VmcsField field, bool high, uint64_t value) {
  if (high) value = (fields.Read(field) & kLow32) | value << kHalf;
  fields.Write(field, value);
}

}  // namespace

// --- Pointers

bool Processor::ReadPointerOperand(uint64_t& pointer) {
  return ReadData(instruction_operand_.place, std::as_writable_bytes(std::span(&pointer, 1)));
}

bool Processor::IsVmcsPointerValid(uint64_t pointer) const {
  const bool limited = (capabilities_.basic & VmxBasic::kAddressesLimitedTo32Bits) != 0;
  const auto width = limited ? kHalf : static_cast<unsigned>(capabilities_.physical_address_width);
  return IsAligned(pointer) && IsWithinWidth(pointer, 1, width);
}

uint32_t Processor::RegionHeader(uint64_t pointer) const {
  uint32_t header = 0;
  memory_.ReadPhysical(pointer, std::as_writable_bytes(std::span(&header, 1)));
  return header;
}

uint32_t Processor::RevisionIdentifier() const {
  return static_cast<uint32_t>(capabilities_.basic & VmxBasic::kRevisionIdentifier);
}

Outcome Processor::PerformVmclear() {
  uint64_t pointer = 0;
  if (!ReadPointerOperand(pointer)) return Outcome::kElsewhere;
  if (!IsVmcsPointerValid(pointer)) {
    return Vmfail(VmInstructionError::kVmclearWithInvalidPhysicalAddress);
  }
  if (pointer == state_.vmxon_pointer) {
    return Vmfail(VmInstructionError::kVmclearWithVmxonPointer);
  }
  ClearVmcs(state_.vmcs, memory_, pointer);
  if (pointer == state_.current_vmcs_pointer) state_.current_vmcs_pointer = kNoVmcs;
  return Vmsucceed();
}

Outcome Processor::PerformVmptrld() {
  uint64_t pointer = 0;
  if (!ReadPointerOperand(pointer)) return Outcome::kElsewhere;
  if (!IsVmcsPointerValid(pointer)) {
    return Vmfail(VmInstructionError::kVmptrldWithInvalidPhysicalAddress);
  }
  if (pointer == state_.vmxon_pointer) {
    return Vmfail(VmInstructionError::kVmptrldWithVmxonPointer);
  }
  const uint32_t header = RegionHeader(pointer);
  const bool shadow = (header & VmcsHeader::kShadow) != 0;
  if ((header & VmcsHeader::kRevision) != RevisionIdentifier() ||
      (shadow && !capabilities_.SupportsSecondary(Secondary::kVmcsShadowing))) {
    return Vmfail(VmInstructionError::kVmptrldWithIncorrectVmcsRevisionIdentifier);
  }
  state_.current_vmcs = ActivateVmcs(state_.vmcs, memory_, pointer, kVmcsSlots);
  state_.current_vmcs_pointer = pointer;
  return Vmsucceed();
}

Outcome Processor::PerformVmptrst() {
  const uint64_t pointer = state_.current_vmcs_pointer;
  if (!WriteData(instruction_operand_.place, std::as_bytes(std::span(&pointer, 1)))) {
    return Outcome::kElsewhere;
  }
  return Vmsucceed();
}

// --- Fields

uint64_t Processor::FieldOperand() const {
  const uint64_t field = Register(instruction_operand_.selector);
  return Is64BitMode() ? field : field & kLow32;
}

ActiveVmcs& Processor::ActivateShadowVmcs(uint64_t address) {
  return state_.vmcs[ActivateVmcs(state_.vmcs, memory_, address, state_.current_vmcs,
                                  options_.native ? 0 : kSlotsOfL0)];
}

// The VMCS that VMREAD and VMWRITE act on: in non-root operation the one that the VMCS link pointer
// names. Null: there is none.
ActiveVmcs* Processor::AccessedVmcs() {
  if (!in_non_root()) return state_.current_vmcs_pointer == kNoVmcs ? nullptr : &Vmcs();
  const uint64_t link = VmcsRead(VmcsField::kVmcsLinkPointer);
  return link == kNoVmcs ? nullptr : &ActivateShadowVmcs(link);
}

// The field that the operand names, if this processor has it.
std::optional<VmcsField> Processor::ExistingField(uint64_t encoding) const {
  if (encoding >> kHalf != 0) return std::nullopt;
  const std::optional<VmcsField> field = FieldOf(static_cast<uint32_t>(encoding));
  return field && Exists(*field, capabilities_) ? field : std::nullopt;
}

Outcome Processor::PerformVmread() {
  const ActiveVmcs* vmcs = AccessedVmcs();
  if (vmcs == nullptr) return VmfailInvalid();
  const uint64_t encoding = FieldOperand();
  const std::optional<VmcsField> field = ExistingField(encoding);
  if (!field) return Vmfail(VmInstructionError::kUnsupportedVmcsComponent);
  const uint64_t value = ValueOf(vmcs->fields, *field, IsHigh(static_cast<uint32_t>(encoding)));
  const size_t bytes = OperandBytes(Is64BitMode());
  if (const auto name = instruction_operand_.in_register) {
    Register(*name) = bytes == 8 ? value : value & kLow32;
  } else if (!WriteData(instruction_operand_.place,
                        std::as_bytes(std::span(&value, 1)).first(bytes))) {
    return Outcome::kElsewhere;
  }
  return Vmsucceed();
}

Outcome Processor::PerformVmwrite() {
  ActiveVmcs* vmcs = AccessedVmcs();
  if (vmcs == nullptr) return VmfailInvalid();
  uint64_t value = 0;
  const size_t bytes = OperandBytes(Is64BitMode());
  if (const auto name = instruction_operand_.in_register) {
    value = bytes == 8 ? Register(*name) : Register(*name) & kLow32;
  } else if (!ReadData(instruction_operand_.place,
                       std::as_writable_bytes(std::span(&value, 1)).first(bytes))) {
    return Outcome::kElsewhere;
  }
  const uint64_t encoding = FieldOperand();
  const std::optional<VmcsField> field = ExistingField(encoding);
  if (!field) return Vmfail(VmInstructionError::kUnsupportedVmcsComponent);
  if (Type(*field) == FieldType::kReadOnlyData &&
      (capabilities_.misc & VmxMisc::kVmwriteToAnyField) == 0) {
    return Vmfail(VmInstructionError::kVmwriteToReadOnlyVmcsComponent);
  }
  StoreField(vmcs->fields, *field, IsHigh(static_cast<uint32_t>(encoding)), value);
  return Vmsucceed();
}

// --- INVEPT, INVVPID

// SDM Vol. 3C, 29.4.3.1 "Operations that Invalidate Cached Mappings".
Outcome Processor::PerformInvept() {
  const auto type = static_cast<InveptType>(FieldOperand());
  if ((capabilities_.ept_vpid_cap & CapabilityOf(type)) == 0) {
    return Vmfail(VmInstructionError::kInvalidOperandToInveptInvvpid);
  }
  std::array<uint64_t, 2> descriptor{};  // EPTP, reserved
  if (!ReadData(instruction_operand_.place, std::as_writable_bytes(std::span(descriptor)))) {
    return Outcome::kElsewhere;
  }
  if (type == InveptType::kAllContexts) {
    mmu_.tlb().DropAllEp4tas();
    return Vmsucceed();
  }
  if (!IsEptpValid(descriptor[0], capabilities_)) {
    return Vmfail(VmInstructionError::kInvalidOperandToInveptInvvpid);
  }
  mmu_.tlb().DropEp4ta(Eptp::Ep4ta(descriptor[0]));
  return Vmsucceed();
}

Outcome Processor::PerformInvvpid() {
  const auto type = static_cast<InvvpidType>(FieldOperand());
  if ((capabilities_.ept_vpid_cap & CapabilityOf(type)) == 0) {
    return Vmfail(VmInstructionError::kInvalidOperandToInveptInvvpid);
  }
  std::array<uint64_t, 2> descriptor{};  // VPID in bits 15:0, linear address
  if (!ReadData(instruction_operand_.place, std::as_writable_bytes(std::span(descriptor)))) {
    return Outcome::kElsewhere;
  }
  const auto vpid = static_cast<uint16_t>(descriptor[0]);
  const uint64_t linear = descriptor[1];
  const bool reserved = descriptor[0] >> 16 != 0;
  const bool needs_vpid = type != InvvpidType::kAllContexts;
  const bool needs_address = type == InvvpidType::kIndividualAddress;
  if (reserved || (needs_vpid && vpid == 0) ||
      (needs_address &&
       !IsCanonical(linear, static_cast<unsigned>(capabilities_.linear_address_width)))) {
    return Vmfail(VmInstructionError::kInvalidOperandToInveptInvvpid);
  }
  switch (type) {
    case InvvpidType::kIndividualAddress:
      mmu_.tlb().DropPageOfVpid(vpid, linear);
      break;
    case InvvpidType::kSingleContext:
      mmu_.tlb().DropVpid(vpid, false);
      break;
    case InvvpidType::kAllContexts:
      mmu_.tlb().DropAllVpids();
      break;
    case InvvpidType::kSingleContextRetainingGlobals:
      mmu_.tlb().DropVpid(vpid, true);
      break;
  }
  return Vmsucceed();
}

// SDM Vol. 3C, 29.4.3.1: VM entries and VM exits invalidate the mappings of VPID 0 if "enable VPID"
// is 0.
void Processor::DropTranslationsAtTransition() {
  const bool secondary = (VmcsRead(VmcsField::kPrimaryProcessorBasedControls) &
                          PrimaryProcessorBased::kActivateSecondaryControls) != 0;
  const bool vpid = secondary && (VmcsRead(VmcsField::kSecondaryProcessorBasedControls) &
                                  Secondary::kEnableVpid) != 0;
  if (!vpid) mmu_.tlb().DropVpid(0, false);
}

// --- VMFUNC. SDM Vol. 3C, 26.5.6 "VM Functions".

Outcome Processor::PerformVmfunc() {
  constexpr uint32_t kFunctions = 64;
  constexpr uint32_t kEptpListEntries = 512;
  constexpr uint32_t kEptpSwitching = 0;
  const auto function = static_cast<uint32_t>(state_.registers[kRax]);
  if (!HasSecondary(Secondary::kEnableVmFunctions) || function >= kFunctions) {
    return Fault(Vector::kInvalidOpcode);
  }
  const bool enabled = (VmcsRead(VmcsField::kVmFunctionControls) >> function & 1) != 0;
  if (!enabled || function != kEptpSwitching) return ExitOnInstruction(ExitReason::kVmfunc);
  // 26.5.6.3 "EPTP Switching".
  const auto index = static_cast<uint32_t>(state_.registers[kRcx]);
  if (index >= kEptpListEntries) return ExitOnInstruction(ExitReason::kVmfunc);
  uint64_t eptp = 0;
  memory_.ReadPhysical(VmcsRead(VmcsField::kEptpListAddress) + index * sizeof eptp,
                       std::as_writable_bytes(std::span(&eptp, 1)));
  if (!IsEptpValid(eptp, capabilities_)) return ExitOnInstruction(ExitReason::kVmfunc);
  VmcsWrite(VmcsField::kEptPointer, eptp);
  return Outcome::kNext;
}

}  // namespace nvmx::sim
