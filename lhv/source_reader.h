// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_SOURCE_READER_H_
#define NVMX_LHV_SOURCE_READER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "yaml-cpp/yaml.h"

namespace nvmx::lhv {

// Takes values out of YAML nodes. What is wrong with one is remembered with its place in the file:
// the first error only, since the later ones may follow from it. A function that returns nothing,
// or false, has remembered an error.
class SourceReader {
 public:
  explicit SourceReader(std::string file_name) : file_name_(std::move(file_name)) {}

  // Remembers "file:line:column: wrong; expected". Lines and columns count from 1.
  void Fail(const YAML::Node& at, const std::string& wrong, const std::string& expected);
  void Fail(const YAML::Mark& at, const std::string& wrong, const std::string& expected);
  // The same for an unknown name; what was expected is the nearest candidate, or all of them.
  // `where` follows the name.
  void FailUnknown(const YAML::Node& at, const std::string& what, const std::string& name,
                   const std::vector<std::string>& candidates, const std::string& where = "");

  bool failed() const { return !status_.ok(); }
  const absl::Status& status() const { return status_; }

  // Where the node is: its line, from 1.
  static int Line(const YAML::Node& node);
  // True if the node's text begins as a number does, so that it cannot be a name.
  static bool LooksLikeNumber(const YAML::Node& node);

  // The number, in decimal or with 0x in hexadecimal. `what` names it in the error.
  std::optional<uint64_t> Number(const YAML::Node& node, const std::string& what,
                                 uint64_t max = ~uint64_t{0}, uint64_t min = 0);
  // The text of a scalar.
  std::optional<std::string> Word(const YAML::Node& node, const std::string& what);

  // True if the node is a map that has only these keys, each at most once.
  bool CheckMap(const YAML::Node& node, const std::string& what,
                const std::vector<std::string>& keys);
  bool CheckList(const YAML::Node& node, const std::string& what);
  // The value of a key that `map` must have.
  std::optional<YAML::Node> Required(const YAML::Node& map, const std::string& what,
                                     const std::string& key);

 private:
  const std::string file_name_;
  absl::Status status_;
};

// True if the node is a map that has the key.
bool Has(const YAML::Node& map, const std::string& key);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_SOURCE_READER_H_
