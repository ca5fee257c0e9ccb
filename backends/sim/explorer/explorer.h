// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_EXPLORER_EXPLORER_H_
#define NVMX_BACKENDS_SIM_EXPLORER_EXPLORER_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/sim/explorer/global_model.h"
#include "backends/sim/explorer/scenario.h"
#include "backends/sim/explorer/schedule.h"

namespace nvmx::sim {

// Where in a failing schedule the failure became certain.
struct Doom {
  // The first step after which every continuation fails, counted from 0; before it some pass.
  // Nothing if even the initial state is doomed.
  std::optional<size_t> first_doomed_step;
  // The shortest schedule that shares the steps before that one and passes.
  std::vector<ScheduleStep> nearest_passing;
  uint64_t doomed_states = 0;
};

struct Finding {
  Verdict verdict;
  std::vector<ScheduleStep> steps;  // the shortest there is
};

struct ExploreProgress {
  uint64_t states, transitions, waiting;  // waiting: found and not expanded yet
  uint32_t depth;
  double seconds;
};

struct ExploreOptions {
  // Give up beyond this many states; what is found then is true, but proves nothing about the rest.
  uint64_t max_states = 200'000'000;
  bool use_symmetry = true;
  // Find where the failure became certain. Needs the whole graph, so only up to this many
  // transitions.
  uint64_t max_doom_transitions = 60'000'000;
  // Instead of the shortest deadlock: the failing schedule whose doom is wanted.
  const std::vector<ScheduleStep>* analyze = nullptr;
  // Set from a signal handler to stop early.
  const std::atomic<bool>* stop = nullptr;
  // Called about twice a second on long runs.
  std::function<void(const ExploreProgress&)> progress;
};

struct ExploreResult {
  // Every schedule was tried. Otherwise only the findings are worth something.
  bool exhausted = false;
  const char* cut_off_by = "";  // why not
  uint64_t states = 0;
  uint64_t transitions = 0;
  uint32_t depth = 0;      // length of the longest shortest way to a state
  uint64_t ends = 0;       // states in which nobody can move
  bool merges = false;     // some schedule lets a latch merge two NMIs
  bool exchanges = false;  // in some, an NMI of the guest's acknowledges a quiesce
  bool acyclic = false;    // no schedule is endless; meaningful if exhausted and analyzed
  bool analyzed = false;
  uint64_t graph_digest = 0;  // of all states; equal runs have equal digests
  size_t local_states = 0;
  size_t learned_steps = 0;
  uint32_t classes = 0;
  double seconds = 0;
  uint64_t bytes = 0;  // memory for the states
  // For each verdict but kCompletes the shortest schedule that shows it.
  std::vector<Finding> findings;
  std::optional<Doom> doom;  // of the worst finding, if it is a deadlock

  // The worst verdict found.
  Verdict verdict() const;
  const Finding* Worst() const;
};

// Tries every schedule of the scenario, shortest first. Fails if the scenario cannot be explored
// (an IPI that is no NMI, a setup that does not end ...).
absl::StatusOr<ExploreResult> Explore(const Scenario& scenario, const ExploreOptions& options);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_EXPLORER_EXPLORER_H_
