// SPDX-License-Identifier: Apache-2.0
//
// The operand of an instruction as one number, which is how Operation::operand holds it.
#ifndef NVMX_LHV_OPERAND_H_
#define NVMX_LHV_OPERAND_H_

#include <cstdint>

#include "lhv/guest_cpu.h"

namespace nvmx::lhv {

// From bit 0: the offset without bits 59:47, which in every address that programs need repeat bit
// 60 - also in one that is not canonical, which differs in bits 63:61 - then kind, shape, segment,
// register and the width of the address.
struct PackedOperand {
  static constexpr unsigned kLowBits = 47;
  static constexpr uint64_t kLow = (uint64_t{1} << kLowBits) - 1;
  static constexpr uint64_t kRepeated = (uint64_t{1} << 60) - 1 & ~kLow;
  static constexpr unsigned kHighShift = 60;
  static constexpr unsigned kKindShift = 51;
  static constexpr unsigned kShapeShift = 53;
  static constexpr unsigned kSegmentShift = 56;
  static constexpr unsigned kRegisterShift = 59;
  static constexpr unsigned kAddress32Shift = 63;
};

// True if PackOperand keeps the offset.
constexpr bool IsPackableOffset(uint64_t offset) {
  const bool repeats_ones = (offset >> PackedOperand::kHighShift & 1) != 0;
  return (offset & PackedOperand::kRepeated) == (repeats_ones ? PackedOperand::kRepeated : 0);
}

// The offset must be packable, and the segment one of the six that memory operands can have.
constexpr uint64_t PackOperand(const Operand& operand) {
  return (operand.offset & PackedOperand::kLow) |
         operand.offset >> PackedOperand::kHighShift << PackedOperand::kLowBits |
         static_cast<uint64_t>(operand.kind) << PackedOperand::kKindShift |
         static_cast<uint64_t>(operand.shape) << PackedOperand::kShapeShift |
         static_cast<uint64_t>(operand.segment) << PackedOperand::kSegmentShift |
         static_cast<uint64_t>(operand.general_register) << PackedOperand::kRegisterShift |
         static_cast<uint64_t>(operand.has_32_bit_address) << PackedOperand::kAddress32Shift;
}

// True if the number is what PackOperand gives for some operand.
constexpr bool IsPackedOperand(uint64_t packed) {
  return (packed >> PackedOperand::kKindShift & 3) <=
             static_cast<uint64_t>(Operand::Kind::kRegister) &&
         (packed >> PackedOperand::kShapeShift & 7) <=
             static_cast<uint64_t>(Operand::Shape::kRspDisplacement) &&
         (packed >> PackedOperand::kSegmentShift & 7) <=
             static_cast<uint64_t>(SegmentRegister::kGs);
}

// The operand that IsPackedOperand(packed).
constexpr Operand UnpackOperand(uint64_t packed) {
  const uint64_t high = packed >> PackedOperand::kLowBits & 0xF;
  return {.kind = static_cast<Operand::Kind>(packed >> PackedOperand::kKindShift & 3),
          .shape = static_cast<Operand::Shape>(packed >> PackedOperand::kShapeShift & 7),
          .segment = static_cast<SegmentRegister>(packed >> PackedOperand::kSegmentShift & 7),
          .general_register =
              static_cast<GeneralRegister>(packed >> PackedOperand::kRegisterShift & 0xF),
          .has_32_bit_address = packed >> PackedOperand::kAddress32Shift != 0,
          .offset = (packed & PackedOperand::kLow) | high << PackedOperand::kHighShift |
                    ((high & 1) != 0 ? PackedOperand::kRepeated : 0)};
}

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_OPERAND_H_
