// SPDX-License-Identifier: Apache-2.0
//
// How one instruction of the guest program is executed.
#include "backends/sim/machine/processor.h"

#include "backends/sim/machine/operand_registers.h"
#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"
#include "core/x86/rflags.h"
#include "core/x86/segment.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

using lhv::Instruction;
using lhv::InstructionEnd;
using lhv::InstructionKind;

// The low halves of EDX:EAX.
uint64_t EdxEax(const std::array<uint64_t, 16>& registers) {
  return (registers[kRax] & 0xFFFFFFFF) | registers[kRdx] << 32;
}

}  // namespace

Processor::Processor(Memory& memory, Platform& platform, const Capabilities& capabilities,
                     const ProcessorOptions& options)
    : memory_(memory), platform_(platform), capabilities_(capabilities), options_(options) {
  state_.operation = options.native ? Operation::kOff : Operation::kRoot;
  state_.dr6 = Dr6::kInit;
  state_.vmxon_pointer = state_.current_vmcs_pointer = kNoVmcs;
  state_.xcr0 = 1;
}

unsigned Processor::level() const {
  if (options_.native) return in_non_root() ? 2 : 1;
  return Current() == VmcsRole::kVmcs01 ? 1 : 2;
}

bool Processor::HasPin(uint32_t bits) const {
  return in_non_root() && (VmcsRead(VmcsField::kPinBasedControls) & bits) == bits;
}
bool Processor::HasPrimary(uint32_t bits) const {
  return in_non_root() && (VmcsRead(VmcsField::kPrimaryProcessorBasedControls) & bits) == bits;
}
bool Processor::HasSecondary(uint32_t bits) const {
  return HasPrimary(PrimaryProcessorBased::kActivateSecondaryControls) &&
         (VmcsRead(VmcsField::kSecondaryProcessorBasedControls) & bits) == bits;
}

// SDM Vol. 3A, 6.5 "Privilege Levels"; in VMX operation it is the DPL of SS whatever the mode.
unsigned Processor::Cpl() const {
  if ((state_.switched.cr0 & Cr0::kPe) == 0) return 0;
  if ((state_.switched.rflags & Rflags::kVm) != 0) return 3;
  return AccessRights{static_cast<uint32_t>(state_.switched.ss.access_rights)}.dpl();
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
  const unsigned level_before = level();
  const uint64_t frames_before = Stack().count;
  // STI that sets IF blocks interrupts until the next instruction has completed.
  const bool starts_sti_blocking =
      instruction.kind == InstructionKind::kSti && (state_.switched.rflags & Rflags::kIf) == 0;
  const bool timer_counts = in_non_root();
  LoadOperands(instruction);
  const Outcome outcome = Perform(instruction);
  if (outcome == Outcome::kNext) state_.switched.rip = next;
  if (outcome != Outcome::kElsewhere) {
    state_.blocking_by_sti = starts_sti_blocking;
    state_.blocking_by_mov_ss = 0;
  }
  const bool entered_l2 = level_before == 1 && level() == 2;
  const bool same_level = level() == level_before;
  const bool event_follows =
      same_level && Stack().count == frames_before + 1 && TopFrame(0).rip == next;
  InstructionEnd end;
  end.completed =
      entered_l2 || (same_level && Rip() == next) || event_follows || outcome == Outcome::kReturned;
  end.diverted = Rip() != next || !same_level;
  // After a VM entry the flags are those of L2; the instruction itself succeeded.
  end.carry = !entered_l2 && (state_.switched.rflags & Rflags::kCf) != 0;
  end.zero = !entered_l2 && (state_.switched.rflags & Rflags::kZf) != 0;
  if (end.completed) {
    end.value = ResultOf(instruction);
    AdvanceTime(timer_counts && same_level);
  }
  return end;
}

void Processor::AdvanceTime(bool) { state_.tsc += options_.ticks_per_instruction; }

void Processor::LoadOperands(const Instruction& instruction) {
  auto& registers = state_.registers;
  switch (instruction.kind) {
    case InstructionKind::kCpuid:
      registers[kRax] = instruction.first;
      registers[kRcx] = instruction.second;
      break;
    case InstructionKind::kRdmsr:
      registers[kRcx] = instruction.first;
      break;
    case InstructionKind::kWrmsr:
      registers[kRcx] = instruction.first;
      registers[kRax] = instruction.second & 0xFFFFFFFF;
      registers[kRdx] = instruction.second >> 32;
      break;
    case InstructionKind::kVmcall:
    case InstructionKind::kVmread:
      registers[kRax] = instruction.first;
      break;
    case InstructionKind::kVmwrite:
      registers[kRax] = instruction.first;
      registers[kRbx] = instruction.second;
      break;
    case InstructionKind::kWriteMemory:
      registers[kRax] = instruction.second;
      break;
    default:
      break;
  }
}

uint64_t Processor::ResultOf(const Instruction& instruction) const {
  const auto& registers = state_.registers;
  switch (instruction.kind) {
    case InstructionKind::kRdmsr:
      return EdxEax(registers);
    case InstructionKind::kVmread:
      return registers[kRbx];
    case InstructionKind::kCpuid:
      return (registers[kRax] & 0xFFFFFFFF) | registers[kRbx] << 32;
    case InstructionKind::kReadMemory:
      return registers[kRax];
    case InstructionKind::kVmptrst: {
      uint64_t pointer = 0;
      memory_.Read(instruction.first, std::as_writable_bytes(std::span(&pointer, 1)));
      return pointer;
    }
    default:
      return 0;
  }
}

Processor::Outcome Processor::Perform(const Instruction& instruction) {
  if (const std::optional<ExitReason> reason = Intercept(instruction)) {
    return ExitOnInstruction(*reason);
  }
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
      return PerformMemory(instruction);
    case InstructionKind::kSendIpi:
      platform_.SendIpi(instruction.first);
      return Outcome::kNext;
    case InstructionKind::kIret:
      return PerformIret(instruction.first);
    case InstructionKind::kHlt:
      return PerformHlt();
    case InstructionKind::kCpuid:
      return PerformCpuid();
    case InstructionKind::kRdmsr:
      return PerformRdmsr();
    case InstructionKind::kWrmsr:
      return PerformWrmsr();
    default:
      return PerformVmx(instruction);
  }
}

bool Processor::ReadData(uint64_t linear, std::span<std::byte> bytes) {
  if (memory_.Read(linear, bytes)) return true;
  // The guest's page tables map only what is there.
  RaisePageFault(linear, 0);
  return false;
}

bool Processor::WriteData(uint64_t linear, std::span<const std::byte> bytes) {
  if (memory_.Write(linear, bytes)) return true;
  RaisePageFault(linear, PageFaultErrorCode::kWr);
  return false;
}

}  // namespace nvmx::sim
