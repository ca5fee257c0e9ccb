// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/bochs_differences.h"

#include <cstring>
#include <tuple>

#include "core/vmx/ept.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/interruption_info.h"
#include "core/vmx/msr_list.h"
#include "core/vmx/vm_instruction_error.h"
#include "core/x86/address.h"
#include "core/x86/exception.h"
#include "core/x86/msr.h"
#include "lhv/guest_cpu.h"

namespace nvmx::sim {
namespace {

using lhv::Observation;
using lhv::ObservationKind;
using lhv::OperationKind;

bool IsMissing(uint32_t msr) {
  return (msr >= Index(Msr::IA32_MC0_CTL) && msr <= Index(Msr::IA32_MC0_MISC)) ||
         msr == Index(Msr::IA32_DEBUGCTL) || msr == Index(Msr::IA32_PERF_GLOBAL_CTRL) ||
         msr == Index(Msr::IA32_MISC_ENABLE);
}

// The operation that faults on the reference with #GP(0) and not on the machine; nullptr if the
// difference is another.
const lhv::Operation* FaultingOnReferenceOnly(const PlaceOfDifference& place) {
  const auto& [reference, machine] = std::tie(place.difference.reference, place.difference.nested);
  if (!reference || reference->kind != ObservationKind::kFault ||
      reference->selector != static_cast<uint64_t>(Vector::kGeneralProtection) ||
      reference->value != 0 ||
      (machine && machine->kind == ObservationKind::kFault &&
       machine->operation == reference->operation)) {
    return nullptr;
  }
  const lhv::CpuProgram& cpu = place.program.cpus[place.difference.cpu];
  const std::vector<lhv::Operation>& code = reference->level == 1 ? cpu.l1 : cpu.l2;
  return reference->operation < code.size() ? &code[reference->operation] : nullptr;
}

}  // namespace

// 27.8 "VM-Entry Failures During or After Loading Guest State": all but exit reason and exit
// qualification stays as it is.
Explained IsWrittenByFailedEntry(const PlaceOfDifference& place) {
  if (!IsOfAValue(place)) return Explained::kNot;
  const auto exit = LastExit(place);
  const auto& o = place.difference.reference;
  const auto field = FieldOf(static_cast<uint32_t>(o->selector));
  return StepIf(exit && exit->reason.is_vm_entry_failure() && field && IsField(o, *field) &&
                Type(static_cast<uint32_t>(o->selector)) == FieldType::kReadOnlyData &&
                field != VmcsField::kExitReason && field != VmcsField::kExitQualification);
}

Explained IsBehindLengthOfFailedEntry(const PlaceOfDifference& place) {
  return PartingIf(HasAdvancedBehind(
      place, [](const ExitSeen& exit) { return exit.reason.is_vm_entry_failure(); }));
}

// #GP(0), which the handlers of programs note and step over.
Explained IsMissingMsr(const PlaceOfDifference& place) {
  const auto& [reference, machine] = std::tie(place.difference.reference, place.difference.nested);
  // The fault cannot be delivered.
  if (HasStopped(place) && reference && reference->kind == ObservationKind::kMsrValue &&
      IsMissing(static_cast<uint32_t>(reference->selector))) {
    return Explained::kParting;
  }
  if (!machine || machine->kind != ObservationKind::kFault ||
      machine->selector != static_cast<uint64_t>(Vector::kGeneralProtection)) {
    return Explained::kNot;
  }
  const lhv::CpuProgram& cpu = place.program.cpus[place.difference.cpu];
  const std::vector<lhv::Operation>& code = machine->level == 1 ? cpu.l1 : cpu.l2;
  if (machine->operation >= code.size()) return Explained::kNot;
  const lhv::Operation& operation = code[machine->operation];
  if (!IsMissing(operation.selector)) return Explained::kNot;
  if (operation.kind == OperationKind::kWrmsr) return Explained::kMachineOnly;
  return StepIf(operation.kind == OperationKind::kRdmsr && reference &&
                reference->operation == machine->operation);
}

// The VM entry fails, or the VM exit becomes a VMX abort.
Explained IsListOfMissingMsr(const PlaceOfDifference& place) {
  const auto exit = LastExit(place);
  // Of another entry of the list.
  const bool is_of_failure = exit && IsOfAValue(place) && exit->reason.is_vm_entry_failure() &&
                             exit->reason.basic() == ExitReason::kVmEntryFailureMsrLoading;
  const bool is_failure = is_of_failure || !place.difference.nested ||
                          IsExit(place.difference.nested, ExitReason::kVmEntryFailureMsrLoading);
  if (!is_failure) return Explained::kNot;
  for (const lhv::MemoryBlock& block : place.program.cpus[place.difference.cpu].memory) {
    MsrListEntry entry;
    for (size_t at = 0; at + sizeof entry <= block.bytes.size(); at += sizeof entry) {
      std::memcpy(&entry, block.bytes.data() + at, sizeof entry);
      if (IsMissing(entry.index)) return Explained::kParting;
    }
  }
  return Explained::kNot;
}

Explained IsHalfOfSysenterCs(const PlaceOfDifference& place) {
  constexpr uint64_t kKept = 0xFFFF;
  const Difference& d = place.difference;
  return StepIf(IsOfAValue(place) && d.nested->value == (d.reference->value & kKept) &&
                ((d.reference->kind == ObservationKind::kMsrValue &&
                  d.reference->selector == Index(Msr::IA32_SYSENTER_CS)) ||
                 IsField(d.reference, VmcsField::kGuestIa32SysenterCs)));
}

// The VM entry succeeds, and the first fetch faults.
Explained IsUncheckedRip(const PlaceOfDifference& place) {
  const auto& machine = place.difference.nested;
  return PartingIf(
      IsExit(place.difference.reference, ExitReason::kVmEntryFailureInvalidGuestState) && machine &&
      machine->level == 2 && machine->kind == ObservationKind::kFault &&
      machine->selector == static_cast<uint64_t>(Vector::kGeneralProtection) &&
      AnyOperation(place, [](const lhv::Operation& o) {
        return Writes(o, VmcsField::kGuestRip) && !IsCanonical(o.value);
      }));
}

Explained IsInterruptWhileIfIsClear(const PlaceOfDifference& place) {
  return PartingIf(IsExit(place.difference.reference, ExitReason::kExternalInterrupt) &&
                   !IsExit(place.difference.nested, ExitReason::kExternalInterrupt) &&
                   AnyOperation(place, [](const lhv::Operation& o) {
                     return o.kind == OperationKind::kSendInterrupt;
                   }));
}

// 25.4.2 "Guest Non-Register State": bits 0 to 3, 12, 14 and 16 exist.
Explained IsUncheckedPendingDebugExceptions(const PlaceOfDifference& place) {
  constexpr uint64_t kReserved = ~uint64_t{0x1'500F};
  return PartingIf(
      IsExit(place.difference.reference, ExitReason::kVmEntryFailureInvalidGuestState) &&
      !IsExit(place.difference.nested, ExitReason::kVmEntryFailureInvalidGuestState) &&
      AnyOperation(place, [](const lhv::Operation& o) {
        return Writes(o, VmcsField::kGuestPendingDebugExceptions) &&
               (o.value & kReserved) >> 32 != 0;
      }));
}

Explained IsUncheckedPerfGlobalCtrl(const PlaceOfDifference& place) {
  const auto& reference = place.difference.reference;
  const bool is_refusal =
      reference &&
      (IsExit(reference, ExitReason::kVmEntryFailureInvalidGuestState) ||
       (reference->kind == ObservationKind::kVmfailValid &&
        reference->value ==
            static_cast<uint64_t>(VmInstructionError::kVmEntryWithInvalidHostStateFields)));
  return PartingIf(is_refusal && AnyOperation(place, [](const lhv::Operation& o) {
                     return Writes(o, VmcsField::kGuestIa32PerfGlobalCtrl) ||
                            Writes(o, VmcsField::kHostIa32PerfGlobalCtrl);
                   }));
}

// #GP(0) of an operation that the machine completes without a trace.
Explained IsUncheckedTscAux(const PlaceOfDifference& place) {
  const lhv::Operation* const operation = FaultingOnReferenceOnly(place);
  return operation != nullptr && operation->kind == OperationKind::kWrmsr &&
                 operation->selector == Index(Msr::IA32_TSC_AUX) && operation->value >> 32 != 0
             ? Explained::kReferenceOnly
             : Explained::kNot;
}

// It reads zero there.
Explained IsMissingCounter(const PlaceOfDifference& place) {
  const lhv::Operation* const operation = FaultingOnReferenceOnly(place);
  const auto& machine = place.difference.nested;
  return StepIf(operation != nullptr && operation->kind == OperationKind::kRdpmc && machine &&
                machine->kind == ObservationKind::kReadValue && machine->value == 0 &&
                machine->operation == place.difference.reference->operation);
}

// 28.3.4 "Saving Non-Register State".
Explained IsLostBlocking(const PlaceOfDifference& place) {
  constexpr uint64_t kBlocking =
      Interruptibility::kBlockingBySti | Interruptibility::kBlockingByMovSs;
  const auto exit = LastExit(place);
  const Difference& d = place.difference;
  return StepIf(exit && IsOfAValue(place) &&
                (exit->reason.basic() == ExitReason::kTripleFault ||
                 exit->reason.basic() == ExitReason::kExceptionOrNmi) &&
                IsField(d.reference, VmcsField::kGuestInterruptibilityState) &&
                d.nested->value == (d.reference->value & ~kBlocking));
}

Explained IsKeptBlockingByNmi(const PlaceOfDifference& place) {
  const Difference& d = place.difference;
  return StepIf(IsOfAValue(place) && IsField(d.reference, VmcsField::kGuestInterruptibilityState) &&
                d.nested->value == (d.reference->value | Interruptibility::kBlockingByNmi));
}

Explained IsBlockingByNmi(const PlaceOfDifference& place) {
  const Difference& d = place.difference;
  const bool has_nmis = AnyOperation(place, [](const lhv::Operation& o) {
    return o.kind == OperationKind::kSendNmi ||
           (o.kind == OperationKind::kInt && o.selector == 2) ||
           (Writes(o, VmcsField::kVmEntryInterruptionInformation) &&
            InterruptionInformation(static_cast<uint32_t>(o.value)).IsNmi());
  });
  if (!has_nmis) return Explained::kNot;
  if (IsOfAValue(place) && IsField(d.reference, VmcsField::kGuestInterruptibilityState)) {
    return PartingIf((d.reference->value ^ d.nested->value) == Interruptibility::kBlockingByNmi);
  }
  const auto is_nmi = [](const std::optional<Observation>& o) {
    return (o && o->kind == ObservationKind::kNmi) || IsExit(o, ExitReason::kExceptionOrNmi) ||
           IsExit(o, ExitReason::kNmiWindow);
  };
  return PartingIf(is_nmi(d.reference) || is_nmi(d.nested));
}

Explained IsInit(const PlaceOfDifference& place) {
  const bool has_init = AnyOperation(
      place, [](const lhv::Operation& o) { return o.kind == OperationKind::kSendInit; });
  if (!has_init) return Explained::kNot;
  const Difference& d = place.difference;
  const auto exit = LastExit(place);
  return PartingIf(IsExit(d.reference, ExitReason::kInitSignal) ||
                   IsExit(d.nested, ExitReason::kInitSignal) ||
                   (exit && exit->reason.basic() == ExitReason::kInitSignal) ||
                   d.reference_end == CpuEnd::kWaitsForSipi);
}

Explained IsVmcallInRoot(const PlaceOfDifference& place) {
  const auto is_vmcall = [](const Observation& o) {
    return o.level == 1 &&
           (o.kind == ObservationKind::kVmfailValid || o.kind == ObservationKind::kVmfailInvalid) &&
           o.selector == static_cast<uint64_t>(lhv::InstructionKind::kVmcall);
  };
  const auto& reference = place.difference.reference;
  if (IsOfAValue(place) && is_vmcall(*reference)) return Explained::kStep;  // another error
  return PartingIf(CanHaveStoppedAt(place, is_vmcall));
}

Explained IsInjectionOfType7(const PlaceOfDifference& place) {
  return PartingIf(HasStopped(place) && AnyOperation(place, [](const lhv::Operation& o) {
                     const InterruptionInformation information(static_cast<uint32_t>(o.value));
                     return Writes(o, VmcsField::kVmEntryInterruptionInformation) &&
                            information.valid() &&
                            information.type() == InterruptionType::kOtherEvent;
                   }));
}

Explained IsQualificationOfRegister(const PlaceOfDifference& place) {
  const auto exit = LastExit(place);
  if (!exit || !IsOfAValue(place)) return Explained::kNot;
  const ExitReason reason = exit->reason.basic();
  return StepIf((reason == ExitReason::kAccessToLdtrOrTr || reason == ExitReason::kVmread ||
                 reason == ExitReason::kVmwrite) &&
                IsField(place.difference.reference, VmcsField::kExitQualification) &&
                place.difference.reference->value == 0);
}

// 29.3.3.2 "EPT Violations": such an access is a read and a write.
Explained IsTableUnderEptFlags(const PlaceOfDifference& place) {
  const auto exit = LastExit(place);
  const Difference& d = place.difference;
  if (!exit || !IsOfAValue(place)) return Explained::kNot;
  return StepIf(exit->reason.basic() == ExitReason::kEptViolation &&
                IsField(d.reference, VmcsField::kExitQualification) &&
                (d.reference->value & EptViolation::kWrite) != 0 &&
                d.nested->value == (d.reference->value & ~EptViolation::kRead) &&
                AnyOperation(place, [](const lhv::Operation& o) {
                  return Writes(o, VmcsField::kEptPointer) &&
                         (o.value & Eptp::kAccessedAndDirty) != 0;
                }));
}

}  // namespace nvmx::sim
