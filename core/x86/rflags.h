// SPDX-License-Identifier: Apache-2.0
//
// Bits of RFLAGS. Source: SDM Vol. 1, 3.4.3 "EFLAGS Register".
#ifndef NVMX_CORE_X86_RFLAGS_H_
#define NVMX_CORE_X86_RFLAGS_H_

#include <cstdint>

namespace nvmx {

struct Rflags {
  static constexpr uint64_t kCf = uint64_t{1} << 0;
  static constexpr uint64_t kFixed1 = uint64_t{1} << 1;
  static constexpr uint64_t kPf = uint64_t{1} << 2;
  static constexpr uint64_t kAf = uint64_t{1} << 4;
  static constexpr uint64_t kZf = uint64_t{1} << 6;
  static constexpr uint64_t kSf = uint64_t{1} << 7;
  static constexpr uint64_t kTf = uint64_t{1} << 8;
  static constexpr uint64_t kIf = uint64_t{1} << 9;
  static constexpr uint64_t kDf = uint64_t{1} << 10;
  static constexpr uint64_t kOf = uint64_t{1} << 11;
  static constexpr uint64_t kIopl = uint64_t{3} << 12;
  static constexpr uint64_t kNt = uint64_t{1} << 14;
  static constexpr uint64_t kRf = uint64_t{1} << 16;
  static constexpr uint64_t kVm = uint64_t{1} << 17;
  static constexpr uint64_t kAc = uint64_t{1} << 18;
  static constexpr uint64_t kVif = uint64_t{1} << 19;
  static constexpr uint64_t kVip = uint64_t{1} << 20;
  static constexpr uint64_t kId = uint64_t{1} << 21;
  // Bits 63:22, 15, 5 and 3 are reserved and must be 0.
  static constexpr uint64_t kReservedMustBe0 =
      ~((uint64_t{1} << 22) - 1) | uint64_t{1} << 15 | uint64_t{1} << 5 | uint64_t{1} << 3;
  // What VMsucceed clears, and VMfail clears but for the one flag it sets.
  // SDM Vol. 3C, 31.2 "Conventions".
  static constexpr uint64_t kArithmetic = kCf | kPf | kAf | kZf | kSf | kOf;
};

}  // namespace nvmx

#endif  // NVMX_CORE_X86_RFLAGS_H_
