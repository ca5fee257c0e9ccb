// SPDX-License-Identifier: Apache-2.0
#include "core/nested/event_injection.h"

#include "core/nested/guest_nmi.h"
#include "core/nested/guest_paging.h"
#include "core/nested/nested_exit.h"
#include "core/nested/vmcs01.h"
#include "core/vmx/controls.h"
#include "core/vmx/ept.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/control_registers.h"
#include "core/x86/exception.h"
#include "core/x86/msr.h"
#include "core/x86/rflags.h"

namespace nvmx {
namespace {

constexpr InterruptionInformation kNmiAsException = InterruptionInformation::Make(
    InterruptionType::kHardwareException, static_cast<uint8_t>(Vector::kNmi));

bool L2Runs(const Vcpu& vcpu) { return vcpu.state.operation == VmxOperation::kNonRoot; }

bool L1UsesVirtualNmis(const Vcpu& vcpu) {
  return (vcpu.state.vmcs12.Get<VmcsField::kPinBasedControls>() & PinBased::kVirtualNmis) != 0;
}

InterruptionInformation Vectored(Vcpu& vcpu) {
  return InterruptionInformation(
      static_cast<uint32_t>(vcpu.ports.vmcs.Read(VmcsField::kIdtVectoringInformation)));
}

// What VMCS12 has injected since L1 entered L2 last. The field keeps it until L2 exits to L1.
InterruptionInformation Injected(const Vcpu& vcpu) {
  return InterruptionInformation(
      vcpu.state.vmcs12.Get<VmcsField::kVmEntryInterruptionInformation>());
}

void WriteInjection(Vmcs& vmcs, InterruptionInformation event, uint64_t error_code,
                    uint64_t length) {
  vmcs.Write(VmcsField::kVmEntryInterruptionInformation, event.value());
  vmcs.Write(VmcsField::kVmEntryExceptionErrorCode, error_code);
  vmcs.Write(VmcsField::kVmEntryInstructionLength, length);
}

void ChangeBits(Vmcs& vmcs, VmcsField field, uint64_t clear, uint64_t set) {
  const uint64_t old = vmcs.Read(field);
  const uint64_t value = (old & ~clear) | set;
  if (value != old) vmcs.Write(field, value);
}

void NoteChange(Vcpu& vcpu, uint64_t ChangedForEvent::*what) {
  if (!L2Runs(vcpu)) return;
  vcpu.state.l2_changed_for_event.*what = 1;
  vcpu.state.l2_changed_for_event.rip = vcpu.ports.vmcs.Read(VmcsField::kGuestRip);
}

// RF is 1 in what an exit saved (28.3.3). That is no change if L1 has entered L2 with it, at the
// instruction where L2 still stands.
void NoteResumeFlag(Vcpu& vcpu) {
  const VmcsImage& entered = vcpu.state.vmcs12;
  if ((entered.Get<VmcsField::kGuestRflags>() & Rflags::kRf) != 0 &&
      entered.Get<VmcsField::kGuestRip>() == vcpu.ports.vmcs.Read(VmcsField::kGuestRip)) {
    return;
  }
  NoteChange(vcpu, &ChangedForEvent::resume_flag);
}

// SDM Vol. 3B, 18.3.1.4 "Single-Step Exception Condition"; 18.4.2: with BTF only branches trap.
bool SingleSteps(Vmcs& vmcs, uint64_t rflags) {
  return (rflags & Rflags::kTf) != 0 &&
         (vmcs.Read(VmcsField::kGuestIa32Debugctl) & DebugCtl::kBtf) == 0;
}

// SDM Vol. 3C, 28.2.3 "Information About NMI Unblocking Due to IRET": where an exit without
// IDT-vectoring information says that an IRET had unblocked NMIs when it met a fault.
bool IretHasUnblockedNmis(Vmcs& vmcs) {
  switch (ExitReasonValue{static_cast<uint32_t>(vmcs.Read(VmcsField::kExitReason))}.basic()) {
    case ExitReason::kEptViolation:
    case ExitReason::kPageModificationLogFull:
      return (vmcs.Read(VmcsField::kExitQualification) & EptViolation::kNmiUnblocking) != 0;
    case ExitReason::kExceptionOrNmi: {
      const InterruptionInformation event(
          static_cast<uint32_t>(vmcs.Read(VmcsField::kVmExitInterruptionInformation)));
      return event.valid() && event.nmi_unblocking() &&
             !event.IsHardwareException(Vector::kDoubleFault);
    }
    default:
      return false;
  }
}

// With "NMI exiting" and without virtual NMIs in VMCS12, IRET of L2 changes nothing that L1 sees,
// and the bit in VMCS02 is always 0 (guest_nmi.h).
bool IretMattersToL1(const Vcpu& vcpu) {
  return !L2Runs(vcpu) || L1UsesVirtualNmis(vcpu) ||
         (vcpu.state.vmcs12.Get<VmcsField::kPinBasedControls>() & PinBased::kNmiExiting) == 0;
}

// SDM Vol. 3A, 6.15, "Interrupt 8—Double Fault Exception (#DF)", tables 6-4 and 6-5.
bool IsContributory(InterruptionInformation event) {
  if (event.type() != InterruptionType::kHardwareException) return false;
  switch (static_cast<Vector>(event.vector())) {
    case Vector::kDivideError:
    case Vector::kInvalidTss:
    case Vector::kSegmentNotPresent:
    case Vector::kStackFault:
    case Vector::kGeneralProtection:
    case Vector::kControlProtection:
      return true;
    default:
      return false;
  }
}

bool IsPageFault(InterruptionInformation event) {
  return event.IsHardwareException(Vector::kPageFault) ||
         event.IsHardwareException(Vector::kVirtualization);
}

// With blocking by STI or by MOV SS and RFLAGS.TF, VM entry wants a single-step trap pending. The
// exit has dropped the one that was, and delivery of the event drops it again. SDM Vol.
// 3C, 27.3.1.5 "Checks on Guest Non-Register State", 27.7.3 "Delivery of Pending Debug Exceptions
// after VM Entry", 28.3.4 "Saving Non-Register State".
void KeepSingleStepPending(Vmcs& vmcs) {
  constexpr uint64_t kShadows =
      Interruptibility::kBlockingBySti | Interruptibility::kBlockingByMovSs;
  if ((vmcs.Read(VmcsField::kGuestInterruptibilityState) & kShadows) != 0 &&
      SingleSteps(vmcs, vmcs.Read(VmcsField::kGuestRflags))) {
    ChangeBits(vmcs, VmcsField::kGuestPendingDebugExceptions, 0, PendingDebugExceptions::kBs);
  }
}

// SDM Vol. 3C, 28.3.3 "Saving RIP, RSP, RFLAGS, and SSP": during delivery of a fault RF is saved as
// its frame would have it. Of the rest #DB can be a fault too, and then has it from the register.
bool IsFault(InterruptionInformation event) {
  return event.type() == InterruptionType::kHardwareException &&
         !event.IsHardwareException(Vector::kDebug) &&
         !event.IsHardwareException(Vector::kDoubleFault) &&
         !event.IsHardwareException(Vector::kMachineCheck);
}

// Such exits do not tell of an event that was being delivered. SDM Vol. 3C, 28.2.4 "Information for
// VM Exits During Event Delivery".
bool EndsInDoubleOrTripleFault(Vmcs& vmcs) {
  switch (static_cast<ExitReason>(vmcs.Read(VmcsField::kExitReason))) {
    case ExitReason::kTripleFault:
      return true;
    case ExitReason::kExceptionOrNmi:
      return InterruptionInformation(
                 static_cast<uint32_t>(vmcs.Read(VmcsField::kVmExitInterruptionInformation)))
          .IsHardwareException(Vector::kDoubleFault);
    default:
      return false;
  }
}

// Such an exit has the RF of the fault that it is.
bool EndsInFault(Vmcs& vmcs) {
  return vmcs.Read(VmcsField::kExitReason) == static_cast<uint64_t>(ExitReason::kExceptionOrNmi) &&
         IsFault(InterruptionInformation(
             static_cast<uint32_t>(vmcs.Read(VmcsField::kVmExitInterruptionInformation))));
}

void SetResumeFlag(Vcpu& vcpu) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  const uint64_t rflags = vmcs.Read(VmcsField::kGuestRflags);
  if ((rflags & Rflags::kRf) != 0) return;
  vmcs.Write(VmcsField::kGuestRflags, rflags | Rflags::kRf);
  NoteChange(vcpu, &ChangedForEvent::resume_flag);
}

enum class Combination { kSerial, kDoubleFault, kTripleFault };

Combination Combine(InterruptionInformation first, InterruptionInformation second) {
  if (!first.valid()) return Combination::kSerial;
  const bool contributory = IsContributory(second);
  const bool page_fault = IsPageFault(second);
  if (first.IsHardwareException(Vector::kDoubleFault)) {
    return contributory || page_fault ? Combination::kTripleFault : Combination::kSerial;
  }
  const bool doubles = (IsContributory(first) && contributory) ||
                       (IsPageFault(first) && (contributory || page_fault));
  return doubles ? Combination::kDoubleFault : Combination::kSerial;
}

// SDM Vol. 3C, 26.2 "Other Causes of VM Exits", "Exceptions", and 25.6.3 "Exception Bitmap".
bool L1Intercepts(const Vcpu& vcpu, Vector vector, uint32_t error_code) {
  const VmcsImage& vmcs12 = vcpu.state.vmcs12;
  const bool bit =
      (vmcs12.Get<VmcsField::kExceptionBitmap>() >> static_cast<unsigned>(vector) & 1) != 0;
  if (vector != Vector::kPageFault) return bit;
  const bool matches = (error_code & vmcs12.Get<VmcsField::kPageFaultErrorCodeMask>()) ==
                       vmcs12.Get<VmcsField::kPageFaultErrorCodeMatch>();
  return matches == bit;
}

// In real-address mode no exception has an error code. SDM Vol. 3C, 28.2.2, 27.2.1.3.
InterruptionInformation ExceptionOf(Vcpu& vcpu, Vector vector) {
  const bool protected_mode = (vcpu.ports.vmcs.Read(VmcsField::kGuestCr0) & Cr0::kPe) != 0;
  return InterruptionInformation::Make(InterruptionType::kHardwareException,
                                       static_cast<uint8_t>(vector),
                                       protected_mode && DeliversErrorCode(vector));
}

void ExitToL1WithFault(Vcpu& vcpu, Vector vector, uint32_t error_code, uint64_t linear) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  InterruptionInformation event = ExceptionOf(vcpu, vector);
  const InterruptionInformation vectored = VectoringInformationForL1(vcpu, Vectored(vcpu));
  if (!vectored.valid() && IretMattersToL1(vcpu) && IretHasUnblockedNmis(vmcs)) {
    event = event.WithNmiUnblocking();
  }
  // A double fault has no qualification, and of the event before it nothing is told.
  const bool serial = vector != Vector::kDoubleFault;
  ReflectMadeExit(
      vcpu, {.reason = ExitReason::kExceptionOrNmi,
             .qualification = vector == Vector::kPageFault ? linear : 0,
             .event = event,
             .error_code = event.deliver_error_code() ? error_code : 0,
             .vectored = serial ? vectored : InterruptionInformation(),
             .vectored_error_code =
                 static_cast<uint32_t>(serial ? vmcs.Read(VmcsField::kIdtVectoringErrorCode) : 0),
             .instruction_length = static_cast<uint32_t>(
                 vectored.valid() ? vmcs.Read(VmcsField::kVmExitInstructionLength) : 0)});
}

