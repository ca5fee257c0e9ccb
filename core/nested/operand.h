// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_OPERAND_H_
#define NVMX_CORE_NESTED_OPERAND_H_

#include <cstdint>
#include <optional>

#include "core/nested/vcpu.h"
#include "core/vmx/outcomes.h"

namespace nvmx {

// Operands of VMX instructions that L1 executed, decoded from the VM-exit instruction information.
// SDM Vol. 3C, 28.2.5 "Information for VM Exits Due to Instruction Execution", tables 28-13 and
// 28-14.

// Either a value or the fault that fetching it raises in L1.
struct OperandResult {
  uint64_t value = 0;
  std::optional<VmxOutcome> fault;
};

// The 64-bit memory operand of VMXON, VMPTRLD and VMCLEAR.
OperandResult ReadMemoryOperand(Vcpu& vcpu);

// Stores 64 bits to the memory operand of VMPTRST; the fault, if there is one.
std::optional<VmxOutcome> WriteMemoryOperand(Vcpu& vcpu, uint64_t value);

// VMREAD and VMWRITE: the register that holds the field encoding.
uint64_t FieldOperand(Vcpu& vcpu);

// VMWRITE's source, a register or memory.
OperandResult ReadValueOperand(Vcpu& vcpu);

// VMREAD's destination, a register or memory; the fault, if there is one.
std::optional<VmxOutcome> WriteValueOperand(Vcpu& vcpu, uint64_t value);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_OPERAND_H_
