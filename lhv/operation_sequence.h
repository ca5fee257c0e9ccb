// SPDX-License-Identifier: Apache-2.0
//
// The instructions that an operation stands for.
#ifndef NVMX_LHV_OPERATION_SEQUENCE_H_
#define NVMX_LHV_OPERATION_SEQUENCE_H_

#include <cstddef>
#include <cstdint>

#include "lhv/guest_cpu.h"
#include "lhv/program.h"

namespace nvmx::lhv {

// What the instructions of an operation depend on besides the operation.
struct OperationContext {
  uint32_t cpu = 0;
  uint64_t next_rip = 0;  // the address of the next operation
  uint64_t scratch = 0;   // the scratch register
};

// Values of the scratch register that say how a VMX instruction of the operation ended. No sequence
// can have them there as a result: they are not canonical, so not a RIP; they have a control that
// must be 1 and must not, so are not a capability; and IA32_VMX_BASIC has bit 63 clear.
inline constexpr uint64_t kScratchVmfailValid = 0x8000'0000'0000'0001;
inline constexpr uint64_t kScratchAbandoned = 0x8000'0000'0000'0003;
// kRepeat goes back.
inline constexpr uint64_t kScratchRepeats = 0x8000'0000'0000'0005;
// While kFetch runs, plus the index of its operation: a fault there saves the address it went to,
// which tells nobody where it came from.
inline constexpr uint64_t kScratchFetching = 0x8000'0001'0001'0000;

// How many instructions the operation is; not counting the VMREAD of a VM-instruction error.
size_t InstructionCount(const Operation& operation);

// Instruction `number`, which is below InstructionCount.
Instruction InstructionAt(const Operation& operation, size_t number,
                          const OperationContext& context);

// What the scratch register must hold for the instructions that follow, after instruction `number`
// succeeded with `value` and found `scratch` there.
uint64_t ScratchAfter(const Operation& operation, size_t number, uint64_t scratch, uint64_t value);

// True if the instruction reports VMfail. SDM Vol. 3C, 31.2 "Conventions".
bool IsVmxInstruction(InstructionKind kind);

// True if the later instructions of the operation make sense after an earlier one failed.
bool InstructionsAreIndependent(OperationKind kind);

// kSetHandler: where the gate leads.
uint64_t HandlerOf(const Operation& operation, uint32_t cpu);

// The operand of `operation` that is an address or a value of a field: relocated to the window of
// the CPU if it is an offset.
uint64_t ValueOn(uint32_t cpu, const Operation& operation);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_OPERATION_SEQUENCE_H_
