// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_MSR_KINDS_H_
#define NVMX_CORE_NESTED_MSR_KINDS_H_

#include <cstdint>
#include <optional>

#include "core/vmx/vmcs_field.h"
#include "core/x86/msr.h"
#include "core/x86/mtrr.h"

namespace nvmx {

// How L0 treats a guest's access to an MSR; see msr_kinds.def.
enum class MsrKind : uint8_t { kSwitched, kEmulated, kAbsent, kShared };

enum class MsrInterception : uint8_t { kIntercepted, kPassedThrough };

// The guest-state field that holds a switched MSR; nothing for the other kinds.
constexpr std::optional<VmcsField> SwitchedMsrField(uint32_t msr) {
  switch (msr) {
#define NVMX_SWITCHED_MSR(name, field) \
  case Index(Msr::name):               \
    return VmcsField::field;
#include "core/nested/msr_kinds.def"
    default:
      return std::nullopt;
  }
}

namespace msr_kinds_internal {

// The MSRs that are not shared, by number: below kBits, and that many from kHigh on.
inline constexpr uint32_t kBits = 0x2000;
inline constexpr uint32_t kHigh = 0xC0000000;
struct NumberSet {
  uint64_t low[kBits / 64] = {};
  uint64_t high[kBits / 64] = {};
};

constexpr void Add(NumberSet& set, uint32_t msr) {
  auto& half = msr >= kHigh ? set.high : set.low;
  half[msr % kBits / 64] |= uint64_t{1} << msr % 64;
}

consteval NumberSet Unshared() {
  NumberSet set;
#define NVMX_SWITCHED_MSR(name, field) Add(set, Index(Msr::name));
#define NVMX_EMULATED_MSR(first, last, interception) \
  for (uint32_t msr = Index(first); msr <= Index(last); ++msr) Add(set, msr);
#define NVMX_ABSENT_MSR(first, last) \
  for (uint32_t msr = Index(first); msr <= Index(last); ++msr) Add(set, msr);
#include "core/nested/msr_kinds.def"
  return set;
}
inline constexpr NumberSet kUnshared = Unshared();

// What is outside both parts of the set is shared.
consteval bool CoversAllRows() {
  const auto is_covered = [](uint32_t msr) { return msr < kBits || (msr - kHigh) < kBits; };
  bool all = true;
#define NVMX_SWITCHED_MSR(name, field) all &= is_covered(Index(Msr::name));
#define NVMX_EMULATED_MSR(first, last, interception) \
  all &= is_covered(Index(first)) && is_covered(Index(last));
#define NVMX_ABSENT_MSR(first, last) all &= is_covered(Index(first)) && is_covered(Index(last));
#include "core/nested/msr_kinds.def"
  return all;
}
static_assert(CoversAllRows());

constexpr bool IsShared(uint32_t msr) {
  const bool high = msr >= kHigh;
  const uint32_t number = high ? msr - kHigh : msr;
  if (number >= kBits) return true;
  const uint64_t word = (high ? kUnshared.high : kUnshared.low)[number / 64];
  return (word >> number % 64 & 1) == 0;
}

}  // namespace msr_kinds_internal

constexpr MsrKind KindOfMsr(uint32_t msr) {
  // Most are, and lists ask for each entry.
  if (msr_kinds_internal::IsShared(msr)) return MsrKind::kShared;
  if (SwitchedMsrField(msr)) return MsrKind::kSwitched;
#define NVMX_EMULATED_MSR(first, last, interception) \
  if (msr >= Index(first) && msr <= Index(last)) return MsrKind::kEmulated;
#define NVMX_ABSENT_MSR(first, last) \
  if (msr >= Index(first) && msr <= Index(last)) return MsrKind::kAbsent;
#include "core/nested/msr_kinds.def"
  return MsrKind::kShared;
}

// The MSRs whose RDMSR and WRMSR by a guest L0 has to perform.
struct MsrRange {
  uint32_t first;
  uint32_t last;
};
inline constexpr MsrRange kInterceptedMsrs[] = {
#define NVMX_EMULATED_MSR(first, last, interception)             \
  MsrInterception::interception == MsrInterception::kIntercepted \
      ? MsrRange{Index(first), Index(last)}                      \
      : MsrRange{1, 0},
#define NVMX_ABSENT_MSR(first, last) MsrRange{Index(first), Index(last)},
#include "core/nested/msr_kinds.def"
};

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_MSR_KINDS_H_
