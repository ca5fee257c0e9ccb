// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_BOUNDARY_EXIT_H_
#define NVMX_CORE_NESTED_BOUNDARY_EXIT_H_

#include "core/nested/vcpu.h"
#include "core/vmx/exit_reason.h"

namespace nvmx {

// Exits of L2 that L0 arranges for itself, because something of L1's becomes due at an instruction
// boundary that only the processor can reach: right behind an event that L2 is about to take, or
// behind an instruction. They use the VMX-preemption timer and the monitor trap flag of VMCS02,
// around L1's own use of both.

// Gives VMCS02, which is current, L1's timer and monitor trap flag, and forgets what L0 arranged.
// To be called before each VM entry into L2, before the two below.
void ArmExitsOfL1(Vcpu& vcpu);

// L2 exits at the first instruction boundary after the VM entry: behind the event that it injects,
// or the debug exception that is pending, and before the first instruction. A timer of 0 does that,
// a monitor trap flag on a CPU without timer. SDM Vol. 3C, 26.5.1, 26.5.2; 27.7.4 "VMX-Preemption
// Timer"; 27.7.8 "Pending MTF VM Exits". On a CPU with neither it is the NMI window, which virtual
// blocking can delay.
void ExitBehindEvent(Vcpu& vcpu);

// L2 exits behind its next instruction. On a CPU without monitor trap flag it is the NMI window.
void ExitBehindInstruction(Vcpu& vcpu);

// Whether VM entry into L2 with VMCS02, which is current, is followed at once by an exit for the
// TPR threshold. It precedes INIT and NMIs. SDM Vol. 3C, 27.7.7 "VM Exits Induced by the TPR
// Threshold".
bool TprThresholdExitIsDue(Vcpu& vcpu);

// Whether an exit of L2 with this reason is one that only L0 asked for: an NMI window, the timer or
// the monitor trap flag. Nothing remains to be done for it but what precedes each VM entry.
bool IsExitOfL0(Vcpu& vcpu, ExitReason reason);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_BOUNDARY_EXIT_H_
