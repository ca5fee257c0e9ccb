// SPDX-License-Identifier: Apache-2.0
//
// The inputs of the target `schedule`:
//
//   1 byte   which of Scenarios()
//   the rest a choice each: which of the steps that are possible then, modulo their number, in the
//            order of CPUs and of sim::kAllChoices. When the bytes are used up, the CPUs go on in
//            turn.
//
// Any bytes but none are an input.
#ifndef NVMX_FUZZ_SCHEDULE_INPUT_H_
#define NVMX_FUZZ_SCHEDULE_INPUT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/sim/explorer/global_model.h"
#include "backends/sim/explorer/scenario.h"
#include "backends/sim/explorer/schedule.h"

namespace nvmx::fuzz {

struct FuzzedScenario {
  sim::Scenario scenario;
  std::unique_ptr<sim::GlobalModel> model;
};

// The scenarios of the collection in which no schedule fails, with the variant in place of the
// correct code if one is named.
std::vector<FuzzedScenario> Scenarios(const std::string& variant = "");

// What became of a schedule.
struct ScheduleRun {
  FuzzedScenario* scenario = nullptr;
  std::vector<sim::ScheduleStep> steps;
  std::vector<sim::GlobalState> states;  // behind each step
  sim::Verdict verdict = sim::Verdict::kCompletes;
  bool complete = false;  // nobody can move any more
};

// Runs the input on the model of its scenario. InvalidArgument if there are no bytes; an error of
// the model's if it cannot go on.
absl::Status RunSchedule(std::vector<FuzzedScenario>& scenarios, std::span<const std::byte> bytes,
                         ScheduleRun& run);

// The way back: the bytes that are these steps of scenario number `scenario`; InvalidArgument if
// one of them is not possible.
absl::StatusOr<std::vector<std::byte>> EncodeSchedule(std::vector<FuzzedScenario>& scenarios,
                                                      size_t scenario,
                                                      std::span<const sim::ScheduleStep> steps);

}  // namespace nvmx::fuzz

#endif  // NVMX_FUZZ_SCHEDULE_INPUT_H_
