// SPDX-License-Identifier: Apache-2.0
//
// Bits of IA32_EFER. Source: SDM Vol. 3A, 2.2.1 "Extended Feature Enable Register".
#ifndef NVMX_CORE_X86_EFER_H_
#define NVMX_CORE_X86_EFER_H_

#include <cstdint>

namespace nvmx {

struct Efer {
  static constexpr uint64_t kSce = uint64_t{1} << 0;
  static constexpr uint64_t kLme = uint64_t{1} << 8;
  static constexpr uint64_t kLma = uint64_t{1} << 10;
  static constexpr uint64_t kNxe = uint64_t{1} << 11;
  // Every other bit is reserved.
  static constexpr uint64_t kDefined = kSce | kLme | kLma | kNxe;
};

}  // namespace nvmx

#endif  // NVMX_CORE_X86_EFER_H_
