// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "backends/sim/program/difference_text.h"
#include "backends/sim/program/native_machine.h"
#include "backends/sim/program/nested_machine.h"
#include "backends/variants/variant.h"
#include "tools/command_line.h"
#include "tools/commands.h"
#include "tools/input_files.h"
#include "tools/processor_flag.h"
#include "tools/scenario_flags.h"

ABSL_FLAG(std::string, machine, "sim-nested",
          "what runs the program: sim-native, a simulated CPU without a hypervisor below; or "
          "sim-nested, the core as L0 on one");
ABSL_FLAG(bool, evict_translations, false,
          "sim-native only: the TLB keeps nothing, instead of everything that it may keep");

namespace nvmx::tools {
namespace {

using sim::TlbPolicy;

absl::StatusOr<std::unique_ptr<sim::ProgramMachine>> MakeMachine(uint32_t cpus,
                                                                 const std::string& variant,
                                                                 const Capabilities& hardware) {
  const std::string machine = absl::GetFlag(FLAGS_machine);
  const bool evict = absl::GetFlag(FLAGS_evict_translations);
  if (machine == "sim-native") {
    if (!variant.empty()) return absl::InvalidArgumentError("--variant: sim-native has no L0");
    return std::make_unique<sim::NativeMachine>(
        cpus, evict ? TlbPolicy::kEvictAtOnce : TlbPolicy::kKeep, hardware);
  }
  if (machine != "sim-nested") {
    return absl::InvalidArgumentError(
        absl::StrCat("--machine: \"", machine, "\" is none; there are sim-native and sim-nested"));
  }
  if (evict) return absl::InvalidArgumentError("--evict-translations: only with sim-native");
  const Variant* found = FindVariant(variant.empty() ? "correct" : variant);
  if (found == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("--variant: there is no \"", variant, "\""));
  }
  return std::make_unique<sim::NestedMachine>(cpus, *found, hardware);
}

}  // namespace

int RunProgram(const std::vector<std::string>& arguments) {
  if (arguments.size() != 1) return Complain("run: name one file with a guest program");
  absl::StatusOr<sim::ScenarioChanges> changes = ChangesFromFlags();
  if (!changes.ok()) return Complain(std::string(changes.status().message()));
  if (changes->cpus > sim::ProgramMachine::kMostCpus) {
    return Complain(absl::StrCat("--cpus: 1 to ", sim::ProgramMachine::kMostCpus));
  }
  absl::StatusOr<lhv::GuestProgram> program = LoadProgramInput(arguments[0], changes->cpus);
  if (!program.ok()) return Complain(std::string(program.status().message()));
  const auto cpus = static_cast<uint32_t>(program->cpus.size());
  absl::StatusOr<Capabilities> hardware = HardwareFromFlags();
  if (!hardware.ok()) return Complain(std::string(hardware.status().message()));
  absl::StatusOr<std::unique_ptr<sim::ProgramMachine>> machine =
      MakeMachine(cpus, changes->variant, *hardware);
  if (!machine.ok()) return Complain(std::string(machine.status().message()));
  sim::ProgramResult result;
  (*machine)->Run(*program, result);
  std::fputs(sim::LogText(result).c_str(), stdout);
  if (result.IsComplete()) return kAsExpected;
  std::string ends;
  for (uint32_t cpu = 0; cpu < cpus; ++cpu) {
    absl::StrAppend(&ends, cpu == 0 ? "" : ", ", "CPU ", cpu, " ", sim::Name(result.cpus[cpu].end));
  }
  absl::FPrintF(stderr, "nvmx: %s: not all CPUs came to the end of their programs: %s%s\n",
                arguments[0], ends, result.defect.empty() ? "" : absl::StrCat("; ", result.defect));
  return kNotAsExpected;
}

}  // namespace nvmx::tools
