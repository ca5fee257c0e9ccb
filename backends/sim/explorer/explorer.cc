// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/explorer/explorer.h"

#include <algorithm>
#include <chrono>
#include <memory>

#include "backends/sim/explorer/doom.h"
#include "backends/sim/explorer/state_table.h"

namespace nvmx::sim {
namespace {

using Clock = std::chrono::steady_clock;
constexpr uint64_t kStatesBetweenLooks = 1 << 14;

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// One breadth-first search.
class Search {
 public:
  Search(const Scenario& scenario, const ExploreOptions& options, GlobalModel& model)
      : options_(options), model_(model), table_(scenario.cpus) {}

  // False if it was cut off.
  bool Run(ExploreResult& result) {
    table_.Insert(model_.Canonical(model_.Initial()), StateTable::kNone, {0, Choice::kStep});
    StateTable::Number level_end = 1;
    auto last_report = Clock::now();
    for (StateTable::Number number = 0; number < table_.size(); ++number) {
      if (number == level_end) {
        ++result.depth;
        level_end = table_.size();
      }
      if (number % kStatesBetweenLooks == 0 && ShouldStop(result, number, last_report))
        return false;
      if (!Expand(number, result)) return false;
      if (table_.size() > options_.max_states) {
        result.cut_off_by = "more states than the bound";
        return false;
      }
    }
    return true;
  }

  StateTable& table() { return table_; }

  // The concrete steps of the way to a state, and one more step if `last` is given. The table's
  // steps name places in the canonical order; which CPU stands there is found by going along.
  std::vector<ScheduleStep> WayTo(StateTable::Number number, const ScheduleStep* last) {
    std::vector<ScheduleStep> places;
    if (last != nullptr) places.push_back(*last);
    for (; table_.parent(number) != StateTable::kNone; number = table_.parent(number)) {
      places.push_back(table_.by(number));
    }
    std::reverse(places.begin(), places.end());
    return Concretize(model_, model_.Initial(), places);
  }

 private:
  bool ShouldStop(ExploreResult& result, StateTable::Number number,
                  Clock::time_point& last_report) {
    if (options_.stop != nullptr && options_.stop->load(std::memory_order_relaxed)) {
      result.cut_off_by = "interrupted";
      return true;
    }
    const auto now = Clock::now();
    if (options_.progress && now - last_report > std::chrono::milliseconds(500)) {
      last_report = now;
      options_.progress({table_.size(), result.transitions, table_.size() - uint64_t{number},
                         result.depth, SecondsSince(begin_)});
    }
    return false;
  }

  bool Expand(StateTable::Number number, ExploreResult& result) {
    const GlobalState state = table_.At(number);
    if (model_.IsTerminal(state)) {
      ++result.ends;
      NoteFinding(model_.JudgeTerminal(state), number, nullptr, result);
    }
    for (uint8_t cpu = 0; cpu < model_.cpu_count(); ++cpu) {
      if (model_.IsTwinOfPredecessor(state, cpu)) continue;
      for (Choice choice : kAllChoices) {
        if (!model_.IsPossible(state, cpu, choice)) continue;
        GlobalState next = state;
        GlobalEffects effects;
        if (!model_.Apply(next, cpu, choice, effects)) return false;
        ++result.transitions;
        result.merges |= effects.merged;
        result.exchanges |= effects.exchanged;
        const ScheduleStep step{cpu, choice};
        if (effects.broken != Verdict::kCompletes) {
          NoteFinding(effects.broken, number, &step, result);
        }
        table_.Insert(model_.Canonical(next), number, step);
      }
    }
    return true;
  }

  // Breadth first: the first of each kind is the shortest.
  void NoteFinding(Verdict verdict, StateTable::Number number, const ScheduleStep* last,
                   ExploreResult& result) {
    if (verdict == Verdict::kCompletes) return;
    for (const Finding& finding : result.findings) {
      if (finding.verdict == verdict) return;
    }
    result.findings.push_back({verdict, WayTo(number, last)});
  }

  const ExploreOptions& options_;
  GlobalModel& model_;
  StateTable table_;
  const Clock::time_point begin_ = Clock::now();
};

}  // namespace

const Finding* ExploreResult::Worst() const {
  const Finding* worst = nullptr;
  for (const Finding& finding : findings) {
    if (worst == nullptr || finding.verdict > worst->verdict) worst = &finding;
  }
  return worst;
}

Verdict ExploreResult::verdict() const {
  const Finding* worst = Worst();
  return worst == nullptr ? Verdict::kCompletes : worst->verdict;
}

absl::StatusOr<ExploreResult> Explore(const Scenario& scenario, const ExploreOptions& options) {
  const auto begin = Clock::now();
  absl::StatusOr<std::unique_ptr<GlobalModel>> model =
      GlobalModel::Create(scenario, options.use_symmetry);
  if (!model.ok()) return model.status();
  for (;;) {
    ExploreResult result;
    auto search = std::make_unique<Search>(scenario, options, **model);
    result.exhausted = search->Run(result);
    if (!(*model)->status().ok()) return (*model)->status();
    if ((*model)->must_restart()) continue;
    StateTable& table = search->table();
    if (result.exhausted && result.transitions <= options.max_doom_transitions) {
      AnalyzeGraph(**model, table, options.analyze, result);
    }
    result.states = table.size();
    result.graph_digest = table.Digest();
    result.bytes = table.bytes();
    result.local_states = (*model)->local_states();
    result.learned_steps = (*model)->learned_steps();
    result.classes = (*model)->class_count();
    result.seconds = SecondsSince(begin);
    return result;
  }
}

}  // namespace nvmx::sim
