// SPDX-License-Identifier: Apache-2.0
#include "core/testing/serving_embedder.h"

#include "core/nested/vcpu.h"
#include "core/x86/general_register.h"
#include "core/x86/msr.h"

namespace nvmx {

ServingEmbedder::ServingEmbedder() = default;

bool ServingEmbedder::HandleVmcall(Vcpu& vcpu) const {
  return vcpu.state.registers[static_cast<size_t>(GeneralRegister::kRax)] == kCall;
}

bool ServingEmbedder::OwnsVmcall(uint64_t rax) const { return rax == kCall || rax == kRefusedCall; }

std::optional<CpuidRegisters> ServingEmbedder::AnswerCpuid(Vcpu&, GuestLevel level, uint32_t leaf,
                                                           uint32_t) const {
  if (leaf != kLeaf) return std::nullopt;
  return CpuidRegisters{0, level == GuestLevel::kL1 ? 0x4C31u : 0x4C32u, 0, 0};
}

bool ServingEmbedder::AllowsMtrrWrite(Vcpu&, uint32_t msr, uint64_t) const {
  return msr == Index(Msr::IA32_MTRR_DEF_TYPE);
}

}  // namespace nvmx
