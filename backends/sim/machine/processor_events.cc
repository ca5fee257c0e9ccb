// SPDX-License-Identifier: Apache-2.0
//
// Events between instructions, exceptions, and their delivery.
#include "backends/sim/machine/processor.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/rflags.h"
#include "lhv/layout.h"

namespace nvmx::sim {

bool Processor::IsActive() const {
  return state_.activity_state == static_cast<uint64_t>(ActivityState::kActive);
}

bool Processor::CanTakeNmi() const {
  const auto activity = static_cast<ActivityState>(state_.activity_state);
  // L0 in shutdown is a VMX abort, which nothing but RESET ends.
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
  return HasPrimary(PrimaryProcessorBased::kNmiWindowExiting) && HasPin(PinBased::kVirtualNmis) &&
         state_.virtual_nmi_blocked == 0 && state_.blocking_by_mov_ss == 0 &&
         state_.blocking_by_sti == 0 &&
         state_.activity_state != static_cast<uint64_t>(ActivityState::kWaitForSipi);
}

void Processor::ExitForNmiWindow() { Exit(ExitReason::kNmiWindow, {}); }

bool Processor::CanTakeInterrupt() const {
  const auto activity = static_cast<ActivityState>(state_.activity_state);
  return in_guest() && (state_.switched.rflags & Rflags::kIf) != 0 && state_.blocking_by_sti == 0 &&
         state_.blocking_by_mov_ss == 0 &&
         (activity == ActivityState::kActive || activity == ActivityState::kHlt);
}

bool Processor::AcknowledgesInterrupt() const { return true; }

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

BoundaryEvent Processor::NextEvent(const Signals& signals) const {
  if (WaitsForSipi()) return signals.sipi ? BoundaryEvent::kSipi : BoundaryEvent::kNone;
  if (signals.init && in_non_root()) return BoundaryEvent::kInit;
  if (NmiWindowIsOpen()) return BoundaryEvent::kNmiWindow;
  if (signals.nmi && CanTakeNmi()) return BoundaryEvent::kNmi;
  if (signals.interrupt && CanTakeInterrupt()) return BoundaryEvent::kInterrupt;
  return BoundaryEvent::kNone;
}

void Processor::Take(BoundaryEvent event, const Signals& signals) {
  switch (event) {
    case BoundaryEvent::kNone:
      return;
    case BoundaryEvent::kInit:
      return ExitForInit();
    case BoundaryEvent::kSipi:
      return ExitForSipi(*signals.sipi);
    case BoundaryEvent::kNmiWindow:
      return ExitForNmiWindow();
    case BoundaryEvent::kNmi:
      TakeNmiInGuest();
      return;
    case BoundaryEvent::kInterrupt:
      return TakeInterrupt(*signals.interrupt);
  }
}

// SDM Vol. 3C, 27.6 "Event Injection". An injected NMI blocks virtual NMIs, and blocks nothing
// without them.
void Processor::InjectEvent() {
  const VmcsImage& v = Vmcs().fields;
  const InterruptionInformation event(v.Get<VmcsField::kVmEntryInterruptionInformation>());
  if (!event.valid()) return;
  if (event.IsNmi() && HasPin(PinBased::kVirtualNmis)) state_.virtual_nmi_blocked = 1;
  DeliverEvent(event, v.Get<VmcsField::kVmEntryExceptionErrorCode>());
}

// SDM Vol. 3C, 26.2 "Other Causes of VM Exits", exceptions.
Processor::Outcome Processor::Fault(Vector vector, uint32_t error_code) {
  const auto event = InterruptionInformation::HardwareException(vector);
  const bool exits =
      in_non_root() &&
      (VmcsRead(VmcsField::kExceptionBitmap) >> static_cast<unsigned>(vector) & 1) != 0;
  if (exits) {
    Exit(ExitReason::kExceptionOrNmi, {.interruption = event.value(), .error_code = error_code});
  } else {
    DeliverEvent(event, error_code);
  }
  return Outcome::kElsewhere;
}

// For page faults the error code decides how bit 14 of the exception bitmap counts.
void Processor::RaisePageFault(uint64_t address, uint32_t error_code) {
  const VmcsImage& v = Vmcs().fields;
  const auto event = InterruptionInformation::HardwareException(Vector::kPageFault);
  const bool bit = (v.Get<VmcsField::kExceptionBitmap>() >> event.vector() & 1) != 0;
  const bool matches = (error_code & v.Get<VmcsField::kPageFaultErrorCodeMask>()) ==
                       v.Get<VmcsField::kPageFaultErrorCodeMatch>();
  if (in_non_root() && bit == matches) {
    Exit(ExitReason::kExceptionOrNmi,
         {.qualification = address, .interruption = event.value(), .error_code = error_code});
    return;
  }
  state_.cr2 = address;
  DeliverEvent(event, error_code);
}

void Processor::RaiseTripleFault() {
  if (in_non_root()) {
    Exit(ExitReason::kTripleFault, {});
  } else {
    state_.activity_state = static_cast<uint64_t>(ActivityState::kShutdown);
  }
}

// Delivery through the guest's IDT: the handlers of guest programs lie at fixed places, behind
// interrupt gates.
void Processor::DeliverEvent(InterruptionInformation event, uint32_t error_code) {
  state_.activity_state = static_cast<uint64_t>(ActivityState::kActive);
  state_.blocking_by_sti = state_.blocking_by_mov_ss = 0;
  FrameStack& stack = Stack();
  if (stack.count == stack.frames.size()) {
    RaiseTripleFault();
    return;
  }
  SwitchedRegisters& r = state_.switched;
  stack.frames[stack.count++] = {event.vector(), event.deliver_error_code(), error_code, r.rip,
                                 r.rflags};
  const uint64_t base = level() == 1 ? lhv::kL1HandlerBase : lhv::kL2HandlerBase;
  r.rip = lhv::HandlerAddress(base, event.vector());
  r.rflags &= ~Rflags::kIf;
}

}  // namespace nvmx::sim
