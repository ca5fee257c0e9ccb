// SPDX-License-Identifier: Apache-2.0
#include "lhv/operation_check.h"

#include "core/x86/exception.h"
#include "lhv/exit_fields.h"
#include "lhv/layout.h"
#include "lhv/operand.h"
#include "lhv/vmcs_sequences.h"

namespace nvmx::lhv {
namespace {

constexpr uint16_t kEveryFlag =
    kValueIsWindowOffset | kExtraIsWindowOffset | kHasOperand | kOperandIsWindowOffset;
constexpr uint32_t kLastVector = kVectorCount - 1;
constexpr uint64_t kLastPort = 0xFFFF;
constexpr uint32_t kLastDebugRegister = 7;

bool IsWidth(uint64_t width, uint64_t widest) {
  return width != 0 && (width & (width - 1)) == 0 && width <= widest;
}

bool IsControlRegister(uint32_t number) {
  return number == 0 || number == 2 || number == 3 || number == 4 || number == 8;
}

bool IsDestination(uint32_t destination, uint32_t cpu_count) {
  return destination == kToSelf || destination == kToAllOthers || destination < cpu_count;
}

bool HasValidOperand(const Operation& operation) {
  if ((operation.flags & kHasOperand) == 0) return true;
  if (!IsPackedOperand(operation.operand)) return false;
  const Operand::Kind kind = UnpackOperand(operation.operand).kind;
  return kind == Operand::Kind::kRegister ? CanHaveRegisterOperand(operation.kind)
                                          : CanHaveMemoryOperand(operation.kind);
}

}  // namespace

bool CanHaveRegisterOperand(OperationKind kind) {
  return kind == OperationKind::kVmread || kind == OperationKind::kVmwrite;
}

bool CanHaveMemoryOperand(OperationKind kind) {
  switch (kind) {
    case OperationKind::kVmxon:
    case OperationKind::kVmclear:
    case OperationKind::kVmptrld:
    case OperationKind::kVmptrst:
    case OperationKind::kInvept:
    case OperationKind::kInvvpid:
    case OperationKind::kInvpcid:
    case OperationKind::kSgdt:
    case OperationKind::kSidt:
    case OperationKind::kLgdt:
    case OperationKind::kLidt:
      return true;
    default:
      return CanHaveRegisterOperand(kind);
  }
}

bool IsForL2(OperationKind kind) {
  switch (kind) {
    case OperationKind::kInitializeVmxRegion:
    case OperationKind::kVmwriteControl:
    case OperationKind::kVmwriteHostState:
    case OperationKind::kSetHostRip:
    case OperationKind::kObserveExit:
    case OperationKind::kAdvanceGuestRip:
    case OperationKind::kRepeat:
      return false;
    default:
      return true;
  }
}

bool IsValidOperation(const Operation& operation, uint32_t level, uint32_t cpu_count) {
  const auto kind = static_cast<size_t>(operation.kind);
  if (kind >= kOperationKindCount || operation.kind == OperationKind::kHandlerReturn) return false;
  if (level == 2 && !IsForL2(operation.kind)) return false;
  if ((operation.flags & ~kEveryFlag) != 0 || !HasValidOperand(operation)) return false;
  const uint32_t selector = operation.selector;
  switch (operation.kind) {
    case OperationKind::kVmwriteControl:
      return HasControlCapability(selector);
    case OperationKind::kFetch:
      return (operation.flags & kValueIsWindowOffset) != 0 ||
             !IsCodeOfPrograms(static_cast<uint32_t>(operation.value));
    case OperationKind::kSetHostRip:
      return operation.value < kMaxOperations;
    case OperationKind::kObserveExit:
      return (selector & ~kEveryExitField) == 0;
    case OperationKind::kReadMemory:
    case OperationKind::kWriteMemory:
      return IsWidth(selector, sizeof(uint64_t));
    case OperationKind::kIn:
    case OperationKind::kOut:
      return IsWidth(selector, sizeof(uint32_t)) && operation.value <= kLastPort;
    case OperationKind::kMovToCr:
    case OperationKind::kMovFromCr:
      return IsControlRegister(selector);
    case OperationKind::kMovToDr:
    case OperationKind::kMovFromDr:
      return selector <= kLastDebugRegister;
    case OperationKind::kInt:
      return selector <= kLastVector;
    case OperationKind::kSetHandler:
      return selector <= kLastVector && operation.extra <= (kHandlerIsBare | kHandlerIsOfL2);
    case OperationKind::kRepeat:
      return selector >= 1 && selector <= kMostTimes && operation.value >= 1 &&
             operation.value < kMaxOperations;
    case OperationKind::kSendNmi:
    case OperationKind::kSendInit:
      return IsDestination(selector, cpu_count);
    case OperationKind::kSendInterrupt:
      return IsDestination(selector, cpu_count) && operation.value >= kFirstInterruptVector &&
             operation.value <= kLastVector;
    case OperationKind::kSendSipi:
      return IsDestination(selector, cpu_count) && operation.value <= kLastVector;
    default:
      return true;
  }
}

}  // namespace nvmx::lhv
