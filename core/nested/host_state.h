// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_HOST_STATE_H_
#define NVMX_CORE_NESTED_HOST_STATE_H_

#include <optional>

#include "core/nested/vcpu.h"
#include "core/vmx/vmx_abort.h"

namespace nvmx {

// L1 as VMCS12's host state describes it, into VMCS01, which becomes current; what VM exits do not
// load stays as the guest of the VMCS that was current left it. Blocking by NMI is the caller's. If
// the exit cannot complete, the VMX abort that it ends in. SDM Vol. 3C, 28.5 "Loading Host State".
std::optional<VmxAbort> LoadHostStateIntoVmcs01(Vcpu& vcpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_HOST_STATE_H_
