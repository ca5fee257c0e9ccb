// SPDX-License-Identifier: Apache-2.0
#include "lhv/image/metal_guest_cpu.h"

#include "core/vmx/exit_reason.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/interruption_info.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/exception.h"
#include "core/x86/rflags.h"
#include "lhv/image/cpu_instructions.h"
#include "lhv/image/local_apic.h"

namespace nvmx::lhv {
namespace {

using Kind = InstructionKind;

constexpr size_t kRsp = static_cast<size_t>(GeneralRegister::kRsp);
constexpr size_t kScratch = static_cast<size_t>(kScratchGeneralRegister);
constexpr auto kNmiVector = static_cast<uint8_t>(Vector::kNmi);
using Word = uintptr_t;
constexpr size_t kFrameWords = FrameWords(kImageMode);

constexpr uint64_t kCodeOfL1[] = {kL1CodeBase, kMostCpusOfLayout* kCodeBytesPerCpu};

bool IsIn(uint64_t address, uint64_t first, uint64_t bytes) {
  return address >= first && address - first < bytes;
}
bool IsL1Code(uint64_t rip) { return IsIn(rip, kCodeOfL1[0], kCodeOfL1[1]); }
bool IsL2Code(uint64_t rip) { return IsIn(rip, kL2CodeBase, kCodeOfL1[1]); }
bool IsL2Handler(uint64_t rip) {
  return IsIn(rip, kL2HandlerBase, kL2BareHandlerBase - kL2HandlerBase) ||
         IsIn(rip, kL2BareHandlerBase, kL2BareHandlerBase - kL2HandlerBase);
}
uint8_t VectorAt(uint64_t rip) { return static_cast<uint8_t>(rip / kHandlerBytes % kVectorCount); }
bool IsVmEntry(Kind kind) { return kind == Kind::kVmlaunch || kind == Kind::kVmresume; }

bool Returns(Kind kind) { return kind == Kind::kIret || kind == Kind::kHandlerReturn; }

// Where the code of an instruction at the slot is. What returns from a handler lies behind its
// slot, which stays at rest: an event right behind the return can lead to the same handler.
uint64_t PlaceOfCode(Kind kind, uint64_t slot) {
  return Returns(kind) && slot >= kL1HandlerBase ? slot + kInstructionBytes : slot;
}

uint64_t AddressOf(void (*function)()) { return reinterpret_cast<uintptr_t>(function); }

}  // namespace

MetalGuestCpu::MetalGuestCpu(CpuArea& area, CodeSlots& slots, Shared& shared)
    : area_(area), slots_(slots), shared_(shared) {}

void MetalGuestCpu::Start(uint64_t rip, uint64_t rsp) {
  area_.registers = {};
  area_.registers[kRsp] = rsp;
  area_.rip = rip;
  area_.rflags = Rflags::kFixed1;
  area_.deferred = 0;
  level_ = 1;
  has_unexpected_nmi_ = in_vmx_operation_ = has_left_l2_ = has_lost_l2_ = false;
  shadow_ = Shadow::kNone;
  refusal_ = EncodingRefusal::kNone;
}

void MetalGuestCpu::Jump(uint64_t rip) { area_.rip = rip; }

uint64_t MetalGuestCpu::FrameAddress() const {
  const uint64_t rsp = area_.registers[kRsp];
  if (kImageIs64Bit) return rsp % 16 == 0 ? rsp + sizeof(uint64_t) : rsp;
  // Behind EIP is the selector of CS, and behind an error code is EIP, which is no selector.
  const bool has_error_code = Memory<Word>(rsp + sizeof(Word)) > 0xFFFF;
  return has_error_code ? rsp + sizeof(Word) : rsp;
}

EventFrame MetalGuestCpu::TopFrame(uint8_t vector) const {
  const uint64_t address = FrameAddress();
  EventFrame frame{.vector = vector, .rip = Memory<Word>(address)};
  frame.has_error_code = address != area_.registers[kRsp];
  if (frame.has_error_code) frame.error_code = Memory<uint32_t>(area_.registers[kRsp]);
  return frame;
}

void MetalGuestCpu::SetResumeRip(uint64_t rip) {
  Memory<Word>(FrameAddress()) = static_cast<Word>(rip);
}

uint64_t MetalGuestCpu::ScratchRegister() const { return area_.registers[kScratch]; }
void MetalGuestCpu::SetScratchRegister(uint64_t value) { area_.registers[kScratch] = value; }

bool MetalGuestCpu::IsAtHandler() const { return area_.rip >= kL1HandlerBase; }

EncodingContext MetalGuestCpu::Context() const {
  EncodingContext context{.mode = kImageMode,
                          .rip = area_.rip,
                          .rsp = area_.registers[kRsp],
                          .rflags = area_.rflags,
                          .cs = ReadCs(),
                          .ss = ReadSs(),
                          .interrupt_command = LocalApic::kBase + LocalApic::kInterruptCommandLow};
  if (IsAtHandler()) {
    context.frame_address = FrameAddress();
    for (size_t i = 0; i < kFrameWords; ++i) {
      context.frame[i] = Memory<Word>(context.frame_address + i * sizeof(Word));
    }
  }
  return context;
}

#ifdef __x86_64__
uint64_t MetalGuestCpu::WayOut(bool with_interrupts) const {
  return AddressOf(with_interrupts ? &LeaveWithInterrupts : &LeaveWithoutInterrupts);
}
constexpr uint8_t kMovSs[] = {0x41, 0x8E, 0xD5};  // MOV SS, R13D
constexpr auto kRegisterOfMovSs = static_cast<size_t>(GeneralRegister::kR13);
#else
uint64_t MetalGuestCpu::WayOut(bool with_interrupts) const {
  const CodeSlots::Ways ways = slots_.WaysOfI386();
  return with_interrupts ? ways.with_interrupts : ways.without_interrupts;
}
constexpr uint8_t kMovSs[] = {0x8E, 0xD5};  // MOV SS, EBP
constexpr auto kRegisterOfMovSs = static_cast<size_t>(GeneralRegister::kRbp);
#endif

void MetalGuestCpu::Enter(uint64_t slot, uint64_t place) {
  constexpr uint8_t kSti = 0xFB;
  const bool interrupts = (area_.rflags & Rflags::kIf) != 0;
  const uint64_t rflags = area_.rflags;
  // A trap of the image's own code would be nobody's.
  area_.rflags &= ~(Rflags::kIf | Rflags::kTf);
  area_.target = place;
  area_.leave_by = WayOut(interrupts);
  uint64_t before = 0;
  if (shadow_ != Shadow::kNone) {
    // The instruction that holds events back is executed again, right before the next one.
    before = Memory<uint64_t>(place - sizeof before);
    if (shadow_ == Shadow::kSti) {
      area_.target = place - 1;
      Memory<uint8_t>(area_.target) = kSti;
      area_.leave_by = WayOut(false);
    } else {
      area_.target = place - sizeof kMovSs;
      for (size_t i = 0; i < sizeof kMovSs; ++i) Memory<uint8_t>(area_.target + i) = kMovSs[i];
      area_.registers[kRegisterOfMovSs] = ReadSs();
    }
  }
  area_.aborted = 0;
  EnterGuestProgram(&area_);
  if (shadow_ != Shadow::kNone) Memory<uint64_t>(place - sizeof before) = before;
  if (area_.aborted != 0) {
    area_.rflags = rflags;
    area_.rip = slot;
    return;
  }
  shadow_ = Shadow::kNone;
  RepairFrame(slot, place);
}

void MetalGuestCpu::RepairFrame(uint64_t left_for, uint64_t place) {
  if (!IsAtHandler()) return;
  const uint64_t saved = TopFrame(0).rip;
  if (const std::optional<uint64_t> slot = slots_.SlotOfStub(saved)) {
    SetResumeRip(*slot);
  } else if (saved == place || slots_.IsOnWayOut(saved)) {
    SetResumeRip(left_for);
  } else if (slots_.IsInCommonCode(saved)) {
    SetResumeRip(area_.saved_r14);
  } else if (saved >= AddressOf(&LeaveBegin) && saved < AddressOf(&LeaveEnd)) {
    SetResumeRip(left_for);
  }
}

uint64_t MetalGuestCpu::PrepareIpi(uint64_t command) {
  const uint64_t cpu = command >> InterruptCommand::kDestinationShift;
  const uint64_t mode = command & InterruptCommand::kDeliveryMode;
  const uint64_t shorthand = command & InterruptCommand::kShorthand;
  const auto count = shared_.apic_ids.size();
  LocalApic::SetDestination(cpu < count ? shared_.apic_ids[cpu] : LocalApic::kNobody);
  // The shorthand "self" is for fixed interrupts alone. SDM Vol. 3A, 11.6.1, table "Valid
  // Combinations for the Pentium 4 and Intel Xeon Processors' Local xAPIC Interrupt Command
  // Register".
  if (shorthand == InterruptCommand::kSelf && mode != InterruptCommand::kFixed) {
    LocalApic::SetDestination(LocalApic::Id());
    command &= ~InterruptCommand::kShorthand;
  }
  if (mode == InterruptCommand::kNmi) {
    const bool to_others = shorthand == InterruptCommand::kAllExcludingSelf;
    shared_.nmis_under_way.fetch_add(to_others ? static_cast<int32_t>(count) - 1 : 1);
  }
  return command;
}

uint64_t MetalGuestCpu::GuestRip() const { return Vmread(Encoding(VmcsField::kGuestRip)); }
void MetalGuestCpu::SetGuestRip(uint64_t rip) { Vmwrite(Encoding(VmcsField::kGuestRip), rip); }

bool MetalGuestCpu::InjectsNmi() const {
  if (!in_vmx_operation_) return false;
  const InterruptionInformation information{
      static_cast<uint32_t>(Vmread(Encoding(VmcsField::kVmEntryInterruptionInformation)))};
  return information.valid() && information.type() == InterruptionType::kNmi;
}

MetalGuestCpu::Shadow MetalGuestCpu::ShadowOfEntry() const {
  if (!in_vmx_operation_) return Shadow::kNone;
  const uint64_t state = Vmread(Encoding(VmcsField::kGuestInterruptibilityState));
  if ((state & Interruptibility::kBlockingByMovSs) != 0) return Shadow::kMovSs;
  return (state & Interruptibility::kBlockingBySti) != 0 ? Shadow::kSti : Shadow::kNone;
}

void MetalGuestCpu::DeliverDeferred() {
  constexpr uint64_t kAlignment = kImageIs64Bit ? 16 : 1;
  const uint64_t handler = area_.deferred;
  area_.deferred = 0;
  const uint64_t rsp = area_.registers[kRsp];
  const uint64_t frame[] = {area_.rip, ReadCs(), area_.rflags, rsp, ReadSs()};
  const uint64_t first = rsp - rsp % kAlignment - kFrameWords * sizeof(Word);
  for (size_t i = 0; i < kFrameWords; ++i) {
    Memory<Word>(first + i * sizeof(Word)) = static_cast<Word>(frame[i]);
  }
  area_.registers[kRsp] = first;
  area_.rip = handler;
  area_.rflags &= ~(Rflags::kIf | Rflags::kTf | Rflags::kNt | Rflags::kRf);
  EndInterrupt();
}

bool MetalGuestCpu::Poll() {
  const uint64_t slot = area_.rip;
  if (area_.deferred != 0) {
    DeliverDeferred();
    return true;
  }
  Enter(slot, slot);
  if (area_.aborted != 0) DeliverDeferred();
  NoteLevel();
  EndInterrupt();
  return area_.rip != slot;
}

void MetalGuestCpu::NoteLevel() {
  if (IsL2Code(area_.rip) || IsL2Handler(area_.rip)) level_ = 2;
  if (IsL1Code(area_.rip)) level_ = 1;
}

void MetalGuestCpu::Rest() {
  if (area_.deferred != 0) return DeliverDeferred();
  // No stub leads back from here but by an event.
  constexpr CodeSlots::Bytes kJumpToSelf = {0xEB, 0xFE, 0xEB, 0xFE, 0xEB, 0xFE, 0xEB, 0xFE};
  const uint64_t slot = area_.rip;
  const CodeSlots::Bytes at_rest = slots_.Write(slot, kJumpToSelf);
  Enter(slot, slot);
  slots_.Write(slot, at_rest);
  NoteLevel();
  EndInterrupt();
}

InstructionEnd MetalGuestCpu::Execute(const Instruction& instruction) {
  constexpr InstructionEnd kDiverted{.diverted = true};
  if (area_.deferred != 0) {
    DeliverDeferred();
    return kDiverted;
  }
  const uint64_t slot = area_.rip;
  Instruction prepared = instruction;
  if (instruction.kind == Kind::kSendIpi) prepared.first = PrepareIpi(instruction.first);
  const EncodedInstruction encoded = Encode(prepared, Context());
  if (encoded.refusal != EncodingRefusal::kNone) {
    refusal_ = encoded.refusal;
    refused_kind_ = instruction.kind;
    return kDiverted;
  }
  for (size_t i = 0; i < encoded.word_count; ++i) {
    const uint64_t address = encoded.words_address + i * encoded.word_bytes;
    if (encoded.word_bytes == sizeof(uint64_t)) {
      Memory<uint64_t>(address) = encoded.words[i];
    } else {
      Memory<uint32_t>(address) = static_cast<uint32_t>(encoded.words[i]);
    }
  }
  for (size_t number = 0; number < encoded.registers.size(); ++number) {
    if ((encoded.loaded & 1u << number) != 0) area_.registers[number] = encoded.registers[number];
  }
  const bool interrupts = (area_.rflags & Rflags::kIf) != 0;
  const uint64_t next = slot + kInstructionBytes;
  const bool sti = instruction.kind == Kind::kSti;
  const bool enters = level_ == 1 && IsVmEntry(instruction.kind);
  const Shadow shadow_of_entry = enters ? ShadowOfEntry() : Shadow::kNone;
  const bool injects_nmi = enters && InjectsNmi();
  // INT leads to the handler of NMIs, too.
  const bool is_int_2 = instruction.kind == Kind::kInt && instruction.first == kNmiVector;
  if (injects_nmi || is_int_2) shared_.nmis_under_way.fetch_add(1);
  const CodeSlots::Bytes next_at_rest = sti ? slots_.PrependCli(next) : CodeSlots::Bytes{};
  const uint64_t place = PlaceOfCode(instruction.kind, slot);
  const CodeSlots::Bytes at_rest =
      encoded.has_code ? slots_.Write(place, encoded.code) : CodeSlots::Bytes{};
  Enter(slot, place);
  if (encoded.has_code) slots_.Write(place, at_rest);
  if (sti) slots_.Write(next, next_at_rest);
  if (area_.aborted != 0) {
    DeliverDeferred();
    return kDiverted;
  }
  const InstructionEnd end = EndOf(instruction, encoded, slot);
  if (area_.rip == next && sti) {
    area_.rflags |= Rflags::kIf;
    if (!interrupts) shadow_ = Shadow::kSti;
  }
  if (area_.rip == next && instruction.kind == Kind::kMovSs) shadow_ = Shadow::kMovSs;
  if (enters && level_ == 2 && IsL2Code(area_.rip)) shadow_ = shadow_of_entry;
  const bool did_not_come =
      is_int_2 ? !IsAtHandler() || VectorAt(area_.rip) != kNmiVector : injects_nmi && level_ == 1;
  if (did_not_come) shared_.nmis_under_way.fetch_sub(1);
  if (area_.rip == next && !end.carry && !end.zero) {
    if (instruction.kind == Kind::kVmxon) in_vmx_operation_ = true;
    if (instruction.kind == Kind::kVmxoff) in_vmx_operation_ = false;
  }
  return end;
}

InstructionEnd MetalGuestCpu::EndOf(const Instruction& instruction,
                                    const EncodedInstruction& encoded, uint64_t slot) {
  InstructionEnd end;
  const uint64_t next = slot + kInstructionBytes;
  const uint32_t level_before = level_;
  has_left_l2_ = false;
  end.completed = Completed(instruction, slot);
  end.diverted = area_.rip != next;
  uint64_t flags = area_.rflags;
  if (IsAtHandler()) flags = Memory<Word>(FrameAddress() + 2 * sizeof(Word));
  if (level_before == level_) {
    end.carry = (flags & Rflags::kCf) != 0;
    end.zero = (flags & Rflags::kZf) != 0;
  }
  if (end.completed) end.value = ResultOf(encoded);
  EndInterrupt();
  return end;
}

// Finds out where control has come to.
bool MetalGuestCpu::Completed(const Instruction& instruction, uint64_t slot) {
  const uint64_t next = slot + kInstructionBytes;
  const uint64_t rip = area_.rip;
  const bool returns = Returns(instruction.kind);
  const uint64_t place = PlaceOfCode(instruction.kind, slot);
  if (level_ == 1 && IsVmEntry(instruction.kind)) {
    if (rip == next) return true;  // VMfail
    if (IsL2Code(rip) || IsL2Handler(rip)) {
      level_ = 2;
      return true;
    }
    // Back at once: refused while guest state was loaded, or after an exit.
    if (!IsAtHandler()) {
      NoteLossOfL2();
      const uint64_t reason = Vmread(Encoding(VmcsField::kExitReason));
      return !ExitReasonValue{static_cast<uint32_t>(reason)}.is_vm_entry_failure();
    }
    return TopFrame(0).rip != slot;
  }
  if (level_ == 2 && IsL1Code(rip)) {
    level_ = 1;
    NoteExit();
    NoteLossOfL2();
    if (const std::optional<uint64_t> left = slots_.SlotOfStub(GuestRip())) SetGuestRip(*left);
    if (place != slot && GuestRip() == place) SetGuestRip(slot);
    if (returns) return GuestRip() != slot;
    has_left_l2_ = GuestRip() == next;
    return has_left_l2_;
  }
  if (!IsAtHandler()) return true;
  // An event behind the instruction, or a fault of it.
  const uint64_t saved = TopFrame(VectorAt(rip)).rip;
  return returns ? saved != slot : saved == next;
}

uint64_t MetalGuestCpu::ResultOf(const EncodedInstruction& encoded) const {
  constexpr uint64_t kLow32 = 0xFFFF'FFFF;
  const auto& r = area_.registers;
  const auto at = [&r](GeneralRegister name) { return r[static_cast<size_t>(name)]; };
  switch (encoded.result) {
    case ResultPlace::kNone:
      return 0;
    case ResultPlace::kEdxEax:
      return (at(GeneralRegister::kRax) & kLow32) | at(GeneralRegister::kRdx) << 32;
    case ResultPlace::kEaxAndEbx:
      return (at(GeneralRegister::kRax) & kLow32) | at(GeneralRegister::kRbx) << 32;
    case ResultPlace::kRegister:
      return at(encoded.result_register) & encoded.result_mask;
    case ResultPlace::kMemory:
      break;
  }
  uint64_t value = 0;
  for (size_t offset = 0; offset < sizeof value; offset += sizeof(Word)) {
    if ((encoded.result_mask >> 8 * offset) == 0) break;
    const auto at_word = static_cast<Word>(encoded.result_address + offset);
    const Word word = encoded.result_segment == SegmentRegister::kFs   ? ReadFs(at_word)
                      : encoded.result_segment == SegmentRegister::kGs ? ReadGs(at_word)
                                                                       : Memory<Word>(at_word);
    value |= uint64_t{word} << 8 * offset;
  }
  return value;
}

// A VM exit has taken what would have led to a handler.
void MetalGuestCpu::NoteExit() {
  const ExitReasonValue reason{static_cast<uint32_t>(Vmread(Encoding(VmcsField::kExitReason)))};
  const auto information =
      static_cast<uint32_t>(Vmread(Encoding(VmcsField::kVmExitInterruptionInformation)));
  constexpr uint32_t kValid = uint32_t{1} << 31;
  constexpr uint32_t kNmiWithValid = kValid | 2 << 8 | 2;
  if (reason.basic() == ExitReason::kExternalInterrupt && (information & kValid) != 0) {
    LocalApic::EndInterrupt();
  }
  if (reason.basic() == ExitReason::kExceptionOrNmi && (information & 0x8000'07FF) == kNmiWithValid)
    NoteNmi();
}

void MetalGuestCpu::NoteLossOfL2() {
  const ExitReasonValue reason{static_cast<uint32_t>(Vmread(Encoding(VmcsField::kExitReason)))};
  has_lost_l2_ = reason.basic() == ExitReason::kVmcall && slots_.IsOutsideMode(GuestRip());
}

void MetalGuestCpu::NoteNmi() {
  has_unexpected_nmi_ = shared_.nmis_under_way.load() <= 0;
  if (!has_unexpected_nmi_) shared_.nmis_under_way.fetch_sub(1);
}

// Guest programs send no EOI: what has been delivered, or acknowledged on a VM exit, is over.
void MetalGuestCpu::EndInterrupt() {
  if (IsAtHandler()) {
    if (VectorAt(area_.rip) >= kFirstInterruptVector) LocalApic::EndInterrupt();
    if (VectorAt(area_.rip) == kNmiVector) NoteNmi();
    return;
  }
}

}  // namespace nvmx::lhv
