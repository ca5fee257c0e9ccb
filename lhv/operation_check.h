// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_OPERATION_CHECK_H_
#define NVMX_LHV_OPERATION_CHECK_H_

#include <cstdint>

#include "lhv/program.h"

namespace nvmx::lhv {

// True if L2 can perform the operation: it is one instruction. What takes several is L1's: a VM
// exit between two of them would leave L2 with L1's scratch register.
bool IsForL2(OperationKind kind);

// True if Operation::operand can say that the operand is in a register, or in memory.
bool CanHaveRegisterOperand(OperationKind kind);
bool CanHaveMemoryOperand(OperationKind kind);

// True if the operation is one that programs can have at the level (1 or 2) on a machine of
// cpu_count CPUs: every part of it means something. The interpreter runs any such operation; what
// it does to the machine is the machine's to bear.
bool IsValidOperation(const Operation& operation, uint32_t level, uint32_t cpu_count);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_OPERATION_CHECK_H_
