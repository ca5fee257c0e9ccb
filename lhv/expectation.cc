// SPDX-License-Identifier: Apache-2.0
#include "lhv/expectation.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lhv/expected_observations.h"

namespace nvmx::lhv {
namespace {

// The line with each label in braces replaced.
std::optional<std::string> WithLabels(SourceReader& reader, const YAML::Node& node,
                                      const std::string& line, const Labels& labels) {
  const auto& of_level = labels.Of(absl::StartsWith(line, "L1") ? 1 : 2);
  std::string text;
  size_t done = 0;
  for (size_t open = line.find('{'); open != std::string::npos; open = line.find('{', done)) {
    const size_t close = line.find('}', open);
    if (close == std::string::npos) {
      reader.Fail(node, "a brace is not closed", "expected {label}");
      return std::nullopt;
    }
    const std::string name = line.substr(open + 1, close - open - 1);
    const auto found = of_level.find(name);
    if (found == of_level.end()) {
      std::vector<std::string> names;
      for (const auto& label : of_level) names.push_back(label.first);
      reader.FailUnknown(node, "label", name, names, absl::StrCat(" of ", line.substr(0, 2)));
      return std::nullopt;
    }
    absl::StrAppend(&text, line.substr(done, open - done), found->second);
    done = close + 1;
  }
  return text + line.substr(done);
}

}  // namespace

std::optional<std::vector<ExpectedObservation>> ReadExpected(SourceReader& reader,
                                                             const YAML::Node& list,
                                                             const Labels& labels) {
  if (!list.IsDefined() || !reader.CheckList(list, "expect")) return std::nullopt;
  std::vector<ExpectedObservation> expected;
  for (const YAML::Node& node : list) {
    const auto line = reader.Word(node, "an expected observation");
    if (!line) return std::nullopt;
    if (!IsExpectedObservation(*line)) {
      reader.Fail(node, absl::StrCat("\"", *line, "\" is no observation"),
                  "expected one such as \"L1: VM exit: EXIT_REASON = 18 (VMCALL)\"");
      return std::nullopt;
    }
    const auto text = WithLabels(reader, node, *line, labels);
    if (!text) return std::nullopt;
    expected.push_back({*text, SourceReader::Line(node)});
  }
  return expected;
}

}  // namespace nvmx::lhv
