// SPDX-License-Identifier: Apache-2.0
//
// The forms of the operands of VMX instructions: segments, base, index, displacement, width of the
// address, registers.
#include "backends/sim/program/generator/topics.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/address.h"
#include "lhv/operand.h"

namespace nvmx::sim {
namespace {

using lhv::Operand;
using lhv::Operation;
using lhv::OperationKind;

constexpr OperationKind kWithMemoryOperand[] = {
    OperationKind::kVmptrld, OperationKind::kVmclear, OperationKind::kVmptrst,
    OperationKind::kVmread,  OperationKind::kVmwrite, OperationKind::kVmxon,
    OperationKind::kInvept,  OperationKind::kInvvpid};

Operand SomeRegister(Random& random) {
  Operand operand{.kind = Operand::Kind::kRegister};
  do {
    operand.general_register = static_cast<GeneralRegister>(random.Below(16));
    // The stack, and the interpreter's scratch register.
  } while (operand.general_register == GeneralRegister::kRsp ||
           operand.general_register == GeneralRegister::kR12);
  return operand;
}

Operand SomeMemory(Random& random, uint64_t offset) {
  return {.kind = Operand::Kind::kMemory,
          .shape = static_cast<Operand::Shape>(random.Below(6)),
          .segment = static_cast<SegmentRegister>(random.Below(6)),
          .has_32_bit_address = random.OneIn(5),
          .offset = offset};
}

}  // namespace

void AddOperands(Random& random, ProgramBuilder& builder) {
  const uint64_t operands = builder.AddPages("operands", 1);
  const uint64_t steps = random.Between(2, 6);
  for (uint64_t i = 0; i < steps; ++i) {
    const OperationKind kind = random.Of(kWithMemoryOperand);
    const bool has_field = kind == OperationKind::kVmread || kind == OperationKind::kVmwrite;
    Operation operation{.kind = kind, .flags = lhv::kHasOperand | lhv::kOperandIsWindowOffset};
    const uint64_t offset = operands + random.Below(kPageSize / 16) * 16;
    builder.Put64(offset, random.OneIn(6) ? random.Awkward(64)
                                          : builder.AddressOf(ProgramBuilder::kVmcsRegion));
    if (has_field) {
      operation.selector = Encoding(random.Of({VmcsField::kTscOffset, VmcsField::kGuestEsSelector,
                                               VmcsField::kExceptionBitmap, VmcsField::kGuestRsp}));
    } else if (kind == OperationKind::kInvept || kind == OperationKind::kInvvpid) {
      operation.selector = static_cast<uint32_t>(random.Below(4));
    }
    Operand operand =
        has_field && random.OneIn(3) ? SomeRegister(random) : SomeMemory(random, offset);
    if (operand.kind == Operand::Kind::kRegister) {
      operation.flags = lhv::kHasOperand;
    } else if (random.OneIn(10)) {
      // Not in the window: not canonical, not mapped, or not there.
      operation.flags = lhv::kHasOperand;
      operand.offset = random.Of({uint64_t{0x3000'0000}, uint64_t{0x7FFF'FFFF'FFF8},
                                  uint64_t{0xFFFF'8000'0000'0000}, uint64_t{0x4000'0000}});
      // A displacement has 32 bits.
      if (operand.shape == Operand::Shape::kDisplacement) operand.shape = Operand::Shape::kBase;
    }
    operation.operand = lhv::PackOperand(operand);
    // Sometimes by L2, where the exit reports the operand.
    if (random.OneIn(3)) {
      builder.L2(operation);
    } else {
      builder.Prelude(operation);
    }
    if (kind == OperationKind::kVmread || kind == OperationKind::kVmptrst) {
      builder.Epilogue({.kind = OperationKind::kReadMemory,
                        .flags = lhv::kValueIsWindowOffset,
                        .selector = sizeof(uint64_t),
                        .value = offset});
    }
  }
  builder.Prelude({.kind = OperationKind::kVmptrld,
                   .flags = lhv::kValueIsWindowOffset,
                   .value = ProgramBuilder::kVmcsRegion});
  builder.WantRounds(random.Between(1, 3));
}

}  // namespace nvmx::sim
