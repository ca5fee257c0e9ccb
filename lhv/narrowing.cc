// SPDX-License-Identifier: Apache-2.0
#include "lhv/narrowing.h"

#include "core/vmx/vmcs_field.h"
#include "lhv/layout.h"
#include "lhv/operation_sequence.h"
#include "lhv/tables_of_32_bits.h"
#include "lhv/vmcs_sequences.h"

namespace nvmx::lhv {
namespace {

constexpr uint64_t kLow32 = 0xFFFF'FFFF;
constexpr unsigned kHalf = 32;
constexpr uint64_t kHalfBytes = 4;

bool IsWhole64BitField(uint32_t encoding) {
  return Width(encoding) == FieldWidth::k64 && !IsHigh(encoding);
}

std::vector<Operation> HalvesOfVmwrite(const Operation& operation) {
  Operation low = operation, high = operation;
  high.selector |= FieldEncoding::kHigh;
  high.value >>= kHalf;
  // An address in a window has no high half.
  if ((operation.flags & kValueIsWindowOffset) != 0) {
    high.flags &= static_cast<uint16_t>(~kValueIsWindowOffset);
    high.value = 0;
  } else {
    low.value &= kLow32;
  }
  return {low, high};
}

std::vector<Operation> HalvesOfAccess(const Operation& operation) {
  Operation low = operation, high = operation;
  low.selector = high.selector = kHalfBytes;
  high.value += kHalfBytes;
  if (operation.kind == OperationKind::kReadMemory) return {low, high};
  if ((operation.flags & kExtraIsWindowOffset) != 0) {
    high.flags &= static_cast<uint16_t>(~kExtraIsWindowOffset);
    high.extra = 0;
  } else {
    low.extra &= kLow32;
    high.extra >>= kHalf;
  }
  return {low, high};
}

std::vector<Operation> HostState(uint32_t cpu) {
  std::vector<Operation> operations;
  for (size_t number = 0; number < HostStateInstructionCount(); ++number) {
    const Instruction instruction = HostStateInstruction(cpu, number);
    Operation write{.kind = OperationKind::kVmwrite,
                    .selector = static_cast<uint32_t>(instruction.first),
                    .value = instruction.second};
    if (write.selector == Encoding(VmcsField::kHostCr4)) write.value = kCr4Of32Bits;
    if (write.selector == Encoding(VmcsField::kHostIa32Efer)) write.value = 0;
    if (!IsWhole64BitField(write.selector)) {
      operations.push_back(write);
      continue;
    }
    for (const Operation& half : HalvesOfVmwrite(write)) operations.push_back(half);
  }
  return operations;
}

// A 32-bit interrupt gate for CPL 0. SDM Vol. 3A, 7.11 "IDT Descriptors".
std::vector<Operation> Gate(const Operation& operation, uint32_t cpu) {
  constexpr uint64_t kGateBytes = 8;
  constexpr uint64_t kPresentInterruptGate = 0x8E00;
  const uint64_t handler = HandlerOf(operation, cpu);
  Operation low{.kind = OperationKind::kWriteMemory,
                .flags = operation.flags,
                .selector = kHalfBytes,
                .value = operation.value + operation.selector * kGateBytes,
                .extra = (handler & 0xFFFF) | uint64_t{kCodeSelector} << 16};
  Operation high = low;
  high.value += kHalfBytes;
  high.extra = (handler & 0xFFFF'0000) | kPresentInterruptGate;
  return {low, high};
}

}  // namespace

std::vector<Operation> Narrowed(const Operation& operation, uint32_t level, uint32_t cpu) {
  const bool has_operand = (operation.flags & kHasOperand) != 0;
  switch (operation.kind) {
    case OperationKind::kVmwrite:
      if (level == 1 && !has_operand && IsWhole64BitField(operation.selector)) {
        return HalvesOfVmwrite(operation);
      }
      break;
    case OperationKind::kReadMemory:
    case OperationKind::kWriteMemory:
      if (operation.selector == 2 * kHalfBytes) return HalvesOfAccess(operation);
      break;
    case OperationKind::kVmwriteHostState:
      return HostState(cpu);
    case OperationKind::kSetHandler:
      return Gate(operation, cpu);
    default:
      break;
  }
  return {operation};
}

}  // namespace nvmx::lhv
