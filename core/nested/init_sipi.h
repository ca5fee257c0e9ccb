// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_INIT_SIPI_H_
#define NVMX_CORE_NESTED_INIT_SIPI_H_

#include <cstdint>

#include "core/nested/vcpu.h"

namespace nvmx {

// INIT and SIPI for L1. SDM Vol. 3C, 24.8 "Restrictions on VMX Operation" (INIT is blocked in VMX
// root operation), 26.2 "Other Causes of VM Exits", 28.2 (INIT and SIPI exits).
//
// An INIT that L2 meets is an exit of L2's like any other and is reflected; only what VMCS01 exits
// with comes here.

// VMCS01's exit for INIT. It is remembered; DeliverLatchedInit() acts on it.
void HandleInitOfL1(Vcpu& vcpu);

// VMCS01's exit for a SIPI: L1 starts in real mode at the 4-KByte page that the exit qualification
// names. SDM Vol. 3A, 9.4.3 "MP Initialization Protocol Algorithm for MP Systems".
void HandleSipiOfL1(Vcpu& vcpu);

// The same for a backend that takes INIT and SIPI off L1's hands before a processor sees them, and
// keeps a CPU whose L1 waits for a SIPI in root. Called between two VM exits, in front of
// ArrangeEntry(). L1 takes the SIPI only if it waits for one; VMCS01 is current if it does.
void SendInitToGuest(Vcpu& vcpu);
void SendSipiToL1(Vcpu& vcpu, uint8_t vector);

// Called after each VM exit was handled and before an NMI is delivered: acts on a remembered INIT
// as soon as a processor would. Outside VMX operation it resets L1; in L1's root operation it
// stays; if L2 is about to run it becomes L2's VM exit, behind an event that is still to be
// injected.
void DeliverLatchedInit(Vcpu& vcpu);

// A CPU whose guest waits for a SIPI cannot be stopped by an NMI, and is left out of quiesces
// meanwhile (core/smp/quiesce.h). Begins that wait if the guest of the current VMCS is about to
// wait; and ends it, first thing after an exit was settled.
void BeginWaitForSipi(Vcpu& vcpu);
void TakePartInQuiescesAgain(Vcpu& vcpu);
// Each exit comes by here, and hardly any has waited.
inline void EndWaitForSipi(Vcpu& vcpu) {
  if (vcpu.state.left_out != 0) TakePartInQuiescesAgain(vcpu);
}

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_INIT_SIPI_H_
