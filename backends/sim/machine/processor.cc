// SPDX-License-Identifier: Apache-2.0
//
// How one instruction of the guest program is executed.
#include "backends/sim/machine/processor.h"

#include "backends/sim/machine/operand_registers.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/address.h"
#include "core/x86/control_registers.h"
#include "core/x86/msr.h"
#include "core/x86/rflags.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

using lhv::Instruction;
using lhv::InstructionEnd;
using lhv::InstructionKind;

constexpr uint64_t kLow32 = 0xFFFFFFFF;

// The low halves of EDX:EAX.
uint64_t EdxEax(const std::array<uint64_t, 16>& registers) {
  return (registers[kRax] & kLow32) | registers[kRdx] << 32;
}

}  // namespace

Processor::Processor(Memory& memory, Platform& platform, const Capabilities& capabilities,
                     const ProcessorOptions& options)
    : memory_(memory),
      platform_(platform),
      capabilities_(capabilities),
      options_(options),
      mmu_(memory, capabilities_) {
  mmu_.KeepTranslations(options.keep_translations);
  state_.operation = options.native ? Operation::kOff : Operation::kRoot;
  state_.dr6 = Dr6::kInit;
  state_.vmxon_pointer = state_.current_vmcs_pointer = kNoVmcs;
  state_.xcr0 = 1;
  state_.plain.apic_base = ApicBase::kReset | ApicBase::kEnable;
}

size_t Processor::FrameValueBytes() const {
  if (Is64BitMode()) return 8;
  return AccessRights{static_cast<uint32_t>(state_.switched.cs.access_rights)}.db() ? 4 : 2;
}

// In 64-bit mode delivery aligns RSP to 16 bytes before it pushes five values, and a sixth if there
// is an error code; in other modes the vector decides.
uint64_t Processor::FrameOffset(bool& has_error_code) const {
  const uint64_t rsp = state_.switched.rsp;
  if (Is64BitMode()) {
    has_error_code = rsp % 16 == 0;
  } else {
    // The handler of a vector lies where the vector says.
    const uint64_t vector = Rip() / lhv::kHandlerBytes % lhv::kVectorCount;
    has_error_code = IsProtectedMode() && vector < kFirstInterruptVector &&
                     DeliversErrorCode(static_cast<Vector>(vector));
  }
  return rsp + (has_error_code ? FrameValueBytes() : 0);
}

lhv::EventFrame Processor::TopFrame(uint8_t vector) const {
  lhv::EventFrame frame{.vector = vector};
  const uint64_t offset = FrameOffset(frame.has_error_code);
  const uint64_t base = SegmentBase(SegmentRegister::kSs);
  const size_t bytes = FrameValueBytes();
  PeekData(base + offset, std::as_writable_bytes(std::span(&frame.rip, 1)).first(bytes));
  if (frame.has_error_code) {
    PeekData(base + state_.switched.rsp,
             std::as_writable_bytes(std::span(&frame.error_code, 1)).first(bytes < 4 ? bytes : 4));
  }
  return frame;
}

void Processor::SetResumeRip(uint64_t rip) {
  bool has_error_code;
  const uint64_t offset = FrameOffset(has_error_code);
  // The page has just been written by the delivery, so this succeeds.
  mmu_.Write(Context(), SegmentBase(SegmentRegister::kSs) + offset,
             std::as_bytes(std::span(&rip, 1)).first(FrameValueBytes()));
}

uint64_t Processor::ScratchRegister() const { return state_.registers[kScratch]; }
void Processor::SetScratchRegister(uint64_t value) { state_.registers[kScratch] = value; }

