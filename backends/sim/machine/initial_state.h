// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_INITIAL_STATE_H_
#define NVMX_BACKENDS_SIM_MACHINE_INITIAL_STATE_H_

#include <cstdint>

#include "backends/sim/machine/processor.h"

namespace nvmx::sim {

// The registers of L1's CPU as its loader leaves them: 64-bit mode, paging on, VMX allowed,
// interrupts off, at the first operation of the program.
SwitchedRegisters InitialRegisters(uint32_t cpu);

// The same as the guest state of the VMCS that is current.
void WriteInitialGuestState(Processor& processor, uint32_t cpu);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_INITIAL_STATE_H_
