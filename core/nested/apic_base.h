// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_APIC_BASE_H_
#define NVMX_CORE_NESTED_APIC_BASE_H_

#include <cstdint>
#include <optional>

#include "core/nested/vcpu.h"

namespace nvmx {

// IA32_APIC_BASE. The local APIC is L1's, but it stays on whatever L1 says, because L0 stops CPUs
// by NMIs that come through it; and it cannot be moved over memory that is not L1's. SDM Vol. 3A,
// 11.4.4 "Local APIC Status and Location", 11.12.5 "x2APIC State Transitions".

// RDMSR. Nothing if it raises #GP.
std::optional<uint64_t> ReadApicBase(Vcpu& vcpu);

// WRMSR. False, and nothing changed, if it raises #GP: where the processor says so, or if EPT01
// does not map the page of the registers to itself.
bool WriteApicBase(Vcpu& vcpu, uint64_t value);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_APIC_BASE_H_
