// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_REPLAY_REPLAY_H_
#define NVMX_BACKENDS_SIM_REPLAY_REPLAY_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/sim/explorer/scenario.h"
#include "backends/sim/explorer/schedule.h"
#include "backends/sim/machine/machine.h"

namespace nvmx::sim {

// How a run ended.
enum class Ending : uint8_t {
  kComplete,  // every program is at its end
  kDeadlock,  // nobody can move, and somebody is not at its end
  kOpen,      // the schedule ends, and somebody could still move
};

// Where a schedule stopped meaning what it meant when it was made.
struct Divergence {
  size_t step;  // counted from 0
  std::string what;
};

// An NMI of a device that the schedule does not have, before the step of that number (counted from
// 0).
struct ExtraNmi {
  uint32_t cpu;
  size_t step;
};

struct ReplayOptions {
  bool keep_trace = false;
  // Take a digest of the whole state behind each step; costs several times the run.
  bool chain_states = false;
  // Go on after the first divergence, leaving out the choices that are not possible.
  bool continue_after_divergence = false;
  std::vector<ExtraNmi> extra_nmis;
  // When the schedule is over, let the CPUs run on in turn until nobody can move.
  bool run_to_end = false;
};

struct ReplayResult {
  std::unique_ptr<Machine> machine;
  Ending ending = Ending::kOpen;
  std::optional<Divergence> divergence;
  // What was really done, with marks: of the schedule and of what followed it.
  std::vector<ScheduleStep> steps;
  std::vector<uint16_t> marks;
  // Of chain_states: the digest of the digests.
  uint64_t state_chain = 0;
};

// Runs the real code on all CPUs under the schedule.
absl::StatusOr<ReplayResult> Replay(const Scenario& scenario,
                                    const std::vector<ScheduleStep>& steps,
                                    const std::vector<uint16_t>& marks,
                                    const ReplayOptions& options = {});

// The marks of steps that are known to be possible: see Schedule.
absl::StatusOr<Schedule> MakeSchedule(const Scenario& scenario, std::vector<ScheduleStep> steps);

// What is about to happen at a step, as a short text and as a mark.
std::string DescribeStep(const Machine& machine, ScheduleStep step);
uint16_t MarkOf(const Machine& machine, ScheduleStep step);

// Lets the CPUs run in turn, NMIs first, until nobody can move. Deterministic. Bounded.
void RunInTurn(Machine& machine, ReplayResult& result);

Ending EndingOf(const Machine& machine);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_REPLAY_REPLAY_H_
