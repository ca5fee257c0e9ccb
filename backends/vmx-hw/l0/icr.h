// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_L0_ICR_H_
#define NVMX_BACKENDS_VMX_HW_L0_ICR_H_

#include <cstdint>

namespace nvmx::metal {

// What is written to the interrupt command register, as far as INIT and SIPI go. SDM Vol.
// 3A, 11.6.1 "Interrupt Command Register (ICR)", 11.12.9 "ICR Operation in x2APIC Mode".
class IcrCommand {
 public:
  // In xAPIC mode: the lower half, whose write sends, and what the upper half holds.
  static constexpr IcrCommand FromXapic(uint32_t low, uint32_t high) {
    constexpr uint32_t kEverybody = 0xFF;
    return {low, high >> 24, kEverybody};
  }
  static constexpr IcrCommand FromX2apic(uint64_t value) {
    constexpr uint32_t kEverybody = 0xFFFF'FFFF;
    return {static_cast<uint32_t>(value), static_cast<uint32_t>(value >> 32), kEverybody};
  }

  // Neither: an interrupt or an NMI, which is not L0's business.
  constexpr bool IsInitOrSipi() const { return Mode() == kInit || Mode() == kSipi; }
  constexpr bool IsSipi() const { return Mode() == kSipi; }
  constexpr uint8_t vector() const { return static_cast<uint8_t>(low_); }

  // Whether an INIT or SIPI goes to the CPU with that APIC id if the CPU with the id `own` sends
  // it. The de-assertion of INIT does nothing on any CPU with VMX. A logical destination is
  // nobody's: what the other CPUs call themselves there, only they can read.
  constexpr bool Reaches(uint32_t apic_id, uint32_t own) const {
    if (IsDeassertion()) return false;
    switch (low_ >> kShorthandShift & 3) {
      case kNoShorthand:
        return !HasLogicalDestination() && (destination_ == apic_id || destination_ == everybody_);
      case kSelf:
        return false;  // invalid for both
      case kAllIncludingSelf:
        return true;
      default:
        return apic_id != own;
    }
  }
  constexpr bool HasLogicalDestination() const {
    return (low_ >> kShorthandShift & 3) == kNoShorthand && (low_ & kLogical) != 0;
  }

 private:
  constexpr IcrCommand(uint32_t low, uint32_t destination, uint32_t everybody)
      : low_(low), destination_(destination), everybody_(everybody) {}

  static constexpr uint32_t kInit = 5;
  static constexpr uint32_t kSipi = 6;
  static constexpr uint32_t kLogical = 1 << 11;
  static constexpr uint32_t kAssert = 1 << 14;
  static constexpr uint32_t kLevelTriggered = 1 << 15;
  static constexpr unsigned kShorthandShift = 18;
  static constexpr uint32_t kNoShorthand = 0;
  static constexpr uint32_t kSelf = 1;
  static constexpr uint32_t kAllIncludingSelf = 2;

  constexpr uint32_t Mode() const { return low_ >> 8 & 7; }
  constexpr bool IsDeassertion() const {
    return Mode() == kInit && (low_ & (kAssert | kLevelTriggered)) == kLevelTriggered;
  }

  uint32_t low_;
  uint32_t destination_;
  uint32_t everybody_;
};

// Bits of the x2APIC's ICR that WRMSR wants to be 0.
inline constexpr uint64_t kX2apicIcrReserved = 0xFFF3'3000;

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_ICR_H_
