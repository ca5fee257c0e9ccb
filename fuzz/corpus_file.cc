// SPDX-License-Identifier: Apache-2.0
#include "fuzz/corpus_file.h"

#include <cstring>
#include <fstream>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace nvmx::fuzz {

absl::StatusOr<std::vector<std::vector<std::byte>>> ReadCorpusFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  std::vector<std::vector<std::byte>> inputs;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (line.empty() || line[0] == '#') continue;
    std::string bytes;
    if (!absl::Base64Unescape(line, &bytes)) {
      return absl::InvalidArgumentError(absl::StrCat(path, ":", number, ": no base64"));
    }
    const auto* begin = reinterpret_cast<const std::byte*>(bytes.data());
    inputs.emplace_back(begin, begin + bytes.size());
  }
  return inputs;
}

absl::Status WriteCorpusFile(const std::string& path, const std::string& about,
                             const std::vector<std::vector<std::byte>>& inputs) {
  std::set<std::string> lines;
  for (const std::vector<std::byte>& input : inputs) {
    std::string line;
    absl::Base64Escape(std::string(reinterpret_cast<const char*>(input.data()), input.size()),
                       &line);
    lines.insert(std::move(line));
  }
  std::ofstream file(path, std::ios::trunc);
  file << "# " << about << '\n';
  for (const std::string& line : lines) file << line << '\n';
  if (!file.flush()) {
    return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(errno)));
  }
  return absl::OkStatus();
}

}  // namespace nvmx::fuzz
