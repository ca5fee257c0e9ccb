// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/explorer/hunt.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "backends/sim/explorer/global_model.h"

namespace nvmx::sim {
namespace {

constexpr size_t kMaxStepsOfOne = 100'000;

// A generator whose numbers are the same everywhere (SplitMix64); the standard library's
// distributions are not.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
  }
  size_t Below(size_t bound) { return static_cast<size_t>(Next() % bound); }

 private:
  uint64_t state_;
};

constexpr size_t kActors = 2 * kMaxExploredCpus;

// A CPU is one actor, and the devices that may interrupt it are another.
size_t Actor(ScheduleStep step) {
  return 2 * step.cpu + (step.choice == Choice::kDeviceNmi ? 1 : 0);
}

// Picks the choices of one schedule. A CPU that could take its NMI does so, or does not yet, with
// equal probability: with a priority of their own, NMIs would nearly always be taken at once or not
// before the CPU has to wait.
class Picker {
 public:
  Picker(const HuntOptions& options, Random& random, size_t expected_steps)
      : strategy_(options.strategy), random_(random) {
    for (size_t actor = 0; actor < kActors; ++actor) priority_[actor] = actor + kActors;
    for (size_t actor = kActors - 1; actor > 0; --actor) {
      std::swap(priority_[actor], priority_[random_.Below(actor + 1)]);
    }
    for (uint32_t change = 0; change < options.changes; ++change) {
      change_at_.push_back(random_.Below(std::max<size_t>(expected_steps, 1)));
    }
  }

  ScheduleStep Pick(const std::vector<ScheduleStep>& possible, size_t position) {
    if (strategy_ == Strategy::kRandom) return possible[random_.Below(possible.size())];
    const auto best =
        std::max_element(possible.begin(), possible.end(), [this](ScheduleStep a, ScheduleStep b) {
          return priority_[Actor(a)] < priority_[Actor(b)];
        });
    ScheduleStep picked = *best;
    if (picked.choice == Choice::kTakeNmi || picked.choice == Choice::kStep) {
      std::vector<ScheduleStep> same;
      for (ScheduleStep step : possible) {
        if (Actor(step) == Actor(picked)) same.push_back(step);
      }
      picked = same[random_.Below(same.size())];
    }
    if (std::find(change_at_.begin(), change_at_.end(), position) != change_at_.end()) {
      priority_[Actor(picked)] = lowest_--;
    }
    return picked;
  }

 private:
  const Strategy strategy_;
  Random& random_;
  std::array<size_t, kActors> priority_;
  size_t lowest_ = kActors - 1;
  std::vector<size_t> change_at_;
};

void Keep(HuntResult& result, Verdict verdict, const std::vector<ScheduleStep>& steps) {
  for (Finding& finding : result.findings) {
    if (finding.verdict != verdict) continue;
    if (steps.size() < finding.steps.size()) finding.steps = steps;
    return;
  }
  result.findings.push_back({verdict, steps});
}

std::vector<ScheduleStep> PossibleSteps(const GlobalModel& model, const GlobalState& state) {
  std::vector<ScheduleStep> possible;
  for (uint8_t cpu = 0; cpu < model.cpu_count(); ++cpu) {
    for (Choice choice : kAllChoices) {
      if (model.IsPossible(state, cpu, choice)) possible.push_back({cpu, choice});
    }
  }
  return possible;
}

// One schedule, to its end. False if the model failed.
bool RunOne(GlobalModel& model, Picker& picker, HuntResult& result, size_t& length) {
  GlobalState state = model.Initial();
  std::vector<ScheduleStep> steps;
  Verdict worst = Verdict::kCompletes;
  while (steps.size() < kMaxStepsOfOne) {
    const bool terminal = model.IsTerminal(state);
    if (terminal) worst = std::max(worst, model.JudgeTerminal(state));
    if (terminal) break;
    const ScheduleStep step = picker.Pick(PossibleSteps(model, state), steps.size());
    GlobalEffects effects;
    if (!model.Apply(state, step.cpu, step.choice, effects)) return false;
    steps.push_back(step);
    result.merges |= effects.merged;
    result.exchanges |= effects.exchanged;
    worst = std::max(worst, effects.broken);
  }
  length = steps.size();
  result.steps += steps.size();
  ++result.schedules;
  if (worst == Verdict::kCompletes) return true;
  ++result.failures;
  Keep(result, worst, steps);
  return true;
}

}  // namespace

absl::StatusOr<HuntResult> Hunt(const Scenario& scenario, const HuntOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  absl::StatusOr<std::unique_ptr<GlobalModel>> model =
      GlobalModel::Create(scenario, /*use_symmetry=*/true);
  if (!model.ok()) return model.status();
  Random random(options.seed);
  HuntResult result;
  size_t longest = 1;
  while (result.schedules < options.schedules) {
    if (options.stop != nullptr && options.stop->load(std::memory_order_relaxed)) break;
    Picker picker(options, random, longest);
    size_t length = 0;
    if (!RunOne(**model, picker, result, length)) return (*model)->status();
    longest = std::max(longest, length);
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

}  // namespace nvmx::sim
