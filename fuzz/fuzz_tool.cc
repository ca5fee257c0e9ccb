// SPDX-License-Identifier: Apache-2.0
//
// What scripts/fuzz needs beside the fuzzers.
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "backends/sim/program/program_yaml.h"
#include "core/vmx/exit_reason.h"
#include "fuzz/corpus_file.h"
#include "fuzz/input.h"
#include "fuzz/reached_layout.h"
#include "fuzz/seeds.h"
#include "fuzz/target.h"
#include "fuzz/vmcs12_rounding.h"

namespace nvmx::fuzz {
namespace {

constexpr int kUsage = 2;

int Complain(const std::string& message) {
  std::fprintf(stderr, "fuzz_tool: %s\n", message.c_str());
  return kUsage;
}

bool Write(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  return static_cast<bool>(file.flush());
}

int List() {
  for (const TargetInformation& target : AllTargets()) {
    std::printf("%s\t%zu\t%s\n", target.name, target.max_bytes, target.property);
  }
  return 0;
}

// What the numbers in struct Reached stand for.
int Names() {
  for (uint32_t number = 0; RuleName(number) != nullptr; ++number) {
    std::printf("rule\t%u\t%s\n", number, RuleName(number));
  }
#define NVMX_EXIT_REASON(name, number, title, route) std::printf("exit\t%d\t%s\n", number, title);
#include "core/vmx/exit_reasons.def"
#undef NVMX_EXIT_REASON
  return 0;
}

int Layout() {
  for (const ReachedNumbers& row : kReachedLayout) {
    std::printf("%s\t%zu\t%zu\n", row.name, row.first, row.count);
  }
  return 0;
}

// Writes those of the suites and those of the corpora, each input as a file.
int Seeds(const TargetInformation& target, const std::string& suites, const std::string& corpora,
          const std::string& out) {
  absl::StatusOr<std::vector<Seed>> seeds = SeedsOf(target, suites);
  if (!seeds.ok()) return Complain(std::string(seeds.status().message()));
  for (const char* kind : {"corpus", "finds"}) {
    const absl::StatusOr<std::vector<std::vector<std::byte>>> inputs =
        ReadCorpusFile(absl::StrCat(corpora, "/", target.name, ".", kind));
    if (absl::IsNotFound(inputs.status())) continue;
    if (!inputs.ok()) return Complain(std::string(inputs.status().message()));
    for (size_t i = 0; i < inputs->size(); ++i) {
      seeds->push_back({absl::StrFormat("%s-%04u", kind, i), (*inputs)[i]});
    }
  }
  for (const Seed& seed : *seeds) {
    const std::string path = absl::StrCat(out, "/", seed.name);
    if (!Write(path, seed.bytes)) return Complain(absl::StrCat(path, ": ", std::strerror(errno)));
  }
  return 0;
}

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Makes one file of the directory's inputs. What is no input, or shows something that must not be,
// is left out.
int Pack(const TargetInformation& target, const std::string& directory, const std::string& out) {
  std::vector<std::vector<std::byte>> inputs;
  const std::unique_ptr<Target> machine = MakeTarget(target);
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    if (!entry.is_regular_file()) continue;
    const std::string text = ReadFile(entry.path());
    const auto bytes = std::as_bytes(std::span(text));
    const std::optional<Find> find = machine->Run(bytes);
    if (find || !machine->valid() || bytes.size() > target.max_bytes) {
      std::printf("%s: left out: %s\n", entry.path().c_str(),
                  find ? find->signature.c_str() : "no input");
      continue;
    }
    inputs.emplace_back(bytes.begin(), bytes.end());
  }
  if (error) return Complain(absl::StrCat(directory, ": ", error.message()));
  const absl::Status written = WriteCorpusFile(
      out, absl::StrCat("Inputs of the fuzz target ", target.name, ", one a line in base64."),
      inputs);
  if (!written.ok()) return Complain(std::string(written.message()));
  return 0;
}

// Says which files of a corpus are no inputs, and why: 1 if there are any.
int Damaged(const TargetInformation& target, const std::string& directory) {
  int status = 0;
  const bool has_programs = target.form != InputForm::kSchedule && target.form != InputForm::kText;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    if (!entry.is_regular_file()) continue;
    const std::string path = entry.path().string();
    const std::string text = ReadFile(path);
    InputReader reader(target);
    const char* why = "";
    if (text.size() > target.max_bytes) {
      why = "too long";
    } else if (has_programs && reader.Read(std::as_bytes(std::span(text))) == nullptr) {
      why = reader.error();
    } else {
      continue;
    }
    std::printf("%s: %s\n", path.c_str(), why);
    status = 1;
  }
  if (error) return Complain(absl::StrCat(directory, ": ", error.message()));
  return status;
}

