// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_GUEST_INSTRUCTIONS_H_
#define NVMX_CORE_NESTED_GUEST_INSTRUCTIONS_H_

#include <cstdint>
#include <optional>

#include "core/nested/vcpu.h"
#include "core/x86/general_register.h"

namespace nvmx {

// Instructions that L0 performs for the guest whose VMCS is current, L1 or L2, after an exit for
// them: with their effects, or the fault that they raise.

// A general-purpose register; RSP is in the VMCS.
uint64_t ReadRegister(Vcpu& vcpu, GeneralRegister name);
void WriteRegister(Vcpu& vcpu, GeneralRegister name, uint64_t value);

// The instruction is done: the guest goes on behind it. `length` is the instruction's if the exit
// does not tell it.
void FinishInstruction(Vcpu& vcpu, std::optional<uint64_t> length = std::nullopt);

void EmulateRdmsr(Vcpu& vcpu);
void EmulateWrmsr(Vcpu& vcpu);

// CPUID by L1: the embedder's answer, or the processor's without what the core does not offer.
void EmulateCpuidOfL1(Vcpu& vcpu);

// CPUID by L2, if the embedder answers it. False: it is L1's exit.
bool EmulateCpuidOfL2(Vcpu& vcpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_GUEST_INSTRUCTIONS_H_
