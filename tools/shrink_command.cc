// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <string>
#include <vector>

#include "absl/flags/declare.h"
#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "backends/sim/explorer/explorer.h"
#include "backends/sim/explorer/judge.h"
#include "backends/sim/program/campaign.h"
#include "backends/sim/program/comparison.h"
#include "backends/sim/program/difference_text.h"
#include "backends/sim/program/smallest.h"
#include "backends/sim/replay/replay.h"
#include "tools/command_line.h"
#include "tools/commands.h"
#include "tools/input_files.h"
#include "tools/processor_flag.h"

ABSL_DECLARE_FLAG(std::string, output);

namespace nvmx::tools {
namespace {

// The shortest schedule with the same verdict: exploration is shortest first.
absl::StatusOr<Input> ShrinkSchedule(const sim::Schedule& schedule) {
  absl::StatusOr<sim::Scenario> scenario =
      sim::LoadScenario(schedule.scenario, {.cpus = schedule.cpus, .variant = schedule.variant});
  if (!scenario.ok()) return scenario.status();
  absl::StatusOr<sim::Verdict> verdict = sim::JudgeSchedule(*scenario, schedule.steps);
  if (!verdict.ok()) return verdict.status();
  if (*verdict == sim::Verdict::kCompletes) {
    return absl::FailedPreconditionError("the schedule completes: there is nothing to keep");
  }
  absl::StatusOr<sim::ExploreResult> explored = sim::Explore(*scenario, {});
  if (!explored.ok()) return explored.status();
  for (const sim::Finding& finding : explored->findings) {
    if (finding.verdict != *verdict) continue;
    absl::StatusOr<sim::Schedule> shortest = sim::MakeSchedule(*scenario, finding.steps);
    if (!shortest.ok()) return shortest.status();
    absl::FPrintF(stderr, "%d steps of %d are needed\n", shortest->steps.size(),
                  schedule.steps.size());
    return *std::move(shortest);
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("no schedule found: the exploration was cut off by ", explored->cut_off_by));
}

size_t CountOperations(const lhv::GuestProgram& program) {
  size_t count = 0;
  for (const lhv::CpuProgram& cpu : program.cpus) {
    count += cpu.l1.size() - cpu.run_begin + cpu.l2.size();
  }
  return count;
}

absl::StatusOr<Input> ShrinkProgram(const lhv::GuestProgram& program) {
  absl::StatusOr<Capabilities> hardware = HardwareFromFlags();
  if (!hardware.ok()) return hardware.status();
  sim::Comparer comparer(static_cast<uint32_t>(program.cpus.size()), *FindVariant("correct"),
                         *hardware);
  sim::Comparison comparison;
  comparer.Compare(program, comparison);
  if (!comparison.IsDefect()) {
    return absl::FailedPreconditionError(absl::StrCat("the program shows no difference (",
                                                      Name(comparison.likeness),
                                                      "): there is nothing to keep"));
  }
  lhv::GuestProgram smallest =
      sim::SmallestWithSignature(program, sim::SignatureOf(program, comparison), *hardware);
  absl::FPrintF(stderr, "%d operations of %d, %d CPUs of %d are needed\n",
                CountOperations(smallest), CountOperations(program), smallest.cpus.size(),
                program.cpus.size());
  return smallest;
}

}  // namespace

int RunShrink(const std::vector<std::string>& arguments) {
  if (arguments.size() != 1) return Complain("shrink: name one file");
  absl::StatusOr<Input> input = LoadInput(arguments[0]);
  if (!input.ok()) return Complain(std::string(input.status().message()));
  const auto* schedule = std::get_if<sim::Schedule>(&*input);
  absl::StatusOr<Input> smallest = schedule != nullptr
                                       ? ShrinkSchedule(*schedule)
                                       : ShrinkProgram(std::get<lhv::GuestProgram>(*input));
  if (!smallest.ok()) {
    Complain(absl::StrCat(arguments[0], ": ", smallest.status().message()));
    return smallest.status().code() == absl::StatusCode::kFailedPrecondition  ? kNotAsExpected
           : smallest.status().code() == absl::StatusCode::kResourceExhausted ? kCutOff
                                                                              : kBadInput;
  }
  const std::string path = absl::GetFlag(FLAGS_output);
  if (path.empty()) {
    std::fputs(InputText(*smallest).c_str(), stdout);
    return kAsExpected;
  }
  if (absl::Status status = WriteFile(path, InputText(*smallest)); !status.ok()) {
    return Complain(std::string(status.message()));
  }
  absl::FPrintF(stderr, "written to %s\n", path);
  return kAsExpected;
}

}  // namespace nvmx::tools
