// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/local_apic.h"

#include <bit>

namespace nvmx::sim {

void LocalApic::PutInterrupt(uint8_t vector) {
  requested_[vector / 64] |= uint64_t{1} << vector % 64;
}

std::optional<uint8_t> LocalApic::HighestInterrupt() const {
  for (size_t word = requested_.size(); word-- > 0;) {
    if (requested_[word] == 0) continue;
    return static_cast<uint8_t>(word * 64 + 63 - std::countl_zero(requested_[word]));
  }
  return std::nullopt;
}

uint8_t LocalApic::TakeInterrupt() {
  const uint8_t vector = *HighestInterrupt();
  requested_[vector / 64] &= ~(uint64_t{1} << vector % 64);
  return vector;
}

}  // namespace nvmx::sim
