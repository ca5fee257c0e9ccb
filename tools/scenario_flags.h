// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_TOOLS_SCENARIO_FLAGS_H_
#define NVMX_TOOLS_SCENARIO_FLAGS_H_

#include "absl/status/statusor.h"
#include "backends/sim/explorer/scenario.h"

namespace nvmx::tools {

// What --variant, --cpus and --device-nmis ask for; InvalidArgument if a number is out of range.
absl::StatusOr<sim::ScenarioChanges> ChangesFromFlags();

// Whether they change what the scenario's expectation is about.
bool ChangesAnything(const sim::ScenarioChanges& changes);

}  // namespace nvmx::tools

#endif  // NVMX_TOOLS_SCENARIO_FLAGS_H_
