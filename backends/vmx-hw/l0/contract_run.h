// SPDX-License-Identifier: Apache-2.0
//
// check=ports: the port contract (core/testing/port_contract.h) on the real machine, instead of L1.
#ifndef NVMX_BACKENDS_VMX_HW_L0_CONTRACT_RUN_H_
#define NVMX_BACKENDS_VMX_HW_L0_CONTRACT_RUN_H_

#include "backends/vmx-hw/l0/l0_cpu.h"

namespace nvmx::metal {

// On CPU 0, in VMX operation: runs all checks, says what came of them and ends the run. CPU 1
// helps.
[[noreturn]] void RunPortContract(L0Cpu& cpu, L0Shared& shared);
// On CPU 1.
[[noreturn]] void HelpWithPortContract(L0Cpu& cpu);
// In the NMI handler: does not return if a check wants NMIs to stay blocked.
void KeepNmisBlockedIfWanted();

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_CONTRACT_RUN_H_
