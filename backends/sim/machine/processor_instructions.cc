// SPDX-License-Identifier: Apache-2.0
//
// What instructions do that any program executes, and CPUID, RDMSR and WRMSR. SDM Vol. 2; Vol. 3C,
// 26.3 "Changes to Instruction Behavior in VMX Non-Root Operation".
#include <cstring>
#include <utility>

#include "backends/sim/machine/event_return.h"
#include "backends/sim/machine/operand_registers.h"
#include "backends/sim/machine/processor.h"
#include "core/vmx/controls.h"
#include "core/x86/address.h"
#include "core/x86/control_registers.h"
#include "core/x86/msr.h"
#include "core/x86/rflags.h"

namespace nvmx::sim {

using lhv::Instruction;
using lhv::InstructionKind;

namespace {

constexpr uint64_t kLow32 = 0xFFFFFFFF;

}  // namespace

Outcome Processor::PerformMemory(const Instruction& instruction) {
  uint64_t& rax = state_.registers[kRax];
  const MemoryOperand& place = instruction_operand_.place;
  if (instruction.kind == InstructionKind::kReadMemory) {
    uint64_t value = 0;
    const auto bytes = std::as_writable_bytes(std::span(&value, 1)).first(instruction.width);
    if (!ReadData(place, bytes)) return Outcome::kElsewhere;
    rax = value;
    return Outcome::kNext;
  }
  const auto bytes = std::as_bytes(std::span(&rax, 1)).first(instruction.width);
  return WriteData(place, bytes) ? Outcome::kNext : Outcome::kElsewhere;
}

bool Processor::PushReturnFrame(uint64_t rip) {
  SwitchedRegisters& r = state_.switched;
  // As PUSHF has it. SDM Vol. 2B, "PUSHF/PUSHFD/PUSHFQ".
  const uint64_t rflags = r.rflags & ~(Rflags::kRf | Rflags::kVm);
  const uint64_t values[] = {rip, r.cs.selector, rflags, r.rsp, r.ss.selector};
  const size_t width = FrameValueBytes();
  // Outside 64-bit mode IRET to the same privilege level pops no stack pointer.
  const size_t count = Is64BitMode() ? std::size(values) : 3;
  std::array<std::byte, sizeof values> frame;
  for (size_t i = 0; i < count; ++i) std::memcpy(&frame[i * width], &values[i], width);
  const MemoryOperand place{SegmentRegister::kSs, r.rsp - count * width};
  if (!WriteData(place, std::span(frame).first(count * width))) return false;
  r.rsp = place.offset;
  return true;
}

// IRET: blocking by NMI ends even if it faults. The instructions before it that make or find the
// frame are repeated if it does: RSP is then as it was.
Outcome Processor::PerformIret(uint64_t target) {
  SwitchedRegisters& r = state_.switched;
  const uint64_t rsp = r.rsp;
  if (target != 0) {
    if (!PushReturnFrame(target)) return Outcome::kElsewhere;
  } else {
    bool has_error_code;
    r.rsp = FrameOffset(has_error_code);
  }
  if (!HasPin(PinBased::kNmiExiting)) {
    nmis_unblocked_by_iret_ = std::exchange(state_.nmi_blocked, 0) != 0;
  } else if (HasPin(PinBased::kVirtualNmis)) {
    nmis_unblocked_by_iret_ = std::exchange(state_.virtual_nmi_blocked, 0) != 0;
  }
  TakeLogIndex();
  const std::optional<EventFault> fault = ReturnFromEvent(mmu_, Context(), r);
  PutLogIndex();
  if (!fault) return Outcome::kReturned;
  r.rsp = rsp;
  return Raise(*fault, true);
}

Outcome Processor::PerformHandlerReturn() {
  SwitchedRegisters& r = state_.switched;
  std::array<uint64_t, 5> values{};  // RIP, CS, RFLAGS, RSP, SS
  const size_t width = FrameValueBytes();
  const size_t count = Is64BitMode() ? values.size() : 3;
  std::array<std::byte, sizeof values> frame;
  bool has_error_code;
  const MemoryOperand place{SegmentRegister::kSs, FrameOffset(has_error_code)};
  if (!ReadData(place, std::span(frame).first(count * width))) return Outcome::kElsewhere;
  for (size_t i = 0; i < count; ++i) std::memcpy(&values[i], &frame[i * width], width);
  PerformPopf(values[2]);
  r.rip = values[0];
  r.rsp = Is64BitMode() ? values[3] : place.offset + count * width;
  return Outcome::kReturned;
}

// SDM Vol. 2B, "POPF/POPFD/POPFQ": IOPL is for CPL 0, IF for those whom IOPL allows it.
Outcome Processor::PerformPopf(uint64_t value) {
  uint64_t& rflags = state_.switched.rflags;
  uint64_t writable =
      Rflags::kArithmetic | Rflags::kTf | Rflags::kDf | Rflags::kNt | Rflags::kAc | Rflags::kId;
  if (Cpl() == 0) {
    writable |= Rflags::kIopl | Rflags::kIf;
  } else if (Cpl() <= Iopl()) {
    writable |= Rflags::kIf;
  }
  rflags = (rflags & ~writable & ~Rflags::kRf) | (value & writable) | Rflags::kFixed1;
  return Outcome::kNext;
}

Outcome Processor::PerformSti() {
  state_.switched.rflags |= Rflags::kIf;
  return Outcome::kNext;
}

Outcome Processor::PerformCli() {
  state_.switched.rflags &= ~Rflags::kIf;
  return Outcome::kNext;
}

Outcome Processor::PerformHlt() {
  state_.activity_state = static_cast<uint64_t>(ActivityState::kHlt);
  return Outcome::kNext;
}

Outcome Processor::PerformCpuid() {
  auto& r = state_.registers;
  const CpuidRegisters result =
      Cpuid(static_cast<uint32_t>(r[kRax]), static_cast<uint32_t>(r[kRcx]));
  r[kRax] = result.eax;
  r[kRbx] = result.ebx;
  r[kRcx] = result.ecx;
  r[kRdx] = result.edx;
  return Outcome::kNext;
}

void Processor::ReturnEdxEax(uint64_t value) {
  state_.registers[kRax] = value & kLow32;
  state_.registers[kRdx] = value >> 32;
}

bool Processor::VirtualizesTprMsr(uint32_t msr) const {
  return msr == Index(Msr::IA32_X2APIC_TPR) && HasPrimary(PrimaryProcessorBased::kUseTprShadow) &&
         HasSecondary(Secondary::kVirtualizeX2ApicMode);
}

// In non-root operation two MSRs are not what they are outside: the TSC, and the TPR with
// "virtualize x2APIC mode". SDM Vol. 3C, 30.5 "Virtualizing MSR-Based APIC Accesses".
Outcome Processor::PerformRdmsr() {
  const auto msr = static_cast<uint32_t>(state_.registers[kRcx]);
  std::optional<uint64_t> value = ReadMsr(msr);
  if (msr == Index(Msr::IA32_TIME_STAMP_COUNTER)) value = GuestTsc();
  if (VirtualizesTprMsr(msr)) value = ReadVirtualTpr();
  if (!value) return Fault(Vector::kGeneralProtection);
  ReturnEdxEax(*value);
  return Outcome::kNext;
}

Outcome Processor::PerformWrmsr() {
  constexpr uint64_t kTprDefined = 0xFF;
  const auto& r = state_.registers;
  const uint64_t value = (r[kRax] & kLow32) | r[kRdx] << 32;
  const auto msr = static_cast<uint32_t>(r[kRcx]);
  if (VirtualizesTprMsr(msr)) {
    if ((value & ~kTprDefined) != 0) return Fault(Vector::kGeneralProtection);
    WriteVirtualTpr(value);
    return Outcome::kNext;
  }
  return WriteMsr(msr, value) ? Outcome::kNext : Fault(Vector::kGeneralProtection);
}

// JMP to a place that holds JMP R11. A fault on the way there is one of the first, a fault there
// one of the second.
Outcome Processor::PerformFetch(uint64_t linear) {
  constexpr std::array<std::byte, 3> kJmpR11 = {std::byte{0x41}, std::byte{0xFF}, std::byte{0xE3}};
  if (Is64BitMode() && !IsCanonical(linear, LinearBits())) {
    return Fault(Vector::kGeneralProtection);
  }
  state_.switched.rip = Is64BitMode() ? linear : linear & kLow32;
  std::array<std::byte, 3> code{};
  if (!FetchInstruction(code)) return Outcome::kElsewhere;
  if (code != kJmpR11) return Fault(Vector::kInvalidOpcode);
  state_.switched.rip = state_.registers[kFetchReturn];
  return Outcome::kReturned;
}

}  // namespace nvmx::sim
