// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_L2_EXITS_H_
#define NVMX_CORE_NESTED_L2_EXITS_H_

#include "core/nested/vm_exit.h"

namespace nvmx {

// An exit out of VMCS02, which is current and has not failed to be entered: decides whose it is
// (exit_routing.h), and makes it an exit of VMCS12, or does what L0 has to do so that L2 goes on as
// if there had been none.
void HandleSettledL2Exit(Vcpu& vcpu, const ReflectableExit& exit);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_L2_EXITS_H_
