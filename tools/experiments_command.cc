// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "backends/sim/program/comparison.h"
#include "backends/sim/program/native_machine.h"
#include "backends/sim/program/nested_machine.h"
#include "backends/sim/program/program_files.h"
#include "lhv/expected_observations.h"
#include "tools/command_line.h"
#include "tools/commands.h"

namespace nvmx::tools {
namespace {

// "as hardware", or where the log is another.
std::string Verdict(const lhv::GuestProgram& program, const sim::ProgramResult& result) {
  for (size_t cpu = 0; cpu < program.cpus.size(); ++cpu) {
    if (!program.cpus[cpu].expected) continue;
    const std::optional<lhv::ExpectationFailure> failure =
        lhv::CompareWithExpected(*program.cpus[cpu].expected, result.cpus[cpu].log);
    if (failure) return absl::StrCat("line ", failure->line, ": ", failure->text);
  }
  return result.defect;
}

bool SaysWhatHardwareDoes(const lhv::GuestProgram& program) {
  for (const lhv::CpuProgram& cpu : program.cpus) {
    if (cpu.expected) return true;
  }
  return false;
}

}  // namespace

int RunExperiments(const std::vector<std::string>& arguments) {
  if (arguments.size() > 1) return Complain("experiments: name one directory at most");
  const std::string directory = arguments.empty() ? "lhv/suites/nmi" : arguments[0];
  absl::StatusOr<std::vector<std::string>> files = sim::ProgramFiles({directory});
  if (!files.ok()) return Complain(std::string(files.status().message()));
  int status = kAsExpected;
  std::string details;
  absl::PrintF("%-4s %-12s %-12s %s\n", "", "sim-native", "sim-nested", "what real processors do");
  for (const std::string& file : *files) {
    absl::StatusOr<lhv::GuestProgram> program = sim::LoadProgram(file, 0);
    if (!program.ok()) return Complain(std::string(program.status().message()));
    if (!SaysWhatHardwareDoes(*program)) {
      return Complain(absl::StrCat(file, ": has no `expect`, so there is nothing to hold it to"));
    }
    const auto cpus = static_cast<uint32_t>(program->cpus.size());
    sim::NativeMachine native(cpus, sim::TlbPolicy::kKeep);
    sim::NestedMachine nested(cpus);
    sim::ProgramResult result;
    native.Run(*program, result);
    const std::string of_native = Verdict(*program, result);
    nested.Run(*program, result);
    const std::string of_nested = Verdict(*program, result);
    const std::string number = std::filesystem::path(file).stem().string();
    absl::PrintF("%-4s %-12s %-12s %s\n", number, of_native.empty() ? "the same" : "DIFFERS",
                 of_nested.empty() ? "the same" : "DIFFERS", program->name);
    for (const auto& [machine, verdict] :
         {std::pair{"sim-native", of_native}, std::pair{"sim-nested", of_nested}}) {
      if (verdict.empty()) continue;
      status = kNotAsExpected;
      absl::StrAppend(&details, file, ", ", machine, ": ", verdict, "\n");
    }
  }
  absl::PrintF("%s", details.empty() ? "" : absl::StrCat("\n", details));
  return status;
}

}  // namespace nvmx::tools
