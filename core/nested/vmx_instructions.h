// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_VMX_INSTRUCTIONS_H_
#define NVMX_CORE_NESTED_VMX_INSTRUCTIONS_H_

#include "core/nested/vcpu.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/outcomes.h"

namespace nvmx {

// Performs the VMX instruction that L1 just exited with, the way a processor would: faults, VMfail,
// or success with its effects, RFLAGS and RIP. VMCS01 is current. True if `reason` is such an
// instruction; false otherwise, with nothing done. SDM Vol. 3C, chapter 31 "VMX Instruction
// Reference".
bool EmulateVmxInstruction(Vcpu& vcpu, ExitReason reason);

// Ends a VMX instruction of the guest whose VMCS is current: with the fault, whose address is in
// CR2 if it is a page fault, or behind the instruction, with success or failure in RFLAGS and in
// the VM-instruction error field of VMCS12. SDM Vol. 3C, 31.2 "Conventions".
void FinishVmxInstruction(Vcpu& vcpu, const VmxOutcome& outcome);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_VMX_INSTRUCTIONS_H_
