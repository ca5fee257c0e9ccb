// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_TSC_H_
#define NVMX_CORE_NESTED_TSC_H_

#include <cstdint>

namespace nvmx {

// How a guest reads the time-stamp counter of what runs it: that times `multiplier` over 2^48, plus
// `offset`. SDM Vol. 3C, 26.3 "Changes to Instruction Behavior in VMX Non-Root Operation", "RDTSC".
struct TscView {
  static constexpr uint64_t kUnscaled = uint64_t{1} << 48;

  uint64_t multiplier = kUnscaled;
  uint64_t offset = 0;

  constexpr uint64_t Read(uint64_t tsc) const { return Scale(tsc, multiplier) + offset; }
  friend constexpr bool operator==(const TscView&, const TscView&) = default;

  // Bits 111:48 of the product, of which a 32-bit target has no type: made of four products of
  // halves.
  static constexpr uint64_t Scale(uint64_t tsc, uint64_t multiplier) {
    constexpr uint64_t kLow = 0xFFFFFFFF;
    const uint64_t low = (tsc & kLow) * (multiplier & kLow);
    const uint64_t first = (tsc >> 32) * (multiplier & kLow);
    const uint64_t second = (tsc & kLow) * (multiplier >> 32);
    const uint64_t middle = (low >> 32) + (first & kLow) + (second & kLow);
    const uint64_t high =
        (tsc >> 32) * (multiplier >> 32) + (first >> 32) + (second >> 32) + (middle >> 32);
    return high << 16 | (middle & kLow) >> 16;
  }
  // The same of an offset, which can be negative.
  static constexpr uint64_t ScaleOffset(uint64_t offset, uint64_t multiplier) {
    const bool negative = static_cast<int64_t>(offset) < 0;
    const uint64_t scaled = Scale(negative ? 0 - offset : offset, multiplier);
    return negative ? 0 - scaled : scaled;
  }
};

// How the inner guest reads the counter that the outer guest's host has. To one tick, which is what
// the product of two multipliers rounds away.
constexpr TscView Compose(const TscView& outer, const TscView& inner) {
  if (inner.multiplier == TscView::kUnscaled) {
    return {outer.multiplier, outer.offset + inner.offset};
  }
  return {TscView::Scale(outer.multiplier, inner.multiplier),
          TscView::ScaleOffset(outer.offset, inner.multiplier) + inner.offset};
}

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_TSC_H_
