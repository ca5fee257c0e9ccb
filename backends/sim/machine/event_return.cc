// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/event_return.h"

#include "backends/sim/machine/event_access.h"
#include "backends/sim/machine/segment_descriptor.h"
#include "core/x86/address.h"
#include "core/x86/control_registers.h"
#include "core/x86/rflags.h"
#include "core/x86/segment.h"

namespace nvmx::sim {
namespace {

using Fault = std::optional<EventFault>;

EventFault Gp(uint32_t error) { return EventFault::Exception(Vector::kGeneralProtection, error); }

// What was on the stack.
struct Frame {
  uint64_t rip = 0, cs = 0, rflags = 0, rsp = 0, ss = 0;
};

class Return {
 public:
  Return(Mmu& mmu, const TranslationContext& context, SwitchedRegisters& registers)
      : old_(registers),
        registers_(registers),
        tables_(mmu, context, old_),
        stack_(mmu, context, old_.ss, old_.rsp,
               HasProtection(old_) ? EventFault::Exception(Vector::kStackFault, 0)
                                   : EventFault{.vector = Vector::kStackFault}),
        bytes_(OperandBytes(old_)),
        cpl_(!HasProtection(old_)  ? 0
             : IsVirtual8086(old_) ? 3
                                   : CplOf(old_)) {
    stack_.SetCpl(cpl_);
    if (Is64BitMode(old_)) stack_.Set64Bit();
  }

  Fault Execute();

 private:
  static unsigned OperandBytes(const SwitchedRegisters& registers) {
    if (Is64BitMode(registers)) return 8;
    return AccessRights{static_cast<uint32_t>(registers.cs.access_rights)}.db() ? 4 : 2;
  }

  Fault ReturnInRealMode();
  Fault ReturnFromVirtual8086();
  Fault ReturnToVirtual8086(const Frame& frame);
  Fault ReturnInProtectedMode(Frame& frame);
  Fault ReturnToTask();
  Fault PopFrame(Frame& frame);
  Fault PopStackPointer(Frame& frame);
  Fault ReadCode(uint16_t selector, SegmentDescriptor& code);
  Fault ReadStack(uint16_t selector, uint16_t code_selector, bool to_64_bit, SegmentState& ss);
  bool IsRipValid(uint64_t rip, const SegmentDescriptor& code) const;
  uint64_t MergeFlags(uint64_t popped) const;
  void DropDataSegments(unsigned new_cpl);

