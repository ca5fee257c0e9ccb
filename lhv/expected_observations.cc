// SPDX-License-Identifier: Apache-2.0
#include "lhv/expected_observations.h"

#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lhv/observation_text.h"

namespace nvmx::lhv {
namespace {

constexpr size_t kLevelLength = 2;  // "L1"

// The observation without the number of its operation.
std::string WithoutOperation(const Observation& observation) {
  return absl::StrCat("L", observation.level, ": ", EventText(observation));
}

// Stars of the pattern stand for any text.
bool MatchesPattern(std::string_view pattern, std::string_view text) {
  size_t p = 0;
  size_t t = 0;
  size_t star = std::string_view::npos;
  size_t after_star = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      after_star = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++after_star;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool NamesOperation(const std::string& line) {
  return line.size() > kLevelLength && line[kLevelLength] == ' ';
}

}  // namespace

bool IsExpectedObservation(const std::string& line) {
  if (!absl::StartsWith(line, "L1") && !absl::StartsWith(line, "L2")) return false;
  const std::string rest = line.substr(kLevelLength);
  return absl::StartsWith(rest, ": ") || absl::StartsWith(rest, " #");
}

bool Matches(const std::string& line, const Observation& observation) {
  return MatchesPattern(
      line, NamesOperation(line) ? ToString(observation) : WithoutOperation(observation));
}

std::optional<ExpectationFailure> CompareWithExpected(std::span<const ExpectedObservation> expected,
                                                      std::span<const Observation> log) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (i < log.size() && Matches(expected[i].text, log[i])) continue;
    const std::string observed = i < log.size() ? ToString(log[i]) : "the end of the log";
    return ExpectationFailure{i, expected[i].line,
                              absl::StrCat("expected ", expected[i].text, ", observed ", observed)};
  }
  if (log.size() == expected.size()) return std::nullopt;
  return ExpectationFailure{
      expected.size(), 0,
      absl::StrCat("expected nothing more, observed ", ToString(log[expected.size()]))};
}

std::string ExpectSection(std::span<const Observation> log, size_t indentation) {
  const std::string before = std::string(indentation, ' ');
  std::string text = absl::StrCat(before, "expect:\n");
  for (const Observation& observation : log) {
    absl::StrAppend(&text, before, "  - \"", WithoutOperation(observation), "\"\n");
  }
  return text;
}

}  // namespace nvmx::lhv
