// SPDX-License-Identifier: Apache-2.0
//
// The memory or register operand of an instruction: how it is encoded, and what VM exits say of it.
// SDM Vol. 3C, 28.2.1 "Basic VM-Exit Information" (exit qualification), 28.2.5 "Information for VM
// Exits Due to Instruction Execution", tables "Format of the VM-Exit Instruction-Information Field
// as Used for INVEPT, INVPCID, and INVVPID", "... for VMCLEAR, VMPTRLD, VMPTRST, VMXON ...", "...
// for VMREAD and VMWRITE".
#include "backends/sim/machine/operand_registers.h"
#include "backends/sim/machine/processor.h"
#include "core/x86/address.h"

namespace nvmx::sim {
namespace {

using lhv::Instruction;
using lhv::InstructionKind;
using lhv::Operand;

// Where an instruction leaves an operand in memory that is one of its own: at the top of the
// stack's page, below the machine's part of the window.
uint64_t OwnOperandAddress(uint64_t rsp) { return PageBase(rsp - 1); }

// What the parts of an address are made of when the operand asks for more than one.
constexpr uint64_t kSmallDisplacement = 0x40;
constexpr uint64_t kNegativeDisplacement = ~uint64_t{0x1F};
constexpr uint64_t kSmallIndex = 2;

// The scales by 4 and by 8, as shifts.
constexpr unsigned kScale4 = 2;
constexpr unsigned kScale8 = 3;

bool HasTypeInRegister(InstructionKind kind) {
  return kind == InstructionKind::kInvept || kind == InstructionKind::kInvvpid ||
         kind == InstructionKind::kInvpcid;
}
bool HasPointerInMemory(InstructionKind kind) {
  return kind == InstructionKind::kVmxon || kind == InstructionKind::kVmclear ||
         kind == InstructionKind::kVmptrld;
}
bool IsVmreadOrVmwrite(InstructionKind kind) {
  return kind == InstructionKind::kVmread || kind == InstructionKind::kVmwrite;
}
bool HasOperand(InstructionKind kind) {
  switch (kind) {
    case InstructionKind::kVmptrst:
    case InstructionKind::kSgdt:
    case InstructionKind::kSidt:
    case InstructionKind::kLgdt:
    case InstructionKind::kLidt:
      return true;
    default:
      return HasTypeInRegister(kind) || HasPointerInMemory(kind) || IsVmreadOrVmwrite(kind);
  }
}

// Only FS and GS can be chosen by a prefix. SDM Vol. 1, 3.3.7.1 "Canonical Addressing".
SegmentRegister SegmentIn64BitMode(SegmentRegister named, std::optional<GeneralRegister> base) {
  if (named == SegmentRegister::kFs || named == SegmentRegister::kGs) return named;
  const bool is_stack = base == GeneralRegister::kRsp || base == GeneralRegister::kRbp;
  return is_stack ? SegmentRegister::kSs : SegmentRegister::kDs;
}

// A displacement has 32 bits at most.
uint64_t SignExtend32(uint64_t value) {
  return static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(value)));
}

}  // namespace

// RSP is switched, the others are not.
uint64_t& Processor::Register(GeneralRegister name) {
  return name == GeneralRegister::kRsp ? state_.switched.rsp : state_.registers[At(name)];
}
uint64_t Processor::Register(GeneralRegister name) const {
  return name == GeneralRegister::kRsp ? state_.switched.rsp : state_.registers[At(name)];
}

bool Processor::LoadMemoryOperand(const Instruction& instruction) {
  const Operand& operand = instruction.operand;
  if (!HasOperand(instruction.kind)) {
    // VM exits say nothing of it: its address can be anywhere, however it is encoded.
    instruction_operand_ = {.place = {SegmentRegister::kDs, instruction.first}};
    return true;
  }
  // The type of an invalidation, the field of VMREAD and VMWRITE.
  const bool takes_selector =
      HasTypeInRegister(instruction.kind) || IsVmreadOrVmwrite(instruction.kind);
  switch (operand.kind) {
    case Operand::Kind::kRegister:
      instruction_operand_ = EncodeRegister(operand.general_register);
      break;
    case Operand::Kind::kMemory:
      instruction_operand_ = EncodeMemory(operand);
      break;
    case Operand::Kind::kDefault:
      if (IsVmreadOrVmwrite(instruction.kind)) {
        instruction_operand_ = EncodeRegister(static_cast<GeneralRegister>(kValueRegister));
      } else if (!LoadOwnOperand(instruction)) {
        return false;
      }
      break;
  }
  if (instruction.kind == InstructionKind::kVmwrite && instruction_operand_.in_register) {
    Register(*instruction_operand_.in_register) = instruction.second;
  }
  if (takes_selector) {
    const GeneralRegister selector = instruction_operand_.selector;
    Register(selector) = instruction.first;
    instruction_operand_.information |= static_cast<uint64_t>(selector)
                                        << OperandInformation::kRegister2Shift;
  }
  return true;
}

