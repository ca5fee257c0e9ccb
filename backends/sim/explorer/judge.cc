// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/explorer/judge.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "backends/sim/explorer/global_model.h"
#include "backends/sim/explorer/schedule_walk.h"

namespace nvmx::sim {
namespace {

// Far beyond the end of every schedule of a scenario that can be explored.
constexpr size_t kMostSteps = 1'000'000;

// The first step that is possible, from this CPU on.
ScheduleStep NextInTurn(const ScheduleWalk& walk, uint32_t cpu_count, size_t turn) {
  const auto distance = [&](const ScheduleStep& step) {
    return (step.cpu + cpu_count - turn % cpu_count) % cpu_count;
  };
  // An NMI before the next step; none from a device.
  const auto rank = [&](const ScheduleStep& step) {
    return std::tuple(step.choice == Choice::kDeviceNmi, distance(step),
                      step.choice != Choice::kTakeNmi);
  };
  return *std::ranges::min_element(walk.possible(), {}, rank);
}

absl::StatusOr<Verdict> RunToTheEnd(GlobalModel& model, const std::vector<ScheduleStep>& steps) {
  ScheduleWalk walk(model);
  for (size_t number = 0; number < kMostSteps; ++number) {
    ScheduleStep step;
    if (number < steps.size()) {
      step = steps[number];
      if (std::ranges::find(walk.possible(), step) == walk.possible().end()) {
        return absl::InvalidArgumentError(
            absl::StrCat("step ", number + 1, " of the schedule is not possible"));
      }
    } else {
      if (walk.IsOver()) return walk.verdict();
      step = NextInTurn(walk, model.cpu_count(), number);
    }
    if (!walk.Take(step)) return model.status();
  }
  return absl::ResourceExhaustedError("the CPUs do not come to an end");
}

}  // namespace

absl::StatusOr<Verdict> JudgeSchedule(const Scenario& scenario,
                                      const std::vector<ScheduleStep>& steps) {
  absl::StatusOr<std::unique_ptr<GlobalModel>> model =
      GlobalModel::Create(scenario, /*use_symmetry=*/false);
  if (!model.ok()) return model.status();
  absl::StatusOr<Verdict> verdict;
  do {
    verdict = RunToTheEnd(**model, steps);
  } while ((*model)->must_restart());
  return verdict;
}

}  // namespace nvmx::sim
