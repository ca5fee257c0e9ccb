// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_EXPLORER_SCHEDULE_H_
#define NVMX_BACKENDS_SIM_EXPLORER_SCHEDULE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/sim/machine/point.h"

namespace nvmx::sim {

struct ScheduleStep {
  uint8_t cpu;
  Choice choice;
  friend bool operator==(const ScheduleStep&, const ScheduleStep&) = default;
};

// The choices of a run, in order, and what they were made for.
struct Schedule {
  std::string scenario;
  std::string variant;
  uint32_t cpus = 0;
  // A digest of what each step did when the schedule was made (point kind and cell): after a change
  // of the code a replay tells at which step the meaning changed.
  std::vector<uint16_t> step_marks;
  std::vector<ScheduleStep> steps;
};

// One line of printable characters, which can be pasted as an argument or kept in a file:
//   nvmx1:SCENARIO:VARIANT:CPUS:CHOICES:MARKS
// CHOICES: a letter for the kind of choice where it is no step of a CPU (n: the CPU takes its NMI,
// d: a device sends it one), then the CPU's number, then *COUNT if the same is repeated. MARKS:
// four hexadecimal digits for each step.
std::string ToString(const Schedule& schedule);

// The schedule, or InvalidArgument that says at which character what was expected.
absl::StatusOr<Schedule> ParseSchedule(const std::string& text);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_EXPLORER_SCHEDULE_H_
