// SPDX-License-Identifier: Apache-2.0
//
// Exceptions and software interrupts: VM exit, delivery, double and triple faults. SDM Vol. 3A,
// chapter 6 "Interrupt and Exception Handling"; Vol. 3C, 26.2 "Other Causes of VM Exits"; 28.2.2 to
// 28.2.4, what VM exits report of events.
#include "backends/sim/machine/event_delivery.h"
#include "backends/sim/machine/processor.h"
#include "core/vmx/controls.h"
#include "core/vmx/ept.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/control_registers.h"
#include "core/x86/rflags.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

// SDM Vol. 3A, 6.15, table 6-4 "Interrupt and Exception Classes".
enum class FaultClass : uint8_t { kBenign, kContributory, kPageFault, kDoubleFault };

FaultClass ClassOf(const Event& event) {
  if (event.type != InterruptionType::kHardwareException) return FaultClass::kBenign;
  switch (static_cast<Vector>(event.vector)) {
    case Vector::kDivideError:
    case Vector::kInvalidTss:
    case Vector::kSegmentNotPresent:
    case Vector::kStackFault:
    case Vector::kGeneralProtection:
    case Vector::kControlProtection:
      return FaultClass::kContributory;
    case Vector::kPageFault:
    case Vector::kVirtualization:
      return FaultClass::kPageFault;
    case Vector::kDoubleFault:
      return FaultClass::kDoubleFault;
    default:
      return FaultClass::kBenign;
  }
}

// Table 6-5 "Conditions for Generating a Double Fault".
bool MakesDoubleFault(FaultClass first, FaultClass second) {
  if (first == FaultClass::kContributory) return second == FaultClass::kContributory;
  return first == FaultClass::kPageFault && second != FaultClass::kBenign;
}

// SDM Vol. 3A, 6.5 "Exception Classifications".
bool IsFault(Vector vector, uint64_t detail) {
  switch (vector) {
    case Vector::kDebug:
      return (detail & Dr6::kBd) != 0;
    case Vector::kBreakpoint:
    case Vector::kOverflow:
    case Vector::kDoubleFault:
    case Vector::kMachineCheck:
      return false;
    default:
      return true;
  }
}

InterruptionInformation InformationOf(const Event& event) {
  return InterruptionInformation::Make(event.type, event.vector, event.error_code.has_value());
}

}  // namespace

// SDM Vol. 3C, 26.2: for page faults the error code decides how bit 14 of the exception bitmap
// counts.
bool Processor::ExceptionExits(uint8_t vector, uint32_t error_code) const {
  if (!in_non_root()) return false;
  const VmcsImage& v = Vmcs().fields;
  const bool bit = (v.Get<VmcsField::kExceptionBitmap>() >> vector & 1) != 0;
  if (vector != static_cast<uint8_t>(Vector::kPageFault)) return bit;
  const bool matches = (error_code & v.Get<VmcsField::kPageFaultErrorCodeMask>()) ==
                       v.Get<VmcsField::kPageFaultErrorCodeMatch>();
  return bit == matches;
}

Outcome Processor::ExitDuringAccess(ExitReason reason, ExitInformation information) {
  // 28.3.3 "Saving RIP, RSP, RFLAGS, and SSP"; the RF of an exception is its own.
  if (reason != ExitReason::kExceptionOrNmi) {
    information.resume_flag = !vectoring_ || vectoring_->resume_flag;
  }
  if (vectoring_) {
    information.vectoring = InformationOf(*vectoring_).value();
    information.vectoring_error_code = vectoring_->error_code.value_or(0);
    information.instruction_length = vectoring_->instruction_length;
  }
  vectoring_.reset();
  nmis_unblocked_by_iret_ = false;
  Exit(reason, information);
  return Outcome::kElsewhere;
}

void Processor::ExitForException(const Event& event, uint64_t detail) {
  InterruptionInformation information = InformationOf(event);
  // 28.2.3 "Information About NMI Unblocking Due to IRET"; 28.2.4: an original event that results
  // in a double fault which causes the VM exit is not reported.
  if (information.IsHardwareException(Vector::kDoubleFault)) {
    vectoring_.reset();
  } else if (nmis_unblocked_by_iret_ && !vectoring_) {
    information = information.WithNmiUnblocking();
  }
  ExitDuringAccess(ExitReason::kExceptionOrNmi, {.qualification = detail,
                                                 .interruption = information.value(),
                                                 .error_code = event.error_code.value_or(0),
                                                 .instruction_length = event.instruction_length,
                                                 .resume_flag = event.resume_flag});
}

Outcome Processor::Raise(const Exception& exception) {
  const auto vector = static_cast<uint8_t>(exception.vector);
  Event event{vector, InterruptionType::kHardwareException};
  // An exception in real-address mode has no error code.
  if ((state_.switched.cr0 & Cr0::kPe) != 0 && DeliversErrorCode(exception.vector)) {
    event.error_code = exception.error_code;
  }
  event.resume_flag = IsFault(exception.vector, exception.detail);
  if (ExceptionExits(vector, exception.error_code)) {
    ExitForException(event, exception.detail);
    return Outcome::kElsewhere;
  }
  if (exception.vector == Vector::kPageFault) state_.cr2 = exception.detail;
  if (exception.vector == Vector::kDebug) {
    constexpr uint64_t kConditions = Dr6::kB0 | Dr6::kB1 | Dr6::kB2 | Dr6::kB3;
    state_.dr6 = (state_.dr6 & ~kConditions) | exception.detail;
    state_.switched.dr7 &= ~Dr7::kGd;
  }
  if (!vectoring_) {
    Deliver(event);
    return Outcome::kElsewhere;
  }
  // An exception during delivery. SDM Vol. 3A, 6.15, "Interrupt 8-Double Fault Exception (#DF)".
  const FaultClass first = ClassOf(*vectoring_);
  if (first == FaultClass::kDoubleFault) {
    RaiseTripleFault();
  } else if (MakesDoubleFault(first, ClassOf(event))) {
    RaiseDoubleFault();
  } else {
    Deliver(event);
  }
  return Outcome::kElsewhere;
}

