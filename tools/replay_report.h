// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_TOOLS_REPLAY_REPORT_H_
#define NVMX_TOOLS_REPLAY_REPORT_H_

#include <string>

#include "absl/status/statusor.h"
#include "backends/sim/explorer/scenario.h"
#include "backends/sim/explorer/schedule.h"
#include "backends/sim/replay/replay.h"

namespace nvmx::tools {

// What `nvmx replay` prints of a run that has ended: the machine's state CPU by CPU, and, if nobody
// can move, why, since when, and what would have helped. Depends on nothing but its arguments.
absl::StatusOr<std::string> ReplayReport(const sim::Scenario& scenario,
                                         const sim::Schedule& schedule,
                                         const sim::ReplayResult& result);

}  // namespace nvmx::tools

#endif  // NVMX_TOOLS_REPLAY_REPORT_H_
