// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "backends/sim/explorer/scenario.h"
#include "backends/sim/replay/replay.h"
#include "lhv/assembler.h"
#include "lhv/observation_text.h"
#include "tools/command_line.h"
#include "tools/commands.h"
#include "tools/scenario_flags.h"

namespace nvmx::tools {
namespace {

absl::StatusOr<sim::Scenario> ProgramAsScenario(const std::string& path) {
  absl::StatusOr<sim::ScenarioChanges> changes = ChangesFromFlags();
  if (!changes.ok()) return changes.status();
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  sim::Scenario scenario;
  scenario.name = path;
  scenario.file_name = path;
  scenario.cpus = 1;
  if (absl::Status status = sim::ApplyChanges(*changes, scenario); !status.ok()) return status;
  absl::StatusOr<lhv::GuestProgram> program = lhv::Assemble(path, text, scenario.cpus);
  if (!program.ok()) return program.status();
  scenario.program = *std::move(program);
  return scenario;
}

}  // namespace

int RunProgram(const std::vector<std::string>& arguments) {
  if (arguments.size() != 1) return Complain("run: name one file with a guest program");
  absl::StatusOr<sim::Scenario> scenario = ProgramAsScenario(arguments[0]);
  if (!scenario.ok()) return Complain(std::string(scenario.status().message()));
  sim::ReplayOptions options;
  options.run_to_end = true;
  absl::StatusOr<sim::ReplayResult> result = sim::Replay(*scenario, {}, {}, options);
  if (!result.ok()) return Complain(std::string(result.status().message()));
  for (uint32_t cpu = 0; cpu < scenario->cpus; ++cpu) {
    for (const lhv::Observation& observation : result->machine->cpu(cpu).observations()) {
      absl::PrintF("CPU %d  %s\n", cpu, lhv::ToString(observation));
    }
  }
  if (result->ending == sim::Ending::kComplete) return kAsExpected;
  std::fputs(
      "nvmx: the CPUs stopped before their programs ended; nvmx replay explains a scenario\n",
      stderr);
  return kNotAsExpected;
}

}  // namespace nvmx::tools
