// SPDX-License-Identifier: Apache-2.0
//
// VMX instructions: which of them are undefined, exit or fault, and those that lead in, out and
// between VMX root and non-root operation. SDM Vol. 3C, chapter 31 "VMX Instruction Reference".
#include "backends/sim/machine/operand_registers.h"
#include "backends/sim/machine/processor.h"
#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/msr.h"
#include "core/x86/rflags.h"

namespace nvmx::sim {
namespace {

using lhv::Instruction;
using lhv::InstructionKind;

std::optional<ExitReason> VmxExitReason(InstructionKind kind) {
  switch (kind) {
    case InstructionKind::kVmxon:
      return ExitReason::kVmxon;
    case InstructionKind::kVmxoff:
      return ExitReason::kVmxoff;
    case InstructionKind::kVmclear:
      return ExitReason::kVmclear;
    case InstructionKind::kVmptrld:
      return ExitReason::kVmptrld;
    case InstructionKind::kVmptrst:
      return ExitReason::kVmptrst;
    case InstructionKind::kVmread:
      return ExitReason::kVmread;
    case InstructionKind::kVmwrite:
      return ExitReason::kVmwrite;
    case InstructionKind::kVmlaunch:
      return ExitReason::kVmlaunch;
    case InstructionKind::kVmresume:
      return ExitReason::kVmresume;
    case InstructionKind::kVmcall:
      return ExitReason::kVmcall;
    case InstructionKind::kInvept:
      return ExitReason::kInvept;
    case InstructionKind::kInvvpid:
      return ExitReason::kInvvpid;
    default:
      return std::nullopt;
  }
}

bool IsVmreadOrVmwrite(InstructionKind kind) {
  return kind == InstructionKind::kVmread || kind == InstructionKind::kVmwrite;
}

bool HasOperand(InstructionKind kind) {
  return kind != InstructionKind::kVmxoff && kind != InstructionKind::kVmlaunch &&
         kind != InstructionKind::kVmresume && kind != InstructionKind::kVmcall;
}

bool AreFixedBitsRight(uint64_t value, uint64_t must_be_1, uint64_t may_be_1) {
  return (must_be_1 & ~value) == 0 && (value & ~may_be_1) == 0;
}

}  // namespace

Outcome Processor::PerformVmx(const Instruction& instruction) {
  if (instruction.kind == InstructionKind::kVmfunc) return PerformVmfunc();
  if (IsVmxUndefined(instruction.kind)) return Fault(Vector::kInvalidOpcode);
  if (in_non_root() && VmxInstructionExits(instruction.kind)) {
    if (!HasOperand(instruction.kind)) return ExitOnInstruction(*VmxExitReason(instruction.kind));
    return ExitOnInstruction(*VmxExitReason(instruction.kind), instruction_operand_.displacement,
                             instruction_operand_.information);
  }
  // VMCALL alone looks at the mode only here.
  if (instruction.kind == InstructionKind::kVmcall && !IsModeForVmx()) {
    return Fault(Vector::kInvalidOpcode);
  }
  if (Cpl() > 0) return Fault(Vector::kGeneralProtection);
  switch (instruction.kind) {
    case InstructionKind::kVmxon:
      return PerformVmxon();
    case InstructionKind::kVmxoff:
      return PerformVmxoff();
    case InstructionKind::kVmclear:
      return PerformVmclear();
    case InstructionKind::kVmptrld:
      return PerformVmptrld();
    case InstructionKind::kVmptrst:
      return PerformVmptrst();
    case InstructionKind::kVmread:
      return PerformVmread();
    case InstructionKind::kVmwrite:
      return PerformVmwrite();
    case InstructionKind::kVmlaunch:
    case InstructionKind::kVmresume:
      return PerformVmEntry(instruction.kind == InstructionKind::kVmlaunch);
    case InstructionKind::kInvept:
      return PerformInvept();
    case InstructionKind::kInvvpid:
      return PerformInvvpid();
    default:
      // VMCALL, without the dual-monitor treatment of SMIs and SMM.
      return Vmfail(VmInstructionError::kVmcallInVmxRootOperation);
  }
}

// Protected mode, and in IA-32e mode 64-bit mode.
bool Processor::IsModeForVmx() const {
  const bool compatibility_mode = (state_.switched.efer & Efer::kLma) != 0 && !Is64BitMode();
  return IsProtectedMode() && !compatibility_mode;
}

bool Processor::IsVmxUndefined(InstructionKind kind) const {
  const bool off = state_.operation == Operation::kOff;
  switch (kind) {
    case InstructionKind::kVmcall:
      return off;
    case InstructionKind::kVmxon:
      if ((state_.switched.cr4 & Cr4::kVmxe) == 0) return true;
      break;
    case InstructionKind::kInvept:
      if (off || (capabilities_.ept_vpid_cap & EptVpidCap::kInvept) == 0) return true;
      break;
    case InstructionKind::kInvvpid:
      if (off || (capabilities_.ept_vpid_cap & EptVpidCap::kInvvpid) == 0) return true;
      break;
    default:
      if (!VmxExitReason(kind) || off) return true;
      break;
  }
  const bool register_form =
      HasOperand(kind) && !IsVmreadOrVmwrite(kind) && instruction_operand_.in_register.has_value();
  return register_form || !IsModeForVmx();
}

// SDM Vol. 3C, 26.1.2 "Instructions That Cause VM Exits Unconditionally"; 26.1.3, VMREAD and
// VMWRITE: a shadow VMCS takes those whose bit in the bitmap is 0.
bool Processor::VmxInstructionExits(InstructionKind kind) const {
  constexpr uint64_t kFieldBits = 0x7FFF;
  if (!IsVmreadOrVmwrite(kind) || !HasSecondary(Secondary::kVmcsShadowing)) return true;
  const uint64_t field = FieldOperand();
  if ((field & ~kFieldBits) != 0) return true;
  const uint64_t bitmap =
      VmcsRead(kind == InstructionKind::kVmread ? VmcsField::kVmreadBitmapAddress
                                                : VmcsField::kVmwriteBitmapAddress);
  return (ReadPhysicalByte(bitmap + field / 8) >> field % 8 & 1) != 0;
}

// --- SDM Vol. 3C, 31.2 "Conventions"

Outcome Processor::Vmsucceed() {
  state_.switched.rflags &= ~Rflags::kArithmetic;
  return Outcome::kNext;
}

Outcome Processor::VmfailInvalid() {
  state_.switched.rflags = (state_.switched.rflags & ~Rflags::kArithmetic) | Rflags::kCf;
  return Outcome::kNext;
}

Outcome Processor::Vmfail(VmInstructionError error) {
  if (state_.current_vmcs_pointer == kNoVmcs) return VmfailInvalid();
  VmcsWrite(VmcsField::kVmInstructionError, static_cast<uint64_t>(error));
  state_.switched.rflags = (state_.switched.rflags & ~Rflags::kArithmetic) | Rflags::kZf;
  return Outcome::kNext;
}

// --- VMXON, VMXOFF

Outcome Processor::PerformVmxon() {
  if (state_.operation != Operation::kOff) {
    return Vmfail(VmInstructionError::kVmxonInVmxRootOperation);
  }
  constexpr uint64_t kNeeded = FeatureControl::kLock | FeatureControl::kEnableVmxOutsideSmx;
  const uint64_t feature_control = ReadMsr(Index(Msr::IA32_FEATURE_CONTROL)).value_or(0);
  if ((feature_control & kNeeded) != kNeeded ||
      !AreFixedBitsRight(state_.switched.cr0, capabilities_.cr0_fixed0, capabilities_.cr0_fixed1) ||
      !AreFixedBitsRight(state_.switched.cr4, capabilities_.cr4_fixed0, capabilities_.cr4_fixed1)) {
    return Fault(Vector::kGeneralProtection);
  }
  uint64_t pointer = 0;
  if (!ReadPointerOperand(pointer)) return Outcome::kElsewhere;
  if (!IsVmcsPointerValid(pointer)) return VmfailInvalid();
  // The revision identifier, and bit 31 clear.
  if (RegionHeader(pointer) != RevisionIdentifier()) return VmfailInvalid();
  state_.vmxon_pointer = pointer;
  state_.current_vmcs_pointer = kNoVmcs;
  state_.operation = Operation::kRoot;
  state_.monitor_armed = 0;
  return Vmsucceed();
}

Outcome Processor::PerformVmxoff() {
  state_.vmxon_pointer = state_.current_vmcs_pointer = kNoVmcs;
  state_.operation = Operation::kOff;
  state_.monitor_armed = 0;
  return Vmsucceed();
}

// --- VMLAUNCH, VMRESUME

Outcome Processor::PerformVmEntry(bool launch) {
  if (state_.current_vmcs_pointer == kNoVmcs || Vmcs().shadow != 0) return VmfailInvalid();
  if (state_.blocking_by_mov_ss != 0) {
    return Vmfail(VmInstructionError::kVmEntryWithEventsBlockedByMovSs);
  }
  if (launch && Vmcs().launched != 0) return Vmfail(VmInstructionError::kVmlaunchWithNonClearVmcs);
  if (!launch && Vmcs().launched == 0) {
    return Vmfail(VmInstructionError::kVmresumeWithNonLaunchedVmcs);
  }
  const EntryOutcome outcome = CheckEntry();
  if (outcome.is_fail()) return Vmfail(outcome.outcome().vm_instruction_error());
  if (outcome.is_entry_failure()) {
    FailEntry(outcome.reason(), outcome.qualification());
  } else if (EnterCheckedGuest()) {
    InjectEvent();
  }
  return Outcome::kElsewhere;
}

}  // namespace nvmx::sim
