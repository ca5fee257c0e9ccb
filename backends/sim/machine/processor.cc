// SPDX-License-Identifier: Apache-2.0
//
// The guest's instructions, and events between them.
#include "backends/sim/machine/processor.h"

#include <utility>

#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/general_register.h"
#include "core/x86/rflags.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

using lhv::Instruction;
using lhv::InstructionEnd;
using lhv::InstructionKind;

constexpr size_t At(GeneralRegister name) { return static_cast<size_t>(name); }
constexpr size_t kRax = At(GeneralRegister::kRax);
constexpr size_t kRcx = At(GeneralRegister::kRcx);
constexpr size_t kRdx = At(GeneralRegister::kRdx);
constexpr size_t kRbx = At(GeneralRegister::kRbx);
constexpr size_t kScratch = At(GeneralRegister::kR12);

// VM-exit instruction information: a memory operand that is a displacement alone, in DS, or two
// registers. SDM Vol. 3C, tables 28-13 and 28-14.
constexpr uint64_t kDisplacementOnly =
    uint64_t{1} << 22 | uint64_t{1} << 27 | uint64_t{3} << 15 | uint64_t{2} << 7;
constexpr uint64_t kRegisterOperands =
    uint64_t{kRbx} << 3 | uint64_t{1} << 10 | uint64_t{kRax} << 28;

std::optional<ExitReason> VmxExitReason(InstructionKind kind) {
  switch (kind) {
    case InstructionKind::kVmxon:
      return ExitReason::kVmxon;
    case InstructionKind::kVmxoff:
      return ExitReason::kVmxoff;
    case InstructionKind::kVmclear:
      return ExitReason::kVmclear;
    case InstructionKind::kVmptrld:
      return ExitReason::kVmptrld;
    case InstructionKind::kVmptrst:
      return ExitReason::kVmptrst;
    case InstructionKind::kVmread:
      return ExitReason::kVmread;
    case InstructionKind::kVmwrite:
      return ExitReason::kVmwrite;
    case InstructionKind::kVmlaunch:
      return ExitReason::kVmlaunch;
    case InstructionKind::kVmresume:
      return ExitReason::kVmresume;
    case InstructionKind::kVmcall:
      return ExitReason::kVmcall;
    default:
      return std::nullopt;
  }
}

// The address that a memory-operand instruction leaves its 64-bit pointer at: the top of the
// stack's page, below the machine's part of the window.
uint64_t PointerOperandAddress(uint64_t rsp) { return PageBase(rsp - 1); }

}  // namespace

Processor::Processor(Memory& memory, Platform& platform, const Capabilities& capabilities)
    : memory_(memory), platform_(platform), capabilities_(capabilities) {}

bool Processor::HasPin(uint32_t bits) const {
  return (VmcsRead(VmcsField::kPinBasedControls) & bits) == bits;
}
bool Processor::HasPrimary(uint32_t bits) const {
  return (VmcsRead(VmcsField::kPrimaryProcessorBasedControls) & bits) == bits;
}

lhv::EventFrame Processor::TopFrame(uint8_t) const {
  const SavedFrame& frame = Stack().frames[Stack().count == 0 ? 0 : Stack().count - 1];
  return {static_cast<uint8_t>(frame.vector), frame.has_error_code != 0,
          static_cast<uint32_t>(frame.error_code), frame.rip};
}

void Processor::SetResumeRip(uint64_t rip) {
  if (Stack().count != 0) Stack().frames[Stack().count - 1].rip = rip;
}

uint64_t Processor::ScratchRegister() const { return state_.registers[kScratch]; }
void Processor::SetScratchRegister(uint64_t value) { state_.registers[kScratch] = value; }

