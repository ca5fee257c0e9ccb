// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_HYPERVISOR_H_
#define NVMX_CORE_NESTED_HYPERVISOR_H_

#include "core/nested/vm_exit.h"

namespace nvmx {

// The doors into the core.

// After each VM exit. On return the current VMCS is the one to enter next, and everything that the
// guest is owed has been arranged. The backend saved RAX..R15 into vcpu.state.registers before the
// call and loads them from there afterwards.
void HandleVmExit(Vcpu& vcpu, RawExit raw);

// What HandleVmExit() ends with: arranges what the guest is owed. Again after the backend has
// changed something of the guest between two VM exits.
void ArrangeEntry(Vcpu& vcpu);

// When an NMI arrives while this CPU is in VMX root operation, from the backend's NMI handler, with
// NMIs blocked; the backend returns with IRET afterwards.
void HandleHostNmi(Vcpu& vcpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_HYPERVISOR_H_
