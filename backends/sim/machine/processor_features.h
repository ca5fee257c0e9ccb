// SPDX-License-Identifier: Apache-2.0
//
// What the simulated processor has beside VMX, where more than one of its files must know.
#ifndef NVMX_BACKENDS_SIM_MACHINE_PROCESSOR_FEATURES_H_
#define NVMX_BACKENDS_SIM_MACHINE_PROCESSOR_FEATURES_H_

#include <cstdint>

namespace nvmx::sim {

// SDM Vol. 3A, 2.6 "Extended Control Registers (Including XCR0)".
struct Xcr0 {
  static constexpr uint64_t kX87 = uint64_t{1} << 0;
  static constexpr uint64_t kSse = uint64_t{1} << 1;
  static constexpr uint64_t kAvx = uint64_t{1} << 2;
  static constexpr uint64_t kSupported = kX87 | kSse | kAvx;
};

// SDM Vol. 3B, 20.2 "Architectural Performance Monitoring".
struct PerformanceCounters {
  static constexpr uint64_t kGeneral = 4;
  static constexpr uint64_t kFixed = 3;
  static constexpr unsigned kFixedShift = 32;
  // What IA32_PERF_GLOBAL_CTRL may hold.
  static constexpr uint64_t kGlobalCtrlDefined =
      ((uint64_t{1} << kGeneral) - 1) | ((uint64_t{1} << kFixed) - 1) << kFixedShift;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_PROCESSOR_FEATURES_H_
