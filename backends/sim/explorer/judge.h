// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_EXPLORER_JUDGE_H_
#define NVMX_BACKENDS_SIM_EXPLORER_JUDGE_H_

#include <vector>

#include "absl/status/statusor.h"
#include "backends/sim/explorer/scenario.h"
#include "backends/sim/explorer/schedule.h"

namespace nvmx::sim {

// The verdict on one schedule; where it stops, the CPUs go on in turn. InvalidArgument names the
// first step that is not possible.
absl::StatusOr<Verdict> JudgeSchedule(const Scenario& scenario,
                                      const std::vector<ScheduleStep>& steps);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_EXPLORER_JUDGE_H_
