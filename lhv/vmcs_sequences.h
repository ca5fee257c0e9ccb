// SPDX-License-Identifier: Apache-2.0
//
// The instructions of the operations that write many VMCS fields, or one by its capability MSR.
#ifndef NVMX_LHV_VMCS_SEQUENCES_H_
#define NVMX_LHV_VMCS_SEQUENCES_H_

#include <cstddef>
#include <cstdint>

#include "lhv/guest_cpu.h"
#include "lhv/program.h"

namespace nvmx::lhv {

// True if the encoding is that of a field that kVmwriteControl can write.
bool HasControlCapability(uint32_t encoding);

// kVmwriteControl: how many instructions it is, and instruction `number`, which finds `scratch` in
// the scratch register.
size_t ControlInstructionCount(const Operation& operation);
Instruction ControlInstruction(const Operation& operation, size_t number, uint64_t scratch);

// kVmwriteHostState.
size_t HostStateInstructionCount();
Instruction HostStateInstruction(uint32_t cpu, size_t number);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_VMCS_SEQUENCES_H_