  const SwitchedRegisters old_;
  SwitchedRegisters& registers_;
  TableAccess tables_;
  StackAccess stack_;
  const unsigned bytes_;
  const unsigned cpl_;
};

Fault Return::Execute() {
  if (!HasProtection(old_)) return ReturnInRealMode();
  if (IsVirtual8086(old_)) return ReturnFromVirtual8086();
  if ((old_.rflags & Rflags::kNt) != 0) return IsIa32e(old_) ? Gp(0) : ReturnToTask();
  Frame frame;
  if (Fault fault = PopFrame(frame)) return fault;
  const bool to_virtual_8086 =
      !IsIa32e(old_) && bytes_ == 4 && cpl_ == 0 && (frame.rflags & Rflags::kVm) != 0;
  return to_virtual_8086 ? ReturnToVirtual8086(frame) : ReturnInProtectedMode(frame);
}

Fault Return::PopFrame(Frame& frame) {
  for (uint64_t* value : {&frame.rip, &frame.cs, &frame.rflags}) {
    if (Fault fault = stack_.Pop(*value, bytes_)) return fault;
  }
  frame.cs &= 0xFFFF;
  return std::nullopt;
}

Fault Return::PopStackPointer(Frame& frame) {
  for (uint64_t* value : {&frame.rsp, &frame.ss}) {
    if (Fault fault = stack_.Pop(*value, bytes_)) return fault;
  }
  frame.ss &= 0xFFFF;
  return std::nullopt;
}

Fault Return::ReturnInProtectedMode(Frame& frame) {
  const auto selector = static_cast<uint16_t>(frame.cs);
  const unsigned new_cpl = selector & Selector::kRpl;
  SegmentDescriptor code;
  if (Fault fault = ReadCode(selector, code)) return fault;
  const bool to_64_bit = IsIa32e(old_) && code.Is64BitCode();
  // From 64-bit mode the stack pointer is always popped.
  const bool pops_stack = new_cpl > cpl_ || Is64BitMode(old_);
  SegmentState ss = old_.ss;
  if (pops_stack) {
    if (Fault fault = PopStackPointer(frame)) return fault;
    if (Fault fault = ReadStack(static_cast<uint16_t>(frame.ss), selector, to_64_bit, ss)) {
      return fault;
    }
  }
  if (!IsRipValid(frame.rip, code)) return Gp(0);
  if (Fault fault = tables_.SetAccessed(selector, code, Gp(SelectorError(selector)))) return fault;
  registers_.rip = frame.rip;
  registers_.cs = code.Load(selector);
  registers_.rflags = MergeFlags(frame.rflags);
  registers_.ss = ss;
  if (pops_stack) {
    const bool wide = to_64_bit || AccessRights{static_cast<uint32_t>(ss.access_rights)}.db();
    registers_.rsp = wide ? frame.rsp : (old_.rsp & ~uint64_t{0xFFFF}) | (frame.rsp & 0xFFFF);
  } else {
    registers_.rsp = stack_.pointer();
  }
  if (new_cpl > cpl_) DropDataSegments(new_cpl);
  return std::nullopt;
}

Fault Return::ReadCode(uint16_t selector, SegmentDescriptor& code) {
  if (SelectorError(selector) == 0) return Gp(0);
  const EventFault invalid = Gp(SelectorError(selector));
  if (Fault fault = tables_.ReadDescriptor(selector, code, invalid)) return fault;
  const unsigned rpl = selector & Selector::kRpl;
  const unsigned dpl = code.rights().dpl();
  if (!code.IsCode() || rpl < cpl_) return invalid;
  if (code.IsConformingCode() ? dpl > rpl : dpl != rpl) return invalid;
  if (IsIa32e(old_) && code.rights().l() && code.rights().db()) return invalid;
  if (!code.rights().present()) {
    return EventFault::Exception(Vector::kSegmentNotPresent, SelectorError(selector));
  }
  return std::nullopt;
}

Fault Return::ReadStack(uint16_t selector, uint16_t code_selector, bool to_64_bit,
                        SegmentState& ss) {
  const unsigned new_cpl = code_selector & Selector::kRpl;
  if (SelectorError(selector) == 0) {
    if (!to_64_bit || new_cpl == 3 || (selector & Selector::kRpl) != new_cpl) return Gp(0);
    ss = NullSegment(selector, new_cpl);
    return std::nullopt;
  }
  const EventFault invalid = Gp(SelectorError(selector));
  SegmentDescriptor stack;
  if (Fault fault = tables_.ReadDescriptor(selector, stack, invalid)) return fault;
  if ((selector & Selector::kRpl) != new_cpl || !stack.IsWritableData() ||
      stack.rights().dpl() != new_cpl) {
    return invalid;
  }
  if (!stack.rights().present()) {
    return EventFault::Exception(Vector::kStackFault, SelectorError(selector));
  }
  if (Fault fault = tables_.SetAccessed(selector, stack, invalid)) return fault;
  ss = stack.Load(selector);
  return std::nullopt;
}

bool Return::IsRipValid(uint64_t rip, const SegmentDescriptor& code) const {
  if (IsIa32e(old_) && code.Is64BitCode()) {
    return IsCanonical(rip, (old_.cr4 & Cr4::kLa57) != 0 ? 57 : 48);
  }
  return rip <= code.limit();
}

uint64_t Return::MergeFlags(uint64_t popped) const {
  uint64_t loaded = Rflags::kArithmetic | Rflags::kTf | Rflags::kDf | Rflags::kNt;
  if (bytes_ != 2) loaded |= Rflags::kRf | Rflags::kAc | Rflags::kId;
  if (cpl_ * (Rflags::kIopl / 3) <= (old_.rflags & Rflags::kIopl)) loaded |= Rflags::kIf;
  if (cpl_ == 0) {
    loaded |= Rflags::kIopl;
    if (bytes_ != 2) loaded |= Rflags::kVif | Rflags::kVip;
  }
  return (old_.rflags & ~loaded) | (popped & loaded);
}

// Segments that the new CPL may not use become unusable. SDM Vol. 3A, 6.8.6 "Returning from a
// Called Procedure".
void Return::DropDataSegments(unsigned new_cpl) {
  for (SegmentState* segment : {&registers_.es, &registers_.ds, &registers_.fs, &registers_.gs}) {
    const AccessRights rights{static_cast<uint32_t>(segment->access_rights)};
    if (rights.unusable()) continue;
    const uint32_t kConformingCode = AccessRights::kTypeCode | AccessRights::kTypeConforming;
    const bool conforming = (rights.type() & kConformingCode) == kConformingCode;
    if (!conforming && rights.dpl() < new_cpl) *segment = NullSegment(0);
  }
}

// The link in the TSS names the task to go back to, which is busy.
Fault Return::ReturnToTask() {
  constexpr uint32_t kBusyTss16 = AccessRights::kTypeBusyTss16;
  constexpr uint32_t kBusyTss32 = AccessRights::kTypeBusyTss;
  const auto ts = [](uint16_t selector) {
    return EventFault::Exception(Vector::kInvalidTss, SelectorError(selector));
  };
  uint16_t selector = 0;
  if (Fault fault =
          tables_.ReadValue(old_.tr.base, selector, ts(static_cast<uint16_t>(old_.tr.selector)))) {
    return fault;
  }
  if ((selector & Selector::kTi) != 0) return ts(selector);
  SegmentDescriptor tss;
  if (Fault fault = tables_.ReadDescriptor(selector, tss, ts(selector))) return fault;
  const AccessRights rights = tss.rights();
  if (rights.s() || (rights.type() != kBusyTss16 && rights.type() != kBusyTss32)) {
    return ts(selector);
  }
  if (!rights.present()) {
    return EventFault::Exception(Vector::kSegmentNotPresent, SelectorError(selector));
  }
  return EventFault{.kind = EventFault::Kind::kTaskSwitch, .task = selector};
}

// --- 8086 code

// A segment register of 8086 code. SDM Vol. 3B, 21.1.1 "Address Translation in Real-Address Mode".
void Load8086(SegmentState& segment, uint64_t selector) {
  segment.selector = selector & 0xFFFF;
  segment.base = segment.selector << 4;
}

Fault Return::ReturnInRealMode() {
  Frame frame;
  if (Fault fault = PopFrame(frame)) return fault;
  if (frame.rip > old_.cs.limit) return EventFault{.vector = Vector::kGeneralProtection};
  // VM, VIF and VIP stay.
  constexpr uint64_t kKept = Rflags::kVm | Rflags::kVif | Rflags::kVip;
  const uint64_t loaded = bytes_ == 2 ? 0xFFFF : 0x3F'FFFF & ~kKept;
  registers_.rip = frame.rip;
  Load8086(registers_.cs, frame.cs);
  registers_.rflags = (old_.rflags & ~loaded) |
                      (frame.rflags & loaded & ~Rflags::kReservedMustBe0) | Rflags::kFixed1;
  registers_.rsp = stack_.pointer();
  return std::nullopt;
}

Fault Return::ReturnFromVirtual8086() {
  if ((old_.rflags & Rflags::kIopl) != Rflags::kIopl) return Gp(0);
  Frame frame;
  if (Fault fault = PopFrame(frame)) return fault;
  if (frame.rip > old_.cs.limit) return Gp(0);
  constexpr uint64_t kKept = Rflags::kVm | Rflags::kIopl | Rflags::kVif | Rflags::kVip;
  const uint64_t loaded = (bytes_ == 2 ? 0xFFFF : 0x3F'FFFF) & ~kKept;
  registers_.rip = frame.rip;
  Load8086(registers_.cs, frame.cs);
  registers_.rflags = (old_.rflags & ~loaded) |
                      (frame.rflags & loaded & ~Rflags::kReservedMustBe0) | Rflags::kFixed1;
  registers_.rsp = stack_.pointer();
  return std::nullopt;
}

Fault Return::ReturnToVirtual8086(const Frame& frame) {
  uint64_t rsp = 0;
  uint64_t selectors[5];  // SS, ES, DS, FS, GS
  if (Fault fault = stack_.Pop(rsp, 4)) return fault;
  for (uint64_t& selector : selectors) {
    if (Fault fault = stack_.Pop(selector, 4)) return fault;
  }
  if (frame.rip > 0xFFFF) return Gp(0);
  // SDM Vol. 3C, 27.3.1.2 "Checks on Guest Segment Registers", what virtual-8086 mode has.
  constexpr uint64_t kRights = AccessRights::kP | AccessRights::kDpl | AccessRights::kS |
                               AccessRights::kTypeWritable | AccessRights::kTypeAccessed;
  const auto load = [](SegmentState& segment, uint64_t selector) {
    Load8086(segment, selector);
    segment.limit = 0xFFFF;
    segment.access_rights = kRights;
  };
  load(registers_.cs, frame.cs);
  load(registers_.ss, selectors[0]);
  load(registers_.es, selectors[1]);
  load(registers_.ds, selectors[2]);
  load(registers_.fs, selectors[3]);
  load(registers_.gs, selectors[4]);
  registers_.rip = frame.rip;
  registers_.rsp = rsp;
  constexpr uint64_t kLoaded = 0x3F'FFFF & ~Rflags::kReservedMustBe0;
  registers_.rflags = (frame.rflags & kLoaded) | Rflags::kFixed1;
  return std::nullopt;
}

}  // namespace

std::optional<EventFault> ReturnFromEvent(Mmu& mmu, const TranslationContext& context,
                                          SwitchedRegisters& registers) {
  return Return(mmu, context, registers).Execute();
}

}  // namespace nvmx::sim