InstructionEnd Processor::Execute(const Instruction& instruction) {
  const uint64_t next = Rip() + lhv::kInstructionBytes;
  const unsigned level_before = level();
  const Before before{in_non_root(), (state_.switched.rflags & Rflags::kTf) != 0,
                      (state_.switched.rflags & Rflags::kIf) != 0};
  // The time of a VM entry, whatever comes of it, is over when L2 begins: with L0 or without, the
  // VMX-preemption timer then starts at the same moment.
  const bool enters = level_before == 1 && (instruction.kind == InstructionKind::kVmlaunch ||
                                            instruction.kind == InstructionKind::kVmresume);
  if (enters) AdvanceTime(false);
  delivered_from_.reset();
  Outcome outcome = Outcome::kElsewhere;
  if (FetchInstruction() && LoadOperands(instruction)) outcome = Perform(instruction);
  nmis_unblocked_by_iret_ = false;
  if (outcome == Outcome::kNext) state_.switched.rip = next;
  if (outcome != Outcome::kElsewhere) FinishInstruction(instruction, before);

  const bool entered_l2 = level_before == 1 && level() == 2;
  const bool same_level = level() == level_before;
  const bool event_follows = same_level && delivered_from_ == next;
  // L0 may have performed an instruction of L2, and then have left L2 for an event that was due.
  const VmcsImage& vmcs02 = state_.vmcs[static_cast<size_t>(VmcsRole::kVmcs02)].fields;
  const bool left_behind_it = !options_.native && level_before == 2 && level() == 1 &&
                              vmcs02.Get<VmcsField::kGuestRip>() == next;
  const uint64_t flags =
      left_behind_it ? vmcs02.Get<VmcsField::kGuestRflags>() : state_.switched.rflags;
  InstructionEnd end;
  end.completed = entered_l2 || (same_level && Rip() == next) || event_follows || left_behind_it ||
                  outcome == Outcome::kReturned;
  end.diverted = Rip() != next || !same_level;
  // After a VM entry the flags are those of L2; the instruction itself succeeded.
  end.carry = !entered_l2 && (flags & Rflags::kCf) != 0;
  end.zero = !entered_l2 && (flags & Rflags::kZf) != 0;
  if (end.completed) {
    end.value = ResultOf(instruction);
    if (!enters) AdvanceTime(before.non_root && same_level);
  }
  return end;
}

// What a completed instruction leaves behind for the instruction boundary.
void Processor::FinishInstruction(const Instruction& instruction, const Before& before) {
  SwitchedRegisters& r = state_.switched;
  // STI that sets IF blocks interrupts until the next instruction has completed.
  state_.blocking_by_sti = instruction.kind == InstructionKind::kSti && !before.interrupts;
  state_.blocking_by_mov_ss = instruction.kind == InstructionKind::kMovSs;
  if (instruction.kind != InstructionKind::kIret) r.rflags &= ~Rflags::kRf;
  // What VM entry has left of conditions that do not trap goes with the first instruction.
  if (!HasDeliverableDebugExceptions()) r.pending_debug_exceptions = 0;
  // SDM Vol. 3B, 18.3.1.4 "Single-Step Exception Condition"; with BTF only branches trap.
  const bool is_branch = instruction.kind == InstructionKind::kIret ||
                         instruction.kind == InstructionKind::kFetch ||
                         instruction.kind == InstructionKind::kHandlerReturn;
  if (before.trap && (is_branch || (r.debugctl & DebugCtl::kBtf) == 0)) {
    r.pending_debug_exceptions |= PendingDebugExceptions::kBs;
  }
  if (before.non_root && HasPrimary(PrimaryProcessorBased::kMonitorTrapFlag)) {
    state_.mtf_pending = 1;
  }
}

// The VMX-preemption timer counts down by 1 each time that the bit of the TSC that IA32_VMX_MISC
// names changes. SDM Vol. 3C, 26.5.1 "VMX-Preemption Timer".
void Processor::AdvanceTime(bool timer_counts) {
  const uint64_t before = state_.tsc;
  state_.tsc += options_.ticks_per_instruction;
  if (!timer_counts || !HasPin(PinBased::kActivateVmxPreemptionTimer)) return;
  const unsigned rate = capabilities_.misc & VmxMisc::kPreemptionTimerRate;
  // The TSC may have passed its end.
  const uint64_t below_the_bit = before & ((uint64_t{1} << rate) - 1);
  const uint64_t counts = (below_the_bit + options_.ticks_per_instruction) >> rate;
  state_.preemption_timer -= counts < state_.preemption_timer ? counts : state_.preemption_timer;
}

