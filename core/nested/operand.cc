// SPDX-License-Identifier: Apache-2.0
#include "core/nested/operand.h"

#include "core/nested/guest_paging.h"
#include "core/x86/general_register.h"

namespace nvmx {
namespace {

// The VM-exit instruction-information field of the VMX instructions.
class InstructionInformation {
 public:
  explicit InstructionInformation(uint64_t value) : value_(value) {}
  unsigned scaling() const { return static_cast<unsigned>(value_ & 0x3); }
  unsigned register1() const { return static_cast<unsigned>(value_ >> 3 & 0xF); }
  bool has_32_bit_address() const { return (value_ >> 7 & 0x7) == 1; }
  bool uses_register() const { return (value_ >> 10 & 1) != 0; }
  unsigned segment() const { return static_cast<unsigned>(value_ >> 15 & 0x7); }
  unsigned index_register() const { return static_cast<unsigned>(value_ >> 18 & 0xF); }
  bool has_index() const { return (value_ >> 22 & 1) == 0; }
  unsigned base_register() const { return static_cast<unsigned>(value_ >> 23 & 0xF); }
  bool has_base() const { return (value_ >> 27 & 1) == 0; }
  unsigned register2() const { return static_cast<unsigned>(value_ >> 28 & 0xF); }

 private:
  uint64_t value_;
};

InstructionInformation Information(Vcpu& vcpu) {
  return InstructionInformation(vcpu.ports.vmcs.Read(VmcsField::kVmExitInstructionInformation));
}

uint64_t ReadRegister(Vcpu& vcpu, unsigned number) {
  if (number == static_cast<unsigned>(GeneralRegister::kRsp)) {
    return vcpu.ports.vmcs.Read(VmcsField::kGuestRsp);
  }
  return vcpu.state.registers[number];
}

void WriteRegister(Vcpu& vcpu, unsigned number, uint64_t value) {
  if (number == static_cast<unsigned>(GeneralRegister::kRsp)) {
    vcpu.ports.vmcs.Write(VmcsField::kGuestRsp, value);
    return;
  }
  vcpu.state.registers[number] = value;
}

// In 64-bit mode only FS and GS have a base. SDM Vol. 1, 3.3.4 "Segmentation in IA-32e Mode".
uint64_t SegmentBase(Vcpu& vcpu, unsigned segment) {
  constexpr unsigned kFs = 4;
  constexpr unsigned kGs = 5;
  if (segment == kFs) return vcpu.ports.vmcs.Read(VmcsField::kGuestFsBase);
  if (segment == kGs) return vcpu.ports.vmcs.Read(VmcsField::kGuestGsBase);
  return 0;
}

// The displacement of a memory operand is in the exit qualification.
uint64_t LinearAddress(Vcpu& vcpu, const InstructionInformation& information) {
  uint64_t address = vcpu.ports.vmcs.Read(VmcsField::kExitQualification);
  if (information.has_base()) address += ReadRegister(vcpu, information.base_register());
  if (information.has_index()) {
    address += ReadRegister(vcpu, information.index_register()) << information.scaling();
  }
  constexpr uint64_t kLow32 = 0xFFFFFFFF;
  if (information.has_32_bit_address()) address &= kLow32;
  return address + SegmentBase(vcpu, information.segment());
}

// A non-canonical address is #GP, but #SS if the operand is in the stack segment.
std::optional<VmxOutcome> FaultOfSegment(const InstructionInformation& information,
                                         std::optional<VmxOutcome> fault) {
  constexpr unsigned kSs = 2;
  if (fault && fault->vector() == Vector::kGeneralProtection && information.segment() == kSs) {
    return VmxOutcome::Fault(Vector::kStackFault);
  }
  return fault;
}

}  // namespace

OperandResult ReadMemoryOperand(Vcpu& vcpu) {
  const InstructionInformation information = Information(vcpu);
  OperandResult result;
  result.fault =
      FaultOfSegment(information, ReadLinear(vcpu, LinearAddress(vcpu, information), result.value));
  return result;
}

std::optional<VmxOutcome> WriteMemoryOperand(Vcpu& vcpu, uint64_t value) {
  const InstructionInformation information = Information(vcpu);
  return FaultOfSegment(information, WriteLinear(vcpu, LinearAddress(vcpu, information), value));
}

uint64_t FieldOperand(Vcpu& vcpu) { return ReadRegister(vcpu, Information(vcpu).register2()); }

OperandResult ReadValueOperand(Vcpu& vcpu) {
  const InstructionInformation information = Information(vcpu);
  if (information.uses_register()) {
    return {ReadRegister(vcpu, information.register1()), std::nullopt};
  }
  return ReadMemoryOperand(vcpu);
}

std::optional<VmxOutcome> WriteValueOperand(Vcpu& vcpu, uint64_t value) {
  const InstructionInformation information = Information(vcpu);
  if (!information.uses_register()) return WriteMemoryOperand(vcpu, value);
  WriteRegister(vcpu, information.register1(), value);
  return std::nullopt;
}

}  // namespace nvmx
