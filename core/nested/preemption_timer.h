// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_PREEMPTION_TIMER_H_
#define NVMX_CORE_NESTED_PREEMPTION_TIMER_H_

#include "core/nested/vcpu.h"

namespace nvmx {

// L1's VMX-preemption timer while L2 runs. It counts down with each change of a bit of the TSC,
// also while L0 works for L2: so L0 remembers when it will be 0, and sets VMCS02's timer
// accordingly before each VM entry. SDM Vol. 3C, 26.5.1 "VMX-Preemption Timer", 25.7.1 "VM-Exit
// Controls", Vol. 3D, A.6 "Miscellaneous Data".

// Whether VMCS12 has "activate VMX-preemption timer".
bool L1UsesPreemptionTimer(const Vcpu& vcpu);

// Starts it from the value in VMCS12: L1 has entered L2.
void StartPreemptionTimer(Vcpu& vcpu);

// The timer's value now; 0 if it has expired, or if L1 does not use it.
uint32_t PreemptionTimerValue(Vcpu& vcpu);
inline bool PreemptionTimerHasExpired(Vcpu& vcpu) {
  return L1UsesPreemptionTimer(vcpu) && PreemptionTimerValue(vcpu) == 0;
}

// Writes the TSC, which L2 or a list of L1's asked for: the timer counts what the TSC gains by
// itself, not what it is given. False if the processor does not accept the value.
bool WriteTscBesidePreemptionTimer(Vcpu& vcpu, uint64_t value);

// L2 exits to L1: stops it, and saves its value into VMCS12 if L1 asked for that.
void StopPreemptionTimer(Vcpu& vcpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_PREEMPTION_TIMER_H_
