// SPDX-License-Identifier: Apache-2.0
#include "lhv/source_reader.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <set>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "lhv/names.h"

namespace nvmx::lhv {
namespace {

std::string Quoted(const std::string& text) { return absl::StrCat("\"", text, "\""); }

// What a person would call the node.
std::string KindText(const YAML::Node& node) {
  if (!node.IsDefined() || node.IsNull()) return "nothing";
  if (node.IsMap()) return "a map";
  if (node.IsSequence()) return "a list";
  return Quoted(node.Scalar());
}

std::string RangeText(uint64_t min, uint64_t max) {
  constexpr uint64_t kMostInDecimal = 0xFFFF;
  if (max <= kMostInDecimal) return absl::StrCat("expected a number from ", min, " to ", max);
  return absl::StrCat("expected a number from 0x", absl::Hex(min), " to 0x", absl::Hex(max));
}

}  // namespace

void SourceReader::Fail(const YAML::Node& at, const std::string& wrong,
                        const std::string& expected) {
  Fail(at.Mark(), wrong, expected);
}

void SourceReader::Fail(const YAML::Mark& at, const std::string& wrong,
                        const std::string& expected) {
  if (failed()) return;
  // A node that is in no file, such as that of an empty document, has a mark of -1.
  status_ = absl::InvalidArgumentError(absl::StrCat(file_name_, ":", std::max(at.line, 0) + 1, ":",
                                                    std::max(at.column, 0) + 1, ": ", wrong, "; ",
                                                    expected));
}

void SourceReader::FailUnknown(const YAML::Node& at, const std::string& what,
                               const std::string& name, const std::vector<std::string>& candidates,
                               const std::string& where) {
  constexpr size_t kMostToList = 40;
  const std::string nearest = NearestName(name, candidates);
  std::string expected = absl::StrCat("expected the name of a known ", what);
  if (!nearest.empty()) {
    expected = absl::StrCat("did you mean ", nearest, "?");
  } else if (candidates.empty()) {
    expected = "expected none";
  } else if (candidates.size() <= kMostToList) {
    expected = absl::StrCat("expected one of ", absl::StrJoin(candidates, ", "));
  }
  Fail(at, absl::StrCat("unknown ", what, " ", Quoted(name), where), expected);
}

int SourceReader::Line(const YAML::Node& node) { return std::max(node.Mark().line, 0) + 1; }

bool SourceReader::LooksLikeNumber(const YAML::Node& node) {
  if (!node.IsScalar() || node.Scalar().empty()) return false;
  const char first = node.Scalar().front();
  return std::isdigit(static_cast<unsigned char>(first)) || first == '-' || first == '+';
}

std::optional<uint64_t> SourceReader::Number(const YAML::Node& node, const std::string& what,
                                             uint64_t max, uint64_t min) {
  const std::string form = "expected a decimal number or a hexadecimal one such as 0x1F";
  if (!node.IsScalar()) {
    Fail(node, absl::StrCat(what, " is ", KindText(node)), form);
    return std::nullopt;
  }
  const std::string& text = node.Scalar();
  const bool hexadecimal = absl::StartsWith(text, "0x") || absl::StartsWith(text, "0X");
  const char* const begin = text.data() + (hexadecimal ? 2 : 0);
  const char* const end = text.data() + text.size();
  uint64_t number = 0;
  const auto [stop, error] = std::from_chars(begin, end, number, hexadecimal ? 16 : 10);
  if (stop != end || error == std::errc::invalid_argument) {
    Fail(node, absl::StrCat(what, " is ", Quoted(text), ", which is not a number"), form);
    return std::nullopt;
  }
  if (error == std::errc::result_out_of_range || number > max) {
    Fail(node, absl::StrCat(what, " ", text, " is too large"), RangeText(min, max));
    return std::nullopt;
  }
  if (number < min) {
    Fail(node, absl::StrCat(what, " ", text, " is too small"), RangeText(min, max));
    return std::nullopt;
  }
  return number;
}

std::optional<std::string> SourceReader::Word(const YAML::Node& node, const std::string& what) {
  if (node.IsScalar() && !node.Scalar().empty()) return node.Scalar();
  Fail(node, absl::StrCat(what, " is ", KindText(node)), "expected a name");
  return std::nullopt;
}

bool SourceReader::CheckMap(const YAML::Node& node, const std::string& what,
                            const std::vector<std::string>& keys) {
  if (!node.IsMap()) {
    Fail(node, absl::StrCat(what, " is ", KindText(node)),
         absl::StrCat("expected a map with keys among ", absl::StrJoin(keys, ", ")));
    return false;
  }
  std::set<std::string> seen;
  for (const auto& entry : node) {
    const std::optional<std::string> key = Word(entry.first, absl::StrCat("a key of ", what));
    if (!key) return false;
    if (std::find(keys.begin(), keys.end(), *key) == keys.end()) {
      FailUnknown(entry.first, "key", *key, keys, absl::StrCat(" of ", what));
      return false;
    }
    if (!seen.insert(*key).second) {
      Fail(entry.first, absl::StrCat("key ", *key, " of ", what, " is given again"),
           "expected each key once");
      return false;
    }
  }
  return true;
}

bool SourceReader::CheckList(const YAML::Node& node, const std::string& what) {
  if (node.IsSequence()) return true;
  Fail(node, absl::StrCat(what, " is ", KindText(node)), "expected a list");
  return false;
}

std::optional<YAML::Node> SourceReader::Required(const YAML::Node& map, const std::string& what,
                                                 const std::string& key) {
  if (Has(map, key)) return map[key];
  Fail(map, absl::StrCat(what, " has no key ", key), absl::StrCat("expected ", key, ": ..."));
  return std::nullopt;
}

bool Has(const YAML::Node& map, const std::string& key) {
  return map.IsMap() && map[key].IsDefined();
}

}  // namespace nvmx::lhv
