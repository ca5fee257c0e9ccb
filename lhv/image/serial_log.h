// SPDX-License-Identifier: Apache-2.0
//
// What the image wrote on the serial line (log_line.h), as observations again.
#ifndef NVMX_LHV_IMAGE_SERIAL_LOG_H_
#define NVMX_LHV_IMAGE_SERIAL_LOG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lhv/image/log_line.h"
#include "lhv/observation.h"

namespace nvmx::lhv {

struct LoggedCpu {
  std::vector<Observation> log;
  // Nothing if the machine stopped before the CPU came to an end.
  std::optional<ImageEnd> end;
  uint64_t detail = 0;
};

struct LoggedProgram {
  uint32_t index = 0;
  std::string name;
  std::vector<LoggedCpu> cpus = {};
  bool is_done = false;
};

struct SerialLog {
  std::vector<LoggedProgram> programs;
  bool is_finished = false;
};

// The text of one run, or of several behind each other: of a program that ran twice the last run
// counts. Lines that do not begin with "@" are left out. An error names the line.
absl::StatusOr<SerialLog> ReadSerialLog(const std::string& text);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_IMAGE_SERIAL_LOG_H_
