// SPDX-License-Identifier: Apache-2.0
//
// What the rest of the core asks of nested EPT and VPIDs. EPT02 and VPID02 are what stands behind
// it (ept02.h, vpid02.h).
#ifndef NVMX_CORE_NESTED_NESTED_PAGING_H_
#define NVMX_CORE_NESTED_NESTED_PAGING_H_

#include <cstdint>
#include <optional>

#include "core/nested/vcpu.h"
#include "core/smp/quiesce.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/outcomes.h"

namespace nvmx {

// The three secondary controls of VMCS02 that decide about translation, "enable EPT", "enable VPID"
// and "enable VM functions", whatever else is in that field. `secondary01`: VMCS01's, 0 if it does
// not activate secondary controls. VMCS02 must activate secondary controls if any of them is 1.
uint32_t TranslationControls02(const Vcpu& vcpu, uint32_t secondary01);

// Writes the EPT pointer, the VPID and the VM-function controls of VMCS02, as far as it has those
// fields, and does the invalidations that a VM entry with VMCS12 does on a processor. VMCS02 is
// current; VMCS12 has passed its checks. Without "enable EPT" in VMCS12 the EPT pointer is that of
// VMCS01, `eptp01`: 0 if VMCS01 does not enable EPT.
void PrepareTranslationForL2(Vcpu& vcpu, uint64_t eptp01);

// The invalidations that a VM exit to L1 does on a processor. VMCS02 is current.
void LeaveTranslationOfL2(Vcpu& vcpu);

// Drops from EPT02 what no longer agrees with EPT01 since another CPU, or this one, changed that.
// Called before each VM entry, in front of the last look at pending guest NMIs, which calls it
// again if this CPU stood still for a quiesce in between. Loads one cell if L2 runs on something
// that L0 made from EPT01; otherwise nothing happens.
void FollowEpt01(Vcpu& vcpu);

// Whether L2 runs on something that L0 made from EPT01. Reads only what is this CPU's own.
bool DependsOnEpt01(const Vcpu& vcpu);

// An EPT violation, EPT misconfiguration or page-modification-log exit out of VMCS02, which is
// current.
struct L2MemoryExit {
  ExitReason reason;
  uint64_t qualification;
  uint64_t guest_physical;
  // Of qualification bits 7 and 8, or 0: what VMCS02 holds.
  uint64_t guest_linear;

  // What the current VMCS holds after such an exit.
  static L2MemoryExit Read(Vcpu& vcpu);
};

enum class L2MemoryOutcome : uint8_t {
  // L0 has dealt with it and L2 goes on at its RIP. The caller first sees to an event whose
  // delivery was interrupted and to NMI unblocking (qualification bit 12).
  kResume,
  // EPT01 does not allow the access and nobody has emulated it: it raises #GP(0) in L2.
  kForbidden,
  // The exit is L1's, and has been changed into what L1 sees.
  kToL1,
};
L2MemoryOutcome HandleL2MemoryExit(Vcpu& vcpu, L2MemoryExit& exit);

// An EPT violation or EPT misconfiguration out of VMCS01, which is current. False: EPT01 does not
// allow the access and nobody has emulated it, so it raises #GP(0) in L1.
bool HandleL1MemoryExit(Vcpu& vcpu);

// INVEPT and INVVPID by L1. SDM Vol. 3C, 31.3, "INVEPT", "INVVPID".
VmxOutcome Invept(Vcpu& vcpu);
VmxOutcome Invvpid(Vcpu& vcpu);

// VMFUNC by L2. True: done, and L2 goes on behind the instruction (the caller moves RIP). False:
// the exit is L1's. SDM Vol. 3C, 26.5.6.2 "General Operation of the VMFUNC Instruction".
bool HandleVmfuncOfL2(Vcpu& vcpu);

// For the embedding hypervisor: EPT01 no longer maps these bytes of L1's physical memory as it did,
// or maps them with fewer rights or another memory type; `was` is where they were mapped. Called
// between the change and the end of the stop of the other CPUs. Each CPU drops from its EPT02 what
// led there before it enters L2 again, and nothing else. New rights need no call.
void Ept01Changed(Vcpu& vcpu, const StoppedWorld& world, PhysicalAddress was, uint64_t bytes);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_NESTED_PAGING_H_
