// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "backends/sim/explorer/explorer.h"
#include "backends/sim/explorer/hunt.h"
#include "backends/sim/replay/replay.h"
#include "tools/command_line.h"
#include "tools/commands.h"
#include "tools/input_files.h"
#include "tools/scenario_flags.h"

ABSL_FLAG(
    std::string, strategy, "exhaustive",
    "exhaustive: all schedules, shortest first; random: single schedules, every choice equally "
    "likely; pct: single schedules with random priorities");
ABSL_FLAG(uint64_t, bound, 200'000'000, "give up beyond this many states");
ABSL_FLAG(bool, symmetry, true, "treat CPUs with the same program as interchangeable");
ABSL_FLAG(uint64_t, seed, 1,
          "what random choices follow from: the same seed gives the same schedules or programs");
ABSL_FLAG(uint64_t, schedules, 100'000, "of random and pct: how many");
ABSL_FLAG(uint32_t, changes, 2, "of pct: changes of priority in a schedule");
ABSL_FLAG(std::string, output, "",
          "write to this file; without it explore writes SCENARIO-VARIANT.schedule, and shrink to "
          "standard output");

namespace nvmx::tools {
namespace {

std::atomic<bool> stop_requested{false};

void RequestStop(int) { stop_requested.store(true, std::memory_order_relaxed); }

void PrintProgress(const sim::ExploreProgress& progress) {
  absl::FPrintF(stderr,
                "%12d states  %12d transitions  %10d waiting  depth %4d  %6.1f s  %.2f M/s\n",
                progress.states, progress.transitions, progress.waiting, progress.depth,
                progress.seconds, static_cast<double>(progress.states) / progress.seconds / 1e6);
}

std::string FileName(const sim::Scenario& scenario) {
  const std::string output = absl::GetFlag(FLAGS_output);
  if (!output.empty()) return output;
  return absl::StrCat(absl::StrReplaceAll(scenario.name, {{"/", "_"}}), "-", scenario.variant,
                      ".schedule");
}

// Writes the schedule of a finding to its file, whole or not at all, and says so.
absl::Status SaveFinding(const sim::Scenario& scenario, const sim::Finding& finding) {
  absl::StatusOr<sim::Schedule> schedule = sim::MakeSchedule(scenario, finding.steps);
  if (!schedule.ok()) return schedule.status();
  const std::string path = FileName(scenario);
  const std::string text =
      absl::StrCat("# ", sim::Name(finding.verdict), " after ", finding.steps.size(),
                   " steps; nvmx replay ", path, "\n", sim::ToString(*schedule), "\n");
  if (absl::Status status = WriteFile(path, text); !status.ok()) return status;
  absl::PrintF("schedule    %s\nsaved       %s (nvmx replay %s explains it)\n",
               sim::ToString(*schedule), path, path);
  return absl::OkStatus();
}

void PrintFindings(const std::vector<sim::Finding>& findings) {
  for (const sim::Finding& finding : findings) {
    absl::PrintF("found       %s, shortest schedule %d steps\n", sim::Name(finding.verdict),
                 finding.steps.size());
  }
}

int Finish(const sim::Scenario& scenario, const std::vector<sim::Finding>& findings,
           const sim::Finding* worst, sim::Verdict expected) {
  PrintFindings(findings);
  if (worst != nullptr) {
    if (absl::Status status = SaveFinding(scenario, *worst); !status.ok()) {
      return Complain(std::string(status.message()));
    }
  }
  const sim::Verdict found = worst == nullptr ? sim::Verdict::kCompletes : worst->verdict;
  return found == expected ? kAsExpected : kNotAsExpected;
}

void PrintProof(const sim::Scenario& scenario, const sim::ExploreResult& result) {
  if (!result.exhausted) {
    absl::PrintF("cut off     %s: what is not found is not proved\n", result.cut_off_by);
    return;
  }
  if (result.verdict() != sim::Verdict::kCompletes) {
    absl::PrintF("verdict     %s (every schedule was tried)\n", sim::Name(result.verdict()));
    return;
  }
  absl::PrintF(
      "exhausted   no deadlock, no NMI lost or stolen by L0, no lock taken between an NMI exit and "
      "its "
      "acknowledgement%s, at %d CPUs, one pass through each program, %d NMI%s of devices\n",
      result.analyzed && result.acyclic ? ", no endless schedule" : "", scenario.cpus,
      scenario.device_nmis, scenario.device_nmis == 1 ? "" : "s");
  if (result.merges) {
    absl::PrintF(
        "note        in some schedules a processor's latch merges two NMIs into one, as hardware "
        "does; "
        "then a guest's NMI can be missing\n");
  }
}

int Exhaustive(const sim::Scenario& scenario, sim::Verdict expected) {
  sim::ExploreOptions options;
  options.max_states = absl::GetFlag(FLAGS_bound);
  options.use_symmetry = absl::GetFlag(FLAGS_symmetry);
  options.stop = &stop_requested;
  options.progress = PrintProgress;
  absl::StatusOr<sim::ExploreResult> result = sim::Explore(scenario, options);
  if (!result.ok()) return Complain(std::string(result.status().message()));
  absl::PrintF(
      "states      %d\ntransitions %d\ndepth       %d\nends        %d\ntime        %.3f s, %.2f "
      "million "
      "states a second, %d MiB\nlearned     %d steps of the real code, %d local states, %d class%s "
      "of "
      "CPUs\ndigest      %016x\n",
      result->states, result->transitions, result->depth, result->ends, result->seconds,
      static_cast<double>(result->states) / result->seconds / 1e6, result->bytes >> 20,
      result->learned_steps, result->local_states, result->classes,
      result->classes == 1 ? "" : "es", result->graph_digest);
  PrintProof(scenario, *result);
  if (result->doom && result->doom->first_doomed_step) {
    absl::PrintF("doomed      by step %d of the shortest failing schedule\n",
                 *result->doom->first_doomed_step + 1);
  }
  const int status = Finish(scenario, result->findings, result->Worst(), expected);
  return !result->exhausted && status != kBadInput ? kCutOff : status;
}

int Hunting(const sim::Scenario& scenario, sim::Strategy strategy, sim::Verdict expected) {
  sim::HuntOptions options;
  options.strategy = strategy;
  options.seed = absl::GetFlag(FLAGS_seed);
  options.schedules = absl::GetFlag(FLAGS_schedules);
  options.changes = absl::GetFlag(FLAGS_changes);
  options.stop = &stop_requested;
  absl::StatusOr<sim::HuntResult> result = sim::Hunt(scenario, options);
  if (!result.ok()) return Complain(std::string(result.status().message()));
  absl::PrintF(
      "schedules   %d, of which %d fail\nsteps       %d\ntime        %.3f s, %.0f schedules a "
      "second\nproved      nothing: schedules were picked, not tried all\n",
      result->schedules, result->failures, result->steps, result->seconds,
      static_cast<double>(result->schedules) / result->seconds);
  const sim::Finding* worst = nullptr;
  for (const sim::Finding& finding : result->findings) {
    if (worst == nullptr || finding.verdict > worst->verdict) worst = &finding;
  }
  return Finish(scenario, result->findings, worst, expected);
}

}  // namespace

int RunExplore(const std::vector<std::string>& arguments) {
  if (arguments.size() != 1) {
    return Complain("explore: name one scenario; nvmx list shows them");
  }
  absl::StatusOr<sim::ScenarioChanges> changes = ChangesFromFlags();
  if (!changes.ok()) return Complain(std::string(changes.status().message()));
  absl::StatusOr<sim::Scenario> scenario = sim::LoadScenario(arguments[0], *changes);
  if (!scenario.ok()) return Complain(std::string(scenario.status().message()));
  const sim::Verdict expected =
      ChangesAnything(*changes) ? sim::Verdict::kCompletes : scenario->expected;
  std::signal(SIGINT, RequestStop);
  absl::PrintF("scenario    %s: %s\nvariant     %s, %d CPUs, %d NMIs of devices\n", scenario->name,
               scenario->summary, scenario->variant, scenario->cpus, scenario->device_nmis);
  const std::string strategy = absl::GetFlag(FLAGS_strategy);
  if (strategy == "exhaustive") return Exhaustive(*scenario, expected);
  if (strategy == "random") return Hunting(*scenario, sim::Strategy::kRandom, expected);
  if (strategy == "pct") return Hunting(*scenario, sim::Strategy::kPct, expected);
  return Complain(absl::StrCat("--strategy ", strategy, ": expected exhaustive, random or pct"));
}

}  // namespace nvmx::tools
