// SPDX-License-Identifier: Apache-2.0
#include "core/nested/operand.h"

#include <array>

#include "core/nested/guest_paging.h"
#include "core/x86/general_register.h"
#include "core/x86/segment.h"

namespace nvmx {
namespace {

constexpr uint64_t kLow16 = 0xFFFF;
constexpr uint64_t kLow32 = 0xFFFFFFFF;

// The VM-exit instruction-information field of the VMX instructions.
class InstructionInformation {
 public:
  explicit InstructionInformation(uint64_t value) : value_(value) {}
  unsigned scaling() const { return static_cast<unsigned>(value_ & 0x3); }
  unsigned register1() const { return static_cast<unsigned>(value_ >> 3 & 0xF); }
  // The bits that an address has: the instruction's address size is 16, 32 or 64 bits.
  uint64_t address_mask() const {
    constexpr std::array<uint64_t, 2> kShort = {kLow16, kLow32};
    const uint64_t size = value_ >> 7 & 0x7;
    return size < kShort.size() ? kShort[size] : ~uint64_t{0};
  }
  bool uses_register() const { return (value_ >> 10 & 1) != 0; }
  SegmentRegister segment() const { return static_cast<SegmentRegister>(value_ >> 15 & 0x7); }
  unsigned index_register() const { return static_cast<unsigned>(value_ >> 18 & 0xF); }
  bool has_index() const { return (value_ >> 22 & 1) == 0; }
  unsigned base_register() const { return static_cast<unsigned>(value_ >> 23 & 0xF); }
  // Whether in 64-bit mode the operand is one in the stack segment: overrides of ES, CS, SS and DS
  // do nothing there. SDM Vol. 1, 3.3.7.1 "Canonical Addressing".
  bool is_on_stack_in_64_bit_mode() const {
    const SegmentRegister name = segment();
    const bool by_stack_register =
        has_base() && (base_register() == static_cast<unsigned>(GeneralRegister::kRsp) ||
                       base_register() == static_cast<unsigned>(GeneralRegister::kRbp));
    return by_stack_register && name != SegmentRegister::kFs && name != SegmentRegister::kGs;
  }
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

// Encodings of neighbouring segment registers are 2 apart.
uint64_t ReadSegmentField(Vcpu& vcpu, SegmentRegister segment, VmcsField of_es) {
  return vcpu.ports.vmcs.Read(
      static_cast<VmcsField>(static_cast<uint32_t>(of_es) + 2 * static_cast<uint32_t>(segment)));
}

// An offset that its segment refuses is #GP(0), but #SS(0) in the stack segment.
VmxOutcome SegmentFault(SegmentRegister segment) {
  return VmxOutcome::Fault(segment == SegmentRegister::kSs ? Vector::kStackFault
                                                           : Vector::kGeneralProtection);
}

// SDM Vol. 3A, 5.3 "Limit Checking". An access that wraps around at the end of the segment is
// refused.
bool IsWithinLimit(AccessRights rights, uint64_t limit, uint64_t offset, uint64_t length) {
  const uint64_t last = offset + length - 1;
  const bool expands_down = (rights.type() & AccessRights::kTypeCode) == 0 &&
                            (rights.type() & AccessRights::kTypeExpandDown) != 0;
  if (!expands_down) return last <= limit;
  return offset > limit && last <= (rights.db() ? kLow32 : kLow16);
}

// SDM Vol. 3A, 5.5 "Privilege Levels", 5.4.1 "Segment-Descriptor types": what a loaded segment
// register allows.
bool Allows(AccessRights rights, bool write) {
  if (rights.unusable() || !rights.present()) return false;
  if ((rights.type() & AccessRights::kTypeCode) != 0) {
    return !write && (rights.type() & AccessRights::kTypeReadable) != 0;
  }
  return !write || (rights.type() & AccessRights::kTypeWritable) != 0;
}

struct LinearAddress {
  uint64_t value = 0;
  std::optional<VmxOutcome> fault;
};

// In 64-bit mode only FS and GS have a base, and no segment has a limit. SDM Vol. 1, 3.3.4
// "Segmentation in IA-32e Mode".
LinearAddress Segmented(Vcpu& vcpu, SegmentRegister segment, uint64_t offset, uint64_t length,
                        bool write) {
  if (IsIn64BitMode(vcpu)) {
    const bool based = segment == SegmentRegister::kFs || segment == SegmentRegister::kGs;
    return {offset + (based ? ReadSegmentField(vcpu, segment, VmcsField::kGuestEsBase) : 0), {}};
  }
  const AccessRights rights{
      static_cast<uint32_t>(ReadSegmentField(vcpu, segment, VmcsField::kGuestEsAccessRights))};
  const uint64_t limit = ReadSegmentField(vcpu, segment, VmcsField::kGuestEsLimit);
  if (!Allows(rights, write) || !IsWithinLimit(rights, limit, offset, length)) {
    return {0, SegmentFault(segment)};
  }
  return {(ReadSegmentField(vcpu, segment, VmcsField::kGuestEsBase) + offset) & kLow32, {}};
}

// The linear address of the memory operand. Its displacement is in the exit qualification.
LinearAddress OperandAddress(Vcpu& vcpu, uint64_t length, bool write) {
  const InstructionInformation information = Information(vcpu);
  uint64_t offset = vcpu.ports.vmcs.Read(VmcsField::kExitQualification);
  if (information.has_base()) offset += ReadRegister(vcpu, information.base_register());
  if (information.has_index()) {
    offset += ReadRegister(vcpu, information.index_register()) << information.scaling();
  }
  return Segmented(vcpu, information.segment(), offset & information.address_mask(), length, write);
}

// A non-canonical address, which there is in 64-bit mode only, is a fault of the segment too.
std::optional<VmxOutcome> OfSegment(Vcpu& vcpu, std::optional<VmxOutcome> fault) {
  if (fault && fault->vector() == Vector::kGeneralProtection &&
      Information(vcpu).is_on_stack_in_64_bit_mode()) {
    return SegmentFault(SegmentRegister::kSs);
  }
  return fault;
}

template <typename T>
std::optional<VmxOutcome> ReadMemory(Vcpu& vcpu, T& value) {
  const LinearAddress address = OperandAddress(vcpu, sizeof value, /*write=*/false);
  if (address.fault) return address.fault;
  return OfSegment(vcpu, ReadLinearValue(vcpu, address.value, value));
}

template <typename T>
std::optional<VmxOutcome> WriteMemory(Vcpu& vcpu, const T& value) {
  const LinearAddress address = OperandAddress(vcpu, sizeof value, /*write=*/true);
  if (address.fault) return address.fault;
  return OfSegment(vcpu, WriteLinearValue(vcpu, address.value, value));
}

}  // namespace

OperandResult ReadMemoryOperand(Vcpu& vcpu) {
  OperandResult result;
  result.fault = ReadMemory(vcpu, result.value);
  return result;
}

std::optional<VmxOutcome> WriteMemoryOperand(Vcpu& vcpu, uint64_t value) {
  return WriteMemory(vcpu, value);
}

DescriptorResult ReadDescriptorOperand(Vcpu& vcpu) {
  std::array<uint64_t, 2> halves = {};
  DescriptorResult result;
  result.fault = ReadMemory(vcpu, halves);
  result.low = halves[0];
  result.high = halves[1];
  return result;
}

uint64_t RegisterOperand(Vcpu& vcpu) {
  const uint64_t value = ReadRegister(vcpu, Information(vcpu).register2());
  return IsIn64BitMode(vcpu) ? value : value & kLow32;
}

OperandResult ReadValueOperand(Vcpu& vcpu) {
  const InstructionInformation information = Information(vcpu);
  const bool wide = IsIn64BitMode(vcpu);
  if (information.uses_register()) {
    const uint64_t value = ReadRegister(vcpu, information.register1());
    return {wide ? value : value & kLow32, std::nullopt};
  }
  if (wide) return ReadMemoryOperand(vcpu);
  uint32_t value = 0;
  const std::optional<VmxOutcome> fault = ReadMemory(vcpu, value);
  return {value, fault};
}

std::optional<VmxOutcome> WriteValueOperand(Vcpu& vcpu, uint64_t value) {
  const InstructionInformation information = Information(vcpu);
  const bool wide = IsIn64BitMode(vcpu);
  if (information.uses_register()) {
    WriteRegister(vcpu, information.register1(), wide ? value : value & kLow32);
    return std::nullopt;
  }
  return wide ? WriteMemory(vcpu, value) : WriteMemory(vcpu, static_cast<uint32_t>(value));
}

}  // namespace nvmx
