// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_L1_EXITS_H_
#define NVMX_CORE_NESTED_L1_EXITS_H_

#include "core/nested/vm_exit.h"

namespace nvmx {

// An exit out of VMCS01, which is current: performs for L1 what it was doing, the way a processor
// of its own would.
//
// A task switch is not performed: L1 is shut down (in 64-bit mode there is none). SDM Vol.
// 3C, 26.4.2 "Treatment of Task Switches".
void HandleL1Exit(Vcpu& vcpu, const ReflectableExit& exit);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_L1_EXITS_H_
