// SPDX-License-Identifier: Apache-2.0
//
// The bytes of one instruction in the making. SDM Vol. 2A, 2.1 "Instruction Format for Protected
// Mode, Real-Address Mode, and Virtual-8086 Mode", 2.2.1 "REX Prefixes".
#ifndef NVMX_LHV_IMAGE_MACHINE_CODE_H_
#define NVMX_LHV_IMAGE_MACHINE_CODE_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "lhv/layout.h"

namespace nvmx::lhv {

constexpr bool IsSignExtended32(uint64_t value) {
  return static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(value))) == value;
}

// An index register and the shift that scales it.
struct ScaledIndex {
  unsigned index;
  unsigned scale;
};

// Registers are those without REX: 0 to 7. `reg` is the register or the opcode extension in the
// ModRM byte.
class MachineCode {
 public:
  size_t size() const { return size_; }

  void Append(uint8_t byte) {
    if (size_ < bytes_.size()) bytes_[size_] = byte;
    ++size_;
  }

  void AppendRegister(unsigned reg, unsigned rm) { AppendModRm(kRegister, reg, rm); }

  // [base], of a base that is neither RSP nor RBP.
  void AppendBase(unsigned reg, unsigned base) { AppendModRm(kNoDisplacement, reg, base); }

  // [base + displacement], by 8 bits.
  void AppendBaseDisplacement(unsigned reg, unsigned base, uint64_t displacement) {
    AppendModRm(kDisplacement8, reg, base);
    Append(static_cast<uint8_t>(displacement));
  }

  // [index << scale + displacement]
  void AppendIndex(unsigned reg, unsigned index, unsigned scale, uint64_t displacement) {
    AppendModRm(kNoDisplacement, reg, kSib);
    AppendModRm(scale, index, kNoBase);
    Append32(displacement);
  }

  // [base + index << scale + displacement], by 8 bits.
  void AppendBaseIndex(unsigned reg, unsigned base, ScaledIndex index, uint64_t displacement) {
    AppendModRm(kDisplacement8, reg, kSib);
    AppendModRm(index.scale, index.index, base);
    Append(static_cast<uint8_t>(displacement));
  }

  // [RSP + displacement]
  void AppendRsp(unsigned reg, uint64_t displacement) {
    constexpr unsigned kRsp = 4;
    const bool is_short =
        static_cast<uint64_t>(static_cast<int64_t>(static_cast<int8_t>(displacement))) ==
        displacement;
    AppendModRm(is_short ? kDisplacement8 : kDisplacement32, reg, kSib);
    AppendModRm(0, kNoIndex, kRsp);
    if (is_short) {
      Append(static_cast<uint8_t>(displacement));
    } else {
      Append32(displacement);
    }
  }

  // [displacement]
  void AppendAbsolute(unsigned reg, uint64_t displacement) {
    AppendModRm(kNoDisplacement, reg, kSib);
    AppendModRm(0, kNoIndex, kNoBase);
    Append32(displacement);
  }

  // [displacement], outside 64-bit mode.
  void AppendDisplacementOf32Bits(unsigned reg, uint64_t displacement) {
    AppendRipRelative(reg, displacement);
  }

  // [RIP + displacement]
  void AppendRipRelative(unsigned reg, uint64_t displacement) {
    constexpr unsigned kRip = 5;
    AppendModRm(kNoDisplacement, reg, kRip);
    Append32(displacement);
  }

  // RAX takes `width` bytes from [base], zero-extended.
  void AppendLoad(unsigned width, unsigned base) {
    switch (width) {
      case 1:
        Append(0x0F);
        Append(0xB6);
        break;
      case 2:
        Append(0x0F);
        Append(0xB7);
        break;
      case 4:
        Append(0x8B);
        break;
      default:
        Append(kRexW);
        Append(0x8B);
        break;
    }
    AppendBase(0, base);
  }

  // The low `width` bytes of RAX go to [base].
  void AppendStore(unsigned width, unsigned base) {
    constexpr uint8_t kOperandSize = 0x66;
    if (width == 2) Append(kOperandSize);
    if (width == 8) Append(kRexW);
    Append(width == 1 ? 0x88 : 0x89);
    AppendBase(0, base);
  }

  // Gives the instruction with `padding` before it. False if it is too long.
  bool Fill(std::array<uint8_t, kInstructionBytes>& code, uint8_t padding) const {
    if (size_ > code.size()) return false;
    const size_t first = code.size() - size_;
    for (size_t i = 0; i < first; ++i) code[i] = padding;
    for (size_t i = 0; i < size_; ++i) code[first + i] = bytes_[i];
    return true;
  }

 private:
  static constexpr unsigned kNoDisplacement = 0;
  static constexpr unsigned kDisplacement8 = 1;
  static constexpr unsigned kDisplacement32 = 2;
  static constexpr unsigned kRegister = 3;
  static constexpr unsigned kSib = 4;      // in place of a base
  static constexpr unsigned kNoIndex = 4;  // in a SIB byte
  static constexpr unsigned kNoBase = 5;   // in a SIB byte
  static constexpr uint8_t kRexW = 0x48;

  // A SIB byte has the same three parts.
  void AppendModRm(unsigned mod, unsigned reg, unsigned rm) {
    Append(static_cast<uint8_t>(mod << 6 | reg << 3 | rm));
  }
  void Append32(uint64_t value) {
    for (unsigned byte = 0; byte < sizeof(uint32_t); ++byte) {
      Append(static_cast<uint8_t>(value >> 8 * byte));
    }
  }

  std::array<uint8_t, kInstructionBytes + 8> bytes_ = {};
  size_t size_ = 0;
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_IMAGE_MACHINE_CODE_H_
