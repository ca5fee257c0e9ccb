// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_GUEST_NMI_H_
#define NVMX_CORE_NESTED_GUEST_NMI_H_

#include "core/nested/vcpu.h"

namespace nvmx {

// L1 and L2 always run with physical NMIs exiting to L0 and with virtual NMIs. Three facts about
// blocking are kept apart:
// - blocking in L1: bit 3 of VMCS01's interruptibility state, which then is virtual blocking;
// - physical blocking in L2, as L1 sees it: VcpuState::l2_blocking_by_nmi if L1 uses "NMI exiting"
//   without virtual NMIs, bit 3 of VMCS02's interruptibility state if L1 uses neither, and never if
//   L1 uses virtual NMIs;
// - virtual blocking in L2: bit 3 of VMCS02's interruptibility state if L1 uses virtual NMIs.
// SDM Vol. 3C, 25.6.1 "Pin-Based VM-Execution Controls", 27.3.1.5 "Checks on Guest Non-Register
// State", 27.6.1.2 "Details of Vectored-Event Injection".

// Gives one pending guest NMI to whoever is about to run: injects it, or makes it a VM exit from L2
// to L1, or, while it cannot be given, arranges an exit of its own for when it can. Of more than
// one that cannot be given one stays, as in a processor's latch; and what comes before that one is
// given merges with it, also if it can be given by then. Called last before each VM entry,
// after ArmExitsOfL1() if L2 runs; the backend repeats the calls if an NMI is taken between their
// end and the VM entry.
void DeliverPendingGuestNmi(Vcpu& vcpu);

// Switches the "NMI-window exiting" control of the current VMCS.
void SetNmiWindowExiting(Vcpu& vcpu, bool on);

// Whether the next VM entry with the current VMCS injects an event already.
bool InjectionPending(Vcpu& vcpu);

// Whether the guest of the current VMCS waits for a SIPI. It then takes neither NMIs nor INIT. SDM
// Vol. 3C, 26.2 "Other Causes of VM Exits", 27.7.2 "Activity State".
bool WaitsForSipi(Vcpu& vcpu);

// Puts an NMI into the entry-injection field of the current VMCS, and ends blocking by STI: some
// processors do not inject an NMI into it (SDM Vol. 3C, 27.3.1.5), and delivery ends it anyway.
void InjectNmi(Vcpu& vcpu);

// Whether VMCS12 has "NMI-window exiting"; then an NMI-window exit from L2 is L1's.
bool L1WantsNmiWindow(const Vcpu& vcpu);

// Withholds guest NMIs from now on, or stops doing so. For the embedding hypervisor.
void MaskGuestNmis(Vcpu& vcpu, bool masked);

// Bit 3 ("blocking by NMI") that VMCS02 gets when L1 enters L2, and what L0 has to remember beside
// it. `interruptibility12` is VMCS12's interruptibility state; returns VMCS02's.
uint32_t EnterL2NmiBlocking(Vcpu& vcpu, uint32_t interruptibility12);

// The interruptibility state that L1 finds in VMCS12 after an exit from L2; VMCS02 is current.
uint32_t L2InterruptibilityForL1(Vcpu& vcpu);

// Whether NMIs are blocked in L1 after an exit from L2 that an NMI did not cause. VMCS02 is
// current.
bool NmiBlockedAfterL2Exit(Vcpu& vcpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_GUEST_NMI_H_
