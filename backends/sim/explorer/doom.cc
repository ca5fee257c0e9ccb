// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/explorer/doom.h"

#include <algorithm>
#include <utility>

namespace nvmx::sim {
namespace {

using Number = StateTable::Number;

// The edges of the graph, both ways, in two arrays each.
struct Graph {
  std::vector<uint64_t> first_successor;  // index into successors, one more than there are states
  std::vector<Number> successors;
  std::vector<uint64_t> first_predecessor;
  std::vector<Number> predecessors;
};

// Calls visit(step, successor) for each step that leads out of a state.
template <typename Visit>
void ForEachSuccessor(GlobalModel& model, const StateTable& table, const GlobalState& state,
                      Visit visit) {
  for (uint8_t cpu = 0; cpu < model.cpu_count(); ++cpu) {
    if (model.IsTwinOfPredecessor(state, cpu)) continue;
    for (Choice choice : kAllChoices) {
      if (!model.IsPossible(state, cpu, choice)) continue;
      GlobalState next = state;
      GlobalEffects effects;
      model.Apply(next, cpu, choice, effects);
      visit(ScheduleStep{cpu, choice}, table.Find(model.Canonical(next)));
    }
  }
}

Graph BuildGraph(GlobalModel& model, const StateTable& table) {
  Graph graph;
  std::vector<uint64_t> in_degree(table.size() + size_t{1}, 0);
  for (Number number = 0; number < table.size(); ++number) {
    graph.first_successor.push_back(graph.successors.size());
    ForEachSuccessor(model, table, table.At(number), [&](ScheduleStep, Number next) {
      graph.successors.push_back(next);
      ++in_degree[next];
    });
  }
  graph.first_successor.push_back(graph.successors.size());
  graph.first_predecessor.assign(table.size() + size_t{1}, 0);
  for (Number number = 0; number < table.size(); ++number) {
    graph.first_predecessor[number + 1] = graph.first_predecessor[number] + in_degree[number];
  }
  graph.predecessors.resize(graph.successors.size());
  std::vector<uint64_t> fill = graph.first_predecessor;
  for (Number number = 0; number < table.size(); ++number) {
    for (uint64_t edge = graph.first_successor[number]; edge < graph.first_successor[number + 1];
         ++edge) {
      graph.predecessors[fill[graph.successors[edge]]++] = number;
    }
  }
  return graph;
}

// Takes away states without successors until none is left: what remains lies on cycles or leads
// only into them.
bool IsAcyclic(const Graph& graph, Number count) {
  std::vector<uint32_t> open(count);
  std::vector<Number> ready;
  for (Number number = 0; number < count; ++number) {
    open[number] =
        static_cast<uint32_t>(graph.first_successor[number + 1] - graph.first_successor[number]);
    if (open[number] == 0) ready.push_back(number);
  }
  Number removed = 0;
  while (!ready.empty()) {
    const Number number = ready.back();
    ready.pop_back();
    ++removed;
    for (uint64_t edge = graph.first_predecessor[number];
         edge < graph.first_predecessor[number + 1]; ++edge) {
      if (--open[graph.predecessors[edge]] == 0) ready.push_back(graph.predecessors[edge]);
    }
  }
  return removed == count;
}

constexpr uint32_t kDoomed = ~uint32_t{0};

// For each state how many steps the shortest way to a good end has; kDoomed if there is none.
std::vector<uint32_t> StepsToGoodEnd(const GlobalModel& model, const StateTable& table,
                                     const Graph& graph) {
  std::vector<uint32_t> steps(table.size(), kDoomed);
  std::vector<Number> level;
  for (Number number = 0; number < table.size(); ++number) {
    const GlobalState state = table.At(number);
    if (model.IsTerminal(state) && model.JudgeTerminal(state) == Verdict::kCompletes) {
      steps[number] = 0;
      level.push_back(number);
    }
  }
  for (uint32_t distance = 1; !level.empty(); ++distance) {
    std::vector<Number> next;
    for (Number number : level) {
      for (uint64_t edge = graph.first_predecessor[number];
           edge < graph.first_predecessor[number + 1]; ++edge) {
        const Number before = graph.predecessors[edge];
        if (steps[before] != kDoomed) continue;
        steps[before] = distance;
        next.push_back(before);
      }
    }
    level = std::move(next);
  }
  return steps;
}

Number Locate(GlobalModel& model, const StateTable& table, const GlobalState& state) {
  return table.Find(model.Canonical(state));
}

// The shortest way from a concrete state to a good end.
std::vector<ScheduleStep> WayToGoodEnd(GlobalModel& model, const StateTable& table,
                                       const std::vector<uint32_t>& steps, GlobalState state) {
  std::vector<ScheduleStep> way;
  Number at = Locate(model, table, state);
  while (steps[at] != 0) {
    const uint32_t wanted = steps[at] - 1;
    bool found = false;
    for (uint8_t cpu = 0; cpu < model.cpu_count() && !found; ++cpu) {
      for (Choice choice : kAllChoices) {
        if (!model.IsPossible(state, cpu, choice)) continue;
        GlobalState next = state;
        GlobalEffects effects;
        model.Apply(next, cpu, choice, effects);
        const Number number = Locate(model, table, next);
        if (steps[number] != wanted) continue;
        way.push_back({cpu, choice});
        state = next;
        at = number;
        found = true;
        break;
      }
    }
    if (!found) break;
  }
  return way;
}

Doom FindDoom(GlobalModel& model, const StateTable& table, const std::vector<uint32_t>& steps,
              const std::vector<ScheduleStep>& failing) {
  Doom doom;
  doom.doomed_states = static_cast<uint64_t>(std::count(steps.begin(), steps.end(), kDoomed));
  GlobalState state = model.Initial();
  if (steps[Locate(model, table, state)] == kDoomed) return doom;
  for (size_t position = 0; position < failing.size(); ++position) {
    const GlobalState before = state;
    GlobalEffects effects;
    model.Apply(state, failing[position].cpu, failing[position].choice, effects);
    if (steps[Locate(model, table, state)] != kDoomed) continue;
    doom.first_doomed_step = position;
    doom.nearest_passing.assign(failing.begin(),
                                failing.begin() + static_cast<ptrdiff_t>(position));
    for (ScheduleStep step : WayToGoodEnd(model, table, steps, before)) {
      doom.nearest_passing.push_back(step);
    }
    break;
  }
  return doom;
}

}  // namespace

std::vector<ScheduleStep> Concretize(GlobalModel& model, GlobalState state,
                                     std::span<const ScheduleStep> places) {
  std::vector<ScheduleStep> steps;
  for (ScheduleStep place : places) {
    std::array<uint8_t, kMaxExploredCpus> order;
    model.Canonical(state, &order);
    const ScheduleStep step{order[place.cpu], place.choice};
    GlobalEffects effects;
    model.Apply(state, step.cpu, step.choice, effects);
    steps.push_back(step);
  }
  return steps;
}

void AnalyzeGraph(GlobalModel& model, const StateTable& table,
                  const std::vector<ScheduleStep>* schedule, ExploreResult& result) {
  const Graph graph = BuildGraph(model, table);
  result.acyclic = IsAcyclic(graph, table.size());
  result.analyzed = true;
  if (schedule == nullptr) {
    const Finding* worst = result.Worst();
    if (worst == nullptr || worst->verdict != Verdict::kDeadlock) return;
    schedule = &worst->steps;
  }
  result.doom = FindDoom(model, table, StepsToGoodEnd(model, table, graph), *schedule);
}

}  // namespace nvmx::sim