bool Processor::LoadOperands(const Instruction& instruction) {
  auto& registers = state_.registers;
  switch (instruction.kind) {
    case InstructionKind::kCpuid:
    case InstructionKind::kVmfunc:
      registers[kRax] = instruction.first;
      registers[kRcx] = instruction.second;
      break;
    case InstructionKind::kRdmsr:
    case InstructionKind::kRdpmc:
    case InstructionKind::kXgetbv:
      registers[kRcx] = instruction.first;
      break;
    case InstructionKind::kWrmsr:
    case InstructionKind::kXsetbv:
      registers[kRcx] = instruction.first;
      registers[kRax] = instruction.second & kLow32;
      registers[kRdx] = instruction.second >> 32;
      break;
    case InstructionKind::kVmcall:
      registers[kRax] = instruction.first;
      break;
    case InstructionKind::kWriteMemory:
      registers[kRax] = instruction.second;
      break;
    case InstructionKind::kIn:
      registers[kRdx] = instruction.first;
      break;
    case InstructionKind::kOut:
      registers[kRdx] = instruction.first;
      registers[kRax] = instruction.second;
      break;
    case InstructionKind::kMovToCr:
    case InstructionKind::kMovToDr:
    case InstructionKind::kLmsw:
    case InstructionKind::kLldt:
    case InstructionKind::kLtr:
      registers[kValueRegister] = instruction.first;
      break;
    case InstructionKind::kMonitor:
      registers[kRax] = instruction.first;
      registers[kRcx] = registers[kRdx] = 0;
      break;
    case InstructionKind::kMwait:
      registers[kRax] = registers[kRcx] = 0;
      break;
    case InstructionKind::kFetch:
      // Not if it is taken up again where it has led.
      if (Rip() != instruction.first) registers[kFetchReturn] = Rip() + lhv::kInstructionBytes;
      break;
    default:
      break;
  }
  return LoadMemoryOperand(instruction);
}

// The base that SGDT or SIDT has stored, read again.
uint64_t Processor::StoredTable(uint64_t linear) const {
  uint64_t base = 0;
  PeekData(linear + sizeof(uint16_t), std::as_writable_bytes(std::span(&base, 1)));
  return Is64BitMode() ? base : base & kLow32;
}

uint64_t Processor::ResultOf(const Instruction& instruction) const {
  const auto& registers = state_.registers;
  switch (instruction.kind) {
    case InstructionKind::kRdmsr:
    case InstructionKind::kRdtsc:
    case InstructionKind::kRdtscp:
    case InstructionKind::kRdpmc:
    case InstructionKind::kXgetbv:
      return EdxEax(registers);
    case InstructionKind::kCpuid:
      return (registers[kRax] & kLow32) | registers[kRbx] << 32;
    case InstructionKind::kReadMemory:
      return registers[kRax];
    case InstructionKind::kIn:
      return registers[kRax] & ((uint64_t{1} << 8 * instruction.width) - 1);
    case InstructionKind::kMovFromCr:
    case InstructionKind::kMovFromDr:
    case InstructionKind::kSmsw:
    case InstructionKind::kSldt:
    case InstructionKind::kStr:
    case InstructionKind::kRdrand:
    case InstructionKind::kRdseed:
      return registers[kValueRegister];
    case InstructionKind::kVmread:
    case InstructionKind::kVmptrst:
      return OperandResult();
    case InstructionKind::kSgdt:
    case InstructionKind::kSidt:
      return StoredTable(instruction.first);
    default:
      return 0;
  }
}

Outcome Processor::Perform(const Instruction& instruction) {
  if (instruction.kind == InstructionKind::kMovToDr ||
      instruction.kind == InstructionKind::kMovFromDr) {
    return PerformMovDr(instruction);
  }
  if (const std::optional<Exception> fault = PriorFault(instruction)) return Raise(*fault);
  if (const std::optional<InstructionExit> exit = Intercept(instruction)) {
    return ExitOnInstruction(*exit);
  }
  return PerformPlain(instruction);
}

