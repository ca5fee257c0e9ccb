// SPDX-License-Identifier: Apache-2.0
#include "lhv/image/serial_log.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace nvmx::lhv {
namespace {

constexpr uint64_t kMostCpus = 255;
constexpr uint64_t kLastKind = static_cast<uint64_t>(ObservationKind::kReadValue);

class Reader {
 public:
  absl::StatusOr<SerialLog> Run(const std::string& text) {
    size_t number = 0;
    for (absl::string_view line : absl::StrSplit(text, '\n')) {
      ++number;
      if (!absl::ConsumePrefix(&line, "@")) continue;
      words_ = absl::StrSplit(line, ' ');
      while (!words_.empty() && absl::StripSuffix(words_.back(), "\r").empty()) words_.pop_back();
      // A line that the end of the run has cut off is no error.
      if (!ReadLine(line) &&
          number < static_cast<size_t>(std::count(text.begin(), text.end(), '\n'))) {
        return absl::InvalidArgumentError(
            absl::StrCat("line ", number, ": this is not a line of the image's: @", line));
      }
    }
    return std::move(log_);
  }

 private:
  bool ReadLine(absl::string_view line) {
    if (words_.empty()) return false;
    const absl::string_view key = words_[0];
    if (key == "image") return true;
    if (key == "program") return ReadProgram(line);
    if (key == "finished") return log_.is_finished = true;
    if (log_.programs.empty()) return false;
    if (key == "done") return log_.programs.back().is_done = true;
    if (key == "log") return ReadObservation();
    return key == "end" && ReadEnd();
  }

  bool ReadProgram(absl::string_view line) {
    uint32_t index;
    if (words_.size() < 3 || !absl::SimpleAtoi(words_[1], &index)) return false;
    const std::string name(
        absl::StripSuffix(line.substr(words_[0].size() + words_[1].size() + 2), "\r"));
    auto& programs = log_.programs;
    programs.erase(std::remove_if(programs.begin(), programs.end(),
                                  [&](const LoggedProgram& p) { return p.name == name; }),
                   programs.end());
    programs.push_back({.index = index, .name = name});
    return true;
  }

  std::optional<uint64_t> Number(size_t word) const {
    uint64_t value;
    if (word >= words_.size() ||
        !absl::SimpleHexAtoi(absl::StripSuffix(words_[word], "\r"), &value)) {
      return std::nullopt;
    }
    return value;
  }

  LoggedCpu* Cpu() {
    const std::optional<uint64_t> cpu = Number(1);
    if (!cpu || *cpu > kMostCpus) return nullptr;
    std::vector<LoggedCpu>& cpus = log_.programs.back().cpus;
    if (cpus.size() <= *cpu) cpus.resize(*cpu + 1);
    return &cpus[*cpu];
  }

  bool ReadObservation() {
    constexpr size_t kWords = 8;
    LoggedCpu* const cpu = Cpu();
    if (cpu == nullptr || words_.size() != kWords) return false;
    uint64_t values[kWords] = {};
    for (size_t word = 2; word < kWords; ++word) {
      const std::optional<uint64_t> value = Number(word);
      if (!value) return false;
      values[word] = *value;
    }
    if (values[2] > kLastKind) return false;
    cpu->log.push_back({.kind = static_cast<ObservationKind>(values[2]),
                        .level = static_cast<uint32_t>(values[3]),
                        .operation = values[4],
                        .selector = values[5],
                        .value = values[6],
                        .extra = values[7]});
    return true;
  }

  bool ReadEnd() {
    LoggedCpu* const cpu = Cpu();
    const std::optional<uint64_t> detail = Number(3);
    if (cpu == nullptr || !detail) return false;
    for (size_t end = 0; end < kImageEndCount; ++end) {
      if (words_[2] != Name(static_cast<ImageEnd>(end))) continue;
      cpu->end = static_cast<ImageEnd>(end);
      cpu->detail = *detail;
      return true;
    }
    return false;
  }

  SerialLog log_;
  std::vector<absl::string_view> words_;
};

}  // namespace

absl::StatusOr<SerialLog> ReadSerialLog(const std::string& text) { return Reader().Run(text); }

}  // namespace nvmx::lhv
