// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_VMX_INSTRUCTIONS_H_
#define NVMX_CORE_NESTED_VMX_INSTRUCTIONS_H_

#include "core/nested/vcpu.h"
#include "core/vmx/exit_reason.h"
#include "core/x86/exception.h"

namespace nvmx {

// Performs the VMX instruction that L1 just exited with, the way a processor would: faults, VMfail,
// or success with its effects, RFLAGS and RIP. VMCS01 is current. True if `reason` is such an
// instruction; false otherwise, with nothing done. SDM Vol. 3C, chapter 31 "VMX Instruction
// Reference".
bool EmulateVmxInstruction(Vcpu& vcpu, ExitReason reason);

// Moves L1's RIP behind the instruction that exited, and ends blocking by STI and MOV SS as
// retiring one does.
void SkipInstruction(Vcpu& vcpu);

// Makes L1 take a hardware exception at the instruction that exited.
void InjectFault(Vcpu& vcpu, Vector vector, uint32_t error_code);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_VMX_INSTRUCTIONS_H_
