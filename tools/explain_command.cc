// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/sim/program/campaign.h"
#include "backends/sim/program/comparison.h"
#include "backends/sim/program/explanation.h"
#include "backends/sim/program/smallest.h"
#include "lhv/dump.h"
#include "tools/command_line.h"
#include "tools/commands.h"
#include "tools/input_files.h"
#include "tools/processor_flag.h"

namespace nvmx::tools {

int RunExplain(const std::vector<std::string>& arguments) {
  if (arguments.size() != 1) return Complain("explain: name one file with a guest program");
  absl::StatusOr<Input> input = LoadInput(arguments[0]);
  if (!input.ok()) return Complain(std::string(input.status().message()));
  const auto* program = std::get_if<lhv::GuestProgram>(&*input);
  if (program == nullptr) return RunReplay(arguments);
  absl::StatusOr<Capabilities> hardware = HardwareFromFlags();
  if (!hardware.ok()) return Complain(std::string(hardware.status().message()));
  sim::Comparer comparer(static_cast<uint32_t>(program->cpus.size()), *FindVariant("correct"),
                         *hardware);
  sim::Comparison comparison;
  comparer.Compare(*program, comparison);
  std::fputs(sim::ExplanationText(*program, comparison).c_str(), stdout);
  if (!comparison.IsDefect()) return kAsExpected;
  const lhv::GuestProgram smallest =
      sim::SmallestWithSignature(*program, sim::SignatureOf(*program, comparison), *hardware);
  std::fputs("\nof the program this is needed for the difference\n", stdout);
  std::fputs(lhv::Dump(smallest).c_str(), stdout);
  return kNotAsExpected;
}

}  // namespace nvmx::tools
