// SPDX-License-Identifier: Apache-2.0
//
// Interruptibility state, activity states, and pending debug exceptions of the guest-state area.
// Source: SDM Vol. 3C, 25.4.2 "Guest Non-Register State".
#ifndef NVMX_CORE_VMX_INTERRUPTIBILITY_H_
#define NVMX_CORE_VMX_INTERRUPTIBILITY_H_

#include <cstdint>

namespace nvmx {

struct Interruptibility {
  static constexpr uint32_t kBlockingBySti = uint32_t{1} << 0;
  static constexpr uint32_t kBlockingByMovSs = uint32_t{1} << 1;
  static constexpr uint32_t kBlockingBySmi = uint32_t{1} << 2;
  // With "virtual NMIs" this bit is the blocking of virtual NMIs, not of NMIs.
  static constexpr uint32_t kBlockingByNmi = uint32_t{1} << 3;
  static constexpr uint32_t kEnclaveInterruption = uint32_t{1} << 4;
  static constexpr uint32_t kDefined =
      kBlockingBySti | kBlockingByMovSs | kBlockingBySmi | kBlockingByNmi | kEnclaveInterruption;
};

enum class ActivityState : uint32_t {
  kActive = 0,
  kHlt = 1,
  kShutdown = 2,
  kWaitForSipi = 3,
};

constexpr const char* Name(ActivityState state) {
  switch (state) {
    case ActivityState::kActive:
      return "active";
    case ActivityState::kHlt:
      return "HLT";
    case ActivityState::kShutdown:
      return "shutdown";
    case ActivityState::kWaitForSipi:
      return "wait-for-SIPI";
  }
  return "reserved";
}

struct PendingDebugExceptions {
  static constexpr uint64_t kB0 = uint64_t{1} << 0;
  static constexpr uint64_t kB1 = uint64_t{1} << 1;
  static constexpr uint64_t kB2 = uint64_t{1} << 2;
  static constexpr uint64_t kB3 = uint64_t{1} << 3;
  static constexpr uint64_t kBld = uint64_t{1} << 11;
  static constexpr uint64_t kEnabledBreakpoint = uint64_t{1} << 12;
  static constexpr uint64_t kBs = uint64_t{1} << 14;
  static constexpr uint64_t kRtm = uint64_t{1} << 16;
  static constexpr uint64_t kDefined =
      kB0 | kB1 | kB2 | kB3 | kBld | kEnabledBreakpoint | kBs | kRtm;
};

}  // namespace nvmx

#endif  // NVMX_CORE_VMX_INTERRUPTIBILITY_H_
