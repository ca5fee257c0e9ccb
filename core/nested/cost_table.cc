// SPDX-License-Identifier: Apache-2.0
#include "core/nested/cost_table.h"

#include <algorithm>
#include <cstdio>

namespace nvmx {
namespace {

constexpr size_t kFirstColumn = 55;
constexpr size_t kColumn = 7;

// A count that is the same each time is whole.
std::string Number(double value) {
  char text[32];
  const bool whole = value == static_cast<double>(static_cast<uint64_t>(value)) || value >= 100;
  std::snprintf(text, sizeof text, whole ? "%.0f" : "%.1f", value);
  return text;
}

std::string Padded(const std::string& text, size_t width, bool left) {
  const std::string space(width - std::min(width, text.size()), ' ');
  return left ? text + space : space + text;
}

void Row(const std::string& first, const std::vector<std::string>& others) {
  std::printf("| %s", Padded(first, kFirstColumn, true).c_str());
  for (const std::string& other : others)
    std::printf(" | %s", Padded(other, kColumn, false).c_str());
  std::printf(" |\n");
}

}  // namespace

void CostTable::ReportRuns(const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    const std::string name = run.run_name.function_name;
    const size_t slash = name.find('/');
    const std::string section = name.substr(0, slash);
    if (section != section_) {
      std::printf("%s", section_.empty() ? "" : "\n");
      Row(section, columns_);
      std::printf("|%s", std::string(kFirstColumn + 2, '-').c_str());
      for (size_t n = 0; n < columns_.size(); ++n) {
        std::printf("|%s:", std::string(kColumn + 1, '-').c_str());
      }
      std::printf("|\n");
      section_ = section;
    }
    if (run.error_occurred) {
      Row(name.substr(slash + 1), {"failed: " + run.error_message});
      continue;
    }
    std::vector<std::string> values;
    for (const std::string& column : columns_) {
      const auto counter = run.counters.find(column);
      const double value = counter == run.counters.end() ? 0 : counter->second.value;
      values.push_back(value == 0 ? "" : Number(value));
    }
    Row(name.substr(slash + 1), values);
  }
  std::fflush(stdout);
}

}  // namespace nvmx
