// SPDX-License-Identifier: Apache-2.0
//
// Which instructions cause VM exits in VMX non-root operation. SDM Vol. 3C, 26.1 "Instructions That
// Cause VM Exits".
#include "backends/sim/machine/processor.h"
#include "core/vmx/controls.h"
#include "lhv/layout.h"

namespace nvmx::sim {

using lhv::Instruction;
using lhv::InstructionKind;

std::optional<ExitReason> Processor::Intercept(const Instruction& instruction) const {
  if (!in_non_root()) return std::nullopt;
  switch (instruction.kind) {
    case InstructionKind::kHlt:
      if (HasPrimary(PrimaryProcessorBased::kHltExiting)) return ExitReason::kHlt;
      break;
    case InstructionKind::kCpuid:
      return ExitReason::kCpuid;
    case InstructionKind::kRdmsr:
      return ExitReason::kRdmsr;
    case InstructionKind::kWrmsr:
      return ExitReason::kWrmsr;
    default:
      break;
  }
  return std::nullopt;
}

Processor::Outcome Processor::ExitOnInstruction(ExitReason reason, uint64_t qualification,
                                                uint64_t information) {
  Exit(reason, {.qualification = qualification,
                .instruction_length = lhv::kInstructionBytes,
                .instruction_information = information});
  return Outcome::kElsewhere;
}

}  // namespace nvmx::sim
