// SPDX-License-Identifier: Apache-2.0
#include "lhv/operation_sequence.h"

#include <array>
#include <bit>

#include "core/vmx/capabilities.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/msr.h"
#include "lhv/exit_fields.h"
#include "lhv/layout.h"
#include "lhv/operand.h"
#include "lhv/vmcs_sequences.h"

namespace nvmx::lhv {
namespace {

// Which part of the operation an operand of the instruction is.
enum class Part : uint8_t { kNone, kSelector, kValue, kExtra };

// An operation that is one instruction.
struct SingleInstruction {
  OperationKind operation;
  InstructionKind instruction;
  Part width = Part::kNone;
  Part first = Part::kNone;
  Part second = Part::kNone;
  Part third = Part::kNone;
};

#define ROW(kind, ...) \
  { OperationKind::kind, InstructionKind::kind, __VA_ARGS__ }
constexpr SingleInstruction kSingleInstructions[] = {
    // width, first, second, third
    ROW(kVmxon, Part::kNone, Part::kValue),
    ROW(kVmxoff, Part::kNone),
    ROW(kVmclear, Part::kNone, Part::kValue),
    ROW(kVmptrld, Part::kNone, Part::kValue),
    ROW(kVmptrst, Part::kNone, Part::kValue),
    ROW(kVmread, Part::kNone, Part::kSelector),
    ROW(kVmwrite, Part::kNone, Part::kSelector, Part::kValue),
    ROW(kVmlaunch, Part::kNone),
    ROW(kVmresume, Part::kNone),
    ROW(kVmcall, Part::kNone, Part::kValue),
    ROW(kCpuid, Part::kNone, Part::kSelector, Part::kValue),
    ROW(kRdmsr, Part::kNone, Part::kSelector),
    ROW(kWrmsr, Part::kNone, Part::kSelector, Part::kValue),
    ROW(kReadMemory, Part::kSelector, Part::kValue),
    ROW(kWriteMemory, Part::kSelector, Part::kValue, Part::kExtra),
    ROW(kHlt, Part::kNone),
    ROW(kSti, Part::kNone),
    ROW(kCli, Part::kNone),
    ROW(kNop, Part::kNone),
    // In a descriptor of INVVPID and INVPCID the tag comes first and the address second.
    ROW(kInvept, Part::kNone, Part::kSelector, Part::kValue, Part::kExtra),
    ROW(kInvvpid, Part::kNone, Part::kSelector, Part::kExtra, Part::kValue),
    ROW(kInvpcid, Part::kNone, Part::kSelector, Part::kExtra, Part::kValue),
    ROW(kVmfunc, Part::kNone, Part::kSelector, Part::kValue),
    ROW(kMovToCr, Part::kSelector, Part::kValue),
    ROW(kMovFromCr, Part::kSelector),
    ROW(kClts, Part::kNone),
    ROW(kLmsw, Part::kNone, Part::kValue),
    ROW(kSmsw, Part::kNone),
    ROW(kMovToDr, Part::kSelector, Part::kValue),
    ROW(kMovFromDr, Part::kSelector),
    ROW(kRdtsc, Part::kNone),
    ROW(kRdtscp, Part::kNone),
    ROW(kRdpmc, Part::kNone, Part::kSelector),
    ROW(kIn, Part::kSelector, Part::kValue),
    ROW(kOut, Part::kSelector, Part::kValue, Part::kExtra),
    ROW(kInvlpg, Part::kNone, Part::kValue),
    ROW(kPause, Part::kNone),
    ROW(kMonitor, Part::kNone, Part::kValue),
    ROW(kMwait, Part::kNone),
    ROW(kWbinvd, Part::kNone),
    ROW(kInvd, Part::kNone),
    ROW(kXgetbv, Part::kNone, Part::kSelector),
    ROW(kXsetbv, Part::kNone, Part::kSelector, Part::kValue),
    ROW(kRdrand, Part::kNone),
    ROW(kRdseed, Part::kNone),
    ROW(kSgdt, Part::kNone, Part::kValue),
    ROW(kSidt, Part::kNone, Part::kValue),
    ROW(kLgdt, Part::kNone, Part::kValue),
    ROW(kLidt, Part::kNone, Part::kValue),
    ROW(kSldt, Part::kNone),
    ROW(kStr, Part::kNone),
    ROW(kLldt, Part::kNone, Part::kValue),
    ROW(kLtr, Part::kNone, Part::kValue),
    ROW(kUd2, Part::kNone),
    ROW(kInt, Part::kNone, Part::kSelector),
    ROW(kInt3, Part::kNone),
    ROW(kInt1, Part::kNone),
    ROW(kDivideByZero, Part::kNone),
    ROW(kMovSs, Part::kNone),
    ROW(kPopf, Part::kNone, Part::kValue),
    ROW(kFetch, Part::kNone, Part::kValue),
    ROW(kGetsec, Part::kNone),
    ROW(kRsm, Part::kNone),
};
#undef ROW

// The position in kSingleInstructions of each operation, or that table's size.
constexpr auto kRowOf = [] {
  std::array<uint8_t, kOperationKindCount> rows{};
  for (uint8_t& row : rows) row = std::size(kSingleInstructions);
  for (size_t i = 0; i < std::size(kSingleInstructions); ++i) {
    rows[static_cast<size_t>(kSingleInstructions[i].operation)] = static_cast<uint8_t>(i);
  }
  return rows;
}();

uint64_t Relocated(uint32_t cpu, uint64_t value, bool is_window_offset) {
  return is_window_offset ? WindowOf(cpu) + value : value;
}

uint64_t PartOf(const Operation& operation, Part part, uint32_t cpu) {
  switch (part) {
    case Part::kNone:
      return 0;
    case Part::kSelector:
      return operation.selector;
    case Part::kValue:
      return ValueOn(cpu, operation);
    case Part::kExtra:
      return Relocated(cpu, operation.extra, (operation.flags & kExtraIsWindowOffset) != 0);
  }
  return 0;
}

Operand OperandOn(uint32_t cpu, const Operation& operation) {
  if ((operation.flags & kHasOperand) == 0) return {};
  Operand operand = UnpackOperand(operation.operand);
  operand.offset = Relocated(cpu, operand.offset, (operation.flags & kOperandIsWindowOffset) != 0);
  return operand;
}

Instruction ToInstruction(const Operation& operation, uint32_t cpu) {
  const size_t row_number = kRowOf[static_cast<size_t>(operation.kind)];
  if (row_number == std::size(kSingleInstructions)) return {};
  const SingleInstruction& row = kSingleInstructions[row_number];
  return {.kind = row.instruction,
          .width = static_cast<uint8_t>(PartOf(operation, row.width, cpu)),
          .first = PartOf(operation, row.first, cpu),
          .second = PartOf(operation, row.second, cpu),
          .third = PartOf(operation, row.third, cpu),
          .operand = OperandOn(cpu, operation)};
}

// The entry of kExitFields that bit number `number` among those set in `selector` asks for.
VmcsField SelectedExitField(uint32_t selector, size_t number) {
  for (; number > 0; --number) selector &= selector - 1;
  return kExitFields[std::countr_zero(selector)].field;
}

Instruction InitializeInstruction(uint64_t region, size_t number, uint64_t scratch) {
  if (number == 0) return {.kind = InstructionKind::kRdmsr, .first = Index(Msr::IA32_VMX_BASIC)};
  return {.kind = InstructionKind::kWriteMemory,
          .width = sizeof(uint32_t),
          .first = region,
          .second = scratch & VmxBasic::kRevisionIdentifier};
}

Instruction AdvanceInstruction(size_t number, uint64_t scratch) {
  if (number == 0) {
    return {.kind = InstructionKind::kVmread, .first = Encoding(VmcsField::kGuestRip)};
  }
  if (number == 1) {
    return {.kind = InstructionKind::kVmread,
            .first = Encoding(VmcsField::kVmExitInstructionLength)};
  }
  return {.kind = InstructionKind::kVmwrite,
          .first = Encoding(VmcsField::kGuestRip),
          .second = scratch};
}

uint64_t DeliveryMode(OperationKind kind) {
  switch (kind) {
    case OperationKind::kSendNmi:
      return InterruptCommand::kNmi;
    case OperationKind::kSendInit:
      return InterruptCommand::kInit;
    case OperationKind::kSendSipi:
      return InterruptCommand::kStartUp;
    default:
      return InterruptCommand::kFixed;
  }
}

Instruction SendInstruction(const Operation& operation) {
  uint64_t command = DeliveryMode(operation.kind) | InterruptCommand::kAssert |
                     (operation.value & InterruptCommand::kVector);
  if (operation.selector == kToSelf) {
    command |= InterruptCommand::kSelf;
  } else if (operation.selector == kToAllOthers) {
    command |= InterruptCommand::kAllExcludingSelf;
  } else {
    command |= uint64_t{operation.selector} << InterruptCommand::kDestinationShift;
  }
  return {.kind = InstructionKind::kSendIpi, .first = command};
}

uint64_t FirstHandlerBase(uint64_t choice) {
  const bool is_bare = (choice & kHandlerIsBare) != 0;
  if ((choice & kHandlerIsOfL2) != 0) return is_bare ? kL2BareHandlerBase : kL2HandlerBase;
  return is_bare ? kL1BareHandlerBase : kL1HandlerBase;
}

// A 64-bit interrupt gate. SDM Vol. 3A, 6.14.1 "64-Bit Mode IDT".
constexpr uint64_t kPresentInterruptGate = uint64_t{0x8E} << 40;
constexpr size_t kGateBytes = 16;

Instruction SetHandlerInstruction(const Operation& operation, uint32_t cpu, size_t number) {
  const auto vector = static_cast<uint8_t>(operation.selector);
  const uint64_t gate = ValueOn(cpu, operation) + vector * kGateBytes;
  const uint64_t handler = HandlerOf(operation, cpu);
  if (number == 0) {
    return {.kind = InstructionKind::kWriteMemory,
            .width = sizeof(uint64_t),
            .first = gate + sizeof(uint64_t),
            .second = handler >> 32};
  }
  return {.kind = InstructionKind::kWriteMemory,
          .width = sizeof(uint64_t),
          .first = gate,
          .second = (handler & 0xFFFF) | uint64_t{kCodeSelector} << 16 | kPresentInterruptGate |
                    (handler >> 16 & 0xFFFF) << 48};
}

// Its counter has 8 bytes, of which it needs no more.
constexpr uint8_t kCounterBytes = sizeof(uint32_t);

// Counts up, or from the last time to 0.
Instruction RepeatInstruction(const Operation& operation, uint32_t cpu, size_t number,
                              uint64_t scratch) {
  const uint64_t counter = PartOf(operation, Part::kExtra, cpu);
  if (number == 0) {
    return {.kind = InstructionKind::kReadMemory, .width = kCounterBytes, .first = counter};
  }
  return {.kind = InstructionKind::kWriteMemory,
          .width = kCounterBytes,
          .first = counter,
          .second = scratch};
}

}  // namespace

size_t InstructionCount(const Operation& operation) {
  switch (operation.kind) {
    case OperationKind::kInitializeVmxRegion:
    case OperationKind::kSetHandler:
    case OperationKind::kRepeat:
      return 2;
    case OperationKind::kVmwriteControl:
      return ControlInstructionCount(operation);
    case OperationKind::kVmwriteHostState:
      return HostStateInstructionCount();
    case OperationKind::kObserveExit:
      return static_cast<size_t>(std::popcount(operation.selector & kEveryExitField));
    case OperationKind::kAdvanceGuestRip:
      return 3;
    default:
      return 1;
  }
}

Instruction InstructionAt(const Operation& operation, size_t number,
                          const OperationContext& context) {
  const uint64_t value = ValueOn(context.cpu, operation);
  switch (operation.kind) {
    case OperationKind::kInitializeVmxRegion:
      return InitializeInstruction(value, number, context.scratch);
    case OperationKind::kVmwriteControl:
      return ControlInstruction(operation, number, context.scratch);
    case OperationKind::kVmwriteHostState:
      return HostStateInstruction(context.cpu, number);
    case OperationKind::kSetHostRip:
      return {.kind = InstructionKind::kVmwrite,
              .first = Encoding(VmcsField::kHostRip),
              .second = OperationAddress(CodeOf(context.cpu, kL1CodeBase), operation.value)};
    case OperationKind::kObserveExit:
      return {.kind = InstructionKind::kVmread,
              .first = Encoding(SelectedExitField(operation.selector, number))};
    case OperationKind::kAdvanceGuestRip:
      return AdvanceInstruction(number, context.scratch);
    case OperationKind::kSendNmi:
    case OperationKind::kSendInterrupt:
    case OperationKind::kSendInit:
    case OperationKind::kSendSipi:
      return SendInstruction(operation);
    case OperationKind::kIret:
      return {.kind = InstructionKind::kIret, .first = context.next_rip};
    case OperationKind::kSetHandler:
      return SetHandlerInstruction(operation, context.cpu, number);
    case OperationKind::kRepeat:
      return RepeatInstruction(operation, context.cpu, number, context.scratch);
    default:
      return ToInstruction(operation, context.cpu);
  }
}

uint64_t ScratchAfter(const Operation& operation, size_t number, uint64_t scratch, uint64_t value) {
  switch (operation.kind) {
    case OperationKind::kInitializeVmxRegion:
    case OperationKind::kVmwriteControl:
      return value;
    case OperationKind::kAdvanceGuestRip:
      if (number == 0) return value;
      return number == 1 ? scratch + value : 0;
    case OperationKind::kRepeat:
      if (number == 0) return value < operation.selector - 1 ? value + 1 : 0;
      return scratch != 0 ? kScratchRepeats : 0;
    default:
      // Also what clears a mark that an earlier operation left.
      return 0;
  }
}

bool IsVmxInstruction(InstructionKind kind) {
  switch (kind) {
    case InstructionKind::kVmxon:
    case InstructionKind::kVmxoff:
    case InstructionKind::kVmclear:
    case InstructionKind::kVmptrld:
    case InstructionKind::kVmptrst:
    case InstructionKind::kVmread:
    case InstructionKind::kVmwrite:
    case InstructionKind::kVmlaunch:
    case InstructionKind::kVmresume:
    case InstructionKind::kVmcall:
    case InstructionKind::kInvept:
    case InstructionKind::kInvvpid:
      return true;
    default:
      return false;
  }
}

bool InstructionsAreIndependent(OperationKind kind) {
  return kind == OperationKind::kVmwriteHostState || kind == OperationKind::kObserveExit;
}

uint64_t HandlerOf(const Operation& operation, uint32_t cpu) {
  const uint64_t handlers = HandlersOf(cpu, FirstHandlerBase(operation.extra));
  return HandlerAddress(handlers, static_cast<uint8_t>(operation.selector));
}

uint64_t ValueOn(uint32_t cpu, const Operation& operation) {
  return Relocated(cpu, operation.value, (operation.flags & kValueIsWindowOffset) != 0);
}

}  // namespace nvmx::lhv
