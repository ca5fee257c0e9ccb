// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_MSR_ACCESS_H_
#define NVMX_CORE_NESTED_MSR_ACCESS_H_

#include <cstdint>
#include <optional>

#include "core/nested/vcpu.h"

namespace nvmx {

// RDMSR at CPL 0 by the guest whose VMCS is current (L1 under VMCS01, L2 under VMCS02). Nothing if
// it raises #GP.
std::optional<uint64_t> ReadGuestMsr(Vcpu& vcpu, uint32_t msr);

// WRMSR at CPL 0 by the guest whose VMCS is current. False, and nothing changed, if it raises #GP.
// A written MTRR takes effect with the next CommitMemoryTypes(), which the caller owes.
bool WriteGuestMsr(Vcpu& vcpu, uint32_t msr, uint64_t value);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_MSR_ACCESS_H_
