// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/program_files.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "backends/sim/program/program_machine.h"
#include "lhv/assembler.h"
#include "yaml-cpp/yaml.h"

namespace nvmx::sim {
namespace {

namespace fs = std::filesystem;

// What the entries ask for. Whatever is wrong with them is the assembler's to say.
uint32_t CountCpus(const std::string& text) {
  uint64_t count = 0;
  try {
    for (const YAML::Node& entry : YAML::Load(text)["cpus"]) {
      count += entry.IsMap() && entry["repeat"] ? entry["repeat"].as<uint32_t>(1) : 1;
    }
  } catch (const YAML::Exception&) {
    return 1;
  }
  return static_cast<uint32_t>(std::clamp<uint64_t>(count, 1, ProgramMachine::kMostCpus));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ProgramFiles(const std::vector<std::string>& arguments) {
  std::vector<std::string> files;
  for (const std::string& argument : arguments) {
    std::error_code error;
    if (!fs::is_directory(argument, error)) {
      files.push_back(argument);
      continue;
    }
    std::vector<std::string> found;
    for (fs::recursive_directory_iterator it(argument, error), end; !error && it != end;
         it.increment(error)) {
      if (it->path().extension() == ".yaml") found.push_back(it->path().string());
    }
    if (error) return absl::NotFoundError(absl::StrCat(argument, ": ", error.message()));
    if (found.empty()) {
      return absl::NotFoundError(absl::StrCat(argument, ": no .yaml file in this directory"));
    }
    std::sort(found.begin(), found.end());
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

absl::StatusOr<lhv::GuestProgram> LoadProgram(const std::string& path, uint32_t cpus,
                                              lhv::L1Mode otherwise) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  absl::StatusOr<lhv::GuestProgram> program =
      lhv::Assemble(path, text, cpus == 0 ? CountCpus(text) : cpus, otherwise);
  if (!program.ok() || otherwise == lhv::L1Mode::k64Bit || program->says_l1_mode) return program;
  for (lhv::CpuProgram& cpu : program->cpus) cpu.expected.reset();
  return program;
}

}  // namespace nvmx::sim
