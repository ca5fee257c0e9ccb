// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/exit_information.h"

#include "core/vmx/ept.h"

namespace nvmx::sim {
namespace {

using lhv::Observation;
using lhv::ObservationKind;

bool IsBySoftware(InterruptionInformation information) {
  if (!information.valid()) return false;
  switch (information.type()) {
    case InterruptionType::kSoftwareInterrupt:
    case InterruptionType::kPrivilegedSoftwareException:
    case InterruptionType::kSoftwareException:
      return true;
    default:
      return false;
  }
}

// Exits that are no instruction's own. A task switch may be, and so counts as one that is.
bool IsNoInstruction(ExitReason reason) {
  switch (reason) {
    case ExitReason::kExceptionOrNmi:
    case ExitReason::kExternalInterrupt:
    case ExitReason::kTripleFault:
    case ExitReason::kInitSignal:
    case ExitReason::kStartUpIpi:
    case ExitReason::kInterruptWindow:
    case ExitReason::kNmiWindow:
    case ExitReason::kMonitorTrapFlag:
    case ExitReason::kTprBelowThreshold:
    case ExitReason::kApicAccess:
    case ExitReason::kVirtualizedEoi:
    case ExitReason::kEptViolation:
    case ExitReason::kEptMisconfiguration:
    case ExitReason::kVmxPreemptionTimerExpired:
    case ExitReason::kApicWrite:
    case ExitReason::kPageModificationLogFull:
      return true;
    default:
      return false;
  }
}

// 28.2.5 "Information for VM Exits Due to Instruction Execution".
bool HasInstructionInformation(ExitReason reason) {
  switch (reason) {
    case ExitReason::kIoInstruction:  // INS and OUTS
    case ExitReason::kInvept:
    case ExitReason::kInvpcid:
    case ExitReason::kInvvpid:
    case ExitReason::kAccessToGdtrOrIdtr:
    case ExitReason::kAccessToLdtrOrTr:
    case ExitReason::kRdrand:
    case ExitReason::kRdseed:
    case ExitReason::kVmclear:
    case ExitReason::kVmptrld:
    case ExitReason::kVmptrst:
    case ExitReason::kVmread:
    case ExitReason::kVmwrite:
    case ExitReason::kVmxon:
    case ExitReason::kXsaves:
    case ExitReason::kXrstors:
    case ExitReason::kUmwait:
    case ExitReason::kTpause:
    case ExitReason::kLoadiwkey:
      return true;
    default:
      return false;
  }
}

// Bits 5:4 of the exit qualification. 28.2.1, table "Exit Qualification for Control-Register
// Accesses".
bool IsLmsw(uint64_t qualification) { return (qualification >> 4 & 3) == 3; }

bool HasLinearAddress(const ExitSeen& exit) {
  switch (exit.reason.basic()) {
    case ExitReason::kEptViolation:
      return !exit.qualification || (*exit.qualification & EptViolation::kLinearAddressValid) != 0;
    case ExitReason::kControlRegisterAccesses:
      return !exit.qualification || IsLmsw(*exit.qualification);
    case ExitReason::kIoInstruction:
    case ExitReason::kIoSmi:
    case ExitReason::kOtherSmi:
    case ExitReason::kPageModificationLogFull:
    case ExitReason::kSppRelatedEvent:
      return true;
    default:
      return false;
  }
}

bool HasErrorCode(const std::optional<InterruptionInformation>& information) {
  return !information || (information->valid() && information->deliver_error_code());
}

}  // namespace

std::vector<ExitSeen> ExitsSeen(const std::vector<Observation>& log, size_t position) {
  std::vector<ExitSeen> exits;
  for (size_t at = 0; at < position; ++at) {
    const Observation& o = log[at];
    if (o.kind != ObservationKind::kVmExit) continue;
    const auto value = static_cast<uint32_t>(o.value);
    const auto field = static_cast<VmcsField>(o.selector);
    if (field == VmcsField::kExitReason) {
      exits.push_back({{value}, o.operation, {}, {}, {}});
    }
    if (exits.empty()) continue;
    ExitSeen& exit = exits.back();
    switch (field) {
      case VmcsField::kExitQualification:
        exit.qualification = o.value;
        break;
      case VmcsField::kVmExitInterruptionInformation:
        exit.interruption = InterruptionInformation(value);
        break;
      case VmcsField::kIdtVectoringInformation:
        exit.vectoring = InterruptionInformation(value);
        break;
      default:
        break;
    }
  }
  return exits;
}

bool HasNoInstructionLength(const ExitSeen& exit) {
  return IsNoInstruction(exit.reason.basic()) &&
         !IsBySoftware(exit.interruption.value_or(InterruptionInformation())) &&
         !IsBySoftware(exit.vectoring.value_or(InterruptionInformation()));
}

bool LeavesUndefined(const ExitSeen& exit, VmcsField field) {
  // 27.8: all but reason and qualification stay as they are.
  if (exit.reason.is_vm_entry_failure()) return false;
  const ExitReason reason = exit.reason.basic();
  switch (field) {
    case VmcsField::kVmExitInstructionLength:
      return exit.interruption && exit.vectoring && HasNoInstructionLength(exit);
    case VmcsField::kVmExitInstructionInformation:
      return !HasInstructionInformation(reason);
    case VmcsField::kGuestLinearAddress:
      return !HasLinearAddress(exit);
    case VmcsField::kGuestPhysicalAddress:
      return reason != ExitReason::kEptViolation && reason != ExitReason::kEptMisconfiguration &&
             reason != ExitReason::kSppRelatedEvent;
    case VmcsField::kVmExitInterruptionErrorCode:
      return !HasErrorCode(exit.interruption);
    case VmcsField::kIdtVectoringErrorCode:
      return !HasErrorCode(exit.vectoring);
    default:
      return false;
  }
}

}  // namespace nvmx::sim
