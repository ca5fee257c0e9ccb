// SPDX-License-Identifier: Apache-2.0
#include "fuzz/schedule_input.h"

#include <algorithm>
#include <utility>

namespace nvmx::fuzz {
namespace {

using sim::Choice;
using sim::GlobalModel;
using sim::GlobalState;
using sim::ScheduleStep;
using sim::Verdict;

constexpr size_t kMostSteps = 1000;

size_t PossibleSteps(const GlobalModel& model, const GlobalState& state,
                     std::array<ScheduleStep, 3 * sim::kMaxExploredCpus>& steps) {
  size_t count = 0;
  for (uint8_t cpu = 0; cpu < model.cpu_count(); ++cpu) {
    for (const Choice choice : sim::kAllChoices) {
      if (model.IsPossible(state, cpu, choice)) steps[count++] = {cpu, choice};
    }
  }
  return count;
}

// The state and its steps in one place, so that both directions agree.
class Walker {
 public:
  explicit Walker(GlobalModel& model) : model_(model), state_(model.Initial()) { Look(); }

  bool IsOver() const { return count_ == 0; }
  size_t count() const { return count_; }
  ScheduleStep step(size_t number) const { return possible_[number]; }
  const GlobalState& state() const { return state_; }
  // False: the model cannot go on.
  bool Take(size_t number, Verdict& verdict) {
    sim::GlobalEffects effects;
    if (!model_.Apply(state_, possible_[number].cpu, possible_[number].choice, effects)) {
      return false;
    }
    verdict = std::max(verdict, effects.broken);
    Look();
    return true;
  }

 private:
  void Look() { count_ = model_.IsTerminal(state_) ? 0 : PossibleSteps(model_, state_, possible_); }

  GlobalModel& model_;
  GlobalState state_;
  std::array<ScheduleStep, 3 * sim::kMaxExploredCpus> possible_;
  size_t count_ = 0;
};

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
  run.steps.clear();
  run.states.clear();
  run.verdict = Verdict::kCompletes;
  GlobalModel& model = *run.scenario->model;
  Walker walker(model);
  while (!walker.IsOver() && run.steps.size() < kMostSteps) {
    const size_t position = run.steps.size() + 1;
    const size_t choice =
        position < bytes.size() ? std::to_integer<size_t>(bytes[position]) : run.steps.size();
    const size_t number = choice % walker.count();
    run.steps.push_back(walker.step(number));
    if (!walker.Take(number, run.verdict)) return model.status();
    run.states.push_back(walker.state());
  }
  run.complete = walker.IsOver();
  if (run.complete) run.verdict = std::max(run.verdict, model.JudgeTerminal(walker.state()));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::byte>> EncodeSchedule(std::vector<FuzzedScenario>& scenarios,
                                                      size_t scenario,
                                                      std::span<const ScheduleStep> steps) {
  std::vector<std::byte> bytes = {static_cast<std::byte>(scenario)};
  Walker walker(*scenarios[scenario].model);
  Verdict verdict = Verdict::kCompletes;
  for (const ScheduleStep& step : steps) {
    size_t number = 0;
    while (number < walker.count() && !(walker.step(number) == step)) ++number;
    if (number == walker.count()) {
      return absl::InvalidArgumentError("a step of the schedule is not possible");
    }
    bytes.push_back(static_cast<std::byte>(number));
    if (!walker.Take(number, verdict)) return scenarios[scenario].model->status();
  }
  return bytes;
}

}  // namespace nvmx::fuzz
