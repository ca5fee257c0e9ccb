// SPDX-License-Identifier: Apache-2.0
#include "tools/processor_flag.h"

#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backends/sim/machine/processor_profile.h"
#include "backends/sim/profiles/profile.h"
#include "backends/sim/program/program_needs.h"

ABSL_FLAG(std::string, processor, "",
          "the name of a processor (nvmx list), or a file like those in backends/sim/profiles: the "
          "simulated processors can do no more than it; empty: all that they can");

namespace nvmx::tools {

bool HasProcessorFlag() { return !absl::GetFlag(FLAGS_processor).empty(); }

absl::StatusOr<Capabilities> HardwareFromFlags() {
  if (!HasProcessorFlag()) return sim::SimulatedCapabilities();
  const std::string name = absl::GetFlag(FLAGS_processor);
  const absl::StatusOr<sim::Profile> profile = sim::FindProfile(name);
  if (!profile.ok()) {
    return absl::Status(profile.status().code(),
                        absl::StrCat("--processor: ", profile.status().message()));
  }
  const Capabilities hardware = sim::SimulatedCapabilities(profile->capabilities);
  const std::vector<std::string> missing = sim::MissingForL0(hardware);
  if (missing.empty()) return hardware;
  return absl::InvalidArgumentError(
      absl::StrCat("--processor: ", name, " (", profile->processor,
                   ") lacks what L0 needs: ", absl::StrJoin(missing, ", ")));
}

}  // namespace nvmx::tools