// One input, without libFuzzer: 0 if what must hold holds, 1 and what was found otherwise.
int Check(const TargetInformation& target, const std::string& path, const std::string& out) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file) return Complain(absl::StrCat(path, ": ", std::strerror(errno)));
  const std::unique_ptr<Target> machine = MakeTarget(target);
  const std::optional<Find> find = machine->Run(std::as_bytes(std::span(text)));
  if (!machine->valid()) {
    const absl::StatusOr<lhv::GuestProgram> program =
        DecodeProgramInput(target.form, std::as_bytes(std::span(text)));
    return Complain(absl::StrCat(path, ": no input of ", target.name, ": ",
                                 program.ok() ? "it is too long" : program.status().message()));
  }
  if (!find) {
    std::printf("%s: %s holds\n", path.c_str(), target.name);
    return 0;
  }
  std::printf("%s: %s\n%s", path.c_str(), find->signature.c_str(), find->text.c_str());
  if (!out.empty() &&
      !Write(absl::StrCat(out, find->extension), std::as_bytes(std::span(find->yaml)))) {
    return Complain(absl::StrCat(out, find->extension, ": ", std::strerror(errno)));
  }
  return 1;
}

// What an input stands for, as a program that nvmx takes; nothing if it stands for no program.
// Executes nothing, so it is for inputs that crash.
int Program(const TargetInformation& target, const std::string& path) {
  if (target.form == InputForm::kSchedule || target.form == InputForm::kText) return 0;
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file) return Complain(absl::StrCat(path, ": ", std::strerror(errno)));
  const absl::StatusOr<lhv::GuestProgram> program =
      DecodeProgramInput(target.form, std::as_bytes(std::span(text)));
  if (!program.ok()) {
    return Complain(
        absl::StrCat(path, ": no input of ", target.name, ": ", program.status().message()));
  }
  std::fputs(sim::ProgramYaml(*program).c_str(), stdout);
  return 0;
}

int Main(const std::vector<std::string>& arguments) {
  constexpr char kHelp[] =
      "usage: fuzz_tool list | names | layout | dictionary TARGET |\n"
      "       seeds TARGET SUITES CORPORA DIRECTORY | pack TARGET DIRECTORY CORPUS |\n"
      "       damaged TARGET DIRECTORY | program TARGET INPUT |\n"
      "       check TARGET INPUT [PROGRAM]   (the program goes to PROGRAM.yaml)";
  if (arguments.empty()) return Complain(kHelp);
  const std::string& command = arguments[0];
  if (command == "list" && arguments.size() == 1) return List();
  if (command == "names" && arguments.size() == 1) return Names();
  if (command == "layout" && arguments.size() == 1) return Layout();
  if (arguments.size() < 2) return Complain(kHelp);
  const TargetInformation* target = FindTarget(arguments[1]);
  if (target == nullptr) return Complain(absl::StrCat("there is no target ", arguments[1]));
  if (command == "dictionary" && arguments.size() == 2) {
    std::fputs(DictionaryOf(*target).c_str(), stdout);
    return 0;
  }
  if (command == "damaged" && arguments.size() == 3) return Damaged(*target, arguments[2]);
  if (command == "program" && arguments.size() == 3) return Program(*target, arguments[2]);
  if (command == "pack" && arguments.size() == 4) return Pack(*target, arguments[2], arguments[3]);
  if (command == "seeds" && arguments.size() == 5) {
    return Seeds(*target, arguments[2], arguments[3], arguments[4]);
  }
  if (command == "check" && (arguments.size() == 3 || arguments.size() == 4)) {
    return Check(*target, arguments[2], arguments.size() == 4 ? arguments[3] : "");
  }
  return Complain(kHelp);
}

}  // namespace
}  // namespace nvmx::fuzz

int main(int argc, char** argv) {
  return nvmx::fuzz::Main(std::vector<std::string>(argv + 1, argv + argc));
}
