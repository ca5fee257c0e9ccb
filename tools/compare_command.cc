// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_format.h"
#include "backends/sim/program/comparison.h"
#include "backends/sim/program/declared_differences.h"
#include "backends/sim/program/difference_text.h"
#include "backends/sim/program/program_files.h"
#include "tools/command_line.h"
#include "tools/commands.h"
#include "tools/scenario_flags.h"

ABSL_FLAG(bool, verbose, false, "print a line for each program, and declared differences too");

namespace nvmx::tools {
namespace {

void PrintSummary(const std::map<sim::Likeness, size_t>& counts, size_t programs) {
  absl::PrintF("%d program%s", programs, programs == 1 ? "" : "s");
  for (const auto& [likeness, count] : counts) absl::PrintF(", %d %s", count, sim::Name(likeness));
  absl::PrintF("\n");
}

}  // namespace

int RunCompare(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    return Complain("compare: name files with guest programs, or directories with such files");
  }
  absl::StatusOr<sim::ScenarioChanges> changes = ChangesFromFlags();
  if (!changes.ok()) return Complain(std::string(changes.status().message()));
  absl::StatusOr<std::vector<std::string>> files = sim::ProgramFiles(arguments);
  if (!files.ok()) return Complain(std::string(files.status().message()));
  const bool verbose = absl::GetFlag(FLAGS_verbose);
  std::map<uint32_t, std::unique_ptr<sim::Comparer>> comparers;
  std::map<sim::Likeness, size_t> counts;
  sim::Comparison comparison;
  for (const std::string& file : *files) {
    absl::StatusOr<lhv::GuestProgram> program = sim::LoadProgram(file, changes->cpus);
    if (!program.ok()) return Complain(std::string(program.status().message()));
    const auto cpus = static_cast<uint32_t>(program->cpus.size());
    std::unique_ptr<sim::Comparer>& comparer = comparers[cpus];
    if (!comparer) comparer = std::make_unique<sim::Comparer>(cpus);
    comparer->Compare(*program, comparison);
    ++counts[comparison.likeness];
    const bool show = comparison.IsDefect() || (verbose && comparison.difference);
    if (verbose || show) absl::PrintF("%s: %s\n", file, sim::Name(comparison.likeness));
    if (show) std::fputs(sim::DifferenceText(*program, comparison).c_str(), stdout);
  }
  PrintSummary(counts, files->size());
  return counts.count(sim::Likeness::kDifferent) == 0 ? kAsExpected : kNotAsExpected;
}

}  // namespace nvmx::tools