// The value goes to memory first, as by an instruction before this one.
bool Processor::LoadOwnOperand(const Instruction& instruction) {
  uint64_t offset = instruction.first;
  const uint64_t descriptor[] = {instruction.second, instruction.third};
  std::span<const std::byte> bytes;
  if (HasPointerInMemory(instruction.kind)) {
    bytes = std::as_bytes(std::span(&instruction.first, 1));
  } else if (HasTypeInRegister(instruction.kind)) {
    bytes = std::as_bytes(std::span(descriptor));
  }
  if (!bytes.empty()) {
    offset = OwnOperandAddress(state_.switched.rsp);
    if (!WriteData({SegmentRegister::kDs, offset}, bytes)) return false;
  }
  const bool fits = SignExtend32(offset) == offset;
  instruction_operand_ =
      EncodeMemory({.kind = Operand::Kind::kMemory,
                    .shape = fits ? Operand::Shape::kDisplacement : Operand::Shape::kBase,
                    .offset = offset});
  return true;
}

EncodedOperand Processor::EncodeRegister(GeneralRegister name) {
  EncodedOperand encoded;
  encoded.in_register = name;
  encoded.information = static_cast<uint64_t>(name) << OperandInformation::kRegister1Shift |
                        OperandInformation::kIsRegister;
  // One register cannot hold both.
  if (name == encoded.selector) encoded.selector = GeneralRegister::kRcx;
  return encoded;
}

EncodedOperand Processor::EncodeMemory(const Operand& operand) {
  constexpr GeneralRegister kIndex = GeneralRegister::kRdi;
  std::optional<GeneralRegister> base;
  unsigned scale = 0;
  bool has_index = false;
  uint64_t displacement = 0;
  switch (operand.shape) {
    case Operand::Shape::kDisplacement:
      displacement = operand.offset;
      break;
    case Operand::Shape::kBase:
      base = GeneralRegister::kRsi;
      Register(*base) = operand.offset;
      break;
    case Operand::Shape::kBaseDisplacement:
      base = GeneralRegister::kRsi;
      displacement = kNegativeDisplacement;
      Register(*base) = operand.offset - displacement;
      break;
    case Operand::Shape::kIndexDisplacement:
      has_index = true;
      scale = kScale4;
      Register(kIndex) = (operand.offset - kSmallDisplacement) >> scale;
      displacement = operand.offset - (Register(kIndex) << scale);
      break;
    case Operand::Shape::kBaseIndexDisplacement:
      base = GeneralRegister::kRsi;
      has_index = true;
      scale = kScale8;
      Register(kIndex) = kSmallIndex;
      displacement = kSmallDisplacement;
      Register(*base) = operand.offset - (kSmallIndex << scale) - displacement;
      break;
    case Operand::Shape::kRspDisplacement:
      base = GeneralRegister::kRsp;
      displacement = operand.offset - Register(*base);
      break;
  }
  EncodedOperand encoded;
  encoded.displacement = SignExtend32(displacement);
  const bool address_64 = Is64BitMode() && !operand.has_32_bit_address;
  const uint64_t address = encoded.displacement + (base ? Register(*base) : 0) +
                           (has_index ? Register(kIndex) << scale : 0);
  constexpr uint64_t kLow32 = 0xFFFFFFFF;
  encoded.place = {Is64BitMode() ? SegmentIn64BitMode(operand.segment, base) : operand.segment,
                   address_64 ? address : address & kLow32};
  using Information = OperandInformation;
  encoded.information =
      (address_64 ? Information::k64BitAddress : Information::k32BitAddress) |
      static_cast<uint64_t>(operand.segment) << Information::kSegmentShift |
      (has_index ? scale | static_cast<uint64_t>(kIndex) << Information::kIndexShift
                 : Information::kNoIndex) |
      (base ? static_cast<uint64_t>(*base) << Information::kBaseShift : Information::kNoBase);
  return encoded;
}

uint64_t Processor::OperandResult() const {
  if (instruction_operand_.in_register) return Register(*instruction_operand_.in_register);
  uint64_t value = 0;
  const MemoryOperand& place = instruction_operand_.place;
  TranslationContext context = Context();
  if (const std::optional<uint64_t> eptp = platform_.EptPointerOfL2()) context.eptp = *eptp;
  mmu_.Peek(context, SegmentBase(place.segment) + place.offset,
            std::as_writable_bytes(std::span(&value, 1)));
  return value;
}

}  // namespace nvmx::sim
