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

// The same as the instruction of that guest reads it: IA32_TIME_STAMP_COUNTER with the TSC offset
// and scale of its VMCS, which do not count for MSR lists. SDM Vol. 3C, 26.3 "Changes to
// Instruction Behavior in VMX Non-Root Operation", "RDMSR".
std::optional<uint64_t> ReadMsrAsInstruction(Vcpu& vcpu, uint32_t msr);

// WRMSR at CPL 0 by the guest whose VMCS is current. False, and nothing changed, if it raises #GP.
// A written MTRR takes effect with the next CommitMemoryTypes(), which the caller owes.
bool WriteGuestMsr(Vcpu& vcpu, uint32_t msr, uint64_t value);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_MSR_ACCESS_H_
