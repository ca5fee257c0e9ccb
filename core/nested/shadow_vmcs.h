// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_SHADOW_VMCS_H_
#define NVMX_CORE_NESTED_SHADOW_VMCS_H_

#include "core/nested/vm_exit.h"

namespace nvmx {

// VMREAD and VMWRITE by L2 that VMCS shadowing lets through: they access the VMCS that VMCS12's
// link pointer names, which lies in L1's memory. `exit` is the exit for the instruction; VMCS02 is
// current. SDM Vol. 3C, 25.10 "VMCS Types: Ordinary and Shadow"; 31.3, "VMREAD", "VMWRITE".
void VmreadOfShadowVmcs(Vcpu& vcpu, const ReflectableExit& exit);
void VmwriteOfShadowVmcs(Vcpu& vcpu, const ReflectableExit& exit);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_SHADOW_VMCS_H_
