// SPDX-License-Identifier: Apache-2.0
//
// What an instruction of the simulated processor works on, and what it can come to.
#ifndef NVMX_BACKENDS_SIM_MACHINE_INSTRUCTION_EFFECTS_H_
#define NVMX_BACKENDS_SIM_MACHINE_INSTRUCTION_EFFECTS_H_

#include <cstdint>
#include <optional>

#include "core/vmx/exit_reason.h"
#include "core/x86/exception.h"
#include "core/x86/general_register.h"
#include "core/x86/segment.h"

namespace nvmx::sim {

// What a VM exit reports beside its reason; what is 0 here is not defined for the exit.
struct ExitInformation {
  uint64_t qualification = 0;
  uint64_t interruption = 0;
  uint64_t error_code = 0;
  uint64_t instruction_length = 0;
  uint64_t instruction_information = 0;
  uint64_t guest_linear = 0;
  uint64_t guest_physical = 0;
  uint64_t vectoring = 0;  // IDT-vectoring information
  uint64_t vectoring_error_code = 0;
  // Delivery of the event would have saved RFLAGS with RF set.
  bool resume_flag = false;
};

// A VM exit that an instruction causes.
struct InstructionExit {
  ExitReason reason;
  uint64_t qualification = 0;
  uint64_t information = 0;
};

// An exception of an instruction. `detail`: the linear address of #PF, the bits of DR6 of #DB.
struct Exception {
  Vector vector;
  uint32_t error_code = 0;
  uint64_t detail = 0;
};

struct MemoryOperand {
  SegmentRegister segment = SegmentRegister::kDs;
  uint64_t offset = 0;
};

// How the memory operand of the running instruction is encoded.
struct EncodedOperand {
  MemoryOperand place;
  uint64_t displacement = 0;
  uint64_t information = 0;  // what VM exits say of it in the instruction information
  // The operand is a register instead.
  std::optional<GeneralRegister> in_register = std::nullopt;
  // The other operand of VMREAD and VMWRITE, the type of an invalidation.
  GeneralRegister selector = GeneralRegister::kRax;
};

// kNext: RIP is to move on. kReturned: the instruction completed and set RIP. kElsewhere: a fault
// or a VM exit did.
enum class Outcome { kNext, kReturned, kElsewhere };

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_INSTRUCTION_EFFECTS_H_
