// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "backends/sim/program/program_yaml.h"
#include "tools/command_line.h"
#include "tools/commands.h"
#include "tools/input_files.h"

namespace nvmx::tools {
namespace {

constexpr char kProgramTest[] = R"test(// SPDX-License-Identifier: Apache-2.0
//
// A guest program that must look the same on the core as on the reference. To run it, put this file
// into backends/sim/program/ as repro_test.cc, with this rule in the BUILD.bazel there:
//
//   nvmx_cc_test(
//       name = "repro_test",
//       srcs = ["repro_test.cc"],
//       deps = [":comparison", "//lhv:assembler", "@abseil//:status"],
//   )
//
// and call: bazel test //backends/sim/program:repro_test
#include "absl/status/statusor.h"
#include "backends/sim/program/comparison.h"
#include "backends/sim/program/difference_text.h"
#include "gtest/gtest.h"
#include "lhv/assembler.h"

namespace nvmx::sim {
namespace {

constexpr char kProgram[] = R"yaml(
PROGRAM)yaml";

TEST(ReproTest, LooksTheSameOnTheCoreAndOnTheReference) {
  const absl::StatusOr<lhv::GuestProgram> program = lhv::Assemble("kProgram", kProgram, CPUS);
  ASSERT_TRUE(program.ok()) << program.status();
  Comparer comparer(CPUS);
  Comparison comparison;
  comparer.Compare(*program, comparison);
  EXPECT_FALSE(comparison.IsDefect()) << DifferenceText(*program, comparison);
}

}  // namespace
}  // namespace nvmx::sim
)test";

constexpr char kScheduleTest[] = R"test(// SPDX-License-Identifier: Apache-2.0
//
// A schedule that must not end in a deadlock. To run it, put this file into backends/sim/replay/ as
// repro_test.cc, with this rule in the BUILD.bazel there:
//
//   nvmx_cc_test(
//       name = "repro_test",
//       srcs = ["repro_test.cc"],
//       deps = [":replay", "//backends/sim/explorer", "@abseil//:status"],
//   )
//
// and call: bazel test //backends/sim/replay:repro_test
#include "absl/status/statusor.h"
#include "backends/sim/explorer/scenario.h"
#include "backends/sim/explorer/schedule.h"
#include "backends/sim/replay/replay.h"
#include "gtest/gtest.h"

namespace nvmx::sim {
namespace {

TEST(ReproTest, TheScheduleEndsInNoDeadlock) {
  const absl::StatusOr<Schedule> schedule = ParseSchedule(
      "SCHEDULE");
  ASSERT_TRUE(schedule.ok()) << schedule.status();
  const absl::StatusOr<Scenario> scenario = LoadScenario(
      schedule->scenario, {.cpus = schedule->cpus, .variant = schedule->variant});
  ASSERT_TRUE(scenario.ok()) << scenario.status();
  ReplayOptions options;
  options.continue_after_divergence = true;
  options.run_to_end = true;
  const absl::StatusOr<ReplayResult> result =
      Replay(*scenario, schedule->steps, schedule->step_marks, options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_NE(result->ending, Ending::kDeadlock);
}

}  // namespace
}  // namespace nvmx::sim
)test";

}  // namespace

int RunRepro(const std::vector<std::string>& arguments) {
  if (arguments.size() != 1) return Complain("repro: name one file");
  absl::StatusOr<Input> input = LoadInput(arguments[0]);
  if (!input.ok()) return Complain(std::string(input.status().message()));
  std::string test;
  if (const auto* schedule = std::get_if<sim::Schedule>(&*input)) {
    test = absl::StrReplaceAll(kScheduleTest, {{"SCHEDULE", ToString(*schedule)}});
  } else {
    const auto& program = std::get<lhv::GuestProgram>(*input);
    test = absl::StrReplaceAll(kProgramTest, {{"PROGRAM", sim::ProgramYaml(program)},
                                              {"CPUS", absl::StrCat(program.cpus.size())}});
  }
  std::fputs(test.c_str(), stdout);
  return kAsExpected;
}

}  // namespace nvmx::tools
