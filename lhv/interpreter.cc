// SPDX-License-Identifier: Apache-2.0
#include "lhv/interpreter.h"

#include <algorithm>

#include "core/vmx/vmcs_field.h"
#include "core/x86/exception.h"
#include "lhv/layout.h"
#include "lhv/operation_sequence.h"

namespace nvmx::lhv {
namespace {

constexpr size_t kSlotsPerOperation = kOperationBytes / kInstructionBytes;

constexpr bool IsFault(uint8_t vector) {
  return vector < kFirstInterruptVector && vector != static_cast<uint8_t>(Vector::kNmi);
}

// True if the handler goes on behind the operation: running it again would fault again. A debug
// exception is nearly always a trap, and otherwise its cause is gone when it has been delivered.
constexpr bool SkipsOperation(uint8_t vector) {
  return IsFault(vector) && vector != static_cast<uint8_t>(Vector::kDebug);
}

bool IsMoveFromRegister(InstructionKind kind) {
  return kind == InstructionKind::kMovFromCr || kind == InstructionKind::kMovFromDr;
}

// True if the value that the instruction gives is noted as kReadValue.
bool ReadsValue(InstructionKind kind) {
  switch (kind) {
    case InstructionKind::kMovFromCr:
    case InstructionKind::kSmsw:
    case InstructionKind::kMovFromDr:
    case InstructionKind::kRdtsc:
    case InstructionKind::kRdtscp:
    case InstructionKind::kRdpmc:
    case InstructionKind::kIn:
    case InstructionKind::kXgetbv:
    case InstructionKind::kRdrand:
    case InstructionKind::kRdseed:
    case InstructionKind::kSgdt:
    case InstructionKind::kSidt:
    case InstructionKind::kSldt:
    case InstructionKind::kStr:
      return true;
    default:
      return false;
  }
}

}  // namespace

Interpreter::Interpreter(const CpuProgramView& program, uint32_t cpu, ObservationLog& log)
    : program_(program), cpu_(cpu), log_(log) {}

StepResult Interpreter::Step(GuestCpu& cpu) {
  // An event may have come right after the last instruction of an operation, and IRET or VM entry
  // has only now brought control back.
  Settle(cpu);
  const uint64_t rip = cpu.Rip();
  InstructionEnd end;
  if (const std::optional<Handler> handler = HandlerAt(rip)) {
    end = RunHandler(cpu, *handler);
  } else {
    const std::optional<Place> place = PlaceOf(rip);
    if (!place && IsFetching(cpu.ScratchRegister())) {
      end = RunFetched(cpu);
    } else if (!place || place->operation >= Code(place->level).size()) {
      return StepResult::kEndOfProgram;
    } else {
      end = place->slot % 2 == 0 ? RunInstruction(cpu, *place) : RunErrorRead(cpu, *place);
    }
  }
  if (!end.diverted) Settle(cpu);
  return StepResult::kRan;
}

bool Interpreter::HasInstructionAt(uint64_t rip) const {
  if (HandlerAt(rip)) return true;
  const std::optional<Place> place = PlaceOf(rip);
  return place && place->operation < Code(place->level).size();
}

std::span<const Operation> Interpreter::Code(uint32_t level) const {
  return level == 1 ? program_.l1 : program_.l2;
}

uint64_t Interpreter::AddressOf(const Place& place) const {
  const uint64_t code = CodeOf(cpu_, place.level == 1 ? kL1CodeBase : kL2CodeBase);
  return OperationAddress(code, place.operation) + place.slot * kInstructionBytes;
}

std::optional<Interpreter::Place> Interpreter::PlaceOf(uint64_t rip) const {
  if (rip % kInstructionBytes != 0) return std::nullopt;
  for (const uint32_t level : {1, 2}) {
    const uint64_t base = AddressOf({level, 0, 0});
    if (rip < base || rip - base >= kCodeBytesPerCpu) continue;
    const uint64_t offset = rip - base;
    return Place{level, static_cast<size_t>(offset / kOperationBytes),
                 static_cast<size_t>(offset % kOperationBytes / kInstructionBytes)};
  }
  return std::nullopt;
}

std::optional<Interpreter::Handler> Interpreter::HandlerAt(uint64_t rip) const {
  struct Base {
    uint64_t address;
    uint32_t level;
    bool is_bare;
  };
  constexpr Base kBases[] = {{kL1HandlerBase, 1, false},
                             {kL1BareHandlerBase, 1, true},
                             {kL2HandlerBase, 2, false},
                             {kL2BareHandlerBase, 2, true}};
  for (const Base& base : kBases) {
    const uint64_t first = HandlersOf(cpu_, base.address);
    const uint64_t offset = rip - first;
    if (rip < first || offset >= kHandlerBytesPerCpu) continue;
    if (offset % kHandlerBytes != 0) return std::nullopt;
    return Handler{base.level, base.is_bare, static_cast<uint8_t>(offset / kHandlerBytes)};
  }
  return std::nullopt;
}

Interpreter::Place Interpreter::Settled(Place place, uint64_t scratch) const {
  const std::span<const Operation> code = Code(place.level);
  while (place.operation < code.size()) {
    const Operation& operation = code[place.operation];
    const Place next_operation{place.level, place.operation + 1, 0};
    // Not from where a handler goes on after a fault.
    if (operation.kind == OperationKind::kRepeat && scratch == kScratchRepeats &&
        place.slot == 2 * InstructionCount(operation)) {
      const auto back = static_cast<size_t>(operation.value);
      place = {place.level, place.operation - std::min(back, place.operation), 0};
      continue;
    }
    if (place.slot >= 2 * InstructionCount(operation)) {
      place = next_operation;
      continue;
    }
    if (place.slot == 0) return place;
    // The instruction whose error the slot reads, or the one before.
    const size_t decided_by = (place.slot - 1) / 2;
    // VMX instructions of L2 leave L2, so what is in the register then is not their outcome. Mostly
    // there is nothing in it that could be one, and which instruction it is does not matter.
    const bool scratch_can_be_outcome =
        scratch == kScratchAbandoned || scratch == kScratchVmfailValid;
    const bool scratch_is_outcome =
        place.level == 1 && scratch_can_be_outcome &&
        IsVmxInstruction(InstructionAt(operation, decided_by, {.cpu = cpu_}).kind);
    if (scratch_is_outcome && scratch == kScratchAbandoned) {
      place = next_operation;
      continue;
    }
    if (place.slot % 2 == 0) return place;
    if (scratch_is_outcome && scratch == kScratchVmfailValid) return place;
    ++place.slot;
  }
  return place;
}

void Interpreter::Settle(GuestCpu& cpu) {
  const uint64_t rip = cpu.Rip();
  const uint64_t settled = SettledRip(rip, cpu.ScratchRegister());
  if (settled != rip) cpu.Jump(settled);
}

uint64_t Interpreter::SettledRip(uint64_t rip, uint64_t scratch) {
  const std::optional<Place> place = PlaceOf(rip);
  if (!place || place->operation >= Code(place->level).size()) return rip;
  const Place settled = Settled(*place, scratch);
  if (settled == *place) return rip;
  if (settled.operation == Code(settled.level).size()) {
    log_.Append(
        {.kind = ObservationKind::kDone, .level = settled.level, .operation = settled.operation});
  }
  return AddressOf(settled);
}

InstructionEnd Interpreter::RunInstruction(GuestCpu& cpu, const Place& place) {
  const Operation& operation = Code(place.level)[place.operation];
  const size_t number = place.slot / 2;
  const uint64_t scratch = cpu.ScratchRegister();
  const Instruction instruction =
      InstructionAt(operation, number,
                    {.cpu = cpu_,
                     .next_rip = AddressOf({place.level, place.operation + 1, 0}),
                     .scratch = scratch});
  if (instruction.kind == InstructionKind::kFetch) {
    cpu.SetScratchRegister(kScratchFetching + place.operation);
  }
  const InstructionEnd end = cpu.Execute(instruction);
  if (!end.completed) return end;
  // Even if control has gone elsewhere: the handlers preserve the register.
  if (!IsVmxInstruction(instruction.kind) || (!end.carry && !end.zero)) {
    cpu.SetScratchRegister(ScratchAfter(operation, number, scratch, end.value));
    NoteValue(place, instruction, end.value);
  } else if (end.zero && place.level == 1) {
    cpu.SetScratchRegister(kScratchVmfailValid);
  } else {
    NoteVmfail(cpu, place, instruction,
               end.carry ? ObservationKind::kVmfailInvalid : ObservationKind::kVmfailValid, 0);
  }
  return end;
}

InstructionEnd Interpreter::RunFetched(GuestCpu& cpu) {
  const InstructionEnd end = cpu.Execute({.kind = InstructionKind::kFetch, .first = cpu.Rip()});
  if (end.completed) cpu.SetScratchRegister(0);
  return end;
}

bool Interpreter::IsFetching(uint64_t scratch) const {
  return scratch >= kScratchFetching &&
         scratch - kScratchFetching < std::max(program_.l1.size(), program_.l2.size());
}

InstructionEnd Interpreter::RunErrorRead(GuestCpu& cpu, const Place& place) {
  const Instruction failed =
      InstructionAt(Code(place.level)[place.operation], place.slot / 2, {.cpu = cpu_});
  const InstructionEnd end = cpu.Execute(
      {.kind = InstructionKind::kVmread, .first = Encoding(VmcsField::kVmInstructionError)});
  if (!end.completed) return end;
  const uint64_t number = end.carry || end.zero ? 0 : end.value;
  NoteVmfail(cpu, place, failed, ObservationKind::kVmfailValid, number);
  return end;
}

InstructionEnd Interpreter::RunHandler(GuestCpu& cpu, const Handler& handler) {
  const EventFrame frame = cpu.TopFrame(handler.vector);
  std::optional<Place> interrupted =
      InterruptedPlace(handler.level, frame.rip, cpu.ScratchRegister());
  if (SkipsOperation(handler.vector) && interrupted) {
    // Behind the last instruction of an operation it is a trap of that, or an event could not be
    // delivered. Then it is a fault of the next operation, and has an error code.
    if (frame.has_error_code && interrupted->slot != kSlotsPerOperation - 1) {
      interrupted = Settled(*interrupted, cpu.ScratchRegister());
    }
    // Not to the next operation: the step is repeated if something takes control before the
    // handler's return completes, and must then find the same operation in the frame.
    cpu.SetResumeRip(
        AddressOf({interrupted->level, interrupted->operation, kSlotsPerOperation - 1}));
  }
  const Observation observation =
      EventObservation(handler, frame, interrupted, cpu.ScratchRegister());
  const InstructionEnd end = cpu.Execute(
      {.kind = handler.is_bare ? InstructionKind::kHandlerReturn : InstructionKind::kIret});
  if (end.completed) log_.Append(observation);
  return end;
}

std::optional<Interpreter::Place> Interpreter::InterruptedPlace(uint32_t level, uint64_t rip,
                                                                uint64_t scratch) const {
  if (const std::optional<Place> place = PlaceOf(rip)) return place;
  // Control was where kFetch sent it, if it is nowhere else.
  const uint64_t operation = scratch - kScratchFetching;
  if (!IsFetching(scratch) || operation >= Code(level).size() || HandlerAt(rip)) {
    return std::nullopt;
  }
  return Place{level, static_cast<size_t>(operation), 0};
}

Observation Interpreter::EventObservation(const Handler& handler, const EventFrame& frame,
                                          const std::optional<Place>& interrupted,
                                          uint64_t scratch) const {
  Observation observation{
      .level = handler.level, .operation = kNoOperation, .selector = handler.vector};
  if (IsFault(handler.vector)) {
    observation.kind = ObservationKind::kFault;
    observation.value = frame.error_code;
    observation.extra = frame.has_error_code ? 1 : 0;
    if (!interrupted) return observation;
    observation.operation = SkipsOperation(handler.vector)
                                ? interrupted->operation
                                : Settled(*interrupted, scratch).operation;
    return observation;
  }
  observation.kind = handler.vector == static_cast<uint8_t>(Vector::kNmi)
                         ? ObservationKind::kNmi
                         : ObservationKind::kInterrupt;
  if (interrupted) {
    // The same place has two addresses: after an instruction, and at the one that follows it.
    const Place next = Settled(*interrupted, scratch);
    observation.operation = next.operation;
    observation.value = next.slot / 2;
  } else if (const std::optional<Handler> outer = HandlerAt(frame.rip)) {
    observation.value = kInHandler | outer->vector;
  }
  return observation;
}

void Interpreter::NoteValue(const Place& place, const Instruction& instruction, uint64_t value) {
  Observation observation{.level = place.level,
                          .operation = place.operation,
                          .selector = instruction.first,
                          .value = value};
  switch (Code(place.level)[place.operation].kind) {
    case OperationKind::kRdmsr:
      observation.kind = ObservationKind::kMsrValue;
      break;
    case OperationKind::kVmread:
      observation.kind = ObservationKind::kFieldValue;
      break;
    case OperationKind::kVmptrst:
      observation.kind = ObservationKind::kVmcsPointer;
      break;
    case OperationKind::kReadMemory:
      observation.kind = ObservationKind::kMemoryValue;
      observation.extra = instruction.width;
      break;
    case OperationKind::kCpuid:
      observation.kind = ObservationKind::kCpuidValue;
      observation.extra = instruction.second;
      break;
    case OperationKind::kObserveExit:
      observation.kind = ObservationKind::kVmExit;
      break;
    default:
      if (!ReadsValue(instruction.kind)) return;
      observation.kind = ObservationKind::kReadValue;
      observation.selector = static_cast<uint64_t>(instruction.kind);
      observation.extra =
          IsMoveFromRegister(instruction.kind) ? instruction.width : instruction.first;
      break;
  }
  log_.Append(observation);
}

void Interpreter::NoteVmfail(GuestCpu& cpu, const Place& place, const Instruction& instruction,
                             ObservationKind kind, uint64_t number) {
  const OperationKind operation = Code(place.level)[place.operation].kind;
  cpu.SetScratchRegister(InstructionsAreIndependent(operation) ? 0 : kScratchAbandoned);
  log_.Append({.kind = kind,
               .level = place.level,
               .operation = place.operation,
               .selector = static_cast<uint64_t>(instruction.kind),
               .value = number,
               .extra = instruction.first});
}

}  // namespace nvmx::lhv
