// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_COST_TABLE_H_
#define NVMX_CORE_NESTED_COST_TABLE_H_

#include <string>
#include <vector>

#include "benchmark/benchmark.h"

namespace nvmx {

// Prints benchmarks whose names are "section/what is measured" as a table for each section, in
// Markdown, with the counters that `columns` names.
class CostTable final : public benchmark::BenchmarkReporter {
 public:
  explicit CostTable(std::vector<std::string> columns) : columns_(std::move(columns)) {}

  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override;

 private:
  std::vector<std::string> columns_;
  std::string section_;
};

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_COST_TABLE_H_