InstructionEnd Processor::Execute(const Instruction& instruction) {
  const uint64_t next = Rip() + lhv::kInstructionBytes;
  const uint64_t vmcs_before = state_.current_vmcs;
  const uint64_t frames_before = Stack().count;
  // STI that sets IF blocks interrupts until the next instruction has completed.
  const bool starts_sti_blocking =
      instruction.kind == InstructionKind::kSti && (state_.switched.rflags & Rflags::kIf) == 0;
  InstructionEnd end;
  const Outcome outcome = Perform(instruction, end);
  if (outcome == Outcome::kNext) state_.switched.rip = next;
  if (outcome == Outcome::kNext || outcome == Outcome::kReturned) {
    state_.blocking_by_sti = starts_sti_blocking;
    state_.blocking_by_mov_ss = 0;
  }
  const bool entered_l2 = vmcs_before == static_cast<uint64_t>(VmcsRole::kVmcs01) &&
                          state_.current_vmcs == static_cast<uint64_t>(VmcsRole::kVmcs02);
  const bool same_level = state_.current_vmcs == vmcs_before;
  const bool event_follows =
      same_level && Stack().count == frames_before + 1 && TopFrame(0).rip == next;
  end.completed =
      entered_l2 || (same_level && Rip() == next) || event_follows || outcome == Outcome::kReturned;
  end.diverted = entered_l2 || Rip() != next || !same_level;
  // After a VM entry the flags are those of L2; the instruction itself succeeded.
  end.carry = !entered_l2 && (state_.switched.rflags & Rflags::kCf) != 0;
  end.zero = !entered_l2 && (state_.switched.rflags & Rflags::kZf) != 0;
  switch (instruction.kind) {
    case InstructionKind::kRdmsr:
      end.value = (state_.registers[kRax] & 0xFFFFFFFF) | state_.registers[kRdx] << 32;
      break;
    case InstructionKind::kVmread:
      end.value = state_.registers[kRbx];
      break;
    case InstructionKind::kCpuid:
      end.value = (state_.registers[kRax] & 0xFFFFFFFF) | state_.registers[kRbx] << 32;
      break;
    case InstructionKind::kVmptrst:
      memory_.Read(instruction.first, std::as_writable_bytes(std::span(&end.value, 1)));
      break;
    default:
      break;
  }
  return end;
}

Processor::Outcome Processor::Perform(const Instruction& instruction, InstructionEnd& end) {
  auto& registers = state_.registers;
  switch (instruction.kind) {
    case InstructionKind::kNop:
      return Outcome::kNext;
    case InstructionKind::kSti:
      state_.switched.rflags |= Rflags::kIf;
      return Outcome::kNext;
    case InstructionKind::kCli:
      state_.switched.rflags &= ~Rflags::kIf;
      return Outcome::kNext;
    case InstructionKind::kReadMemory:
    case InstructionKind::kWriteMemory:
      return PerformMemory(instruction, end);
    case InstructionKind::kSendIpi:
      platform_.SendIpi(instruction.first);
      return Outcome::kNext;
    case InstructionKind::kIret:
      return PerformIret(instruction.first) ? Outcome::kReturned : Outcome::kElsewhere;
    case InstructionKind::kHlt:
      if (HasPrimary(PrimaryProcessorBased::kHltExiting)) {
        ExitOnInstruction(ExitReason::kHlt);
        return Outcome::kElsewhere;
      }
      state_.activity_state = static_cast<uint64_t>(ActivityState::kHlt);
      return Outcome::kNext;
    case InstructionKind::kCpuid:
      registers[kRax] = instruction.first;
      registers[kRcx] = instruction.second;
      ExitOnInstruction(ExitReason::kCpuid);
      return Outcome::kElsewhere;
    case InstructionKind::kRdmsr:
      registers[kRcx] = instruction.first;
      ExitOnInstruction(ExitReason::kRdmsr);
      return Outcome::kElsewhere;
    case InstructionKind::kWrmsr:
      registers[kRcx] = instruction.first;
      registers[kRax] = instruction.second & 0xFFFFFFFF;
      registers[kRdx] = instruction.second >> 32;
      ExitOnInstruction(ExitReason::kWrmsr);
      return Outcome::kElsewhere;
    default:
      return PerformVmx(instruction);
  }
}

