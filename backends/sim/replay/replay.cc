// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/replay/replay.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "xxhash.h"

namespace nvmx::sim {
namespace {

constexpr size_t kMaxStepsInTurn = 1'000'000;

const char* OperationName(SharedOperation operation) {
  switch (operation) {
    case SharedOperation::kLoad:
      return "reads";
    case SharedOperation::kStore:
      return "writes";
    case SharedOperation::kAdd:
      return "adds to";
    case SharedOperation::kRelease:
      return "releases";
  }
  return "";
}

std::string DescribeCondition(const Point& point) {
  const bool at_least = point.comparison == SpinCondition::Comparison::kAtLeast;
  return absl::StrCat(point.cell->name(), at_least ? " >= " : " = ", point.wanted);
}

std::string DescribePoint(const SimCpu& cpu) {
  const Point& point = cpu.point();
  switch (point.kind) {
    case PointKind::kGuest:
      return absl::StrCat(cpu.processor().Current() == VmcsRole::kVmcs01 ? "L1" : "L2",
                          " executes its next instruction");
    case PointKind::kRest:
      return "it rests";
    case PointKind::kAccess:
      return absl::StrCat("L0 ", OperationName(point.operation), " ", point.cell->name());
    case PointKind::kSpin:
      return point.acquires() ? absl::StrCat("L0 takes ", point.cell->name())
                              : absl::StrCat("L0 sees ", DescribeCondition(point));
    case PointKind::kSendIpi:
      return "L0 sends an NMI to all others";
    case PointKind::kStopped:
      return "a defect of L0 has stopped it";
  }
  return "";
}

std::string WhyImpossible(const Machine& machine, ScheduleStep step) {
  if (step.cpu >= machine.cpu_count()) return absl::StrCat("there is no CPU ", step.cpu);
  const SimCpu& cpu = machine.cpu(step.cpu);
  if (step.choice == Choice::kTakeNmi) {
    return absl::StrCat("CPU ", step.cpu, " cannot take an NMI: ",
                        cpu.latch().full() ? "NMIs are blocked" : "its latch is empty");
  }
  if (cpu.point().kind == PointKind::kSpin) {
    return absl::StrCat("CPU ", step.cpu, " cannot move: it waits for ",
                        DescribeCondition(cpu.point()), ", which is ", cpu.point().cell->Peek());
  }
  return absl::StrCat("CPU ", step.cpu, " cannot move: ", DescribePoint(cpu));
}

// Makes the choice, and remembers that it was made.
void Take(Machine& machine, ScheduleStep step, ReplayResult& result) {
  result.marks.push_back(MarkOf(machine, step));
  result.steps.push_back(step);
  machine.Step(step.cpu, step.choice);
}

void Chain(ReplayResult& result) {
  const uint64_t link[] = {result.state_chain, result.machine->StateDigest()};
  result.state_chain = XXH3_64bits(link, sizeof link);
}

}  // namespace

std::string DescribeStep(const Machine& machine, ScheduleStep step) {
  const SimCpu& cpu = machine.cpu(step.cpu);
  if (step.choice == Choice::kDeviceNmi)
    return absl::StrCat("a device sends CPU ", step.cpu, " an NMI");
  if (step.choice == Choice::kStep) return absl::StrCat("CPU ", step.cpu, ": ", DescribePoint(cpu));
  const char* where = !cpu.processor().in_guest()                      ? "in root"
                      : cpu.processor().Current() == VmcsRole::kVmcs01 ? "in L1"
                                                                       : "in L2";
  return absl::StrCat("CPU ", step.cpu, ": takes its NMI ", where, ", before ", DescribePoint(cpu));
}

uint16_t MarkOf(const Machine& machine, ScheduleStep step) {
  const std::string text = DescribeStep(machine, step);
  return static_cast<uint16_t>(XXH3_64bits(text.data(), text.size()));
}

Ending EndingOf(const Machine& machine) {
  bool all_rest = true;
  for (uint32_t cpu = 0; cpu < machine.cpu_count(); ++cpu) {
    if (machine.IsPossible(cpu, Choice::kStep) || machine.IsPossible(cpu, Choice::kTakeNmi)) {
      return Ending::kOpen;
    }
    all_rest = all_rest && machine.cpu(cpu).point().kind == PointKind::kRest;
  }
  return all_rest ? Ending::kComplete : Ending::kDeadlock;
}

void RunInTurn(Machine& machine, ReplayResult& result) {
  bool moved = true;
  for (size_t steps = 0; moved && steps < kMaxStepsInTurn;) {
    moved = false;
    for (uint8_t cpu = 0; cpu < machine.cpu_count(); ++cpu) {
      for (Choice choice : {Choice::kTakeNmi, Choice::kStep}) {
        if (!machine.IsPossible(cpu, choice)) continue;
        Take(machine, {cpu, choice}, result);
        moved = true;
        ++steps;
        break;
      }
    }
  }
}

absl::StatusOr<ReplayResult> Replay(const Scenario& scenario,
                                    const std::vector<ScheduleStep>& steps,
                                    const std::vector<uint16_t>& marks,
                                    const ReplayOptions& options) {
  absl::StatusOr<std::unique_ptr<Machine>> machine = BuildMachine(scenario, options.keep_trace);
  if (!machine.ok()) return machine.status();
  ReplayResult result;
  result.machine = *std::move(machine);
  Machine& m = *result.machine;
  const auto send_extra_nmis = [&](size_t position) {
    for (const ExtraNmi& extra : options.extra_nmis) {
      if (extra.step != position) continue;
      Take(m, {static_cast<uint8_t>(extra.cpu), Choice::kDeviceNmi}, result);
    }
  };
  for (size_t position = 0; position < steps.size(); ++position) {
    send_extra_nmis(position);
    const ScheduleStep step = steps[position];
    const bool possible = m.IsPossible(step.cpu, step.choice);
    const bool as_recorded = possible && (marks.empty() || marks[position] == MarkOf(m, step));
    if (!as_recorded && !result.divergence) {
      result.divergence = {
          position,
          possible ? absl::StrCat("the code does something else here now: ", DescribeStep(m, step))
                   : WhyImpossible(m, step)};
    }
    if (!as_recorded && !options.continue_after_divergence) break;
    if (possible) Take(m, step, result);
    if (options.chain_states) Chain(result);
  }
  for (const ExtraNmi& extra : options.extra_nmis) {
    if (extra.step >= steps.size()) {
      Take(m, {static_cast<uint8_t>(extra.cpu), Choice::kDeviceNmi}, result);
    }
  }
  if (options.run_to_end) RunInTurn(m, result);
  result.ending = EndingOf(m);
  return result;
}

absl::StatusOr<Schedule> MakeSchedule(const Scenario& scenario, std::vector<ScheduleStep> steps) {
  absl::StatusOr<ReplayResult> replay = Replay(scenario, steps, {});
  if (!replay.ok()) return replay.status();
  if (replay->divergence) {
    return absl::InternalError(absl::StrCat("a schedule that was found cannot be replayed: step ",
                                            replay->divergence->step, ": ",
                                            replay->divergence->what));
  }
  return Schedule{scenario.name, scenario.variant, scenario.cpus, std::move(replay->marks),
                  std::move(steps)};
}

}  // namespace nvmx::sim
