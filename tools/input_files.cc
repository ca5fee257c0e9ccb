// SPDX-License-Identifier: Apache-2.0
#include "tools/input_files.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <span>
#include <system_error>

#include "absl/flags/declare.h"
#include "absl/flags/flag.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "backends/sim/program/program_files.h"
#include "backends/sim/program/program_yaml.h"
#include "backends/sim/replay/replay.h"
#include "backends/variants/variant.h"
#include "fuzz/input.h"
#include "fuzz/schedule_input.h"
#include "lhv/binary_program.h"

ABSL_DECLARE_FLAG(std::string, variant);
ABSL_FLAG(std::string, target, "",
          "the files are inputs of this fuzz target; scripts/fuzz --list names them");
ABSL_FLAG(std::string, l1_arch, "x86_64",
          "what L1 of guest programs that do not say it themselves is: x86_64, in 64-bit mode, or "
          "i386, outside IA-32e mode");

namespace nvmx::tools {
namespace {

namespace fs = std::filesystem;

constexpr char kScheduleSuffix[] = ".schedule";

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

absl::Status At(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
}

// nullptr if the flag is not given.
absl::StatusOr<const fuzz::TargetInformation*> TargetFromFlag() {
  const std::string name = absl::GetFlag(FLAGS_target);
  if (name.empty()) return nullptr;
  if (const fuzz::TargetInformation* target = fuzz::FindTarget(name)) return target;
  std::string names;
  for (const fuzz::TargetInformation& target : fuzz::AllTargets()) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", target.name);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--target: there is no \"", name, "\"; there are ", names));
}

bool IsBinaryProgram(const std::string& text) {
  return absl::StartsWith(text, absl::string_view(lhv::kBinaryMagic, sizeof lhv::kBinaryMagic));
}

absl::StatusOr<lhv::GuestProgram> DecodeInput(const std::string& path, fuzz::InputForm form) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  absl::StatusOr<lhv::GuestProgram> program = fuzz::DecodeProgramInput(form, Bytes(*text));
  if (!program.ok()) return At(path, program.status());
  // An input has no name, but a text must.
  if (program->name.empty()) program->name = std::filesystem::path(path).filename().string();
  return program;
}

absl::StatusOr<sim::Schedule> DecodeSchedule(const std::string& path, const std::string& text) {
  const std::string variant = absl::GetFlag(FLAGS_variant);
  if (!variant.empty() && FindVariant(variant) == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("--variant ", variant, ": there is none of that name"));
  }
  std::vector<fuzz::FuzzedScenario> scenarios = fuzz::Scenarios(variant);
  fuzz::ScheduleRun run;
  if (absl::Status status = fuzz::RunSchedule(scenarios, Bytes(text), run); !status.ok()) {
    return At(path, status);
  }
  return sim::MakeSchedule(run.scenario->scenario, run.steps);
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file.is_open() || file.bad() || fs::is_directory(path)) {
    return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  }
  return text;
}

bool TakesInputsOfATarget() { return !absl::GetFlag(FLAGS_target).empty(); }

absl::StatusOr<std::vector<std::string>> InputFiles(const std::vector<std::string>& arguments) {
  absl::StatusOr<const fuzz::TargetInformation*> target = TargetFromFlag();
  if (!target.ok()) return target.status();
  if (*target == nullptr) return sim::ProgramFiles(arguments);
  std::vector<std::string> files;
  for (const std::string& argument : arguments) {
    std::error_code error;
    if (!fs::is_directory(argument, error)) {
      files.push_back(argument);
      continue;
    }
    const size_t before = files.size();
    for (const fs::directory_entry& entry : fs::directory_iterator(argument, error)) {
      if (entry.is_regular_file(error)) files.push_back(entry.path().string());
    }
    if (error) return absl::NotFoundError(absl::StrCat(argument, ": ", error.message()));
    if (files.size() == before) {
      return absl::NotFoundError(absl::StrCat(argument, ": no file in this directory"));
    }
    std::sort(files.begin() + static_cast<std::ptrdiff_t>(before), files.end());
  }
  return files;
}