// In VMX non-root operation every VMX instruction exits. SDM Vol. 3C, 26.1.2 "Instructions That
// Cause VM Exits Unconditionally".
Processor::Outcome Processor::PerformVmx(const Instruction& instruction) {
  auto& registers = state_.registers;
  uint64_t qualification = 0;
  uint64_t information = 0;
  switch (instruction.kind) {
    case InstructionKind::kVmxon:
    case InstructionKind::kVmclear:
    case InstructionKind::kVmptrld:
      qualification = PointerOperandAddress(state_.switched.rsp);
      memory_.Write(qualification, std::as_bytes(std::span(&instruction.first, 1)));
      information = kDisplacementOnly;
      break;
    case InstructionKind::kVmptrst:
      qualification = instruction.first;
      information = kDisplacementOnly;
      break;
    case InstructionKind::kVmread:
      registers[kRax] = instruction.first;
      information = kRegisterOperands;
      break;
    case InstructionKind::kVmwrite:
      registers[kRax] = instruction.first;
      registers[kRbx] = instruction.second;
      information = kRegisterOperands;
      break;
    case InstructionKind::kVmcall:
      registers[kRax] = instruction.first;
      break;
    default:
      break;
  }
  ExitOnInstruction(*VmxExitReason(instruction.kind), qualification, information);
  return Outcome::kElsewhere;
}

Processor::Outcome Processor::PerformMemory(const Instruction& instruction, InstructionEnd& end) {
  const size_t width = instruction.width;
  if (!memory_.IsBacked(instruction.first, width)) {
    // The guest's page tables map only what is there.
    RaisePageFault(instruction.first, instruction.kind == InstructionKind::kWriteMemory ? 2 : 0);
    return Outcome::kElsewhere;
  }
  if (instruction.kind == InstructionKind::kReadMemory) {
    memory_.Read(instruction.first, std::as_writable_bytes(std::span(&end.value, 1)).first(width));
  } else {
    memory_.Write(instruction.first, std::as_bytes(std::span(&instruction.second, 1)).first(width));
  }
  return Outcome::kNext;
}

// SDM Vol. 3C, 26.3 "Changes to Instruction Behavior in VMX Non-Root Operation", IRET: blocking
// ends even if it faults.
bool Processor::PerformIret(uint64_t target) {
  if (!HasPin(PinBased::kNmiExiting)) {
    state_.nmi_blocked = 0;
  } else if (HasPin(PinBased::kVirtualNmis)) {
    state_.virtual_nmi_blocked = 0;
  }
  if (target != 0) {
    state_.switched.rip = target;
    return true;
  }
  FrameStack& stack = Stack();
  if (stack.count == 0) {
    // Nothing to return to: as with a damaged stack, the guest ends in a triple fault.
    Exit(ExitReason::kTripleFault, {});
    return false;
  }
  const SavedFrame frame = std::exchange(stack.frames[--stack.count], SavedFrame{});
  state_.switched.rip = frame.rip;
  state_.switched.rflags = frame.rflags;
  return true;
}

bool Processor::IsActive() const {
  return state_.activity_state == static_cast<uint64_t>(ActivityState::kActive);
}

bool Processor::CanTakeNmi() const {
  const auto activity = static_cast<ActivityState>(state_.activity_state);
  // Root operation in shutdown is a VMX abort, which nothing but RESET ends.
  if (!in_guest()) return state_.nmi_blocked == 0 && activity != ActivityState::kShutdown;
  if (activity == ActivityState::kWaitForSipi || state_.blocking_by_mov_ss != 0) return false;
  // With virtual NMIs a physical NMI exits whatever is blocked virtually.
  return HasPin(PinBased::kVirtualNmis) || state_.nmi_blocked == 0;
}

