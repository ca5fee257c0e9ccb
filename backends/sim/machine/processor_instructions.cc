// SPDX-License-Identifier: Apache-2.0
//
// What instructions do that cause no VM exit.
#include <utility>

#include "backends/sim/machine/operand_registers.h"
#include "backends/sim/machine/processor.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"

namespace nvmx::sim {

using lhv::Instruction;
using lhv::InstructionKind;

Processor::Outcome Processor::PerformMemory(const Instruction& instruction) {
  uint64_t& rax = state_.registers[kRax];
  if (instruction.kind == InstructionKind::kReadMemory) {
    uint64_t value = 0;
    const auto bytes = std::as_writable_bytes(std::span(&value, 1)).first(instruction.width);
    if (!ReadData(instruction.first, bytes)) return Outcome::kElsewhere;
    rax = value;
    return Outcome::kNext;
  }
  const auto bytes = std::as_bytes(std::span(&rax, 1)).first(instruction.width);
  return WriteData(instruction.first, bytes) ? Outcome::kNext : Outcome::kElsewhere;
}

// SDM Vol. 3C, 26.3 "Changes to Instruction Behavior in VMX Non-Root Operation", IRET: blocking
// ends even if it faults.
Processor::Outcome Processor::PerformIret(uint64_t target) {
  if (!HasPin(PinBased::kNmiExiting)) {
    state_.nmi_blocked = 0;
  } else if (HasPin(PinBased::kVirtualNmis)) {
    state_.virtual_nmi_blocked = 0;
  }
  if (target != 0) {
    state_.switched.rip = target;
    return Outcome::kReturned;
  }
  FrameStack& stack = Stack();
  if (stack.count == 0) {
    // Nothing to return to: as with a damaged stack, the guest ends in a triple fault.
    RaiseTripleFault();
    return Outcome::kElsewhere;
  }
  const SavedFrame frame = std::exchange(stack.frames[--stack.count], SavedFrame{});
  state_.switched.rip = frame.rip;
  state_.switched.rflags = frame.rflags;
  return Outcome::kReturned;
}

Processor::Outcome Processor::PerformHlt() {
  state_.activity_state = static_cast<uint64_t>(ActivityState::kHlt);
  return Outcome::kNext;
}

Processor::Outcome Processor::PerformCpuid() {
  auto& r = state_.registers;
  const CpuidRegisters result =
      Cpuid(static_cast<uint32_t>(r[kRax]), static_cast<uint32_t>(r[kRcx]));
  r[kRax] = result.eax;
  r[kRbx] = result.ebx;
  r[kRcx] = result.ecx;
  r[kRdx] = result.edx;
  return Outcome::kNext;
}

Processor::Outcome Processor::PerformRdmsr() {
  auto& r = state_.registers;
  const std::optional<uint64_t> value = ReadMsr(static_cast<uint32_t>(r[kRcx]));
  if (!value) return Fault(Vector::kGeneralProtection);
  r[kRax] = *value & 0xFFFFFFFF;
  r[kRdx] = *value >> 32;
  return Outcome::kNext;
}

Processor::Outcome Processor::PerformWrmsr() {
  const auto& r = state_.registers;
  const uint64_t value = (r[kRax] & 0xFFFFFFFF) | r[kRdx] << 32;
  if (!WriteMsr(static_cast<uint32_t>(r[kRcx]), value)) return Fault(Vector::kGeneralProtection);
  return Outcome::kNext;
}

}  // namespace nvmx::sim
