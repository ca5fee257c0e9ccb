// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "backends/sim/explorer/collection.h"
#include "backends/sim/explorer/explorer.h"
#include "backends/sim/replay/perfetto.h"
#include "backends/sim/replay/replay.h"
#include "tools/command_line.h"
#include "tools/commands.h"
#include "tools/input_files.h"
#include "tools/replay_report.h"
#include "tools/scenario_flags.h"

ABSL_FLAG(
    std::string, schedule, "",
    "the schedule to run, as replay and explore print it, or the name of a file that holds it");
ABSL_FLAG(
    std::vector<std::string>, inject_nmi, {},
    "CPU@STEP: a device sends that CPU an NMI before that step, counted from 1; several are set "
    "off by commas");
ABSL_FLAG(
    bool, continue_after_divergence, false,
    "where the schedule does not fit the code, leave out the choices that are not possible and "
    "go on");
ABSL_FLAG(std::string, trace, "",
          "write the run to this file as Chrome trace events, for ui.perfetto.dev");
ABSL_FLAG(int, repeat, 1, "run the schedule this many times and compare the trace hashes");

namespace nvmx::tools {
namespace {

absl::StatusOr<sim::Schedule> GivenSchedule(const std::string& given) {
  return absl::StartsWith(given, "nvmx") ? sim::ParseSchedule(given) : LoadScheduleInput(given);
}

const char* RecordedText(const std::string& scenario) {
  for (const sim::CollectionFile& file : sim::Collection()) {
    if (scenario == file.name) return file.schedule;
  }
  return "";
}

// What to run.
struct Task {
  sim::Scenario scenario;
  sim::Schedule schedule;
};

absl::Status CheckFits(const Task& task) {
  const sim::Schedule& schedule = task.schedule;
  const sim::Scenario& scenario = task.scenario;
  if (schedule.scenario != scenario.name || schedule.cpus != scenario.cpus) {
    return absl::InvalidArgumentError(
        absl::StrCat("the schedule was made for scenario ", schedule.scenario, " with ",
                     schedule.cpus, " CPUs, not for ", scenario.name, " with ", scenario.cpus));
  }
  return absl::OkStatus();
}

// The schedule that explore finds, or, where every schedule passes, the one in which the CPUs take
// turns.
absl::StatusOr<sim::Schedule> FindSchedule(const sim::Scenario& scenario) {
  absl::StatusOr<sim::ExploreResult> explored = sim::Explore(scenario, {});
  if (!explored.ok()) return explored.status();
  if (const sim::Finding* worst = explored->Worst())
    return sim::MakeSchedule(scenario, worst->steps);
  sim::ReplayOptions options;
  options.run_to_end = true;
  absl::StatusOr<sim::ReplayResult> in_turn = sim::Replay(scenario, {}, {}, options);
  if (!in_turn.ok()) return in_turn.status();
  return sim::MakeSchedule(scenario, in_turn->steps);
}

absl::StatusOr<Task> TaskOf(const std::string& argument) {
  absl::StatusOr<sim::ScenarioChanges> changes = ChangesFromFlags();
  if (!changes.ok()) return changes.status();
  std::string given = absl::GetFlag(FLAGS_schedule);
  const bool argument_is_schedule =
      TakesInputsOfATarget() || IsScheduleFile(argument) || absl::StartsWith(argument, "nvmx1:");
  if (argument_is_schedule) given = argument;
  Task task;
  if (!given.empty()) {
    absl::StatusOr<sim::Schedule> schedule = GivenSchedule(given);
    if (!schedule.ok()) return schedule.status();
    task.schedule = *schedule;
    if (changes->variant.empty()) changes->variant = schedule->variant;
    if (changes->cpus == 0) changes->cpus = schedule->cpus;
  }
  absl::StatusOr<sim::Scenario> scenario =
      sim::LoadScenario(argument_is_schedule ? task.schedule.scenario : argument, *changes);
  if (!scenario.ok()) return scenario.status();
  task.scenario = *std::move(scenario);
  if (!given.empty()) {
    if (absl::Status status = CheckFits(task); !status.ok()) return status;
    return task;
  }
  const std::string recorded = ChangesAnything(*changes) ? "" : RecordedText(task.scenario.name);
  absl::StatusOr<sim::Schedule> schedule = recorded.empty()
                                               ? FindSchedule(task.scenario)
                                               : ParseScheduleText(task.scenario.name, recorded);
  if (!schedule.ok()) return schedule.status();
  task.schedule = *std::move(schedule);
  return task;
}

absl::StatusOr<std::vector<sim::ExtraNmi>> ExtraNmis(const Task& task) {
  std::vector<sim::ExtraNmi> extras;
  for (const std::string& text : absl::GetFlag(FLAGS_inject_nmi)) {
    const std::vector<std::string> parts = absl::StrSplit(text, '@');
    uint32_t cpu = 0;
    uint64_t step = 0;
    if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &cpu) ||
        !absl::SimpleAtoi(parts[1], &step) || step == 0 || cpu >= task.scenario.cpus) {
      return absl::InvalidArgumentError(absl::StrCat("--inject-nmi ", text,
                                                     ": expected CPU@STEP with a CPU from 0 to ",
                                                     task.scenario.cpus - 1, " and a step from 1"));
    }
    extras.push_back({cpu, std::min<size_t>(step - 1, task.schedule.steps.size())});
  }
  return extras;
}

