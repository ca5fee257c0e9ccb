// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_OPERAND_H_
#define NVMX_CORE_NESTED_OPERAND_H_

#include <cstdint>
#include <optional>

#include "core/nested/vcpu.h"
#include "core/vmx/outcomes.h"

namespace nvmx {

// Operands of VMX instructions that L1 executed, decoded from the VM-exit instruction information
// and read or written through L1's segmentation and paging. VMCS01 is current. SDM Vol. 3C, 28.2.5
// "Information for VM Exits Due to Instruction Execution", tables 28-12 to 28-14.

// Either a value or the fault that fetching it raises in L1.
struct OperandResult {
  uint64_t value = 0;
  std::optional<VmxOutcome> fault;
};

// The 64-bit memory operand of VMXON, VMPTRLD and VMCLEAR.
OperandResult ReadMemoryOperand(Vcpu& vcpu);

// Stores 64 bits to the memory operand of VMPTRST; the fault, if there is one.
std::optional<VmxOutcome> WriteMemoryOperand(Vcpu& vcpu, uint64_t value);

// The 128-bit memory operand of INVEPT, INVVPID and INVPCID: its low and its high half.
struct DescriptorResult {
  uint64_t low = 0;
  uint64_t high = 0;
  std::optional<VmxOutcome> fault;
};
DescriptorResult ReadDescriptorOperand(Vcpu& vcpu);

// The second register operand: the field encoding of VMREAD and VMWRITE, the type of INVEPT,
// INVVPID and INVPCID. 64 bits in 64-bit mode, 32 bits outside.
uint64_t RegisterOperand(Vcpu& vcpu);

// VMWRITE's source, a register or memory: 64 bits in 64-bit mode, 32 bits outside.
OperandResult ReadValueOperand(Vcpu& vcpu);

// VMREAD's destination, a register or memory: 64 bits in 64-bit mode, the low 32 bits of the value
// outside. The fault, if there is one.
std::optional<VmxOutcome> WriteValueOperand(Vcpu& vcpu, uint64_t value);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_OPERAND_H_
