// SPDX-License-Identifier: Apache-2.0
//
// What the rest of the core asks of nested EPT and VPIDs. EPT02 and VPID02 are what stands behind
// it (ept02.h, vpid02.h).
#ifndef NVMX_CORE_NESTED_NESTED_PAGING_H_
#define NVMX_CORE_NESTED_NESTED_PAGING_H_

#include <cstdint>

#include "core/nested/l2_memory.h"
#include "core/nested/vcpu.h"
#include "core/smp/quiesce.h"
#include "core/vmx/outcomes.h"

namespace nvmx {

// The three secondary controls of VMCS02 that decide about translation, "enable EPT", "enable VPID"
// and "enable VM functions", whatever else is in that field. `secondary01`: VMCS01's, 0 if it does
// not activate secondary controls. VMCS02 must activate secondary controls if any of them is 1.
uint32_t TranslationControls02(const Vcpu& vcpu, uint32_t secondary01);

// Writes the EPT pointer of VMCS02, and does the invalidations that a VM entry with
// VMCS12 does on a processor. VMCS02 is current; VMCS12 has passed its checks. Without "enable EPT"
// in VMCS12 the EPT pointer is that of VMCS01, `eptp01`: 0 if VMCS01 does not enable EPT.
void PrepareTranslationForL2(Vcpu& vcpu, uint64_t eptp01);

// The EPT pointer of VMCS01, which is current; 0 if it does not enable EPT, or if VMCS12 does, so
// that VMCS02 has another.
uint64_t ReadEptp01(Vcpu& vcpu);

// The invalidations that a VM exit to L1 does on a processor. VMCS02 is current.
void LeaveTranslationOfL2(Vcpu& vcpu);

// Drops from EPT02 what no longer agrees with EPT01 since another CPU, or this one, changed that.
// Called before each VM entry, in front of the last look at pending guest NMIs, which calls it
// again if this CPU stood still for a quiesce in between. Loads one cell if L2 runs on something
// that L0 made from EPT01; otherwise nothing happens.
void FollowEpt01(Vcpu& vcpu);

// Whether L2 runs on something that L0 made from EPT01. Reads only what is this CPU's own.
bool DependsOnEpt01(const Vcpu& vcpu);

// An EPT violation or EPT misconfiguration out of VMCS02, which is current. L0 fills EPT02, or asks
// the embedder, or raises #GP(0) in L2; or the exit is L1's, and is reflected as the EPT violation,
// EPT misconfiguration or page-modification-log exit that EPT12 makes of it.
void HandleMemoryExitOfL2(Vcpu& vcpu);

// L0 performs an instruction of L2, whose operand in memory it has not reached: EPT12 does not
// translate this access. It is what L2 exits with instead. VMCS02 is current and describes the exit
// for the instruction.
void HandleUntranslatedOperandOfL2(Vcpu& vcpu, const L2Memory::Untranslated& access);

// An EPT violation or EPT misconfiguration out of VMCS01, which is current: the embedder deals with
// it, or it is #GP(0) in L1.
void HandleMemoryExitOfL1(Vcpu& vcpu);

// INVEPT and INVVPID by L1. SDM Vol. 3C, 31.3, "INVEPT", "INVVPID".
VmxOutcome Invept(Vcpu& vcpu);
VmxOutcome Invvpid(Vcpu& vcpu);

// VMFUNC by L2; VMCS02 is current. True: done, and L2 goes on behind the instruction. False: the
// exit is L1's. SDM Vol. 3C, 26.5.6.2 "General Operation of the VMFUNC Instruction".
bool HandleVmfuncOfL2(Vcpu& vcpu);

// For the embedding hypervisor: EPT01 no longer maps these bytes of L1's physical memory as it did,
// or maps them with fewer rights or another memory type; `was` is where they were mapped. Called
// between the change and the end of the stop of the other CPUs. Each CPU drops from its EPT02 what
// led there before it enters L2 again, and nothing else. New rights need no call.
void Ept01Changed(Vcpu& vcpu, const StoppedWorld& world, PhysicalAddress was, uint64_t bytes);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_NESTED_PAGING_H_
