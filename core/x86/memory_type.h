// SPDX-License-Identifier: Apache-2.0
//
// Memory types and their encodings. Source: SDM Vol. 3A, 12.11 "Memory Type Range Registers
// (MTRRs)", Table 12-8; 12.12.2 "IA32_PAT MSR".
#ifndef NVMX_CORE_X86_MEMORY_TYPE_H_
#define NVMX_CORE_X86_MEMORY_TYPE_H_

#include <cstdint>

namespace nvmx {

enum class MemoryType : uint8_t {
  kUncacheable = 0,     // UC
  kWriteCombining = 1,  // WC
  kWriteThrough = 4,    // WT
  kWriteProtected = 5,  // WP
  kWriteBack = 6,       // WB
};

// The encoding of UC- : an entry of the PAT may hold it, an MTRR may not.
inline constexpr uint8_t kPatUncachedMinus = 7;

constexpr const char* Name(MemoryType type) {
  switch (type) {
    case MemoryType::kUncacheable:
      return "UC";
    case MemoryType::kWriteCombining:
      return "WC";
    case MemoryType::kWriteThrough:
      return "WT";
    case MemoryType::kWriteProtected:
      return "WP";
    case MemoryType::kWriteBack:
      return "WB";
  }
  return "reserved";
}

// True if `encoding` is a memory type that an MTRR (and an EPT entry) can hold.
constexpr bool IsValidMemoryType(uint64_t encoding) {
  return encoding == 0 || encoding == 1 || (encoding >= 4 && encoding <= 6);
}

// True if each of the eight bytes is a memory type that the PAT can hold: what WRMSR and VM entry
// check of IA32_PAT.
constexpr bool IsValidPat(uint64_t pat) {
  for (unsigned entry = 0; entry < 8; ++entry) {
    const uint64_t encoding = (pat >> (8 * entry)) & 0xFF;
    if (!IsValidMemoryType(encoding) && encoding != kPatUncachedMinus) return false;
  }
  return true;
}

// The value of IA32_PAT after power-up or reset.
inline constexpr uint64_t kPatReset = 0x0007040600070406;

}  // namespace nvmx

#endif  // NVMX_CORE_X86_MEMORY_TYPE_H_
