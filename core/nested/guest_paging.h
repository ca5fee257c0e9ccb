// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_GUEST_PAGING_H_
#define NVMX_CORE_NESTED_GUEST_PAGING_H_

#include <cstdint>
#include <optional>

#include "core/nested/vcpu.h"
#include "core/vmx/outcomes.h"

namespace nvmx {

// Memory of L1 by linear address, as an instruction of L1 at CPL 0 accesses it: 4-level paging, no
// protection keys, no SMAP. VMCS01 is current. SDM Vol. 3A, 5.5 "4-Level Paging and 5-Level
// Paging".

// Reads 64 bits; the fault that L1 gets instead, if there is one (#GP for a non-canonical address,
// #PF).
std::optional<VmxOutcome> ReadLinear(Vcpu& vcpu, uint64_t linear, uint64_t& value);

// Writes 64 bits, or nothing if there is a fault.
std::optional<VmxOutcome> WriteLinear(Vcpu& vcpu, uint64_t linear, uint64_t value);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_GUEST_PAGING_H_