bool Processor::TakeNmiInGuest() {
  if (HasPin(PinBased::kNmiExiting)) {
    Exit(ExitReason::kExceptionOrNmi, {.interruption = InterruptionInformation::Nmi().value()});
    return true;
  }
  state_.nmi_blocked = 1;
  DeliverEvent(InterruptionInformation::Nmi(), 0);
  return false;
}

bool Processor::NmiWindowIsOpen() const {
  return in_guest() && HasPrimary(PrimaryProcessorBased::kNmiWindowExiting) &&
         HasPin(PinBased::kVirtualNmis) && state_.virtual_nmi_blocked == 0 &&
         state_.blocking_by_mov_ss == 0 && state_.blocking_by_sti == 0 &&
         state_.activity_state != static_cast<uint64_t>(ActivityState::kWaitForSipi);
}

void Processor::ExitForNmiWindow() { Exit(ExitReason::kNmiWindow, {}); }

bool Processor::CanTakeInterrupt() const {
  const auto activity = static_cast<ActivityState>(state_.activity_state);
  return in_guest() && (state_.switched.rflags & Rflags::kIf) != 0 && state_.blocking_by_sti == 0 &&
         state_.blocking_by_mov_ss == 0 &&
         (activity == ActivityState::kActive || activity == ActivityState::kHlt);
}

void Processor::TakeInterrupt(uint8_t vector) {
  DeliverEvent(InterruptionInformation::ExternalInterrupt(vector), 0);
}

bool Processor::WaitsForSipi() const {
  return in_guest() && state_.activity_state == static_cast<uint64_t>(ActivityState::kWaitForSipi);
}

void Processor::ExitForInit() { Exit(ExitReason::kInitSignal, {}); }

void Processor::ExitForSipi(uint8_t vector) {
  Exit(ExitReason::kStartUpIpi, {.qualification = vector});
}

void Processor::ExitOnInstruction(ExitReason reason, uint64_t qualification, uint64_t information) {
  Exit(reason, {.qualification = qualification,
                .instruction_length = lhv::kInstructionBytes,
                .instruction_information = information});
}

// SDM Vol. 3C, 26.2 "Other Causes of VM Exits", exceptions: for page faults the error code decides
// how bit 14 counts.
void Processor::RaisePageFault(uint64_t address, uint32_t error_code) {
  const VmcsImage& v = Vmcs().fields;
  const auto event = InterruptionInformation::HardwareException(Vector::kPageFault);
  const bool bit = (v.Get<VmcsField::kExceptionBitmap>() >> event.vector() & 1) != 0;
  const bool matches = (error_code & v.Get<VmcsField::kPageFaultErrorCodeMask>()) ==
                       v.Get<VmcsField::kPageFaultErrorCodeMatch>();
  if (bit == matches) {
    Exit(ExitReason::kExceptionOrNmi,
         {.qualification = address, .interruption = event.value(), .error_code = error_code});
    return;
  }
  state_.cr2 = address;
  DeliverEvent(event, error_code);
}

// Delivery through the guest's IDT: the handlers of guest programs lie at fixed places, behind
// interrupt gates.
void Processor::DeliverEvent(InterruptionInformation event, uint32_t error_code) {
  state_.activity_state = static_cast<uint64_t>(ActivityState::kActive);
  state_.blocking_by_sti = state_.blocking_by_mov_ss = 0;
  FrameStack& stack = Stack();
  if (stack.count == stack.frames.size()) {
    Exit(ExitReason::kTripleFault, {});
    return;
  }
  SwitchedRegisters& r = state_.switched;
  stack.frames[stack.count++] = {event.vector(), event.deliver_error_code(), error_code, r.rip,
                                 r.rflags};
  const uint64_t base = Current() == VmcsRole::kVmcs01 ? lhv::kL1HandlerBase : lhv::kL2HandlerBase;
  r.rip = lhv::HandlerAddress(base, event.vector());
  r.rflags &= ~Rflags::kIf;
}

}  // namespace nvmx::sim