Outcome Processor::PerformPlain(const Instruction& instruction) {
  switch (instruction.kind) {
    case InstructionKind::kNop:
    case InstructionKind::kPause:
    case InstructionKind::kWbinvd:
    case InstructionKind::kInvd:
      return Outcome::kNext;
    case InstructionKind::kSti:
      return PerformSti();
    case InstructionKind::kCli:
      return PerformCli();
    case InstructionKind::kPopf:
      return PerformPopf(instruction.first);
    case InstructionKind::kReadMemory:
    case InstructionKind::kWriteMemory:
      return PerformMemory(instruction);
    case InstructionKind::kSendIpi:
      platform_.SendIpi(instruction.first);
      return Outcome::kNext;
    case InstructionKind::kIret:
      return PerformIret(instruction.first);
    case InstructionKind::kHandlerReturn:
      return PerformHandlerReturn();
    case InstructionKind::kHlt:
      return PerformHlt();
    case InstructionKind::kCpuid:
      return PerformCpuid();
    case InstructionKind::kRdmsr:
      return PerformRdmsr();
    case InstructionKind::kWrmsr:
      return PerformWrmsr();
    case InstructionKind::kFetch:
      return PerformFetch(instruction.first);
    case InstructionKind::kInt:
      return RaiseSoftware(InterruptionType::kSoftwareInterrupt,
                           static_cast<uint8_t>(instruction.first));
    case InstructionKind::kInt3:
      return RaiseSoftware(InterruptionType::kSoftwareException,
                           static_cast<uint8_t>(Vector::kBreakpoint));
    case InstructionKind::kInt1:
      return RaiseSoftware(InterruptionType::kPrivilegedSoftwareException,
                           static_cast<uint8_t>(Vector::kDebug));
    case InstructionKind::kDivideByZero:
      return Fault(Vector::kDivideError);
    default:
      return PerformSystem(instruction);
  }
}

Outcome Processor::PerformSystem(const Instruction& instruction) {
  uint64_t& value = state_.registers[kValueRegister];
  switch (instruction.kind) {
    case InstructionKind::kMovToCr:
      return PerformMovToCr(instruction.width);
    case InstructionKind::kMovFromCr:
      return PerformMovFromCr(instruction.width);
    case InstructionKind::kClts:
      return PerformClts();
    case InstructionKind::kLmsw:
      return PerformLmsw();
    case InstructionKind::kSmsw:
      value = VisibleCr0();
      return Outcome::kNext;
    case InstructionKind::kRdtscp:
      state_.registers[kRcx] = state_.plain.tsc_aux & kLow32;
      [[fallthrough]];
    case InstructionKind::kRdtsc:
      ReturnEdxEax(GuestTsc());
      return Outcome::kNext;
    case InstructionKind::kRdpmc:
      return PerformRdpmc();
    case InstructionKind::kIn:
    case InstructionKind::kOut:
      return PerformIo(instruction);
    case InstructionKind::kInvlpg:
      return PerformInvlpg(instruction.first);
    case InstructionKind::kInvpcid:
      return PerformInvpcid();
    case InstructionKind::kMonitor:
      return PerformMonitor();
    case InstructionKind::kMwait:
      return PerformMwait();
    case InstructionKind::kXgetbv:
      return PerformXgetbv();
    case InstructionKind::kXsetbv:
      return PerformXsetbv();
    case InstructionKind::kRdrand:
    case InstructionKind::kRdseed:
      return PerformRandom();
    default:
      return PerformSegmentation(instruction);
  }
}

Outcome Processor::PerformSegmentation(const Instruction& instruction) {
  uint64_t& value = state_.registers[kValueRegister];
  switch (instruction.kind) {
    case InstructionKind::kSgdt:
    case InstructionKind::kSidt:
      return PerformStoreTable(instruction.kind == InstructionKind::kSgdt);
    case InstructionKind::kLgdt:
    case InstructionKind::kLidt:
      return PerformLoadTable(instruction.kind == InstructionKind::kLgdt);
    case InstructionKind::kSldt:
      value = state_.switched.ldtr.selector;
      return Outcome::kNext;
    case InstructionKind::kStr:
      value = state_.switched.tr.selector;
      return Outcome::kNext;
    case InstructionKind::kLldt:
      return PerformLldt();
    case InstructionKind::kLtr:
      return PerformLtr();
    case InstructionKind::kMovSs:
      return PerformMovSs();
    default:
      return PerformVmx(instruction);
  }
}

}  // namespace nvmx::sim