void ShutDown(Vcpu& vcpu) {
  if (L2Runs(vcpu)) {
    ReflectMadeExit(vcpu, {.reason = ExitReason::kTripleFault});
    return;
  }
  ShutDownL1(vcpu);
}

}  // namespace

void InjectEventOfVmcs12(Vcpu& vcpu) {
  const VmcsImage& vmcs12 = vcpu.state.vmcs12;
  Vmcs& vmcs = vcpu.ports.vmcs;
  InterruptionInformation event = Injected(vcpu);
  if (event.IsNmi() && !L1UsesVirtualNmis(vcpu)) {
    event = kNmiAsException;
    // No such exception may be injected into HLT or shutdown, which an NMI ends. SDM Vol. 3C,
    // 27.3.1.5 "Checks on Guest Non-Register State".
    vmcs.Write(VmcsField::kGuestActivityState, static_cast<uint64_t>(ActivityState::kActive));
  }
  WriteInjection(vmcs, event, vmcs12.Get<VmcsField::kVmEntryExceptionErrorCode>(),
                 vmcs12.Get<VmcsField::kVmEntryInstructionLength>());
}

void ReinjectVectoredEvent(Vcpu& vcpu) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  const InterruptionInformation event = Vectored(vcpu);
  if (!event.valid()) {
    // So that no instruction breakpoint hits twice.
    NoteResumeFlag(vcpu);
    if (IretMattersToL1(vcpu) && IretHasUnblockedNmis(vmcs)) {
      ChangeBits(vmcs, VmcsField::kGuestInterruptibilityState, 0, Interruptibility::kBlockingByNmi);
    }
    return;
  }
  // Delivery of an NMI blocks virtual NMIs before it can meet a fault, and VM entry does not inject
  // an NMI that is blocked. SDM Vol. 3C, 28.1 "Architectural State Before a VM Exit", 27.3.1.5
  // "Checks on Guest Non-Register State".
  if (event.IsNmi()) {
    ChangeBits(vmcs, VmcsField::kGuestInterruptibilityState, Interruptibility::kBlockingByNmi, 0);
    EndBlockingByStiForNmi(vcpu);
  }
  // The exit has set RF already.
  if (IsFault(event)) NoteResumeFlag(vcpu);
  KeepSingleStepPending(vmcs);
  WriteInjection(
      vmcs, InterruptionInformation(event.value() & ~InterruptionInformation::kNmiUnblocking),
      vmcs.Read(VmcsField::kIdtVectoringErrorCode), vmcs.Read(VmcsField::kVmExitInstructionLength));
}

