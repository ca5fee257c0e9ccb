// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_HOST_STATE_H_
#define NVMX_CORE_NESTED_HOST_STATE_H_

#include "core/nested/vcpu.h"

namespace nvmx {

// L1 as VMCS12's host state describes it, into VMCS01, which becomes current. The VMCS that L2 ran
// with, or was to run with, is current on entry. False: L1 uses PAE paging and a PDPTE has a
// reserved bit, which is a VMX abort. SDM Vol. 3C, 28.5 "Loading Host State".
bool LoadHostStateIntoVmcs01(Vcpu& vcpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_HOST_STATE_H_
