// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_EXPLORER_HUNT_H_
#define NVMX_BACKENDS_SIM_EXPLORER_HUNT_H_

#include <atomic>
#include <cstdint>

#include "absl/status/statusor.h"
#include "backends/sim/explorer/explorer.h"
#include "backends/sim/explorer/scenario.h"

namespace nvmx::sim {

// Ways to pick single schedules, for set-ups that are too large to try them all.
enum class Strategy : uint8_t {
  kRandom,  // every possible choice is equally likely
  kPct,     // random priorities with a few random changes of them: finds a bug that needs k ordered
         // events with a probability of at least 1 / (CPUs * steps^(k-1)) in each schedule
         // (Burckhardt and others, ASPLOS 2010)
};

struct HuntOptions {
  Strategy strategy = Strategy::kPct;
  uint64_t seed = 1;
  uint64_t schedules = 100'000;
  // Changes of priority in a schedule, of kPct.
  uint32_t changes = 2;
  const std::atomic<bool>* stop = nullptr;
};

struct HuntResult {
  uint64_t schedules = 0;
  uint64_t steps = 0;
  uint64_t failures = 0;
  double seconds = 0;
  // The shortest failing schedule that was met, of the worst kind. It proves nothing about the
  // others.
  std::vector<Finding> findings;
  bool merges = false;
  bool exchanges = false;
};

// Runs that many schedules. The same seed gives the same ones.
absl::StatusOr<HuntResult> Hunt(const Scenario& scenario, const HuntOptions& options);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_EXPLORER_HUNT_H_
