// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "absl/flags/declare.h"
#include "absl/flags/flag.h"
#include "absl/strings/str_format.h"
#include "lhv/image/pack_writer.h"
#include "tools/command_line.h"
#include "tools/commands.h"
#include "tools/input_files.h"
#include "tools/scenario_flags.h"

ABSL_DECLARE_FLAG(std::string, output);

namespace nvmx::tools {

int RunPack(const std::vector<std::string>& arguments) {
  const std::string output = absl::GetFlag(FLAGS_output);
  if (arguments.empty()) {
    return Complain("pack: name files with guest programs, or directories with such files");
  }
  if (output.empty()) return Complain("pack: --output says where the pack goes");
  const absl::StatusOr<sim::ScenarioChanges> changes = ChangesFromFlags();
  if (!changes.ok()) return Complain(std::string(changes.status().message()));
  const absl::StatusOr<std::vector<std::string>> files = InputFiles(arguments);
  if (!files.ok()) return Complain(std::string(files.status().message()));
  std::vector<lhv::NamedProgram> programs;
  for (const std::string& file : *files) {
    absl::StatusOr<lhv::GuestProgram> program = LoadProgramInput(file, changes->cpus);
    if (!program.ok()) return Complain(std::string(program.status().message()));
    programs.push_back({file, *std::move(program)});
  }
  const absl::Status written = WriteFile(output, lhv::WritePack(programs));
  if (!written.ok()) return Complain(std::string(written.message()));
  absl::PrintF("%s: %d programs\n", output, programs.size());
  return kAsExpected;
}

}  // namespace nvmx::tools
