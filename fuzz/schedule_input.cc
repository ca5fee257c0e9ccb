// SPDX-License-Identifier: Apache-2.0
#include "fuzz/schedule_input.h"

#include <algorithm>
#include <utility>

#include "backends/sim/explorer/schedule_walk.h"

namespace nvmx::fuzz {
namespace {

using sim::GlobalModel;
using sim::ScheduleStep;
using sim::Verdict;

constexpr size_t kMostSteps = 1000;

absl::Status WalkOnce(sim::GlobalModel& model, std::span<const std::byte> bytes, ScheduleRun& run) {
  run.steps.clear();
  run.states.clear();
  sim::ScheduleWalk walk(model);
  while (!walk.IsOver() && run.steps.size() < kMostSteps) {
    const size_t position = run.steps.size() + 1;
    const size_t choice =
        position < bytes.size() ? std::to_integer<size_t>(bytes[position]) : run.steps.size();
    const ScheduleStep step = walk.possible()[choice % walk.possible().size()];
    run.steps.push_back(step);
    if (!walk.Take(step)) return model.status();
    run.states.push_back(walk.state());
  }
  run.complete = walk.IsOver();
  run.verdict = walk.verdict();
  return absl::OkStatus();
}

}  // namespace

std::vector<FuzzedScenario> Scenarios(const std::string& variant) {
  std::vector<FuzzedScenario> scenarios;
  for (const std::string& name : sim::ScenarioNames()) {
    absl::StatusOr<sim::Scenario> scenario = sim::LoadScenario(name);
    if (!scenario.ok() || scenario->expected != Verdict::kCompletes ||
        scenario->variant != "correct") {
      continue;
    }
    if (!variant.empty()) scenario->variant = variant;
    // The model refers to the scenario, which must not move.
    FuzzedScenario entry{*std::move(scenario), nullptr};
    scenarios.push_back(std::move(entry));
  }
  std::erase_if(scenarios, [](const FuzzedScenario& entry) {
    return !GlobalModel::Create(entry.scenario, /*use_symmetry=*/false).ok();
  });
  for (FuzzedScenario& entry : scenarios) {
    entry.model = *GlobalModel::Create(entry.scenario, /*use_symmetry=*/false);
  }
  return scenarios;
}

absl::Status RunSchedule(std::vector<FuzzedScenario>& scenarios, std::span<const std::byte> bytes,
                         ScheduleRun& run) {
  if (bytes.empty()) return absl::InvalidArgumentError("a schedule without a scenario");
  run.scenario = &scenarios[std::to_integer<size_t>(bytes[0]) % scenarios.size()];
  GlobalModel& model = *run.scenario->model;
  absl::Status status;
  do {
    status = WalkOnce(model, bytes, run);
  } while (model.must_restart());
  return status;
}

absl::StatusOr<std::vector<std::byte>> EncodeSchedule(std::vector<FuzzedScenario>& scenarios,
                                                      size_t scenario,
                                                      std::span<const ScheduleStep> steps) {
  std::vector<std::byte> bytes = {static_cast<std::byte>(scenario)};
  sim::ScheduleWalk walk(*scenarios[scenario].model);
  for (const ScheduleStep& step : steps) {
    const auto place = std::ranges::find(walk.possible(), step);
    if (place == walk.possible().end()) {
      return absl::InvalidArgumentError("a step of the schedule is not possible");
    }
    bytes.push_back(static_cast<std::byte>(place - walk.possible().begin()));
    if (!walk.Take(step)) return scenarios[scenario].model->status();
  }
  return bytes;
}

}  // namespace nvmx::fuzz
