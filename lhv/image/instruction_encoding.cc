// SPDX-License-Identifier: Apache-2.0
#include "lhv/image/instruction_encoding.h"

#include <initializer_list>

#include "core/x86/address.h"
#include "core/x86/segment.h"
#include "lhv/image/instruction_tables.h"
#include "lhv/image/machine_code.h"

namespace nvmx::lhv {
namespace {

using Kind = InstructionKind;

constexpr GeneralRegister kRax = GeneralRegister::kRax;
constexpr GeneralRegister kRcx = GeneralRegister::kRcx;
constexpr GeneralRegister kRdx = GeneralRegister::kRdx;
constexpr GeneralRegister kRbx = GeneralRegister::kRbx;
constexpr GeneralRegister kRsi = GeneralRegister::kRsi;
constexpr GeneralRegister kRdi = GeneralRegister::kRdi;
constexpr GeneralRegister kRsp = GeneralRegister::kRsp;

constexpr uint64_t kLow32 = 0xFFFF'FFFF;

bool IsInvalidation(Kind kind) {
  return kind == Kind::kInvept || kind == Kind::kInvvpid || kind == Kind::kInvpcid;
}
uint8_t OverrideOf(SegmentRegister segment) {
  constexpr uint8_t kOverrides[] = {0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65};
  return kOverrides[static_cast<size_t>(segment) % std::size(kOverrides)];
}
bool HasPointerInMemory(Kind kind) {
  return kind == Kind::kVmxon || kind == Kind::kVmclear || kind == Kind::kVmptrld;
}

class Encoder {
 public:
  Encoder(const Instruction& instruction, const EncodingContext& context)
      : instruction_(instruction), context_(context), is_64_bit_(context.mode == L1Mode::k64Bit) {
    encoded_.result_register = kRbx;
  }

  EncodedInstruction Run() {
    LoadOperands();
    if (!EncodePlain() && !EncodeWithOperand() && !EncodeNumbered()) {
      Refuse(EncodingRefusal::kUnknown);
    }
    if (encoded_.refusal != EncodingRefusal::kNone || !encoded_.has_code) return encoded_;
    if (!code_.Fill(encoded_.code, PaddingPrefix())) Refuse(EncodingRefusal::kTooLong);
    return encoded_;
  }

 private:
  void Refuse(EncodingRefusal refusal) {
    if (encoded_.refusal == EncodingRefusal::kNone) encoded_.refusal = refusal;
  }

  void Load(GeneralRegister name, uint64_t value) {
    if (!is_64_bit_ && value > kLow32) Refuse(EncodingRefusal::kOutOfReach);
    const auto number = static_cast<unsigned>(name);
    encoded_.loaded = static_cast<uint16_t>(encoded_.loaded | 1u << number);
    encoded_.registers[number] = value;
  }

  void Store(uint64_t address, std::initializer_list<uint64_t> words) {
    encoded_.words_address = address;
    encoded_.word_count = words.size();
    size_t number = 0;
    for (const uint64_t word : words) encoded_.words[number++] = word;
  }

  // What the stack must hold, and RSP be, for the instructions that pop.
  void Push(uint64_t above, std::initializer_list<uint64_t> words) {
    const uint64_t rsp = above - words.size() * WordBytes(context_.mode);
    Store(rsp, words);
    encoded_.word_bytes = WordBytes(context_.mode);
    Load(kRsp, rsp);
  }

  void LoadOperands();
  void LoadStack();
  bool EncodePlain();
  bool EncodeWithOperand();
  bool EncodeNumbered();
  void EncodeMemory(const OperandEncoding& row, const Operand& operand);
  Operand OwnOperand();
  uint8_t PaddingPrefix() const;
  // A displacement alone, or relative to RIP if that is shorter. A VM exit tells of both the same.
  // SDM Vol. 3C, 28.2.1 "Basic VM-Exit Information", exit qualification.
  void AppendDisplacement(unsigned reg, const Operand& operand);
  // The prefixes that say which segment counts, and how wide the address is.
  void AppendAddressPrefixes(const Operand& operand);
  bool IsTaken(GeneralRegister name) const;

