// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/flags/declare.h"
#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "backends/sim/program/campaign.h"
#include "backends/sim/program/comparison.h"
#include "backends/sim/program/difference_text.h"
#include "backends/sim/program/fit_for_machines.h"
#include "backends/sim/program/generator/generator.h"
#include "backends/sim/program/native_machine.h"
#include "backends/sim/program/program_yaml.h"
#include "backends/sim/program/smallest.h"
#include "lhv/dump.h"
#include "tools/command_line.h"
#include "tools/commands.h"
#include "tools/input_files.h"
#include "tools/processor_flag.h"

ABSL_DECLARE_FLAG(uint64_t, seed);
ABSL_FLAG(uint64_t, first, 0, "the number of the first program");
ABSL_FLAG(uint64_t, count, 1, "how many programs");
ABSL_FLAG(std::string, topic, "", "only this topic; empty: one to three of all in each program");
ABSL_FLAG(bool, compare, false,
          "run each program on the reference and on the core, and print what differs");
ABSL_FLAG(int, shrink, 10, "for how many kinds of difference to make the first program small");
ABSL_FLAG(std::string, dump, "",
          "a directory for the programs, with --compare for those that show a difference; run, "
          "compare and pack take them");
ABSL_FLAG(bool, for_machines, false,
          "leave out the programs that would stop a real machine, or that cannot be compared with "
          "one; --count is of the rest");

namespace nvmx::tools {
namespace {

sim::GeneratorOptions OptionsFromFlags() {
  return {.seed = absl::GetFlag(FLAGS_seed), .topic = absl::GetFlag(FLAGS_topic)};
}

// Writes the program to the directory of --dump; its path, if it could be written.
absl::StatusOr<std::string> WriteProgram(uint64_t number, const lhv::GuestProgram& program) {
  const std::string path =
      absl::StrCat(absl::GetFlag(FLAGS_dump), "/", absl::GetFlag(FLAGS_seed), "-", number, ".yaml");
  if (absl::Status written = WriteFile(path, sim::ProgramYaml(program)); !written.ok()) {
    return written;
  }
  return path;
}

void PrintFinding(const sim::CampaignOptions& campaign, const sim::ProgramFinding& finding,
                  bool shrink) {
  const sim::GeneratorOptions& options = campaign.generator;
  lhv::GuestProgram program = sim::GenerateProgram(options, finding.number);
  if (shrink) {
    program = sim::SmallestWithSignature(program, finding.signature, campaign.hardware);
  }
  sim::Comparer comparer(1, *FindVariant("correct"), campaign.hardware);
  sim::Comparison comparison;
  comparer.Compare(program, comparison);
  absl::PrintF("\n%d programs differ like --seed %d --first %d\n  %s\n%s", finding.count,
               options.seed, finding.number, finding.signature,
               sim::DifferenceText(program, comparison));
  if (absl::GetFlag(FLAGS_dump).empty()) return;
  const absl::StatusOr<std::string> path = WriteProgram(finding.number, program);
  absl::PrintF("  the program: %s\n", path.ok() ? *path : std::string(path.status().message()));
}

int PrintPrograms(const Capabilities& hardware) {
  const sim::GeneratorOptions options = OptionsFromFlags();
  // That which CompareLog() has for the machine.
  sim::NativeMachine reference(1, sim::TlbPolicy::kKeep, hardware, sim::NativeFeatures::kAll);
  sim::ProgramResult result;
  uint64_t left = absl::GetFlag(FLAGS_count);
  for (uint64_t number = absl::GetFlag(FLAGS_first); left != 0; ++number) {
    const lhv::GuestProgram program = sim::GenerateProgram(options, number);
    if (absl::GetFlag(FLAGS_for_machines)) {
      reference.Run(program, result);
      if (!sim::WhyUnfitForMachines(program, result).empty()) continue;
    }
    --left;
    if (absl::GetFlag(FLAGS_dump).empty()) {
      std::fputs(lhv::Dump(program).c_str(), stdout);
    } else if (const auto path = WriteProgram(number, program); !path.ok()) {
      return Complain(std::string(path.status().message()));
    }
  }
  return kAsExpected;
}

}  // namespace

int RunGenerate(const std::vector<std::string>& arguments) {
  if (!arguments.empty()) return Complain("generate takes no arguments but flags");
  if (absl::Status status = sim::CheckTopic(absl::GetFlag(FLAGS_topic)); !status.ok()) {
    return Complain(absl::StrCat("--topic: ", std::string(status.message())));
  }
  const bool compares = absl::GetFlag(FLAGS_compare);
  const bool is_for_machines = absl::GetFlag(FLAGS_for_machines);
  if (compares && is_for_machines) return Complain("--for_machines: not with --compare");
  if (!compares && !is_for_machines && HasProcessorFlag()) {
    return Complain("--processor: only with --compare or --for_machines");
  }
  absl::StatusOr<Capabilities> hardware = HardwareFromFlags();
  if (!hardware.ok()) return Complain(std::string(hardware.status().message()));
  if (!compares) return PrintPrograms(*hardware);
  const sim::CampaignOptions campaign = {.generator = OptionsFromFlags(),
                                         .first = absl::GetFlag(FLAGS_first),
                                         .count = absl::GetFlag(FLAGS_count),
                                         .hardware = *hardware,
                                         .progress = nullptr};
  const sim::CampaignResult result = sim::RunCampaign(campaign);
  std::fputs(sim::CampaignText(result).c_str(), stdout);
  int to_shrink = absl::GetFlag(FLAGS_shrink);
  for (const sim::ProgramFinding& finding : result.findings) {
    PrintFinding(campaign, finding, to_shrink-- > 0);
  }
  return result.findings.empty() ? kAsExpected : kNotAsExpected;
}

}  // namespace nvmx::tools
