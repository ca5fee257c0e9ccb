// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/canary.h"

#include <string_view>

namespace nvmx::metal {

void Canary::Watch(const char* name, std::span<const uint64_t> words, uint64_t changing) {
  for (Part& part : parts_) {
    if (part.name != nullptr && std::string_view(part.name) != name) continue;
    part = {name, words, changing, 0};
    part.digest = DigestOf(part);
    return;
  }
}

const char* Canary::Damaged() const {
  for (const Part& part : parts_) {
    if (part.name != nullptr && DigestOf(part) != part.digest) return part.name;
  }
  return nullptr;
}

// Each step is a bijection of the digest so far and of the word: one word that differs is always
// seen.
uint64_t Canary::DigestOf(const Part& part) {
  constexpr uint64_t kOdd = 0x9E37'79B9'7F4A'7C15;
  constexpr unsigned kHalf = 32;
  uint64_t digest = 0;
  for (const uint64_t word : part.words) {
    digest = (digest ^ (word & ~part.changing)) * kOdd;
    digest ^= digest >> kHalf;
  }
  return digest;
}

}  // namespace nvmx::metal
