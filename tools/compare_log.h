// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_TOOLS_COMPARE_LOG_H_
#define NVMX_TOOLS_COMPARE_LOG_H_

#include <string>
#include <vector>

namespace nvmx::tools {

// Whether --log was given.
bool ComparesLog();

// Compares the logs in that file with the reference; gives the exit status.
int CompareLog(const std::vector<std::string>& files, bool verbose);

}  // namespace nvmx::tools

#endif  // NVMX_TOOLS_COMPARE_LOG_H_
