// SPDX-License-Identifier: Apache-2.0
//
// VMX instructions. SDM Vol. 3C, chapter 31 "VMX Instruction Reference".
#include "backends/sim/machine/operand_registers.h"
#include "backends/sim/machine/processor.h"
#include "core/vmx/controls.h"

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
    default:
      return std::nullopt;
  }
}

// The address that a memory-operand instruction leaves its 64-bit pointer at: the top of the
// stack's page, below the machine's part of the window.
uint64_t PointerOperandAddress(uint64_t rsp) { return PageBase(rsp - 1); }

}  // namespace

// In VMX non-root operation every VMX instruction exits. SDM Vol. 3C, 26.1.2 "Instructions That
// Cause VM Exits Unconditionally".
Processor::Outcome Processor::PerformVmx(const Instruction& instruction) {
  const std::optional<ExitReason> reason = VmxExitReason(instruction.kind);
  if (!in_non_root() || !reason) return Fault(Vector::kInvalidOpcode);
  uint64_t qualification = 0;
  uint64_t information = 0;
  switch (instruction.kind) {
    case InstructionKind::kVmxon:
    case InstructionKind::kVmclear:
    case InstructionKind::kVmptrld:
      qualification = PointerOperandAddress(state_.switched.rsp);
      memory_.Write(qualification, std::as_bytes(std::span(&instruction.first, 1)));
      information = kDisplacementOnly;
      break;
    case InstructionKind::kVmptrst:
      qualification = instruction.first;
      information = kDisplacementOnly;
      break;
    case InstructionKind::kVmread:
    case InstructionKind::kVmwrite:
      information = kRegisterOperands;
      break;
    default:
      break;
  }
  return ExitOnInstruction(*reason, qualification, information);
}

void Processor::ActivateShadowVmcs(uint64_t address) {
  ActivateVmcs(state_.vmcs, memory_, address, state_.current_vmcs, options_.native ? 0 : 2);
}

void Processor::DropTranslationsAtTransition() {}

}  // namespace nvmx::sim
