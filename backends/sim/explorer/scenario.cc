// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/explorer/scenario.h"

#include <fstream>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backends/sim/explorer/collection.h"
#include "lhv/assembler.h"
#include "lhv/source_reader.h"
#include "yaml-cpp/yaml.h"

namespace nvmx::sim {
namespace {

constexpr uint32_t kMaxCpus = 8;
constexpr uint32_t kMaxDeviceNmis = 3;

constexpr Verdict kVerdicts[] = {Verdict::kCompletes, Verdict::kLockBeforeSettling,
                                 Verdict::kNmiStolen, Verdict::kNmiLost,
                                 Verdict::kL0Failed,  Verdict::kDeadlock};

std::vector<std::string> VariantNames() {
  std::vector<std::string> names;
  for (const Variant& variant : AllVariants()) names.push_back(variant.name);
  return names;
}

class ScenarioReader {
 public:
  ScenarioReader(const std::string& file_name, Scenario& scenario)
      : reader_(file_name), scenario_(scenario) {}

  absl::Status Read(const YAML::Node& root, const ScenarioChanges& changes) {
    if (!reader_.CheckMap(root, "a scenario",
                          {"summary", "variant", "cpus", "log_mtrr_writes", "device_nmis", "expect",
                           "program"})) {
      return reader_.status();
    }
    if (auto summary = reader_.Required(root, "a scenario", "summary")) {
      if (auto text = reader_.Word(*summary, "summary")) scenario_.summary = *text;
    }
    ReadNumber(root, "cpus", 1, kMaxCpus, scenario_.cpus);
    ReadNumber(root, "device_nmis", 0, kMaxDeviceNmis, scenario_.device_nmis);
    ReadFlag(root, "log_mtrr_writes", scenario_.log_mtrr_writes);
    ReadVariant(root);
    ReadExpectation(root);
    const std::optional<YAML::Node> program = reader_.Required(root, "a scenario", "program");
    if (reader_.failed()) return reader_.status();
    if (absl::Status status = ApplyChanges(changes, scenario_); !status.ok()) return status;
    absl::StatusOr<lhv::GuestProgram> assembled =
        lhv::AssembleNode(scenario_.file_name, *program, scenario_.cpus);
    if (!assembled.ok()) return assembled.status();
    scenario_.program = *std::move(assembled);
    return absl::OkStatus();
  }

 private:
  void ReadNumber(const YAML::Node& root, const char* key, uint64_t least, uint64_t most,
                  uint32_t& value) {
    if (!lhv::Has(root, key)) return;
    if (auto number = reader_.Number(root[key], key, most, least)) {
      value = static_cast<uint32_t>(*number);
    }
  }

  void ReadFlag(const YAML::Node& root, const char* key, bool& value) {
    if (!lhv::Has(root, key)) return;
    const std::optional<std::string> word = reader_.Word(root[key], key);
    if (!word) return;
    if (*word != "true" && *word != "false") {
      reader_.FailUnknown(root[key], key, *word, {"true", "false"});
      return;
    }
    value = *word == "true";
  }

  void ReadVariant(const YAML::Node& root) {
    if (!lhv::Has(root, "variant")) return;
    const std::optional<std::string> word = reader_.Word(root["variant"], "variant");
    if (!word) return;
    if (FindVariant(*word) == nullptr) {
      reader_.FailUnknown(root["variant"], "variant", *word, VariantNames());
      return;
    }
    scenario_.variant = *word;
  }

  void ReadExpectation(const YAML::Node& root) {
    const std::optional<YAML::Node> node = reader_.Required(root, "a scenario", "expect");
    if (!node) return;
    const std::optional<std::string> word = reader_.Word(*node, "expect");
    if (!word) return;
    std::vector<std::string> names = {"merges", "exchanges"};
    for (Verdict verdict : kVerdicts) {
      if (*word == Name(verdict)) {
        scenario_.expected = verdict;
        return;
      }
      names.push_back(Name(verdict));
    }
    scenario_.expects_merge = *word == "merges";
    scenario_.expects_exchange = *word == "exchanges";
    if (!scenario_.expects_merge && !scenario_.expects_exchange) {
      reader_.FailUnknown(*node, "expect", *word, names);
    }
  }