// Runs it `times` times; all must have the same trace hash.
absl::StatusOr<sim::ReplayResult> RunAndCompare(const Task& task, const sim::ReplayOptions& options,
                                                int times) {
  absl::StatusOr<sim::ReplayResult> first =
      sim::Replay(task.scenario, task.schedule.steps, task.schedule.step_marks, options);
  if (!first.ok()) return first.status();
  sim::ReplayOptions plain = options;
  plain.keep_trace = false;
  for (int run = 1; run < times; ++run) {
    absl::StatusOr<sim::ReplayResult> next =
        sim::Replay(task.scenario, task.schedule.steps, task.schedule.step_marks, plain);
    if (!next.ok()) return next.status();
    if (next->machine->trace().hash() != first->machine->trace().hash() ||
        next->state_chain != first->state_chain) {
      return absl::InternalError(absl::StrCat("run ", run + 1, " of the same schedule differs: ",
                                              "the simulator is not deterministic"));
    }
  }
  return first;
}

std::vector<std::string> CellNames(const sim::Machine& machine) {
  std::vector<std::string> names;
  for (const sim::CellPlace& place : machine.cells()) {
    names.push_back(place.cpu == sim::CellPlace::kSystem
                        ? place.cell->name()
                        : absl::StrCat(place.cell->name(), " of CPU ", place.cpu));
  }
  return names;
}

void PrintRepeats(const sim::ReplayResult& result, int times, double seconds) {
  absl::PrintF("%d runs of %d steps, one trace hash: %016x; %.0f replays a second\n", times,
               result.machine->steps(), result.machine->trace().hash(), times / seconds);
}

int PrintReport(const Task& task, const sim::ReplayResult& result) {
  absl::StatusOr<std::string> report = ReplayReport(task.scenario, task.schedule, result);
  if (!report.ok()) return Complain(std::string(report.status().message()));
  std::fputs(report->c_str(), stdout);
  if (!result.divergence) return kAsExpected;
  absl::PrintF("\ndivergence\n    at step %d of the schedule: %s\n    %s\n",
               result.divergence->step + 1, result.divergence->what,
               absl::GetFlag(FLAGS_continue_after_divergence)
                   ? "The replay went on with the choices that were possible."
                   : "The code has changed since the schedule was made. "
                     "--continue-after-divergence goes on.");
  return kNotAsExpected;
}

}  // namespace

int RunReplay(const std::vector<std::string>& arguments) {
  if (arguments.size() != 1) {
    return Complain("replay: name one scenario or schedule file; nvmx list shows the scenarios");
  }
  absl::StatusOr<Task> task = TaskOf(arguments[0]);
  if (!task.ok()) return Complain(std::string(task.status().message()));
  sim::ReplayOptions options;
  options.continue_after_divergence = absl::GetFlag(FLAGS_continue_after_divergence);
  options.keep_trace = !absl::GetFlag(FLAGS_trace).empty();
  options.chain_states = absl::GetFlag(FLAGS_repeat) == 1;
  absl::StatusOr<std::vector<sim::ExtraNmi>> extras = ExtraNmis(*task);
  if (!extras.ok()) return Complain(std::string(extras.status().message()));
  options.extra_nmis = *extras;
  options.run_to_end = !options.extra_nmis.empty();
  const int repeat = absl::GetFlag(FLAGS_repeat);
  if (repeat < 1) return Complain("--repeat: at least 1");
  const auto begin = std::chrono::steady_clock::now();
  absl::StatusOr<sim::ReplayResult> result = RunAndCompare(*task, options, std::max(repeat, 2));
  if (!result.ok()) return Complain(std::string(result.status().message()));
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (options.keep_trace) {
    if (absl::Status status = sim::WriteChromeTrace(
            absl::GetFlag(FLAGS_trace), task->scenario.name, CellNames(*result->machine),
            task->scenario.cpus, result->machine->trace().events());
        !status.ok()) {
      return Complain(std::string(status.message()));
    }
  }
  if (repeat > 1) {
    PrintRepeats(*result, repeat, seconds);
    return result->divergence ? kNotAsExpected : kAsExpected;
  }
  return PrintReport(*task, *result);
}

}  // namespace nvmx::tools
