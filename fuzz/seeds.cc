// SPDX-License-Identifier: Apache-2.0
#include "fuzz/seeds.h"

#include <algorithm>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <set>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "backends/sim/explorer/collection.h"
#include "backends/sim/program/program_files.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/vmcs_field.h"
#include "fuzz/own_part.h"
#include "fuzz/schedule_input.h"
#include "lhv/exit_fields.h"
#include "lhv/names.h"

namespace nvmx::fuzz {
namespace {

struct Suites {
  std::string_view target;
  std::initializer_list<const char*> directories;  // of lhv/suites
};
const Suites kSuites[] = {
    {"msr_list", {"msr-lists"}},
    {"vmcs12_entry", {"entry-checks", "activity-states", "unrestricted-guest"}},
    {"ept12", {"ept", "vpid", "paging-of-l2"}},
    {"vmx_sequence", {"vmx-instructions", "vmcs-shadowing"}},
    {"exit_route", {"exits", "bitmaps", "control-registers"}},
    {"event", {"events", "nmi", "windows", "timers", "monitor-trap-flag", "apic-virtualization"}},
    // Whatever the benches of the others have no room or no setup for.
    {"program",
     {"activity-states",
      "apic-virtualization",
      "bitmaps",
      "classics",
      "control-registers",
      "entry-checks",
      "ept",
      "events",
      "exits",
      "l1",
      "monitor-trap-flag",
      "msr-lists",
      "nmi",
      "paging-of-l2",
      "timers",
      "unrestricted-guest",
      "vmcs-shadowing",
      "vmx-instructions",
      "vpid",
      "windows"}},
    {"assembler", {"msr-lists", "ept", "events", "bitmaps", "paging-of-l2", "vmcs-shadowing"}},
};

// Of each suite of the assembler, so that the corpus stays small.
constexpr size_t kTexts = 12;

absl::StatusOr<std::vector<std::byte>> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  const auto bytes = std::as_bytes(std::span(text));
  return std::vector<std::byte>(bytes.begin(), bytes.end());
}

std::string NameOf(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  const size_t directory = path.find_last_of('/', slash - 1);
  std::string name = path.substr(directory == std::string::npos ? 0 : directory + 1);
  std::replace(name.begin(), name.end(), '/', '-');
  return name.substr(0, name.rfind('.'));
}

absl::StatusOr<std::vector<Seed>> Schedules() {
  std::vector<Seed> seeds;
  std::vector<FuzzedScenario> scenarios = Scenarios();
  for (size_t i = 0; i < scenarios.size(); ++i) {
    seeds.push_back({scenarios[i].scenario.name, {static_cast<std::byte>(i)}});
  }
  // What broke a historical order, as far as it is possible with the correct one.
  for (const sim::CollectionFile& file : sim::Collection()) {
    if (std::string_view(file.schedule).empty()) continue;
    // Behind a line of comment.
    const std::string text = file.schedule;
    const absl::StatusOr<sim::Schedule> schedule =
        sim::ParseSchedule(text.substr(text.find("nvmx")));
    if (!schedule.ok()) return schedule.status();
    for (size_t i = 0; i < scenarios.size(); ++i) {
      std::span<const sim::ScheduleStep> steps = schedule->steps;
      if (scenarios[i].scenario.cpus != schedule->cpus) continue;
      absl::StatusOr<std::vector<std::byte>> bytes = EncodeSchedule(scenarios, i, steps);
      while (!bytes.ok() && !steps.empty()) {
        steps = steps.first(steps.size() - 1);
        bytes = EncodeSchedule(scenarios, i, steps);
      }
      if (bytes.ok() && bytes->size() > 1) {
        seeds.push_back({absl::StrCat(file.name, "-", scenarios[i].scenario.name), *bytes});
      }
    }
  }
  return seeds;
}

std::string Quoted(std::string_view bytes) {
  std::string text = "\"";
  for (const char byte : bytes) {
    absl::StrAppendFormat(&text, "\\x%02X", static_cast<unsigned char>(byte));
  }
  return text + "\"\n";
}

std::string LittleEndian(uint32_t value) {
  std::string bytes;
  for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<char>(value >> 8 * i));
  return bytes;
}

}  // namespace