absl::StatusOr<lhv::GuestProgram> LoadProgramInput(const std::string& path, uint32_t cpus) {
  absl::StatusOr<const fuzz::TargetInformation*> target = TargetFromFlag();
  if (!target.ok()) return target.status();
  if (*target != nullptr) {
    if ((*target)->form != fuzz::InputForm::kSchedule) return DecodeInput(path, (*target)->form);
    return absl::InvalidArgumentError(absl::StrCat(path, ": inputs of ", (*target)->name,
                                                   " are schedules; nvmx replay runs them"));
  }
  absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  if (IsBinaryProgram(*text)) return DecodeInput(path, fuzz::InputForm::kText);
  const std::optional<lhv::L1Mode> mode = lhv::L1ModeOfArch(absl::GetFlag(FLAGS_l1_arch));
  if (!mode) {
    return absl::InvalidArgumentError(
        absl::StrCat("--l1_arch takes x86_64 or i386, not \"", absl::GetFlag(FLAGS_l1_arch), "\""));
  }
  return sim::LoadProgram(path, cpus, *mode);
}

std::string InputText(const Input& input) {
  if (const auto* schedule = std::get_if<sim::Schedule>(&input)) return ToString(*schedule) + "\n";
  return sim::ProgramYaml(std::get<lhv::GuestProgram>(input));
}

bool IsScheduleFile(const std::string& path) { return absl::EndsWith(path, kScheduleSuffix); }

absl::StatusOr<sim::Schedule> ParseScheduleText(const std::string& name, const std::string& text) {
  int number = 0;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(text, '\n'))) {
    ++number;
    if (line.empty() || line[0] == '#') continue;
    absl::StatusOr<sim::Schedule> schedule = sim::ParseSchedule(line);
    if (schedule.ok()) return schedule;
    return At(absl::StrCat(name, ":", number), schedule.status());
  }
  return absl::InvalidArgumentError(absl::StrCat(name, ":", number, ": holds no schedule"));
}

absl::StatusOr<sim::Schedule> LoadScheduleInput(const std::string& path) {
  absl::StatusOr<const fuzz::TargetInformation*> target = TargetFromFlag();
  if (!target.ok()) return target.status();
  absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  if (*target == nullptr) return ParseScheduleText(path, *text);
  if ((*target)->form != fuzz::InputForm::kSchedule) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": inputs of ", (*target)->name, " are guest programs, no schedules"));
  }
  return DecodeSchedule(path, *text);
}

absl::StatusOr<Input> LoadInput(const std::string& path) {
  absl::StatusOr<const fuzz::TargetInformation*> target = TargetFromFlag();
  if (!target.ok()) return target.status();
  const bool is_schedule =
      *target == nullptr ? IsScheduleFile(path) : (*target)->form == fuzz::InputForm::kSchedule;
  if (is_schedule) {
    absl::StatusOr<sim::Schedule> schedule = LoadScheduleInput(path);
    if (!schedule.ok()) return schedule.status();
    return *std::move(schedule);
  }
  absl::StatusOr<lhv::GuestProgram> program = LoadProgramInput(path);
  if (!program.ok()) return program.status();
  return *std::move(program);
}

absl::Status WriteFile(const std::string& path, const std::string& text) {
  const std::string temporary = path + ".part";
  std::ofstream file(temporary, std::ios::binary);
  file << text;
  file.close();
  std::error_code error;
  if (file) fs::rename(temporary, path, error);
  if (file && !error) return absl::OkStatus();
  std::error_code ignored;
  fs::remove(temporary, ignored);
  return absl::UnavailableError(absl::StrCat(path, ": cannot be written"));
}

}  // namespace nvmx::tools
