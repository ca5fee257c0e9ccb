// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_OFFERED_CPUID_H_
#define NVMX_CORE_NESTED_OFFERED_CPUID_H_

#include <cstdint>

#include "core/nested/vcpu.h"

namespace nvmx {

// What CPUID tells L1, while VMCS01 is current: the processor's answer without the features that L1
// cannot have, because the bit of CR4 or the VMX control that turns them on is not offered, or
// because they reach physical memory past EPT01. OSXSAVE follows L1's CR4. SDM Vol. 2A, "CPUID".
CpuidRegisters OfferedCpuid(Vcpu& vcpu, uint32_t leaf, uint32_t subleaf);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_OFFERED_CPUID_H_
