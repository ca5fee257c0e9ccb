// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_OPERATION_TEXT_H_
#define NVMX_LHV_OPERATION_TEXT_H_

#include <string>

#include "lhv/assembled.h"
#include "lhv/guest_cpu.h"
#include "lhv/program.h"

namespace nvmx::lhv {

// The operation as a person reads it, with the names of the memory blocks of `program`, such as
// "vmwrite VM_ENTRY_MSR_LOAD_ADDRESS = list".
std::string OperationText(const CpuProgram& program, const Operation& operation);

// Names of the parts of an operand as programs write them, such as "base_displacement".
const char* Name(Operand::Shape shape);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_OPERATION_TEXT_H_