  lhv::SourceReader reader_;
  Scenario& scenario_;
};

}  // namespace

absl::Status ApplyChanges(const ScenarioChanges& changes, Scenario& scenario) {
  if (changes.cpus > kMaxCpus) {
    return absl::InvalidArgumentError(
        absl::StrCat("--cpus ", changes.cpus, ": the simulator has 1 to ", kMaxCpus, " CPUs"));
  }
  if (changes.device_nmis > static_cast<int>(kMaxDeviceNmis)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--device-nmis ", changes.device_nmis, ": at most ", kMaxDeviceNmis));
  }
  if (!changes.variant.empty() && FindVariant(changes.variant) == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--variant ", changes.variant,
        ": there is none of that name; there are: ", absl::StrJoin(VariantNames(), ", ")));
  }
  if (changes.cpus != 0) scenario.cpus = changes.cpus;
  if (changes.device_nmis >= 0) scenario.device_nmis = static_cast<uint32_t>(changes.device_nmis);
  if (!changes.variant.empty()) scenario.variant = changes.variant;
  return absl::OkStatus();
}

const char* Name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kCompletes:
      return "completes";
    case Verdict::kLockBeforeSettling:
      return "lock-before-settling";
    case Verdict::kNmiStolen:
      return "nmi-stolen";
    case Verdict::kNmiLost:
      return "nmi-lost";
    case Verdict::kL0Failed:
      return "l0-failed";
    case Verdict::kDeadlock:
      return "deadlock";
  }
  return "";
}

absl::StatusOr<Scenario> ParseScenario(const std::string& name, const std::string& file_name,
                                       const std::string& text, const ScenarioChanges& changes) {
  Scenario scenario;
  scenario.name = name;
  scenario.file_name = file_name;
  try {
    const YAML::Node root = YAML::Load(text);
    if (absl::Status status = ScenarioReader(file_name, scenario).Read(root, changes);
        !status.ok()) {
      return status;
    }
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(file_name, ":", error.mark.line + 1, ":",
                                                   error.mark.column + 1, ": ", error.msg));
  }
  return scenario;
}

absl::StatusOr<Scenario> LoadScenario(const std::string& name_or_path,
                                      const ScenarioChanges& changes) {
  const bool is_path =
      absl::StrContains(name_or_path, "/") || absl::EndsWith(name_or_path, ".yaml");
  if (!is_path) {
    for (const CollectionFile& file : Collection()) {
      if (name_or_path == file.name) {
        return ParseScenario(file.name, file.path, file.text, changes);
      }
    }
    return absl::NotFoundError(absl::StrCat("no scenario named \"", name_or_path,
                                            "\"; nvmx list shows them. A file of your own is named "
                                            "by its path, as ./mine.yaml"));
  }
  if (absl::StrContains(name_or_path, ":")) {
    return absl::InvalidArgumentError(absl::StrCat(
        name_or_path, ": a scenario's path must have no colon; a schedule could not name it"));
  }
  std::ifstream file(name_or_path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat(name_or_path, ": cannot be read"));
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return ParseScenario(name_or_path, name_or_path, text, changes);
}

std::vector<std::string> ScenarioNames() {
  std::vector<std::string> names;
  for (const CollectionFile& file : Collection()) names.push_back(file.name);
  return names;
}

absl::StatusOr<std::unique_ptr<Machine>> BuildMachine(const Scenario& scenario, bool keep_trace,
                                                      bool enable_keys) {
  MachineOptions options;
  options.variant = FindVariant(scenario.variant);
  options.log_mtrr_writes = scenario.log_mtrr_writes;
  options.keep_trace = keep_trace;
  options.enable_keys = enable_keys;
  return Machine::Create(scenario.program, options);
}

}  // namespace nvmx::sim
