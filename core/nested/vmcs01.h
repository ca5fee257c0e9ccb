// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_VMCS01_H_
#define NVMX_CORE_NESTED_VMCS01_H_

#include <cstdint>

#include "core/nested/vcpu.h"

namespace nvmx {

// Sets the controls of VMCS01, which is current: how L0 runs L1. Its guest state is the backend's
// and has been written, for what L1 has in CR0 and CR4 is taken from there. So is its host state,
// EPT01, and whatever else the backend adds to the controls afterwards.
void InitializeVmcs01Controls(Vcpu& vcpu);

// CR0 and CR4 as L1 reads them. VMX operation of the processor, which L1 does not know of, needs
// bits that L1 may have cleared (CR0.NE, CR4.VMXE), and what L1 is not offered must stay 0; so
// those bits are L0's, by the guest/host masks, and L1 reads them from the read shadows. VMCS01 is
// current. SDM Vol. 3C, 24.8 "Restrictions on VMX Operation", 25.6.6 "Guest/Host Masks and Read
// Shadows for CR0 and CR4".
uint64_t ReadL1Cr0(Vcpu& vcpu);
uint64_t ReadL1Cr4(Vcpu& vcpu);
void WriteL1Cr0(Vcpu& vcpu, uint64_t value);
void WriteL1Cr4(Vcpu& vcpu, uint64_t value);

// L1's CPU shuts down, as one that is on its own; whether the whole machine is reset is the
// platform's affair. Blocking by STI and by MOV SS is over: VM entry wants none in that state.
// VMCS01 is current. SDM Vol. 3C, 27.3.1.5 "Checks on Guest Non-Register State".
void ShutDownL1(Vcpu& vcpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_VMCS01_H_
