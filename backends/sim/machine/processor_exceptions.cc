// SPDX-License-Identifier: Apache-2.0
//
// Exceptions and software interrupts: VM exit, delivery, double and triple faults. SDM Vol. 3A,
// chapter 6 "Interrupt and Exception Handling"; Vol. 3C, 26.2 "Other Causes of VM Exits"; 28.2.2 to
// 28.2.4, what VM exits report of events.
#include "backends/sim/machine/processor.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/control_registers.h"
#include "core/x86/rflags.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

// SDM Vol. 3A, 6.15, table 6-4 "Interrupt and Exception Classes".
enum class FaultClass : uint8_t { kBenign, kContributory, kPageFault, kDoubleFault };

FaultClass ClassOf(InterruptionInformation event) {
  if (event.type() != InterruptionType::kHardwareException) return FaultClass::kBenign;
  switch (static_cast<Vector>(event.vector())) {
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

bool IsSoftware(InterruptionType type) {
  return type == InterruptionType::kSoftwareInterrupt ||
         type == InterruptionType::kSoftwareException ||
         type == InterruptionType::kPrivilegedSoftwareException;
}

// SDM Vol. 3A, 6.5 "Exception Classifications": RIP of a trap is behind its instruction.
bool IsTrap(Vector vector, uint64_t detail) {
  return vector == Vector::kDebug && (detail & Dr6::kBd) == 0;
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

void Processor::ExitForException(const Event& event, uint64_t detail) {
  const bool double_fault = event.information.IsHardwareException(Vector::kDoubleFault);
  ExitInformation exit{.qualification = detail,
                       .interruption = event.information.value(),
                       .error_code = event.error_code,
                       .instruction_length = event.instruction_length};
  // 28.2.4: not if the original event results in a double fault that causes the VM exit.
  if (vectoring_ && !double_fault) {
    exit.vectoring = vectoring_->information.value();
    exit.vectoring_error_code = vectoring_->error_code;
    exit.instruction_length = vectoring_->instruction_length;
  }
  // 28.2.3 "Information About NMI Unblocking Due to IRET".
  if (nmis_unblocked_by_iret_ && !vectoring_ && !double_fault) {
    exit.interruption = event.information.WithNmiUnblocking().value();
  }
  vectoring_.reset();
  Exit(ExitReason::kExceptionOrNmi, exit);
}

Processor::Outcome Processor::Raise(const Exception& exception) {
  const auto vector = static_cast<uint8_t>(exception.vector);
  // An exception in real-address mode has no error code.
  const bool has_error_code =
      (state_.switched.cr0 & Cr0::kPe) != 0 && DeliversErrorCode(exception.vector);
  const Event event{
      InterruptionInformation::Make(InterruptionType::kHardwareException, vector, has_error_code),
      has_error_code ? exception.error_code : 0};
  // 28.3.3 "Saving RIP, RSP, RFLAGS, and SSP": RF as delivery would save it, set for faults.
  if (!vectoring_) {
    if (IsTrap(exception.vector, exception.detail)) {
      state_.switched.rflags &= ~Rflags::kRf;
    } else {
      state_.switched.rflags |= Rflags::kRf;
    }
  }
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
  // An exception during delivery. Table 6-5; SDM Vol. 3A, 6.15, "Interrupt 8-Double Fault
  // Exception".
  const FaultClass first = ClassOf(vectoring_->information);
  if (first == FaultClass::kDoubleFault) {
    RaiseTripleFault();
  } else if (MakesDoubleFault(first, ClassOf(event.information))) {
    Raise({Vector::kDoubleFault});
  } else {
    Deliver(event);
  }
  return Outcome::kElsewhere;
}

Processor::Outcome Processor::RaiseSoftware(InterruptionType type, uint8_t vector) {
  const Event event{InterruptionInformation::Make(type, vector), 0, lhv::kInstructionBytes};
  if (type != InterruptionType::kSoftwareInterrupt && ExceptionExits(vector, 0)) {
    state_.switched.rflags &= ~Rflags::kRf;
    ExitForException(event, 0);
    return Outcome::kElsewhere;
  }
  Deliver(event);
  return Outcome::kElsewhere;
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
  if (const std::optional<Exception> exception = TryToDeliver(event)) {
    Raise(*exception);
    return;
  }
  if (!vectoring_) return;  // a VM exit came instead
  vectoring_.reset();
  state_.blocking_by_sti = state_.blocking_by_mov_ss = 0;
  state_.switched.pending_debug_exceptions = 0;
  if (HasPrimary(PrimaryProcessorBased::kMonitorTrapFlag)) state_.mtf_pending = 1;
}

// Delivery through the guest's IDT: the handlers of guest programs lie at fixed places, behind
// interrupt gates.
std::optional<Processor::Exception> Processor::TryToDeliver(const Event& event) {
  FrameStack& stack = Stack();
  if (stack.count == stack.frames.size()) {
    RaiseTripleFault();
    return std::nullopt;
  }
  SwitchedRegisters& r = state_.switched;
  const uint64_t rip =
      r.rip + (IsSoftware(event.information.type()) ? event.instruction_length : 0);
  if (!delivered_from_) delivered_from_ = rip;
  stack.frames[stack.count++] = {event.information.vector(), event.information.deliver_error_code(),
                                 event.error_code, rip, r.rflags};
  const uint64_t base = level() == 1 ? lhv::kL1HandlerBase : lhv::kL2HandlerBase;
  r.rip = lhv::HandlerAddress(base, event.information.vector());
  r.rflags &= ~(Rflags::kIf | Rflags::kTf | Rflags::kRf | Rflags::kNt);
  return std::nullopt;
}

}  // namespace nvmx::sim
