// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_EVENT_INJECTION_H_
#define NVMX_CORE_NESTED_EVENT_INJECTION_H_

#include <cstdint>
#include <optional>

#include "core/nested/vcpu.h"
#include "core/vmx/interruption_info.h"
#include "core/vmx/outcomes.h"

namespace nvmx {

// Events on their way into a guest and out of it. SDM Vol. 3C, 27.6 "Event Injection", 27.7
// "Special Features of VM Entry", 28.2 "Recording VM-Exit Information and Updating VM-Entry Control
// Fields".
//
// An NMI that L1 injects into an L2 without virtual NMIs blocks nothing (27.6.1.2), but VMCS02
// always runs with virtual NMIs, where it would. Such an NMI enters L2 as a hardware exception with
// vector 2, which is delivered alike and blocks nothing either; L1 is shown an NMI.

// The event that VMCS12 injects, into VMCS02, which is current and otherwise complete.
void InjectEventOfVmcs12(Vcpu& vcpu);

// The guest of the current VMCS is to go on at the RIP where it stands, after an exit that L0 has
// dealt with. Injects again the event whose delivery the exit interrupted, if it did; and if the
// instruction that exited is an IRET that had ended blocking by NMI, NMIs are blocked again. To be
// called for every exit that is not followed by RetireInstruction(), RaiseFault() or an exit to L1.
void ReinjectVectoredEvent(Vcpu& vcpu);

// Ends blocking by STI in the guest of the current VMCS, which is about to get an NMI: some
// processors inject none into it (SDM Vol. 3C, 27.3.1.5), and delivery ends it anyway.
void EndBlockingByStiForNmi(Vcpu& vcpu);

// L2 has exited, and VMCS02 is current. If the exit found an event undelivered, L2's state becomes
// what it would be if there had been no exits to L0 (ChangedForEvent). To be called for each exit
// of L2, before anything of it is handled.
void TakeBackChangesForEvent(Vcpu& vcpu);

// L0 has performed the instruction with which the guest of the current VMCS exited: moves RIP
// behind it, ends blocking by STI and MOV SS, and makes pending the debug exception of a single
// step. `length` is the instruction's if the exit does not tell it.
void RetireInstruction(Vcpu& vcpu, std::optional<uint64_t> length = std::nullopt);

// The same for L2, with the MTF VM exit that L1 may be waiting for. VMCS02 is current.
void RetireInstructionOfL2(Vcpu& vcpu, std::optional<uint64_t> length = std::nullopt);

// The guest of the current VMCS gets a fault in place of what it was doing when it exited: the
// fault itself, or what becomes of it together with the event that was being delivered (a double
// fault, a triple fault). If L2 runs and L1 intercepts it, it is a VM exit to L1. `linear` is the
// address of a page fault.
void RaiseFault(Vcpu& vcpu, const VmxOutcome& fault, uint64_t linear = 0);

// What L1 finds in VMCS12 as IDT-vectoring information if VMCS02, which is current, holds this.
InterruptionInformation VectoringInformationForL1(const Vcpu& vcpu,
                                                  InterruptionInformation of_vmcs02);

// Changes what an exit of VMCS02 has left in VMCS12's exit information to what L1 is to see of
// events. VMCS02 is current.
void TranslateEventInformationForL1(Vcpu& vcpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_EVENT_INJECTION_H_
