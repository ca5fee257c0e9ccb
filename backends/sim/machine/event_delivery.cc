// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/event_delivery.h"

#include <array>

#include "backends/sim/machine/event_access.h"
#include "backends/sim/machine/segment_descriptor.h"
#include "core/x86/address.h"
#include "core/x86/control_registers.h"
#include "core/x86/rflags.h"
#include "core/x86/segment.h"

namespace nvmx::sim {
namespace {

using Fault = std::optional<EventFault>;

// A gate of an IDT. SDM Vol. 3A, 7.11 "IDT Descriptors"; 7.14.1 "64-Bit Mode IDT".
struct Gate {
  static constexpr unsigned kTask = 5;
  static constexpr unsigned kInterrupt16 = 6;
  static constexpr unsigned kTrap16 = 7;
  static constexpr unsigned kInterrupt = 14;
  static constexpr unsigned kTrap = 15;

  uint64_t low = 0, high = 0;

  uint16_t selector() const { return static_cast<uint16_t>(low >> 16); }
  // With the bit that is 0 in a gate.
  unsigned type() const { return low >> 40 & 0x1F; }
  unsigned dpl() const { return low >> 45 & 3; }
  bool present() const { return (low >> 47 & 1) != 0; }
  unsigned ist() const { return low >> 32 & 7; }
  uint64_t offset() const {
    const uint64_t offset = (low & 0xFFFF) | (low >> 48) << 16 | high << 32;
    return Is16Bit() ? offset & 0xFFFF : offset;
  }
  bool Is16Bit() const { return type() == kInterrupt16 || type() == kTrap16; }
  bool MasksInterrupts() const { return type() == kInterrupt || type() == kInterrupt16; }
};

class Delivery {
 public:
  Delivery(Mmu& mmu, const TranslationContext& context, const Event& event,
           SwitchedRegisters& registers)
      : mmu_(mmu),
        context_(context),
        event_(event),
        old_(registers),
        registers_(registers),
        tables_(mmu, context, old_),
        ext_(event.IsSoftware() ? 0 : 1),
        cpl_(IsVirtual8086(registers) ? 3 : CplOf(registers)) {}

  Fault Deliver();

 private:
  Fault DeliverInRealMode();
  Fault ReadGate(Gate& gate);
  Fault CheckTaskGate(const Gate& gate);
  Fault ReadCode(const Gate& gate, SegmentDescriptor& code);
  Fault FindStack64(const Gate& gate, unsigned new_cpl, SegmentState& ss, uint64_t& rsp);
  Fault FindStack32(unsigned new_cpl, SegmentState& ss, uint64_t& rsp);
  Fault ReadStackPointer32(unsigned new_cpl, uint16_t& selector, uint64_t& rsp);
  Fault PushFrame(StackAccess& stack, unsigned bytes, bool with_stack);
  void Enter(const Gate& gate, const SegmentDescriptor& code, unsigned new_cpl);

  EventFault Gp(uint32_t error) const {
    return EventFault::Exception(Vector::kGeneralProtection, error | ext_);
  }
  EventFault Np(uint32_t error) const {
    return EventFault::Exception(Vector::kSegmentNotPresent, error | ext_);
  }
  EventFault Ts(uint32_t error) const {
    return EventFault::Exception(Vector::kInvalidTss, error | ext_);
  }
  EventFault Ss(uint32_t error) const {
    return EventFault::Exception(Vector::kStackFault, error | ext_);
  }
  EventFault NoTss() const { return Ts(SelectorError(old_.tr.selector)); }
  uint32_t IdtError() const {
    constexpr uint32_t kIdt = 2;
    return uint32_t{event_.vector} * 8 | kIdt;
  }
  uint64_t ReturnRip() const { return old_.rip + event_.instruction_length; }
  uint64_t SavedFlags() const {
    return event_.resume_flag ? old_.rflags | Rflags::kRf : old_.rflags;
  }

