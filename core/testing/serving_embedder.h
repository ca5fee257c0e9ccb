// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_TESTING_SERVING_EMBEDDER_H_
#define NVMX_CORE_TESTING_SERVING_EMBEDDER_H_

#include "core/nested/embedder.h"

namespace nvmx {

// An embedder that answers one leaf of CPUID, serves one call, owns another that it then does not
// serve, and lets one MTRR be written only. Compiled where RTTI is off, as its base class is.
class ServingEmbedder final : public Embedder {
 public:
  static constexpr uint32_t kLeaf = 0x40000000;
  static constexpr uint64_t kCall = 0x1234;
  static constexpr uint64_t kRefusedCall = 0x1235;

  ServingEmbedder();
  bool HandleVmcall(Vcpu& vcpu) const override;
  bool OwnsVmcall(uint64_t rax) const override;
  // EBX: "L1" or "L2".
  std::optional<CpuidRegisters> AnswerCpuid(Vcpu& vcpu, GuestLevel level, uint32_t leaf,
                                            uint32_t subleaf) const override;
  // IA32_MTRR_DEF_TYPE only.
  bool AllowsMtrrWrite(Vcpu& vcpu, uint32_t msr, uint64_t value) const override;
};

}  // namespace nvmx

#endif  // NVMX_CORE_TESTING_SERVING_EMBEDDER_H_
