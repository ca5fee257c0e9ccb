// SPDX-License-Identifier: Apache-2.0
//
// What the rest of the core asks of nested EPT and VPIDs. EPT02 and VPID02 are what stands behind
// it (ept02.h, vpid02.h).
#ifndef NVMX_CORE_NESTED_NESTED_PAGING_H_
#define NVMX_CORE_NESTED_NESTED_PAGING_H_

#include <cstdint>
#include <optional>

#include "core/nested/vcpu.h"
#include "core/nested/vm_exit.h"
#include "core/smp/quiesce.h"
#include "core/vmx/outcomes.h"

namespace nvmx {

// Writes the EPT pointer and the VPID of VMCS02, and does the invalidations that a VM entry with
// VMCS12 does on a processor. VMCS02 is current; VMCS12 has passed its checks. Without "enable EPT"
// in VMCS12 the pointer is that of VMCS01, `eptp01`.
void PrepareTranslationForL2(Vcpu& vcpu, uint64_t eptp01);

// The invalidations that a VM exit to L1 does on a processor. VMCS02 is current.
void LeaveTranslationOfL2(Vcpu& vcpu);

// Drops from EPT02 what no longer agrees with EPT01 since another CPU, or this one, changed that.
// To be called last before each VM entry into L2.
void FollowEpt01(Vcpu& vcpu);

// An EPT violation, EPT misconfiguration or page-modification-log exit out of VMCS02, which is
// current. True: L0 has dealt with it, and L2 goes on at its RIP (the caller re-injects an event
// whose delivery was interrupted). False: the exit is L1's, and `exit` has been changed into what
// L1 sees.
struct L2MemoryExit {
  ExitReason reason;
  uint64_t qualification;
  uint64_t guest_physical;
  // Of qualification bits 7 and 8, or 0: what VMCS02 holds.
  uint64_t guest_linear;
};
bool HandleL2MemoryExit(Vcpu& vcpu, L2MemoryExit& exit);

// INVEPT and INVVPID by L1, and VMFUNC by L2 (true: done, L2 goes on behind it; false: the exit is
// L1's).
VmxOutcome Invept(Vcpu& vcpu);
VmxOutcome Invvpid(Vcpu& vcpu);
bool HandleVmfuncOfL2(Vcpu& vcpu);

// For the embedding hypervisor: EPT01 no longer maps these bytes of L1's physical memory as it did,
// or maps them with fewer rights or another memory type; `was` is where they were mapped. Called
// between the change and the end of the stop of the other CPUs. Each CPU drops from its EPT02 what
// led there before it enters L2 again, and nothing else. New rights need no call.
void Ept01Changed(Vcpu& vcpu, const StoppedWorld& world, PhysicalAddress was, uint64_t bytes);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_NESTED_PAGING_H_
