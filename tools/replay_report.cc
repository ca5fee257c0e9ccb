// SPDX-License-Identifier: Apache-2.0
#include "tools/replay_report.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "backends/sim/explorer/explorer.h"
#include "backends/sim/replay/backtrace.h"
#include "backends/sim/replay/diagnosis.h"
#include "core/smp/system.h"
#include "lhv/observation_text.h"

namespace nvmx::tools {
namespace {

using sim::Ending;
using sim::ScheduleStep;

// Beyond this many states the search for the doomed step is not worth the wait.
constexpr uint64_t kMaxStatesForDoom = 3'000'000;

std::string Backtrace(const sim::Machine& machine, uint32_t cpu) {
  if (machine.cpu(cpu).processor().in_guest()) return "";
  std::string text;
  int number = 0;
  for (const sim::Frame& frame : sim::Symbolize(machine.cpu(cpu).Backtrace())) {
    absl::StrAppendFormat(&text, "    #%-2d %s at %s", number++, frame.function, frame.file);
    // The compiler gives merged code no line.
    absl::StrAppend(&text, frame.line == 0 ? "" : absl::StrCat(":", frame.line), "\n");
  }
  return text;
}

// What became of the NMIs that were the guests', where it is not simply that all arrived.
std::string GuestNmiReport(const sim::Machine& machine, uint32_t cpu) {
  const sim::NmiAccount& account = machine.cpu(cpu).account();
  const uint64_t held = machine.cpu(cpu).cells().guest_nmis_pending.Peek() & kGuestNmisPendingMask;
  const uint64_t latched = machine.cpu(cpu).latch().full() ? 1 : 0;
  if (account.sent_to_guest == account.delivered_to_guest && account.merged == 0) return "";
  const int64_t missing = int64_t{account.sent_to_guest} - account.delivered_to_guest -
                          account.merged - static_cast<int64_t>(held + latched);
  std::string text =
      absl::StrCat("    guest NMIs ", account.sent_to_guest, " sent, ", account.delivered_to_guest,
                   " delivered, ", account.merged, " merged in the latch, ", held, " held by L0");
  if (missing > 0) absl::StrAppend(&text, ": ", missing, " lost by L0");
  if (missing < 0) absl::StrAppend(&text, ": ", -missing, " that nobody sent");
  return text + "\n";
}

std::string CpuReport(const sim::Scenario& scenario, const sim::Machine& machine, Ending ending,
                      uint32_t cpu) {
  std::string text =
      absl::StrCat("CPU ", cpu, "  ", sim::DescribePlace(scenario, machine, cpu), "\n");
  if (const auto wait = sim::WaitOf(machine, cpu)) {
    absl::StrAppend(&text, "    waits for  ", wait->what, "; now: ", wait->now, "\n");
  }
  const std::vector<std::string> locks = sim::LocksHeldBy(machine, cpu);
  absl::StrAppend(&text, "    holds      ", locks.empty() ? "no lock" : absl::StrJoin(locks, ", "),
                  "\n    NMIs       ", sim::DescribeNmiState(machine, cpu), "\n    last NMI   ",
                  sim::DescribeLastNmi(machine, cpu), "\n",
                  ending == Ending::kComplete ? GuestNmiReport(machine, cpu) : "");
  return absl::StrCat(text, Backtrace(machine, cpu));
}

const char* EndingName(Ending ending) {
  switch (ending) {
    case Ending::kComplete:
      return "complete: every program is at its end";
    case Ending::kDeadlock:
      return "deadlock: nobody can move";
    case Ending::kOpen:
      return "open: the schedule ends here, and the machine could go on";
  }
  return "";
}

// The text of the step that is about to be made after `count` steps.
absl::StatusOr<std::string> StepText(const sim::Scenario& scenario,
                                     const std::vector<ScheduleStep>& steps, size_t count) {
  const std::vector<ScheduleStep> before(steps.begin(),
                                         steps.begin() + static_cast<ptrdiff_t>(count));
  absl::StatusOr<sim::ReplayResult> replay = sim::Replay(scenario, before, {});
  if (!replay.ok()) return replay.status();
  return sim::DescribeStep(*replay->machine, steps[count]);
}

absl::StatusOr<std::string> DoomReport(const sim::Scenario& scenario,
                                       const std::vector<ScheduleStep>& steps) {
  sim::ExploreOptions options;
  options.max_states = kMaxStatesForDoom;
  options.analyze = &steps;
  absl::StatusOr<sim::ExploreResult> explored = sim::Explore(scenario, options);
  if (!explored.ok()) return explored.status();
  if (!explored->analyzed) {
    return absl::StrCat("first doomed step\n    not looked for: more than ", kMaxStatesForDoom,
                        " states\n");
  }
  const sim::Doom& doom = *explored->doom;
  if (!doom.first_doomed_step)
    return std::string("first doomed step\n    none: every schedule fails\n");
  const size_t doomed = *doom.first_doomed_step;
  absl::StatusOr<std::string> what = StepText(scenario, steps, doomed);
  if (!what.ok()) return what.status();
  absl::StatusOr<std::string> instead = StepText(scenario, doom.nearest_passing, doomed);
  if (!instead.ok()) return instead.status();
  absl::StatusOr<sim::Schedule> passing = sim::MakeSchedule(scenario, doom.nearest_passing);
  if (!passing.ok()) return passing.status();
  return absl::StrCat("first doomed step\n    step ", doomed + 1, " of ", steps.size(), "  ", *what,
                      "\n    After it all schedules fail; before it some pass. ",
                      "The nearest that passes differs there:\n    step ", doomed + 1, "  ",
                      *instead, "\n    ", sim::ToString(*passing), "\n");
}

absl::StatusOr<std::string> ExtraNmiReport(const sim::Scenario& scenario,
                                           const std::vector<ScheduleStep>& steps) {
  std::string text = "one more NMI now, sent by a device\n";
  for (uint32_t cpu = 0; cpu < scenario.cpus; ++cpu) {
    sim::ReplayOptions options;
    options.extra_nmis = {{cpu, steps.size()}};
    options.run_to_end = true;
    absl::StatusOr<sim::ReplayResult> replay = sim::Replay(scenario, steps, {}, options);
    if (!replay.ok()) return replay.status();
    const size_t moved = replay->steps.size() - steps.size() - 1;
    std::string effect;
    if (moved == 0) {
      effect = "nothing happens: it stays in the latch, because NMIs are blocked";
    } else if (replay->ending == Ending::kComplete) {
      effect =
          absl::StrCat("recovers: it is taken as the acknowledgement, and all programs complete ",
                       "after ", moved, " steps");
    } else {
      effect = absl::StrCat("does not help: after ", moved, " steps nobody can move again");
    }
    absl::StrAppend(&text, "    to CPU ", cpu, "  ", effect, "\n");
  }
  return text;
}

absl::StatusOr<std::string> CorrectCodeReport(const sim::Scenario& scenario,
                                              const sim::Schedule& schedule) {
  sim::Scenario correct = scenario;
  correct.variant = "correct";
  sim::ReplayOptions options;
  absl::StatusOr<sim::ReplayResult> same =
      sim::Replay(correct, schedule.steps, schedule.step_marks, options);
  if (!same.ok()) return same.status();
  const size_t shared = same->steps.size();
  std::string text = absl::StrCat("the same schedule under the correct code\n    ");
  if (shared == schedule.steps.size()) {
    absl::StrAppend(&text, "the same ", shared, " steps, but behind the last one: ");
    std::vector<std::string> next;
    for (uint8_t cpu = 0; cpu < correct.cpus; ++cpu) {
      for (sim::Choice choice : {sim::Choice::kStep, sim::Choice::kTakeNmi}) {
        if (!same->machine->IsPossible(cpu, choice)) continue;
        next.push_back(sim::DescribeStep(*same->machine, {cpu, choice}));
      }
    }
    absl::StrAppend(&text, next.empty() ? "nobody can move" : absl::StrJoin(next, "; "), "\n    ");
  } else {
    absl::StrAppend(&text, "the same for ", shared, " steps; step ", shared + 1, ": ",
                    same->divergence ? same->divergence->what : "", "\n    ");
  }
  std::vector<ScheduleStep> prefix(schedule.steps.begin(),
                                   schedule.steps.begin() + static_cast<ptrdiff_t>(shared));
  options.run_to_end = true;
  absl::StatusOr<sim::ReplayResult> to_end = sim::Replay(correct, prefix, {}, options);
  if (!to_end.ok()) return to_end.status();
  return absl::StrCat(text, "Let run on from there, it ",
                      to_end->ending == Ending::kComplete ? "completes" : "does not complete",
                      " after ", to_end->steps.size(), " steps.\n");
}

std::string ObservationsReport(const sim::Scenario& scenario, const sim::Machine& machine) {
  std::string text = "what the guests saw\n";
  for (uint32_t cpu = 0; cpu < scenario.cpus; ++cpu) {
    for (const lhv::Observation& observation : machine.cpu(cpu).observations()) {
      absl::StrAppend(&text, "    CPU ", cpu, "  ", lhv::ToString(observation), "\n");
    }
  }
  return text;
}

}  // namespace

absl::StatusOr<std::string> ReplayReport(const sim::Scenario& scenario,
                                         const sim::Schedule& schedule,
                                         const sim::ReplayResult& result) {
  const sim::Machine& machine = *result.machine;
  const Variant& variant = *FindVariant(scenario.variant);
  std::string text = absl::StrCat(
      "scenario  ", scenario.name, ": ", scenario.summary, "\nvariant   ", variant.name, ": ",
      variant.summary, "\nschedule  ", sim::ToString(schedule), "\nsteps     ", machine.steps(),
      "\ntrace     ", absl::Hex(machine.trace().hash(), absl::kZeroPad16), "\nstates    ",
      absl::Hex(result.state_chain, absl::kZeroPad16),
      " behind each step, chained; two runs agree in trace and states\nending    ",
      EndingName(result.ending), "\n\n");
  for (uint32_t cpu = 0; cpu < scenario.cpus; ++cpu) {
    absl::StrAppend(&text, CpuReport(scenario, machine, result.ending, cpu), "\n");
  }
  if (result.ending != Ending::kDeadlock) {
    return absl::StrCat(text, ObservationsReport(scenario, machine));
  }
  absl::StrAppend(&text, "cycle\n    ", sim::DescribeCycle(machine), "\n\nwhy\n    ",
                  sim::DescribeReason(machine), "\n\n");
  absl::StatusOr<std::string> doom = DoomReport(scenario, result.steps);
  absl::StatusOr<std::string> extra = ExtraNmiReport(scenario, result.steps);
  if (!extra.ok()) return extra.status();
  absl::StrAppend(
      &text,
      doom.ok() ? *doom : absl::StrCat("first doomed step\n    ", doom.status().message(), "\n"),
      "\n", *extra);
  if (scenario.variant != "correct") {
    absl::StatusOr<std::string> correct = CorrectCodeReport(scenario, schedule);
    if (!correct.ok()) return correct.status();
    absl::StrAppend(&text, "\n", *correct);
  }
  return text;
}

}  // namespace nvmx::tools