  const Instruction& instruction_;
  const EncodingContext& context_;
  const bool is_64_bit_;
  EncodedInstruction encoded_;
  MachineCode code_;
};

void Encoder::LoadOperands() {
  const Instruction& i = instruction_;
  switch (i.kind) {
    case Kind::kCpuid:
    case Kind::kVmfunc:
      Load(kRax, i.first);
      Load(kRcx, i.second);
      break;
    case Kind::kRdmsr:
    case Kind::kRdpmc:
    case Kind::kXgetbv:
      Load(kRcx, i.first);
      break;
    case Kind::kWrmsr:
    case Kind::kXsetbv:
      Load(kRcx, i.first);
      Load(kRax, i.second & kLow32);
      Load(kRdx, i.second >> 32);
      break;
    case Kind::kVmcall:
      Load(kRax, i.first);
      break;
    case Kind::kIn:
      Load(kRdx, i.first);
      break;
    case Kind::kOut:
      Load(kRdx, i.first);
      Load(kRax, i.second);
      break;
    case Kind::kReadMemory:
    case Kind::kInvlpg:
      Load(kRsi, i.first);
      break;
    case Kind::kWriteMemory:
      Load(kRsi, i.first);
      Load(kRax, i.second);
      break;
    case Kind::kSendIpi:
      Load(kRsi, context_.interrupt_command);
      Load(kRax, i.first & kLow32);
      break;
    case Kind::kMovToCr:
    case Kind::kMovToDr:
    case Kind::kLmsw:
    case Kind::kLldt:
    case Kind::kLtr:
      Load(kRbx, i.first);
      break;
    case Kind::kDivideByZero:
      Load(kRbx, 0);
      break;
    case Kind::kMovSs:
      Load(kRbx, context_.ss);
      break;
    case Kind::kMonitor:
      Load(kRax, i.first);
      Load(kRcx, 0);
      Load(kRdx, 0);
      break;
    case Kind::kMwait:
    case Kind::kGetsec:
      Load(kRax, 0);
      Load(kRcx, 0);
      break;
    case Kind::kFetch:
      encoded_.has_code = context_.rip != i.first;
      if (!encoded_.has_code) break;
      Load(kRax, i.first);
      // JMP R11 is INC ECX; JMP EBX there.
      Load(is_64_bit_ ? GeneralRegister::kR11 : kRbx, context_.rip + kInstructionBytes);
      break;
    default:
      LoadStack();
      break;
  }
}

void Encoder::LoadStack() {
  constexpr size_t kRip = 0;
  constexpr size_t kRflags = 2;
  constexpr size_t kStackPointer = 3;
  const EncodingContext& c = context_;
  switch (instruction_.kind) {
    case Kind::kPopf:
      Push(c.rsp, {instruction_.first});
      break;
    case Kind::kIret:
      if (instruction_.first != 0 && is_64_bit_) {
        Push(c.rsp, {instruction_.first, c.cs, c.rflags, c.rsp, c.ss});
      } else if (instruction_.first != 0) {
        Push(c.rsp, {instruction_.first, c.cs, c.rflags});
      } else {
        Load(kRsp, c.frame_address);
      }
      break;
    case Kind::kHandlerReturn:
      // Without a stack pointer in it the stack goes on behind the frame.
      Push(is_64_bit_ ? c.frame[kStackPointer]
                      : c.frame_address + FrameWords(c.mode) * WordBytes(c.mode),
           {c.frame[kRflags], c.frame[kRip]});
      break;
    default:
      break;
  }
}

bool Encoder::EncodePlain() {
  for (const PlainEncoding& row : kPlain) {
    if (row.kind != instruction_.kind) continue;
    for (const uint8_t byte : row.opcode) {
      if (is_64_bit_ || byte != kRexW) code_.Append(byte);
    }
    encoded_.result = row.result;
    return true;
  }
  return false;
}

bool Encoder::EncodeNumbered() {
  constexpr uint8_t kRexR = 0x44;
  const unsigned number = instruction_.width;
  const auto rbx = static_cast<unsigned>(kRbx);
  const auto rsi = static_cast<unsigned>(kRsi);
  switch (instruction_.kind) {
    case Kind::kMovToCr:
    case Kind::kMovFromCr:
    case Kind::kMovToDr:
    case Kind::kMovFromDr: {
      const bool is_cr =
          instruction_.kind == Kind::kMovToCr || instruction_.kind == Kind::kMovFromCr;
      const bool to = instruction_.kind == Kind::kMovToCr || instruction_.kind == Kind::kMovToDr;
      if (number >= 8 && !is_64_bit_) return false;
      if (number >= 8) code_.Append(kRexR);
      code_.Append(0x0F);
      code_.Append(static_cast<uint8_t>(0x20 + (to ? 2 : 0) + (is_cr ? 0 : 1)));
      code_.AppendRegister(number % 8, rbx);
      if (!to) encoded_.result = ResultPlace::kRegister;
      return true;
    }
    case Kind::kIn:
    case Kind::kOut: {
      const uint8_t opcode = instruction_.kind == Kind::kIn ? 0xEC : 0xEE;
      if (number == 2) code_.Append(kOperandSize);
      code_.Append(number == 1 ? opcode : opcode + 1);
      if (instruction_.kind == Kind::kIn) {
        encoded_.result = ResultPlace::kRegister;
        encoded_.result_register = kRax;
        encoded_.result_mask = (uint64_t{1} << 8 * number) - 1;
      }
      return number == 1 || number == 2 || number == 4;
    }
    case Kind::kReadMemory:
      if (number > WordBytes(context_.mode)) return false;
      code_.AppendLoad(number, rsi);
      encoded_.result = ResultPlace::kRegister;
      encoded_.result_register = kRax;
      return true;
    case Kind::kWriteMemory:
      if (number > WordBytes(context_.mode)) return false;
      code_.AppendStore(number, rsi);
      return true;
    case Kind::kSendIpi:
      code_.AppendStore(sizeof(uint32_t), rsi);
      return true;
    case Kind::kInvlpg:
      code_.Append(0x0F);
      code_.Append(0x01);
      code_.AppendBase(7, rsi);
      return true;
    case Kind::kInt:
      code_.Append(0xCD);
      code_.Append(static_cast<uint8_t>(instruction_.first));
      return true;
    default:
      return false;
  }
}

// Where an instruction leaves an operand in memory that is one of its own: at the top of the
// stack's page, below the machine's part of the window, as the simulated CPU does.
Operand Encoder::OwnOperand() {
  const Instruction& i = instruction_;
  Operand operand{.kind = Operand::Kind::kMemory, .offset = i.first};
  const uint64_t place = PageBase(context_.rsp - 1);
  if (HasPointerInMemory(i.kind)) {
    operand.offset = place;
    Store(place, {i.first});
  } else if (IsInvalidation(i.kind)) {
    operand.offset = place;
    // A displacement would make the instruction too long.
    operand.shape = Operand::Shape::kBase;
    Store(place, {i.second, i.third});
  }
  if (!IsSignExtended32(operand.offset)) operand.shape = Operand::Shape::kBase;
  return operand;
}

bool Encoder::EncodeWithOperand() {
  const Instruction& i = instruction_;
  for (const OperandEncoding& row : kWithOperand) {
    if (row.kind != i.kind) continue;
    const bool of_field = i.kind == Kind::kVmread || i.kind == Kind::kVmwrite;
    Operand operand = i.operand;
    if (operand.kind == Operand::Kind::kDefault) {
      operand = of_field ? Operand{.kind = Operand::Kind::kRegister, .general_register = kRbx}
                         : OwnOperand();
    }
    encoded_.result = row.result;
    if (operand.kind == Operand::Kind::kMemory) {
      if (row.extension < 0) Load(kRax, i.first);
      EncodeMemory(row, operand);
      return true;
    }
    if (!of_field) return false;
    if (IsTaken(operand.general_register)) Refuse(EncodingRefusal::kTakenRegister);
    // One register cannot hold both.
    const GeneralRegister selector = operand.general_register == kRax ? kRcx : kRax;
    Load(selector, i.first);
    if (i.kind == Kind::kVmwrite) {
      Load(operand.general_register, i.second);
    } else {
      encoded_.result = ResultPlace::kRegister;
      encoded_.result_register = operand.general_register;
    }
    const auto number = static_cast<unsigned>(operand.general_register);
    constexpr uint8_t kRexB = 0x41;
    if (number >= 8) code_.Append(kRexB);
    for (const uint8_t byte : row.opcode) code_.Append(byte);
    code_.AppendRegister(static_cast<unsigned>(selector), number % 8);
    return true;
  }
  return false;
}

// The parts that the simulated CPU makes such addresses of.
constexpr uint64_t kSmallDisplacement = 0x40;
constexpr uint64_t kNegativeDisplacement = ~uint64_t{0x1F};
constexpr uint64_t kSmallIndex = 2;

void Encoder::EncodeMemory(const OperandEncoding& row, const Operand& operand) {
  constexpr unsigned kScale4 = 2;
  constexpr unsigned kScale8 = 3;
  AppendAddressPrefixes(operand);
  if (row.prefix != 0) code_.Append(row.prefix);
  for (const uint8_t byte : row.opcode) code_.Append(byte);
  const auto reg =
      row.extension < 0 ? static_cast<unsigned>(kRax) : static_cast<unsigned>(row.extension);
  const auto base = static_cast<unsigned>(kRsi);
  const auto index = static_cast<unsigned>(kRdi);
  switch (operand.shape) {
    case Operand::Shape::kDisplacement:
      AppendDisplacement(reg, operand);
      break;
    case Operand::Shape::kBase:
      Load(kRsi, operand.offset);
      code_.AppendBase(reg, base);
      break;
    case Operand::Shape::kBaseDisplacement:
      Load(kRsi, operand.offset - kNegativeDisplacement);
      code_.AppendBaseDisplacement(reg, base, kNegativeDisplacement);
      break;
    case Operand::Shape::kIndexDisplacement: {
      const uint64_t value = (operand.offset - kSmallDisplacement) >> kScale4;
      Load(kRdi, value);
      code_.AppendIndex(reg, index, kScale4, operand.offset - (value << kScale4));
      break;
    }
    case Operand::Shape::kBaseIndexDisplacement:
      Load(kRdi, kSmallIndex);
      Load(kRsi, operand.offset - (kSmallIndex << kScale8) - kSmallDisplacement);
      code_.AppendBaseIndex(reg, base, {index, kScale8}, kSmallDisplacement);
      break;
    case Operand::Shape::kRspDisplacement: {
      const uint64_t displacement = operand.offset - context_.rsp;
      if (!IsSignExtended32(displacement)) Refuse(EncodingRefusal::kOutOfReach);
      code_.AppendRsp(reg, displacement);
      break;
    }
  }
  if (row.result != ResultPlace::kMemory) return;
  const bool stores_limit = row.kind == Kind::kSgdt || row.kind == Kind::kSidt;
  encoded_.result_segment = operand.segment;
  encoded_.result_address = operand.offset + (stores_limit ? sizeof(uint16_t) : 0);
  if (!is_64_bit_ && row.kind != Kind::kVmptrst) encoded_.result_mask = kLow32;
}

// In 64-bit mode only FS and GS are chosen by a prefix. The padding may leave no room for one.
void Encoder::AppendAddressPrefixes(const Operand& operand) {
  constexpr uint8_t kAddressSize = 0x67;
  const bool chooses = operand.segment == SegmentRegister::kFs ||
                       operand.segment == SegmentRegister::kGs ||
                       (!is_64_bit_ && (operand.segment != SegmentRegister::kDs ||
                                        operand.shape == Operand::Shape::kRspDisplacement));
  if (chooses) code_.Append(OverrideOf(operand.segment));
  if (is_64_bit_ && operand.has_32_bit_address) code_.Append(kAddressSize);
}

bool Encoder::IsTaken(GeneralRegister name) const {
  if (is_64_bit_) return name >= kFirstTakenRegister;
  return name == kTakenRegisterOf32Bits || name >= GeneralRegister::kR8;
}

void Encoder::AppendDisplacement(unsigned reg, const Operand& operand) {
  if (!is_64_bit_) {
    code_.AppendDisplacementOf32Bits(reg, operand.offset);
    return;
  }
  constexpr size_t kAbsoluteBytes = 6;
  const bool zero_extends = operand.has_32_bit_address;
  const bool is_absolute = zero_extends || IsSignExtended32(operand.offset);
  if (is_absolute && code_.size() + kAbsoluteBytes <= kInstructionBytes) {
    code_.AppendAbsolute(reg, operand.offset);
    return;
  }
  const uint64_t relative = operand.offset - (context_.rip + kInstructionBytes);
  if (!IsSignExtended32(relative)) Refuse(EncodingRefusal::kOutOfReach);
  code_.AppendRipRelative(reg, relative);
}

// A segment override, once more for each byte. In 64-bit mode those of ES, CS, SS and DS do
// nothing, and otherwise that of DS. SDM Vol. 1, 3.4.2.1 "Segment Registers in 64-Bit Mode".
uint8_t Encoder::PaddingPrefix() const { return OverrideOf(instruction_.operand.segment); }

}  // namespace

const char* Name(EncodingRefusal refusal) {
  switch (refusal) {
    case EncodingRefusal::kNone:
      return "encoded";
    case EncodingRefusal::kTooLong:
      return "it has no encoding of eight bytes";
    case EncodingRefusal::kOutOfReach:
      return "no displacement reaches its operand";
    case EncodingRefusal::kTakenRegister:
      return "its operand is in a register that the image needs";
    case EncodingRefusal::kUnknown:
      return "there is no such instruction";
  }
  return "?";
}

EncodedInstruction Encode(const Instruction& instruction, const EncodingContext& context) {
  return Encoder(instruction, context).Run();
}

}  // namespace nvmx::lhv
