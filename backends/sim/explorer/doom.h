// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_EXPLORER_DOOM_H_
#define NVMX_BACKENDS_SIM_EXPLORER_DOOM_H_

#include <span>
#include <vector>

#include "backends/sim/explorer/explorer.h"
#include "backends/sim/explorer/global_model.h"
#include "backends/sim/explorer/state_table.h"

namespace nvmx::sim {

// Looks at the whole graph backwards from its ends: whether it has a cycle (a schedule without an
// end), which states are doomed (nothing but failures can be reached from them), and, for the
// shortest deadlock, which step doomed it and what the shortest way out before that step would have
// been. `schedule`, if given, is a failing one to look at instead of the shortest deadlock. Fills
// `acyclic`, `analyzed` and `doom`. The table is complete.
void AnalyzeGraph(GlobalModel& model, const StateTable& table,
                  const std::vector<ScheduleStep>* schedule, ExploreResult& result);

// Turns steps that name places in canonical states into steps that name CPUs, from `state` on.
std::vector<ScheduleStep> Concretize(GlobalModel& model, GlobalState state,
                                     std::span<const ScheduleStep> places);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_EXPLORER_DOOM_H_