  Mmu& mmu_;
  const TranslationContext& context_;
  const Event& event_;
  const SwitchedRegisters old_;
  SwitchedRegisters& registers_;
  TableAccess tables_;
  const uint32_t ext_;  // bit 0 of the error code
  const unsigned cpl_;
};

Fault Delivery::Deliver() {
  if (!HasProtection(old_)) return DeliverInRealMode();
  const bool from_virtual_8086 = IsVirtual8086(old_);
  if (from_virtual_8086 && event_.type == InterruptionType::kSoftwareInterrupt &&
      (old_.rflags & Rflags::kIopl) != Rflags::kIopl) {
    return EventFault::Exception(Vector::kGeneralProtection, 0);
  }
  Gate gate;
  if (Fault fault = ReadGate(gate)) return fault;
  if (gate.type() == Gate::kTask) return CheckTaskGate(gate);
  SegmentDescriptor code;
  if (Fault fault = ReadCode(gate, code)) return fault;
  const unsigned new_cpl = code.IsConformingCode() ? cpl_ : code.rights().dpl();
  const bool changes_cpl = new_cpl != cpl_;

  SegmentState ss = old_.ss;
  uint64_t rsp = old_.rsp;
  const bool ia32e = IsIa32e(old_);
  Fault fault;
  if (ia32e) {
    fault = FindStack64(gate, new_cpl, ss, rsp);
  } else if (changes_cpl) {
    fault = FindStack32(new_cpl, ss, rsp);
  }
  if (fault) return fault;

  const unsigned bytes = ia32e ? 8 : gate.Is16Bit() ? 2 : 4;
  StackAccess stack(mmu_, context_, ss, rsp,
                    Ss(changes_cpl && !ia32e ? SelectorError(ss.selector) : 0));
  stack.SetCpl(new_cpl);
  if (ia32e) stack.Set64Bit();
  const unsigned values =
      (ia32e || changes_cpl ? 5 : 3) + (from_virtual_8086 ? 4 : 0) + (event_.error_code ? 1 : 0);
  if ((fault = stack.CheckRoomToPush(values * bytes))) return fault;
  const bool rip_is_valid = ia32e ? IsCanonical(gate.offset(), (old_.cr4 & Cr4::kLa57) ? 57 : 48)
                                  : gate.offset() <= code.limit();
  if (!rip_is_valid) return Gp(0);
  if ((fault = tables_.SetAccessed(gate.selector(), code, Gp(SelectorError(gate.selector()))))) {
    return fault;
  }
  if ((fault = PushFrame(stack, bytes, ia32e || changes_cpl))) return fault;
  registers_.ss = ss;
  registers_.rsp = stack.pointer();
  Enter(gate, code, new_cpl);
  return std::nullopt;
}

Fault Delivery::ReadGate(Gate& gate) {
  const bool ia32e = IsIa32e(old_);
  const uint64_t size = ia32e ? 16 : 8;
  const uint64_t offset = event_.vector * size;
  const EventFault invalid = Gp(IdtError());
  if (offset + size - 1 > old_.idtr_limit) return invalid;
  if (Fault fault = tables_.ReadValue(old_.idtr_base + offset, gate.low, invalid)) return fault;
  if (ia32e) {
    if (Fault fault = tables_.ReadValue(old_.idtr_base + offset + 8, gate.high, invalid)) {
      return fault;
    }
  }
  switch (gate.type()) {
    case Gate::kInterrupt:
    case Gate::kTrap:
      break;
    case Gate::kTask:
    case Gate::kInterrupt16:
    case Gate::kTrap16:
      if (!ia32e) break;
      [[fallthrough]];
    default:
      return invalid;
  }
  if (event_.IsSoftware() && gate.dpl() < cpl_) return invalid;
  if (!gate.present()) return Np(IdtError());
  return std::nullopt;
}

Fault Delivery::CheckTaskGate(const Gate& gate) {
  constexpr uint32_t kAvailableTss = 1, kAvailableTss32 = 9;
  const uint16_t selector = gate.selector();
  const EventFault invalid = Gp(SelectorError(selector));
  if ((selector & Selector::kTi) != 0) return invalid;
  SegmentDescriptor tss;
  if (Fault fault = tables_.ReadDescriptor(selector, tss, invalid)) return fault;
  const AccessRights rights = tss.rights();
  if (rights.s() || (rights.type() != kAvailableTss && rights.type() != kAvailableTss32)) {
    return invalid;
  }
  if (!rights.present()) return Np(SelectorError(selector));
  return EventFault{.kind = EventFault::Kind::kTaskSwitch, .task = selector};
}

Fault Delivery::ReadCode(const Gate& gate, SegmentDescriptor& code) {
  const uint16_t selector = gate.selector();
  if (SelectorError(selector) == 0) return Gp(0);
  const EventFault invalid = Gp(SelectorError(selector));
  if (Fault fault = tables_.ReadDescriptor(selector, code, invalid)) return fault;
  if (!code.IsCode() || code.rights().dpl() > cpl_) return invalid;
  if (!code.rights().present()) return Np(SelectorError(selector));
  if (IsIa32e(old_) && !code.Is64BitCode()) return invalid;
  const bool to_cpl_0 = !code.IsConformingCode() && code.rights().dpl() == 0;
  if (IsVirtual8086(old_) && !to_cpl_0) return invalid;
  return std::nullopt;
}

// SDM Vol. 3A, 7.14.4 "Stack Switching in IA-32e Mode", 7.14.5 "Interrupt Stack Table".
Fault Delivery::FindStack64(const Gate& gate, unsigned new_cpl, SegmentState& ss, uint64_t& rsp) {
  constexpr uint64_t kRsp0Offset = 4, kIst1Offset = 36;
  if (gate.ist() != 0 || new_cpl != cpl_) {
    const uint64_t offset =
        gate.ist() != 0 ? kIst1Offset + 8 * (gate.ist() - 1) : kRsp0Offset + 8 * new_cpl;
    if (offset + 7 > old_.tr.limit) return NoTss();
    if (Fault fault = tables_.ReadValue(old_.tr.base + offset, rsp, NoTss())) return fault;
  }
  if (new_cpl != cpl_) ss = NullSegment(new_cpl, new_cpl);
  rsp &= ~uint64_t{0xF};
  return std::nullopt;
}

Fault Delivery::ReadStackPointer32(unsigned new_cpl, uint16_t& selector, uint64_t& rsp) {
  const bool is_32_bit = (old_.tr.access_rights & AccessRights::kType & 8) != 0;
  const unsigned size = is_32_bit ? 4 : 2;
  const uint64_t offset = is_32_bit ? 4 + 8 * new_cpl : 2 + 4 * new_cpl;
  if (offset + size + 1 > old_.tr.limit) return NoTss();
  rsp = 0;
  if (Fault fault = tables_.Read(old_.tr.base + offset,
                                 std::as_writable_bytes(std::span(&rsp, 1)).first(size), NoTss())) {
    return fault;
  }
  return tables_.ReadValue(old_.tr.base + offset + size, selector, NoTss());
}

Fault Delivery::FindStack32(unsigned new_cpl, SegmentState& ss, uint64_t& rsp) {
  uint16_t selector = 0;
  if (Fault fault = ReadStackPointer32(new_cpl, selector, rsp)) return fault;
  if (SelectorError(selector) == 0) return Ts(0);
  const EventFault invalid = Ts(SelectorError(selector));
  SegmentDescriptor stack;
  if (Fault fault = tables_.ReadDescriptor(selector, stack, invalid)) return fault;
  if ((selector & Selector::kRpl) != new_cpl || stack.rights().dpl() != new_cpl ||
      !stack.IsWritableData()) {
    return invalid;
  }
  if (!stack.rights().present()) return Ss(SelectorError(selector));
  if (Fault fault = tables_.SetAccessed(selector, stack, invalid)) return fault;
  ss = stack.Load(selector);
  return std::nullopt;
}

Fault Delivery::PushFrame(StackAccess& stack, unsigned bytes, bool with_stack) {
  std::array<uint64_t, 10> values;
  size_t count = 0;
  if (IsVirtual8086(old_)) {
    for (const SegmentState& segment : {old_.gs, old_.fs, old_.ds, old_.es}) {
      values[count++] = segment.selector;
    }
  }
  if (with_stack) {
    values[count++] = old_.ss.selector;
    values[count++] = old_.rsp;
  }
  values[count++] = SavedFlags();
  values[count++] = old_.cs.selector;
  values[count++] = ReturnRip();
  if (event_.error_code) values[count++] = *event_.error_code;
  for (size_t i = 0; i < count; ++i) {
    if (Fault fault = stack.Push(values[i], bytes)) return fault;
  }
  return std::nullopt;
}

void Delivery::Enter(const Gate& gate, const SegmentDescriptor& code, unsigned new_cpl) {
  if (IsVirtual8086(old_)) {
    registers_.gs = registers_.fs = registers_.ds = registers_.es = NullSegment(0);
  }
  registers_.cs = code.Load((gate.selector() & ~Selector::kRpl) | new_cpl);
  registers_.rip = gate.offset();
  registers_.rflags &= ~(Rflags::kTf | Rflags::kNt | Rflags::kRf | Rflags::kVm);
  if (gate.MasksInterrupts()) registers_.rflags &= ~Rflags::kIf;
}

// SDM Vol. 3B, 21.1.4 "Interrupt and Exception Handling" (real-address mode).
Fault Delivery::DeliverInRealMode() {
  const EventFault beyond_idt{.vector = Vector::kGeneralProtection};
  uint32_t entry = 0;
  const uint64_t offset = event_.vector * sizeof entry;
  if (offset + sizeof entry - 1 > old_.idtr_limit) return beyond_idt;
  if (Fault fault = tables_.ReadValue(old_.idtr_base + offset, entry, beyond_idt)) return fault;
  StackAccess stack(mmu_, context_, old_.ss, old_.rsp, {.vector = Vector::kStackFault});
  stack.SetCpl(0);
  if (Fault fault = stack.CheckRoomToPush(6)) return fault;
  for (uint64_t value : {SavedFlags(), old_.cs.selector, ReturnRip()}) {
    if (Fault fault = stack.Push(value, 2)) return fault;
  }
  registers_.rsp = stack.pointer();
  registers_.cs.selector = entry >> 16;
  registers_.cs.base = registers_.cs.selector << 4;
  registers_.rip = entry & 0xFFFF;
  registers_.rflags &= ~(Rflags::kTf | Rflags::kIf | Rflags::kAc | Rflags::kRf);
  return std::nullopt;
}

}  // namespace

std::optional<EventFault> DeliverEvent(Mmu& mmu, const TranslationContext& context,
                                       const Event& event, SwitchedRegisters& registers) {
  return Delivery(mmu, context, event, registers).Deliver();
}

}  // namespace nvmx::sim
