// SPDX-License-Identifier: Apache-2.0
//
// The faults that have priority over VM exits: undefined opcodes, and faults based on the privilege
// level. SDM Vol. 3C, 26.1.1 "Relative Priority of Faults and VM Exits"; for each instruction Vol.
// 2.
#include "backends/sim/machine/processor.h"
#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"
#include "core/x86/rflags.h"

namespace nvmx::sim {
namespace {

using lhv::Instruction;
using lhv::InstructionKind;

// Instructions that are for CPL 0.
bool IsPrivileged(InstructionKind kind) {
  switch (kind) {
    case InstructionKind::kHlt:
    case InstructionKind::kRdmsr:
    case InstructionKind::kWrmsr:
    case InstructionKind::kMovToCr:
    case InstructionKind::kMovFromCr:
    case InstructionKind::kClts:
    case InstructionKind::kLmsw:
    case InstructionKind::kInvlpg:
    case InstructionKind::kInvpcid:
    case InstructionKind::kWbinvd:
    case InstructionKind::kInvd:
    case InstructionKind::kXsetbv:
    case InstructionKind::kLgdt:
    case InstructionKind::kLidt:
    case InstructionKind::kLldt:
    case InstructionKind::kLtr:
      return true;
    default:
      return false;
  }
}

// Instructions that CR4.UMIP keeps for CPL 0.
bool IsSubjectToUmip(InstructionKind kind) {
  return kind == InstructionKind::kSgdt || kind == InstructionKind::kSidt ||
         kind == InstructionKind::kSldt || kind == InstructionKind::kStr ||
         kind == InstructionKind::kSmsw;
}

bool NeedsProtectedMode(InstructionKind kind) {
  return kind == InstructionKind::kSldt || kind == InstructionKind::kStr ||
         kind == InstructionKind::kLldt || kind == InstructionKind::kLtr;
}

}  // namespace

bool Processor::IsUndefinedOpcode(const Instruction& instruction) const {
  const SwitchedRegisters& r = state_.switched;
  switch (instruction.kind) {
    case InstructionKind::kUd2:
    case InstructionKind::kRsm:  // outside SMM, where the processor always is
      return true;
    case InstructionKind::kGetsec:
      return (r.cr4 & Cr4::kSmxe) == 0;
    case InstructionKind::kXgetbv:
    case InstructionKind::kXsetbv:
      return (r.cr4 & Cr4::kOsxsave) == 0;
    case InstructionKind::kMonitor:
    case InstructionKind::kMwait:
      return Cpl() > 0;
    case InstructionKind::kRdtscp:
      return !IsEnabled(Secondary::kEnableRdtscp, Secondary::kEnableRdtscp);
    case InstructionKind::kInvpcid:
      return !IsEnabled(Secondary::kEnableInvpcid, Secondary::kEnableInvpcid);
    case InstructionKind::kRdrand:
      return !IsEnabled(Secondary::kRdrandExiting, 0);
    case InstructionKind::kRdseed:
      return !IsEnabled(Secondary::kRdseedExiting, 0);
    case InstructionKind::kMovToCr:
    case InstructionKind::kMovFromCr:
      // CR8 exists in 64-bit mode alone.
      return !(instruction.width <= 4 && instruction.width != 1) &&
             !(instruction.width == 8 && Is64BitMode());
    default:
      return NeedsProtectedMode(instruction.kind) && !IsProtectedMode();
  }
}

// SDM Vol. 3C, 26.3: RDTSCP and INVPCID are undefined in non-root operation unless enabled.
bool Processor::IsEnabled(uint32_t feature, uint32_t control) const {
  if (!capabilities_.SupportsSecondary(feature)) return false;
  return !in_non_root() || control == 0 || HasSecondary(control);
}

std::optional<Exception> Processor::PriorFault(const Instruction& instruction) const {
  if (IsUndefinedOpcode(instruction)) return Exception{Vector::kInvalidOpcode};
  const SwitchedRegisters& r = state_.switched;
  constexpr Exception kGeneralProtection{Vector::kGeneralProtection};
  const unsigned cpl = Cpl();
  if (cpl == 0) return std::nullopt;
  if (IsPrivileged(instruction.kind)) return kGeneralProtection;
  if (IsSubjectToUmip(instruction.kind) && (r.cr4 & Cr4::kUmip) != 0) return kGeneralProtection;
  switch (instruction.kind) {
    case InstructionKind::kRdtsc:
    case InstructionKind::kRdtscp:
      if ((r.cr4 & Cr4::kTsd) != 0) return kGeneralProtection;
      break;
    case InstructionKind::kRdpmc:
      if ((r.cr4 & Cr4::kPce) == 0) return kGeneralProtection;
      break;
    case InstructionKind::kSti:
    case InstructionKind::kCli:
      if (cpl > Iopl()) return kGeneralProtection;
      break;
    case InstructionKind::kPopf:
    case InstructionKind::kHandlerReturn:
    case InstructionKind::kIret:
    case InstructionKind::kInt:
      // In virtual-8086 mode these are sensitive to IOPL.
      if ((r.rflags & Rflags::kVm) != 0 && Iopl() < 3) return kGeneralProtection;
      break;
    default:
      break;
  }
  return std::nullopt;
}

}  // namespace nvmx::sim
