// SPDX-License-Identifier: Apache-2.0
//
// What exploring and replaying cost. bazel run //backends/sim:explorer_benchmark
#include <cstdint>

#include "backends/sim/explorer/explorer.h"
#include "backends/sim/explorer/hunt.h"
#include "backends/sim/replay/replay.h"
#include "benchmark/benchmark.h"

namespace nvmx::sim {
namespace {

// The correct code with that many CPUs and device NMIs, exhaustively; the rate is of states.
void BM_Explore(benchmark::State& state) {
  const auto cpus = static_cast<uint32_t>(state.range(0));
  const auto device_nmis = static_cast<int>(state.range(1));
  const Scenario scenario = *LoadScenario("correct", {cpus, "", device_nmis});
  uint64_t states = 0;
  for (auto unused : state) {
    const absl::StatusOr<ExploreResult> result = Explore(scenario, {});
    states += result->states;
  }
  state.counters["states"] = static_cast<double>(states) / static_cast<double>(state.iterations());
  state.counters["states/s"] =
      benchmark::Counter(static_cast<double>(states), benchmark::Counter::kIsRate);
}
BENCHMARK(BM_Explore)
    ->Args({2, 0})
    ->Args({3, 0})
    ->Args({4, 0})
    ->Args({2, 1})
    ->Args({3, 1})
    ->Unit(benchmark::kMillisecond);

// Single schedules with random priorities; the rate is of schedules.
void BM_Hunt(benchmark::State& state) {
  const Scenario scenario =
      *LoadScenario("correct", {static_cast<uint32_t>(state.range(0)), "", 0});
  HuntOptions options;
  options.schedules = 1000;
  for (auto unused : state) benchmark::DoNotOptimize(Hunt(scenario, options));
  state.SetItemsProcessed(static_cast<int64_t>(options.schedules) * state.iterations());
}
BENCHMARK(BM_Hunt)->Arg(2)->Arg(4)->Arg(8)->Unit(benchmark::kMillisecond);

// The real code on all CPUs, from building the machine to the end of the programs.
void BM_Replay(benchmark::State& state) {
  const Scenario scenario =
      *LoadScenario("correct", {static_cast<uint32_t>(state.range(0)), "", 0});
  ReplayOptions options;
  options.run_to_end = true;
  for (auto unused : state) benchmark::DoNotOptimize(Replay(scenario, {}, {}, options));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_Replay)->Arg(2)->Arg(4);

}  // namespace
}  // namespace nvmx::sim
