// SPDX-License-Identifier: Apache-2.0
#include "tools/scenario_flags.h"

#include <string>

#include "absl/flags/flag.h"

ABSL_FLAG(std::string, variant, "",
          "which code to run instead of the scenario's: correct, or one of the historical orders");
ABSL_FLAG(int, cpus, 0, "how many CPUs instead of the scenario's; 0: as the scenario says");
ABSL_FLAG(int, device_nmis, -1,
          "how many NMIs devices may send, to any CPU at any time; -1: as the scenario says");

namespace nvmx::tools {

absl::StatusOr<sim::ScenarioChanges> ChangesFromFlags() {
  const int cpus = absl::GetFlag(FLAGS_cpus);
  const int device_nmis = absl::GetFlag(FLAGS_device_nmis);
  if (cpus < 0) return absl::InvalidArgumentError("--cpus: not less than 0");
  if (device_nmis < -1) return absl::InvalidArgumentError("--device-nmis: not less than -1");
  return sim::ScenarioChanges{static_cast<uint32_t>(cpus), absl::GetFlag(FLAGS_variant),
                              device_nmis};
}

bool ChangesAnything(const sim::ScenarioChanges& changes) {
  return changes.cpus != 0 || !changes.variant.empty() || changes.device_nmis >= 0;
}

}  // namespace nvmx::tools