void EndBlockingByStiForNmi(Vcpu& vcpu) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  const uint64_t state = vmcs.Read(VmcsField::kGuestInterruptibilityState);
  if ((state & Interruptibility::kBlockingBySti) == 0) return;
  vmcs.Write(VmcsField::kGuestInterruptibilityState,
             state & ~uint64_t{Interruptibility::kBlockingBySti});
  NoteChange(vcpu, &ChangedForEvent::blocking_by_sti);
}

void TakeBackChangesForEvent(Vcpu& vcpu) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  const ChangedForEvent changed = vcpu.state.l2_changed_for_event;
  if (changed.resume_flag == 0 && changed.blocking_by_sti == 0) return;
  vcpu.state.l2_changed_for_event = {};
  if (vmcs.Read(VmcsField::kGuestRip) != changed.rip) return;
  const InterruptionInformation event = Vectored(vcpu);
  if (!event.valid() && !EndsInDoubleOrTripleFault(vmcs)) return;
  if (changed.blocking_by_sti != 0) {
    ChangeBits(vmcs, VmcsField::kGuestInterruptibilityState, 0, Interruptibility::kBlockingBySti);
  }
  const bool is_of_fault = EndsInFault(vmcs) || (event.valid() && IsFault(event));
  if (changed.resume_flag != 0 && !is_of_fault) {
    ChangeBits(vmcs, VmcsField::kGuestRflags, Rflags::kRf, 0);
  }
}

