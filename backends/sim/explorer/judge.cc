// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/explorer/judge.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "backends/sim/explorer/global_model.h"

namespace nvmx::sim {
namespace {

// Far beyond the end of every schedule of a scenario that can be explored.
constexpr size_t kMostSteps = 1'000'000;

// The first step that is possible, from this CPU on.
std::optional<ScheduleStep> NextInTurn(const GlobalModel& model, const GlobalState& state,
                                       size_t turn) {
  for (uint32_t i = 0; i < model.cpu_count(); ++i) {
    const auto cpu = static_cast<uint8_t>((turn + i) % model.cpu_count());
    for (const Choice choice : {Choice::kTakeNmi, Choice::kStep}) {
      if (model.IsPossible(state, cpu, choice)) return ScheduleStep{cpu, choice};
    }
  }
  return std::nullopt;
}

absl::StatusOr<Verdict> RunToTheEnd(GlobalModel& model, const std::vector<ScheduleStep>& steps) {
  GlobalState state = model.Initial();
  Verdict worst = Verdict::kCompletes;
  for (size_t number = 0; number < kMostSteps; ++number) {
    std::optional<ScheduleStep> step;
    if (number < steps.size()) {
      step = steps[number];
      if (!model.IsPossible(state, step->cpu, step->choice)) {
        return absl::InvalidArgumentError(
            absl::StrCat("step ", number + 1, " of the schedule is not possible"));
      }
    } else if (!model.IsTerminal(state)) {
      step = NextInTurn(model, state, number);
    }
    if (!step) return std::max(worst, model.JudgeTerminal(state));
    GlobalEffects effects;
    if (!model.Apply(state, step->cpu, step->choice, effects)) return model.status();
    worst = std::max(worst, effects.broken);
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
