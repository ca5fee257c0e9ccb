// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/store_instruction.h"

namespace nvmx::metal {
namespace {

// Bytes of the instruction, one after the other.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> code)
      : code_(code.first(code.size() < StoreInstruction::kMostBytes
                             ? code.size()
                             : StoreInstruction::kMostBytes)) {}

  // 0 behind the end, once and for all.
  uint8_t Next() {
    if (at_ >= code_.size()) is_whole_ = false;
    return is_whole_ ? std::to_integer<uint8_t>(code_[at_++]) : uint8_t{0};
  }
  void Back() { --at_; }
  void Skip(size_t bytes) {
    is_whole_ = is_whole_ && bytes <= code_.size() - at_;
    if (is_whole_) at_ += bytes;
  }
  // Of so many bytes, the least significant first, sign-extended.
  uint64_t NextNumber(unsigned bytes) {
    uint64_t number = 0;
    for (unsigned n = 0; n < bytes; ++n) number |= uint64_t{Next()} << 8 * n;
    const unsigned unused = 64 - 8 * bytes;
    return static_cast<uint64_t>(static_cast<int64_t>(number << unused) >> unused);
  }
  bool is_whole() const { return is_whole_; }
  uint8_t used() const { return static_cast<uint8_t>(at_); }

 private:
  std::span<const std::byte> code_;
  size_t at_ = 0;
  bool is_whole_ = true;
};

struct Prefixes {
  bool operand_size = false;
  bool address_size = false;
  uint8_t rex = 0;
  static constexpr uint8_t kRexW = 8;
  static constexpr uint8_t kRexR = 4;
};

// Segment overrides do not matter here. LOCK, which a MOV does not take, and REP end up as opcodes.
Prefixes ReadPrefixes(Reader& reader, CodeSize size) {
  Prefixes prefixes;
  for (;;) {
    const uint8_t byte = reader.Next();
    switch (byte) {
      case 0x66:
        prefixes.operand_size = true;
        continue;
      case 0x67:
        prefixes.address_size = true;
        continue;
      case 0x26:
      case 0x2E:
      case 0x36:
      case 0x3E:
      case 0x64:
      case 0x65:
        continue;
      default:
        break;
    }
    if (size == CodeSize::k64 && (byte & 0xF0) == 0x40) {
      prefixes.rex = byte;
    } else if (reader.is_whole()) {
      reader.Back();
    }
    return prefixes;
  }
}

unsigned AddressBytes(CodeSize size, const Prefixes& prefixes) {
  switch (size) {
    case CodeSize::k16:
      return prefixes.address_size ? 4 : 2;
    case CodeSize::k32:
      return prefixes.address_size ? 2 : 4;
    default:
      return prefixes.address_size ? 4 : 8;
  }
}

uint8_t OperandBytes(CodeSize size, const Prefixes& prefixes) {
  if ((prefixes.rex & Prefixes::kRexW) != 0) return 8;
  return (size == CodeSize::k16) == prefixes.operand_size ? 4 : 2;
}

// Behind the ModR/M byte: a SIB byte and a displacement. SDM Vol. 2A, tables 2-1 to 2-3.
void SkipAddress(Reader& reader, uint8_t modrm, unsigned address_bytes) {
  const unsigned mod = modrm >> 6;
  const unsigned rm = modrm & 7;
  if (address_bytes == 2) {
    const bool only_displacement = mod == 0 && rm == 6;
    reader.Skip(only_displacement ? 2 : mod);
    return;
  }
  unsigned base = rm;
  if (rm == 4) base = reader.Next() & 7;
  const bool no_base = mod == 0 && base == 5;
  reader.Skip(no_base || mod == 2 ? 4 : mod);
}

void SetSource(const Prefixes& prefixes, uint8_t modrm, StoreInstruction& store) {
  unsigned number = modrm >> 3 & 7;
  if (store.operand_bytes == 1 && prefixes.rex == 0 && number >= 4) {
    store.is_high_byte = true;
    number -= 4;
  }
  if ((prefixes.rex & Prefixes::kRexR) != 0) number += 8;
  store.source = static_cast<GeneralRegister>(number);
}

}  // namespace

std::optional<StoreInstruction> DecodeStore(std::span<const std::byte> code, CodeSize size) {
  constexpr uint8_t kRegister = 0x88;     // MOV r/m, r
  constexpr uint8_t kAccumulator = 0xA2;  // MOV moffs, AL or eAX
  constexpr uint8_t kImmediate = 0xC6;    // MOV r/m, imm
  constexpr uint8_t kIsWide = 1;
  constexpr unsigned kMostImmediateBytes = 4;
  constexpr uint8_t kRegisterOperand = 0xC0;
  Reader reader(code);
  const Prefixes prefixes = ReadPrefixes(reader, size);
  const uint8_t opcode = reader.Next();
  StoreInstruction store;
  store.operand_bytes = (opcode & kIsWide) != 0 ? OperandBytes(size, prefixes) : uint8_t{1};
  const unsigned address_bytes = AddressBytes(size, prefixes);
  switch (opcode & ~kIsWide) {
    case kRegister:
    case kImmediate: {
      const uint8_t modrm = reader.Next();
      if (modrm >= kRegisterOperand) return std::nullopt;
      SkipAddress(reader, modrm, address_bytes);
      if ((opcode & ~kIsWide) == kRegister) {
        SetSource(prefixes, modrm, store);
        break;
      }
      if ((modrm >> 3 & 7) != 0) return std::nullopt;
      store.immediate = reader.NextNumber(
          store.operand_bytes < kMostImmediateBytes ? store.operand_bytes : kMostImmediateBytes);
      break;
    }
    case kAccumulator:
      reader.Skip(address_bytes);
      store.source = GeneralRegister::kRax;
      break;
    default:
      return std::nullopt;
  }
  if (!reader.is_whole()) return std::nullopt;
  store.length = reader.used();
  return store;
}

}  // namespace nvmx::metal
