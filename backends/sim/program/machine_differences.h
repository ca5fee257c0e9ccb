// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROGRAM_MACHINE_DIFFERENCES_H_
#define NVMX_BACKENDS_SIM_PROGRAM_MACHINE_DIFFERENCES_H_

#include <cstdint>
#include <span>

#include "backends/sim/program/place_of_difference.h"

namespace nvmx::sim {

struct MachineDifference {
  enum class Origin : uint8_t { kUndefined, kOwn, kBochs, kBochsNative };
  Origin origin;
  Explained (*matches)(const PlaceOfDifference& place);
  const char* reason;
};

// The rows of machine_differences.def.
std::span<const MachineDifference> AllMachineDifferences();

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_MACHINE_DIFFERENCES_H_
