// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "backends/sim/program/comparison.h"
#include "backends/sim/program/declared_differences.h"
#include "backends/sim/program/difference_text.h"
#include "backends/sim/program/program_needs.h"
#include "core/nested/offered_capabilities.h"
#include "tools/command_line.h"
#include "tools/commands.h"
#include "tools/compare_log.h"
#include "tools/input_files.h"
#include "tools/processor_flag.h"
#include "tools/scenario_flags.h"

ABSL_FLAG(bool, verbose, false, "print a line for each program, and declared differences too");

namespace nvmx::tools {
namespace {

struct Counts {
  std::map<sim::Likeness, size_t> likenesses;
  // Programs that the processor lacks something for. They are compared all the same.
  size_t skipped = 0;
};

void PrintSummary(const Counts& counts, size_t programs) {
  absl::PrintF("%d program%s", programs, programs == 1 ? "" : "s");
  for (const auto& [likeness, count] : counts.likenesses) {
    absl::PrintF(", %d %s", count, sim::Name(likeness));
  }
  if (counts.skipped != 0) {
    absl::PrintF(", %d skipped for what the processor lacks (alike on both)", counts.skipped);
  }
  absl::PrintF("\n");
}

// The line of a program that looks alike but cannot be about what it was written for.
void PrintSkipped(const std::string& file, const std::vector<std::string>& missing) {
  absl::PrintF("%s: skipped: the processor lacks %s\n", file, absl::StrJoin(missing, ", "));
}

}  // namespace

int RunCompare(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    return Complain("compare: name files with guest programs, or directories with such files");
  }
  absl::StatusOr<sim::ScenarioChanges> changes = ChangesFromFlags();
  if (!changes.ok()) return Complain(std::string(changes.status().message()));
  absl::StatusOr<std::vector<std::string>> files = InputFiles(arguments);
  if (!files.ok()) return Complain(std::string(files.status().message()));
  const bool verbose = absl::GetFlag(FLAGS_verbose);
  if (ComparesLog()) return CompareLog(*files, verbose);
  std::map<uint32_t, std::unique_ptr<sim::Comparer>> comparers;
  absl::StatusOr<Capabilities> hardware = HardwareFromFlags();
  if (!hardware.ok()) return Complain(std::string(hardware.status().message()));
  const Capabilities all = OfferedCapabilities(sim::SimulatedCapabilities());
  const Capabilities offered = OfferedCapabilities(*hardware);
  Counts counts;
  sim::Comparison comparison;
  for (const std::string& file : *files) {
    absl::StatusOr<lhv::GuestProgram> program = LoadProgramInput(file, changes->cpus);
    if (!program.ok()) return Complain(std::string(program.status().message()));
    const auto cpus = static_cast<uint32_t>(program->cpus.size());
    std::unique_ptr<sim::Comparer>& comparer = comparers[cpus];
    if (!comparer)
      comparer = std::make_unique<sim::Comparer>(cpus, *FindVariant("correct"), *hardware);
    comparer->Compare(*program, comparison);
    const std::vector<std::string> missing = sim::MissingCapabilities(*program, all, offered);
    if (!missing.empty() && !comparison.IsDefect()) {
      ++counts.skipped;
      if (verbose) PrintSkipped(file, missing);
      continue;
    }
    ++counts.likenesses[comparison.likeness];
    const bool show = comparison.IsDefect() || (verbose && comparison.difference);
    if (verbose || show) absl::PrintF("%s: %s\n", file, sim::Name(comparison.likeness));
    if (show) std::fputs(sim::DifferenceText(*program, comparison).c_str(), stdout);
  }
  PrintSummary(counts, files->size());
  return counts.likenesses.count(sim::Likeness::kDifferent) == 0 ? kAsExpected : kNotAsExpected;
}

}  // namespace nvmx::tools