void RetireInstruction(Vcpu& vcpu, std::optional<uint64_t> length) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  constexpr uint64_t kLow32 = 0xFFFFFFFF;
  const uint64_t bytes = length ? *length : vmcs.Read(VmcsField::kVmExitInstructionLength);
  const uint64_t rip = vmcs.Read(VmcsField::kGuestRip);
  const uint64_t next = rip + bytes;
  // Outside 64-bit mode RIP has 32 bits. What the mode is matters only if it leaves them.
  const bool wraps = rip <= kLow32 && next > kLow32 && !IsIn64BitMode(vcpu);
  vmcs.Write(VmcsField::kGuestRip, wraps ? next & kLow32 : next);
  const uint64_t rflags = vmcs.Read(VmcsField::kGuestRflags);
  if ((rflags & Rflags::kRf) != 0) vmcs.Write(VmcsField::kGuestRflags, rflags & ~Rflags::kRf);
  ChangeBits(vmcs, VmcsField::kGuestInterruptibilityState,
             Interruptibility::kBlockingBySti | Interruptibility::kBlockingByMovSs, 0);
  if (SingleSteps(vmcs, rflags)) {
    ChangeBits(vmcs, VmcsField::kGuestPendingDebugExceptions, 0, PendingDebugExceptions::kBs);
  }
}

