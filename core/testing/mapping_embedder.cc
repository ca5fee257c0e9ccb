// SPDX-License-Identifier: Apache-2.0
#include "core/testing/mapping_embedder.h"

#include "core/nested/guest_instructions.h"

namespace nvmx {
namespace {

uint64_t OffsetMask(unsigned shift) { return (uint64_t{1} << shift) - 1; }

}  // namespace

MappingEmbedder::MappingEmbedder() = default;

void MappingEmbedder::Map(uint64_t address, const Ept01Mapping& mapping) {
  blocks_[address & ~OffsetMask(mapping.block_shift)] = mapping;
}

Ept01Mapping MappingEmbedder::MapEpt01(const Vcpu&, GuestPhysicalAddress address) const {
  for (const auto& [first, block] : blocks_) {
    if ((address.value & ~OffsetMask(block.block_shift)) != first) continue;
    Ept01Mapping mapping = block;
    mapping.address = block.address + (address.value - first);
    return mapping;
  }
  return {.address = PhysicalAddress{address.value},
          .block_shift = default_shift_,
          .readable = true,
          .writable = true,
          .executable = true};
}

ForbiddenAccess MappingEmbedder::HandleForbiddenAccess(Vcpu& vcpu,
                                                       GuestPhysicalAddress address) const {
  asked_.push_back(address.value);
  if (answer_ == ForbiddenAccess::kPerformed) FinishInstruction(vcpu, instruction_bytes_);
  return answer_;
}

}  // namespace nvmx
