// SPDX-License-Identifier: Apache-2.0
//
// Events between instructions. SDM Vol. 3A, 7.9 "Priority Among Concurrent Events"; Vol. 3C, 26.2
// "Other Causes of VM Exits", 26.4 "Event Blocking", 26.5 "Features Specific to VMX Non-Root
// Operation", 27.7 "Special Features of VM Entry".
#include "backends/sim/machine/processor.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/control_registers.h"
#include "core/x86/general_register.h"
#include "core/x86/rflags.h"

namespace nvmx::sim {
namespace {

using Primary = PrimaryProcessorBased;

constexpr unsigned kClassShift = 4;  // of a vector or a TPR: the priority class

}  // namespace

bool Processor::HasActivity(ActivityState state) const {
  return state_.activity_state == static_cast<uint64_t>(state);
}

bool Processor::IsActive() const { return HasActivity(ActivityState::kActive); }

bool Processor::WaitsForSipi() const {
  return in_guest() && HasActivity(ActivityState::kWaitForSipi);
}

bool Processor::CanTakeNmi() const {
  // Nothing but RESET ends a VMX abort.
  if (state_.vmx_abort != 0) return false;
  if (!in_guest()) return state_.nmi_blocked == 0 && !HasActivity(ActivityState::kShutdown);
  if (WaitsForSipi() || state_.blocking_by_mov_ss != 0) return false;
  // With virtual NMIs a physical NMI exits whatever is blocked virtually.
  return HasPin(PinBased::kVirtualNmis) || state_.nmi_blocked == 0;
}

bool Processor::NmiExits() const { return HasPin(PinBased::kNmiExiting); }

// 26.2, NMI window.
bool Processor::NmiWindowIsOpen() const {
  return HasPrimary(Primary::kNmiWindowExiting) && HasPin(PinBased::kVirtualNmis) &&
         state_.virtual_nmi_blocked == 0 && state_.blocking_by_mov_ss == 0 &&
         state_.blocking_by_sti == 0;
}

// 26.2, interrupt window; SDM Vol. 3A, 7.8 "Enabling and Disabling Interrupts".
bool Processor::InterruptWindowIsOpen() const {
  return (state_.switched.rflags & Rflags::kIf) != 0 && state_.blocking_by_sti == 0 &&
         state_.blocking_by_mov_ss == 0 && !HasActivity(ActivityState::kShutdown);
}

// With "external-interrupt exiting" RFLAGS.IF does not count. 26.4 "Event Blocking".
bool Processor::CanTakeInterrupt(uint8_t vector) const {
  if (!in_guest() || WaitsForSipi() || HasActivity(ActivityState::kShutdown)) return false;
  if (vector >> kClassShift <= state_.tpr >> kClassShift) return false;
  if (!HasPin(PinBased::kExternalInterruptExiting)) return InterruptWindowIsOpen();
  return state_.blocking_by_sti == 0 && state_.blocking_by_mov_ss == 0;
}

bool Processor::AcknowledgesInterrupt() const {
  return !HasPin(PinBased::kExternalInterruptExiting) ||
         (VmcsRead(VmcsField::kVmExitControls) & VmExit::kAcknowledgeInterruptOnExit) != 0;
}

// 27.7.7, 26.2, 26.5.2, 26.5.1: what is due of the guest's own accord, down to the VM exits for
// windows; an NMI stands between those two.
BoundaryEvent Processor::NextEvent(const Signals& signals) const {
  if (!in_guest() || state_.vmx_abort != 0) return BoundaryEvent::kNone;
  if (WaitsForSipi()) return signals.sipi ? BoundaryEvent::kSipi : BoundaryEvent::kNone;
  const bool shut_down = HasActivity(ActivityState::kShutdown);
  if (state_.tpr_below_pending != 0 && !shut_down) return BoundaryEvent::kTprBelowThreshold;
  // VMX root operation blocks INIT.
  if (signals.init && state_.operation != Operation::kRoot) return BoundaryEvent::kInit;
  if (state_.mtf_pending != 0) return BoundaryEvent::kMonitorTrap;
  if (DebugTrapIsDue()) return BoundaryEvent::kDebugTrap;
  if (HasPin(PinBased::kActivateVmxPreemptionTimer) && state_.preemption_timer == 0) {
    return BoundaryEvent::kPreemptionTimer;
  }
  if (NmiWindowIsOpen()) return BoundaryEvent::kNmiWindow;
  if (signals.nmi && CanTakeNmi()) return BoundaryEvent::kNmi;
  if (HasPrimary(Primary::kInterruptWindowExiting) && InterruptWindowIsOpen()) {
    return BoundaryEvent::kInterruptWindow;
  }
  if (signals.interrupt && CanTakeInterrupt(*signals.interrupt)) return BoundaryEvent::kInterrupt;
  return BoundaryEvent::kNone;
}

void Processor::Take(BoundaryEvent event, const Signals& signals) {
  switch (event) {
    case BoundaryEvent::kNone:
      return;
    case BoundaryEvent::kTprBelowThreshold:
      return Exit(ExitReason::kTprBelowThreshold, {});
    case BoundaryEvent::kInit:
      return TakeInit();
    case BoundaryEvent::kSipi:
      return TakeSipi(*signals.sipi);
    case BoundaryEvent::kMonitorTrap:
      return Exit(ExitReason::kMonitorTrapFlag, {});
    case BoundaryEvent::kDebugTrap:
      return TakeDebugTrap();
    case BoundaryEvent::kPreemptionTimer:
      return Exit(ExitReason::kVmxPreemptionTimerExpired, {});
    case BoundaryEvent::kNmiWindow:
      return Exit(ExitReason::kNmiWindow, {});
    case BoundaryEvent::kNmi:
      return TakeNmi();
    case BoundaryEvent::kInterruptWindow:
      return Exit(ExitReason::kInterruptWindow, {});
    case BoundaryEvent::kInterrupt:
      return TakeInterrupt(*signals.interrupt);
  }
}

bool Processor::EndInterruptShadow() {
  const bool ends = state_.blocking_by_sti != 0 || state_.blocking_by_mov_ss != 0;
  state_.blocking_by_sti = state_.blocking_by_mov_ss = 0;
  if (ends && in_non_root() && HasPrimary(Primary::kMonitorTrapFlag)) state_.mtf_pending = 1;
  return ends;
}

bool Processor::PassTimeToTimer() {
  const bool rests = HasActivity(ActivityState::kHlt) || HasActivity(ActivityState::kShutdown);
  if (options_.ticks_per_instruction == 0 || !rests ||
      !HasPin(PinBased::kActivateVmxPreemptionTimer)) {
    return false;
  }
  const unsigned rate = capabilities_.misc & VmxMisc::kPreemptionTimerRate;
  state_.tsc += state_.preemption_timer << rate;
  state_.preemption_timer = 0;
  return true;
}

// --- INIT and SIPI. SDM Vol. 3A, 9.1.1 "Processor State After Reset", 9.4 "Multiple-Processor (MP)
// Initialization"; Vol. 3C, 26.2.

void Processor::TakeInit() {
  if (in_non_root()) return Exit(ExitReason::kInitSignal, {});
  constexpr uint64_t kBaseOfReset = 0xFFFF0000;
  constexpr uint64_t kSelectorOfReset = 0xF000;
  constexpr uint64_t kRipOfReset = 0xFFF0;
  constexpr uint64_t kLimit = 0xFFFF;
  constexpr uint64_t kData = 0x93;
  constexpr uint64_t kCode = 0x9B;
  constexpr uint64_t kLdt = 0x82;
  constexpr uint64_t kTss = 0x8B;
  SwitchedRegisters& r = state_.switched;
  state_.registers = {};
  state_.registers[static_cast<size_t>(GeneralRegister::kRdx)] = Cpuid(1, 0).eax;
  r.rip = kRipOfReset;
  r.rsp = 0;
  r.rflags = Rflags::kFixed1;
  // Caching stays as it is.
  r.cr0 = (r.cr0 & (Cr0::kCd | Cr0::kNw)) | Cr0::kEt;
  state_.cr2 = r.cr3 = r.cr4 = 0;
  r.dr7 = Dr7::kInit;
  state_.dr6 = Dr6::kInit;
  state_.debug_addresses = {};
  r.es = r.ss = r.ds = r.fs = r.gs = {0, 0, kLimit, kData};
  r.cs = {kSelectorOfReset, kBaseOfReset, kLimit, kCode};
  r.ldtr = {0, 0, kLimit, kLdt};
  r.tr = {0, 0, kLimit, kTss};
  r.gdtr_base = r.idtr_base = 0;
  r.gdtr_limit = r.idtr_limit = kLimit;
  r.efer = 0;
  r.pending_debug_exceptions = 0;
  state_.tpr = 0;
  state_.blocking_by_sti = state_.blocking_by_mov_ss = state_.nmi_blocked = 0;
  state_.activity_state = static_cast<uint64_t>(ActivityState::kWaitForSipi);
  DropTranslations();
}

void Processor::TakeSipi(uint8_t vector) {
  if (in_non_root()) return Exit(ExitReason::kStartUpIpi, {.qualification = vector});
  constexpr unsigned kSelectorShift = 8;
  constexpr unsigned kBaseShift = 12;
  SwitchedRegisters& r = state_.switched;
  r.cs.selector = uint64_t{vector} << kSelectorShift;
  r.cs.base = uint64_t{vector} << kBaseShift;
  r.rip = 0;
  state_.activity_state = static_cast<uint64_t>(ActivityState::kActive);
}

// --- NMIs, interrupts and debug traps

void Processor::TakeNmi() {
  if (NmiExits()) {
    return Exit(ExitReason::kExceptionOrNmi,
                {.interruption = InterruptionInformation::Nmi().value()});
  }
  state_.nmi_blocked = 1;
  Deliver({static_cast<uint8_t>(Vector::kNmi), InterruptionType::kNmi});
}

void Processor::TakeInterrupt(uint8_t vector) {
  if (!HasPin(PinBased::kExternalInterruptExiting)) {
    return Deliver({vector, InterruptionType::kExternalInterrupt});
  }
  const auto event = InterruptionInformation::ExternalInterrupt(vector);
  Exit(ExitReason::kExternalInterrupt,
       {.interruption = AcknowledgesInterrupt() ? event.value() : 0});
}

// SDM Vol. 3B, 18.3.1 "Debug Exception (#DB)-Interrupt Vector 1"; Vol. 3C, 27.7.3 "Delivery of
// Pending Debug Exceptions after VM Entry".
bool Processor::HasDeliverableDebugExceptions() const {
  constexpr uint64_t kDeliverable =
      PendingDebugExceptions::kBs | PendingDebugExceptions::kEnabledBreakpoint;
  return (state_.switched.pending_debug_exceptions & kDeliverable) != 0;
}

bool Processor::DebugTrapIsDue() const {
  return HasDeliverableDebugExceptions() && state_.blocking_by_mov_ss == 0 &&
         !HasActivity(ActivityState::kShutdown);
}

void Processor::TakeDebugTrap() {
  constexpr uint64_t kReported = PendingDebugExceptions::kBs | PendingDebugExceptions::kB0 |
                                 PendingDebugExceptions::kB1 | PendingDebugExceptions::kB2 |
                                 PendingDebugExceptions::kB3;
  const uint64_t conditions = state_.switched.pending_debug_exceptions & kReported;
  state_.switched.pending_debug_exceptions = 0;
  Raise(Exception{Vector::kDebug, 0, conditions});
}

// --- The end of VM entry

// SDM Vol. 3C, 27.6 "Event Injection". An injected NMI blocks virtual NMIs, and blocks nothing
// without them.
void Processor::InjectEvent() {
  const VmcsImage& v = Vmcs().fields;
  const InterruptionInformation event(v.Get<VmcsField::kVmEntryInterruptionInformation>());
  // 27.7.7 "VM Exits Induced by the TPR Threshold".
  if (HasPrimary(Primary::kUseTprShadow) && HasSecondary(Secondary::kVirtualizeApicAccesses) &&
      IsTprBelowThreshold(ReadVirtualTpr())) {
    state_.tpr_below_pending = 1;
  }
  if (!event.valid()) return DropUndeliverableDebugExceptions();
  if (event.type() == InterruptionType::kOtherEvent) {
    state_.mtf_pending = 1;
    return;
  }
  if (event.IsNmi() && HasPin(PinBased::kVirtualNmis)) state_.virtual_nmi_blocked = 1;
  Event delivered{event.vector(), event.type()};
  if (event.deliver_error_code()) {
    delivered.error_code = v.Get<VmcsField::kVmEntryExceptionErrorCode>();
  }
  if (event.type() == InterruptionType::kSoftwareInterrupt ||
      event.type() == InterruptionType::kSoftwareException ||
      event.type() == InterruptionType::kPrivilegedSoftwareException) {
    delivered.instruction_length = v.Get<VmcsField::kVmEntryInstructionLength>();
  }
  Deliver(delivered);
}

// 27.7.3: there are none after entry to a state that does not take them.
void Processor::DropUndeliverableDebugExceptions() {
  if (HasActivity(ActivityState::kShutdown) || HasActivity(ActivityState::kWaitForSipi)) {
    state_.switched.pending_debug_exceptions = 0;
  }
}

}  // namespace nvmx::sim