absl::StatusOr<std::vector<Seed>> SeedsOf(const TargetInformation& target,
                                          const std::string& suites) {
  if (target.form == InputForm::kSchedule) return Schedules();
  std::vector<Seed> seeds;
  for (const Suites& row : kSuites) {
    if (row.target != target.name) continue;
    for (const char* directory : row.directories) {
      const absl::StatusOr<std::vector<std::string>> files =
          sim::ProgramFiles({absl::StrCat(suites, "/", directory)});
      if (!files.ok()) return files.status();
      size_t texts = 0;
      for (const std::string& file : *files) {
        if (target.form == InputForm::kText) {
          absl::StatusOr<std::vector<std::byte>> text = ReadFile(file);
          if (!text.ok()) return text.status();
          if (text->size() <= target.max_bytes && ++texts <= kTexts) {
            seeds.push_back({NameOf(file), *std::move(text)});
          }
          continue;
        }
        const absl::StatusOr<lhv::GuestProgram> program = sim::LoadProgram(file, 0);
        if (!program.ok()) return program.status();
        const absl::StatusOr<lhv::GuestProgram> own = OwnPart(target.form, *program);
        if (!own.ok()) continue;
        std::vector<std::byte> bytes = EncodeInput(*own);
        InputReader reader(target);
        if (bytes.size() > target.max_bytes || reader.Read(bytes) == nullptr) continue;
        seeds.push_back({NameOf(file), std::move(bytes)});
      }
    }
  }
  return seeds;
}

std::string DictionaryOf(const TargetInformation& target) {
  std::string text = "# Made from the tables of VMCS fields, MSRs and exit reasons.\n";
  if (target.form == InputForm::kSchedule) return text;
  if (target.form == InputForm::kText) {
    std::vector<std::string> words = lhv::FieldNames();
    words.insert(words.end(), lhv::MsrNames().begin(), lhv::MsrNames().end());
    for (const lhv::ExitField& field : lhv::kExitFields) words.push_back(field.name);
    for (const std::string& field : lhv::ControlFieldNames()) {
      const std::vector<std::string> bits = lhv::ControlBitNames(*lhv::FieldByName(field));
      words.insert(words.end(), bits.begin(), bits.end());
    }
    for (const char* word : {"name: ",
                             "cpus:",
                             "repeat: all",
                             "memory:",
                             "setup:",
                             "run:",
                             "l2:",
                             "expect:",
                             "bytes: ",
                             "qwords: [",
                             "msr_list: [",
                             "{ept: {identity: 1G}}",
                             "page_tables: {mode: 4-level}",
                             "msr_bitmap: {",
                             "io_bitmap: {",
                             "vmcs_bitmap: {",
                             "eptp_list: [",
                             "- enter_vmx: ",
                             "- baseline_vmcs: ",
                             "- vmlaunch",
                             "- vmresume",
                             "- vmread: ",
                             "- vmwrite: {field: ",
                             "- label: ",
                             "- send_nmi: self",
                             "address_of: ",
                             "count_of: ",
                             "eptp_of: ",
                             "NVGP"}) {
      words.push_back(word);
    }
    for (const std::string& word : words) absl::StrAppend(&text, Quoted(word));
    return text;
  }
  std::set<uint32_t> values;
  for (const VmcsFieldInformation& row : kVmcsFields) values.insert(Encoding(row.field));
  for (const std::string& name : lhv::MsrNames()) values.insert(*lhv::MsrByName(name));
#define NVMX_EXIT_REASON(name, number, title, route) values.insert(number);
#include "core/vmx/exit_reasons.def"
#undef NVMX_EXIT_REASON
  for (const uint32_t value : values) absl::StrAppend(&text, Quoted(LittleEndian(value)));
  return text;
}

}  // namespace nvmx::fuzz
