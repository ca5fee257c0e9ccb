// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_TESTING_MAPPING_EMBEDDER_H_
#define NVMX_CORE_TESTING_MAPPING_EMBEDDER_H_

#include <cstdint>
#include <map>
#include <vector>

#include "core/nested/embedder.h"

namespace nvmx {

// An EPT01 that a test changes block by block: identity with all rights, but for what `blocks`
// says. It notes the accesses that it is asked about. Compiled where RTTI is off, as its base class
// is.
class MappingEmbedder final : public Embedder {
 public:
  MappingEmbedder();

  // The block that holds the address; `mapping.address` is where its first byte lies.
  void Map(uint64_t address, const Ept01Mapping& mapping);
  // The 4-KByte page is not mapped.
  void Unmap(uint64_t page) { Map(page, {}); }
  // What is not said otherwise is mapped alike in blocks of this size.
  void SetBlockShift(unsigned shift) { default_shift_ = shift; }
  // What HandleForbiddenAccess() does from now on; kPerformed performs an instruction of so many
  // bytes.
  void AnswerAccesses(ForbiddenAccess answer, uint64_t bytes = 0) {
    answer_ = answer;
    instruction_bytes_ = bytes;
  }
  const std::vector<uint64_t>& asked() const { return asked_; }

  Ept01Mapping MapEpt01(const Vcpu& vcpu, GuestPhysicalAddress address) const override;
  ForbiddenAccess HandleForbiddenAccess(Vcpu& vcpu, GuestPhysicalAddress address) const override;

 private:
  // By their first byte.
  std::map<uint64_t, Ept01Mapping> blocks_;
  unsigned default_shift_ = 30;
  ForbiddenAccess answer_ = ForbiddenAccess::kFault;
  uint64_t instruction_bytes_ = 0;
  mutable std::vector<uint64_t> asked_;
};

}  // namespace nvmx

#endif  // NVMX_CORE_TESTING_MAPPING_EMBEDDER_H_
