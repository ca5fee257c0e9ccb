// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_L0_CANARY_H_
#define NVMX_BACKENDS_VMX_HW_L0_CANARY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace nvmx::metal {

// Remembers what is in parts of L0's memory that nothing writes while L1 runs, to see in the end
// whether something has.
class Canary {
 public:
  // Watches the words, in which the bits of `changing` may change. What is watched under that name
  // already is forgotten.
  void Watch(const char* name, std::span<const uint64_t> words, uint64_t changing = 0);
  bool watches() const { return parts_[0].name != nullptr; }
  // The name of what has changed; nullptr if nothing has.
  const char* Damaged() const;

 private:
  struct Part {
    const char* name = nullptr;
    std::span<const uint64_t> words;
    uint64_t changing = 0;
    uint64_t digest = 0;
  };
  static uint64_t DigestOf(const Part& part);

  static constexpr size_t kMostParts = 8;
  std::array<Part, kMostParts> parts_{};
};

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_CANARY_H_