void RetireInstructionOfL2(Vcpu& vcpu, std::optional<uint64_t> length) {
  RetireInstruction(vcpu, length);
  if ((vcpu.state.vmcs12.Get<VmcsField::kPrimaryProcessorBasedControls>() &
       PrimaryProcessorBased::kMonitorTrapFlag) == 0) {
    return;
  }
  // A pending MTF VM exit comes before the debug exception that is pending now. SDM Vol. 3C, 26.5.2
  // "Monitor Trap Flag"; 27.6.2 "Injection of Pending MTF VM Exits".
  WriteInjection(vcpu.ports.vmcs, InterruptionInformation::MonitorTrapFlag(), 0, 0);
}

void RaiseFault(Vcpu& vcpu, const VmxOutcome& fault, uint64_t linear) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  Vector vector = fault.vector();
  uint32_t error_code = fault.error_code();
  switch (Combine(Vectored(vcpu), InterruptionInformation::HardwareException(vector))) {
    case Combination::kSerial:
      break;
    case Combination::kDoubleFault:
      vector = Vector::kDoubleFault;
      error_code = 0;
      break;
    case Combination::kTripleFault:
      ShutDown(vcpu);
      return;
  }
  // SDM Vol. 3B, 18.3.1.1 "Instruction-Breakpoint Exception Condition": RF is 1 in the image of
  // RFLAGS that a fault saves.
  SetResumeFlag(vcpu);
  if (L2Runs(vcpu) && L1Intercepts(vcpu, vector, error_code)) {
    ExitToL1WithFault(vcpu, vector, error_code, linear);
    return;
  }
  if (vector == Vector::kPageFault) vcpu.state.cr2 = linear;
  WriteInjection(vmcs, ExceptionOf(vcpu, vector), error_code, 0);
}

InterruptionInformation VectoringInformationForL1(const Vcpu& vcpu,
                                                  InterruptionInformation of_vmcs02) {
  const bool is_nmi_of_l1 = of_vmcs02 == kNmiAsException && Injected(vcpu).IsNmi();
  return is_nmi_of_l1 ? InterruptionInformation::Nmi() : of_vmcs02;
}

void TranslateEventInformationForL1(Vcpu& vcpu) {
  VmcsImage& vmcs12 = vcpu.state.vmcs12;
  const InterruptionInformation vectored(vmcs12.Get<VmcsField::kIdtVectoringInformation>());
  vmcs12.Set<VmcsField::kIdtVectoringInformation>(
      VectoringInformationForL1(vcpu, vectored).value());
  if (IretMattersToL1(vcpu) || vectored.valid()) return;
  // "NMI unblocking due to IRET" of a blocking that L1 does not know of.
  switch (ExitReasonValue{vmcs12.Get<VmcsField::kExitReason>()}.basic()) {
    case ExitReason::kEptViolation:
    case ExitReason::kPageModificationLogFull:
      vmcs12.Set<VmcsField::kExitQualification>(vmcs12.Get<VmcsField::kExitQualification>() &
                                                ~EptViolation::kNmiUnblocking);
      return;
    case ExitReason::kExceptionOrNmi:
      vmcs12.Set<VmcsField::kVmExitInterruptionInformation>(
          vmcs12.Get<VmcsField::kVmExitInterruptionInformation>() &
          ~InterruptionInformation::kNmiUnblocking);
      return;
    default:
      return;
  }
}

}  // namespace nvmx