void Processor::RaiseDoubleFault() {
  const Event event{static_cast<uint8_t>(Vector::kDoubleFault),
                    InterruptionType::kHardwareException, 0};
  if (ExceptionExits(event.vector, 0)) {
    ExitForException(event, 0);
  } else {
    Deliver(event);
  }
}

Outcome Processor::RaiseSoftware(InterruptionType type, uint8_t vector) {
  const Event event{.vector = vector, .type = type, .instruction_length = lhv::kInstructionBytes};
  // The instruction cleared RF as it began, so that neither the stack nor a VM exit gets it. SDM
  // Vol. 3B, 18.3.1.1 "Instruction-Breakpoint Exception Condition".
  state_.switched.rflags &= ~Rflags::kRf;
  if (type != InterruptionType::kSoftwareInterrupt && ExceptionExits(vector, 0)) {
    ExitForException(event, 0);
  } else {
    Deliver(event);
  }
  return Outcome::kElsewhere;
}

// What an access met that is not a page fault is a VM exit: 28.2.1, "Exit Qualification for EPT
// Violations".
Outcome Processor::Raise(const TranslationFault& fault, SegmentRegister segment, AccessKind kind) {
  const uint64_t unblocking =
      nmis_unblocked_by_iret_ && !vectoring_ ? EptViolation::kNmiUnblocking : 0;
  switch (fault.kind) {
    case TranslationFault::Kind::kPageFault:
      return Raise(Exception{Vector::kPageFault, fault.error_code, fault.linear});
    case TranslationFault::Kind::kNotCanonical:
      return Fault(segment == SegmentRegister::kSs ? Vector::kStackFault
                                                   : Vector::kGeneralProtection);
    case TranslationFault::Kind::kEptViolation:
      return ExitDuringAccess(
          ExitReason::kEptViolation,
          {.qualification = fault.qualification | unblocking,
           .guest_linear =
               (fault.qualification & EptViolation::kLinearAddressValid) != 0 ? fault.linear : 0,
           .guest_physical = fault.guest_physical});
    case TranslationFault::Kind::kEptMisconfiguration:
      return ExitDuringAccess(ExitReason::kEptMisconfiguration,
                              {.guest_physical = fault.guest_physical});
    case TranslationFault::Kind::kPageModificationLogFull:
      return ExitDuringAccess(ExitReason::kPageModificationLogFull, {.qualification = unblocking});
    case TranslationFault::Kind::kApicAccess:
      return ExitForApicAccess(fault, kind);
  }
  return Outcome::kElsewhere;
}

Outcome Processor::Raise(const EventFault& fault, bool by_iret) {
  switch (fault.kind) {
    case EventFault::Kind::kException:
      return Raise(Exception{fault.vector, fault.error_code.value_or(0), fault.address});
    case EventFault::Kind::kTranslation:
      return Raise(fault.translation, SegmentRegister::kSs, AccessKind::kRead);
    case EventFault::Kind::kTaskSwitch:
      break;
  }
  // 28.2.1, "Exit Qualification for Task Switches". Tasks switch nowhere but outside IA-32e mode,
  // and this processor does it nowhere but in non-root operation, where it is a VM exit.
  if (!in_non_root()) {
    RaiseTripleFault();
    return Outcome::kElsewhere;
  }
  constexpr unsigned kSourceShift = 30;
  constexpr uint64_t kByIret = 1;
  constexpr uint64_t kByGate = 3;
  return ExitDuringAccess(
      ExitReason::kTaskSwitch,
      {.qualification = fault.task | (by_iret ? kByIret : kByGate) << kSourceShift,
       .instruction_length = by_iret ? lhv::kInstructionBytes : 0});
}

void Processor::RaiseTripleFault() {
  vectoring_.reset();
  if (in_non_root()) {
    Exit(ExitReason::kTripleFault, {});
  } else {
    state_.activity_state = static_cast<uint64_t>(ActivityState::kShutdown);
  }
}

void Processor::Deliver(const Event& event) {
  state_.activity_state = static_cast<uint64_t>(ActivityState::kActive);
  vectoring_ = event;
  const uint64_t from = Rip() + event.instruction_length;
  TakeLogIndex();
  const std::optional<EventFault> fault = DeliverEvent(mmu_, Context(), event, state_.switched);
  PutLogIndex();
  if (fault) {
    Raise(*fault, false);
    return;
  }
  vectoring_.reset();
  if (!delivered_from_) delivered_from_ = from;
  state_.blocking_by_sti = state_.blocking_by_mov_ss = 0;
  state_.switched.pending_debug_exceptions = 0;
  if (HasPrimary(PrimaryProcessorBased::kMonitorTrapFlag)) state_.mtf_pending = 1;
}

}  // namespace nvmx::sim
