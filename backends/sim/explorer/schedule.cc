// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/explorer/schedule.h"

#include <algorithm>
#include <cctype>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace nvmx::sim {
namespace {

constexpr char kVersion[] = "nvmx1";
constexpr size_t kMaxSteps = 1'000'000;
constexpr size_t kMarkDigits = 4;

std::string Letter(Choice choice) {
  switch (choice) {
    case Choice::kStep:
      return "";
    case Choice::kTakeNmi:
      return "n";
    case Choice::kDeviceNmi:
      return "d";
  }
  return "";
}

absl::Status Bad(size_t position, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("schedule, character ", position + 1, ": ", what));
}

// Reads CHOICES. `base` is the position of its first character in the whole text.
class ChoiceReader {
 public:
  ChoiceReader(const std::string& text, size_t base, uint32_t cpus)
      : text_(text), base_(base), cpus_(cpus) {}

  absl::Status Read(std::vector<ScheduleStep>& steps) {
    while (at_ < text_.size()) {
      ScheduleStep step{0, Choice::kStep};
      if (text_[at_] == 'n' || text_[at_] == 'd') {
        step.choice = text_[at_++] == 'n' ? Choice::kTakeNmi : Choice::kDeviceNmi;
      }
      if (at_ >= text_.size() || !std::isdigit(static_cast<unsigned char>(text_[at_]))) {
        return Bad(base_ + at_, "expected a CPU number, n or d");
      }
      step.cpu = static_cast<uint8_t>(text_[at_++] - '0');
      if (step.cpu >= cpus_) {
        return Bad(base_ + at_ - 1, absl::StrCat("CPU ", step.cpu, " of ", cpus_));
      }
      size_t count = 1;
      if (absl::Status status = ReadCount(count); !status.ok()) return status;
      if (steps.size() + count > kMaxSteps) return Bad(base_ + at_, "more than 1000000 steps");
      steps.insert(steps.end(), count, step);
    }
    return absl::OkStatus();
  }

 private:
  absl::Status ReadCount(size_t& count) {
    if (at_ >= text_.size() || text_[at_] != '*') return absl::OkStatus();
    const size_t begin = ++at_;
    while (at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_]))) ++at_;
    // The count ends where the digits end; a CPU number that follows is set off by a comma.
    if (at_ == begin || !absl::SimpleAtoi(text_.substr(begin, at_ - begin), &count) || count == 0 ||
        count > kMaxSteps) {
      return Bad(base_ + begin, "expected a repeat count from 1 to 1000000 after *");
    }
    if (at_ < text_.size()) {
      if (text_[at_] != ',') return Bad(base_ + at_, "expected , after a repeat count");
      ++at_;
    }
    return absl::OkStatus();
  }

  const std::string& text_;
  const size_t base_;
  const uint32_t cpus_;
  size_t at_ = 0;
};

std::string ChoicesText(const std::vector<ScheduleStep>& steps) {
  std::string text;
  for (size_t at = 0; at < steps.size();) {
    size_t end = at;
    while (end < steps.size() && steps[end] == steps[at]) ++end;
    absl::StrAppend(&text, Letter(steps[at].choice), steps[at].cpu);
    if (end - at > 2) {
      absl::StrAppend(&text, "*", end - at, end < steps.size() ? "," : "");
      at = end;
    } else {
      ++at;
    }
  }
  return text;
}

}  // namespace

std::string ToString(const Schedule& schedule) {
  std::string text = absl::StrCat(kVersion, ":", schedule.scenario, ":", schedule.variant, ":",
                                  schedule.cpus, ":", ChoicesText(schedule.steps), ":");
  for (uint16_t mark : schedule.step_marks) absl::StrAppendFormat(&text, "%04x", mark);
  return text;
}

absl::StatusOr<Schedule> ParseSchedule(const std::string& text) {
  const std::string line(absl::StripAsciiWhitespace(text));
  const std::vector<std::string> parts = absl::StrSplit(line, ':');
  if (parts[0] != kVersion) {
    return Bad(0, absl::StrCat("expected a schedule of version ", kVersion,
                               ", as \"nvmx1:SCENARIO:VARIANT:CPUS:CHOICES:MARKS\""));
  }
  constexpr size_t kParts = 6;
  if (parts.size() != kParts) {
    return Bad(line.size(), absl::StrCat("expected ", kParts, " parts set off by colons, found ",
                                         parts.size(), "; the schedule may be cut off"));
  }
  Schedule schedule;
  schedule.scenario = parts[1];
  schedule.variant = parts[2];
  size_t base = parts[0].size() + parts[1].size() + parts[2].size() + 3;
  if (!absl::SimpleAtoi(parts[3], &schedule.cpus) || schedule.cpus == 0 || schedule.cpus > 8) {
    return Bad(base, "expected a number of CPUs from 1 to 8");
  }
  base += parts[3].size() + 1;
  if (absl::Status status = ChoiceReader(parts[4], base, schedule.cpus).Read(schedule.steps);
      !status.ok()) {
    return status;
  }
  base += parts[4].size() + 1;
  const std::string& marks = parts[5];
  if (marks.size() != schedule.steps.size() * kMarkDigits) {
    return Bad(base + marks.size(), absl::StrCat("expected ", schedule.steps.size(), " marks of ",
                                                 kMarkDigits, " digits, found ", marks.size(),
                                                 " digits; the schedule may be cut off"));
  }
  for (size_t at = 0; at < marks.size(); at += kMarkDigits) {
    const std::string digits = marks.substr(at, kMarkDigits);
    uint32_t mark = 0;
    // SimpleHexAtoi would also take "0x12" and blanks.
    if (!std::all_of(digits.begin(), digits.end(), absl::ascii_isxdigit) ||
        !absl::SimpleHexAtoi(digits, &mark)) {
      return Bad(base + at, "expected four hexadecimal digits");
    }
    schedule.step_marks.push_back(static_cast<uint16_t>(mark));
  }
  return schedule;
}

}  // namespace nvmx::sim
