// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_INITIAL_STATE_H_
#define NVMX_BACKENDS_SIM_MACHINE_INITIAL_STATE_H_

#include <cstdint>

#include "backends/sim/machine/processor.h"
#include "lhv/l1_mode.h"

namespace nvmx::sim {

// The registers of L1's CPU as its loader leaves them: in that mode, VMX allowed, interrupts off,
// at the first operation of the program.
SwitchedRegisters InitialRegisters(uint32_t cpu, lhv::L1Mode mode = lhv::L1Mode::k64Bit);

// The same as the guest state of the VMCS that is current.
void WriteInitialGuestState(Processor& processor, uint32_t cpu,
                            lhv::L1Mode mode = lhv::L1Mode::k64Bit);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_INITIAL_STATE_H_
