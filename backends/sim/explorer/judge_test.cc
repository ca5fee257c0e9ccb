// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/explorer/judge.h"

#include <string>

#include "backends/sim/explorer/collection.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx::sim {
namespace {

Scenario MustLoad(const std::string& name, const ScenarioChanges& changes = {}) {
  absl::StatusOr<Scenario> scenario = LoadScenario(name, changes);
  EXPECT_TRUE(scenario.ok()) << scenario.status();
  return *std::move(scenario);
}

// The schedule that is recorded for the scenario.
Schedule Recorded(const std::string& scenario) {
  for (const CollectionFile& file : Collection()) {
    if (scenario != file.name) continue;
    const std::string text = file.schedule;
    absl::StatusOr<Schedule> schedule = ParseSchedule(text.substr(
        text.find("nvmx1:"), text.find('\n', text.find("nvmx1:")) - text.find("nvmx1:")));
    EXPECT_TRUE(schedule.ok()) << schedule.status();
    return *std::move(schedule);
  }
  ADD_FAILURE() << scenario;
  return {};
}

TEST(JudgeScheduleTest, TheRecordedDeadlockIsOne) {
  EXPECT_EQ(JudgeSchedule(MustLoad("main-deadlock"), Recorded("main-deadlock").steps).value(),
            Verdict::kDeadlock);
}

TEST(JudgeScheduleTest, WhereTheScheduleStopsTheCpusGoOnInTurn) {
  EXPECT_EQ(JudgeSchedule(MustLoad("correct"), {}).value(), Verdict::kCompletes);
  std::vector<ScheduleStep> steps = Recorded("main-deadlock").steps;
  steps.resize(steps.size() - 1);
  EXPECT_EQ(JudgeSchedule(MustLoad("main-deadlock"), steps).value(), Verdict::kDeadlock)
      << "it was certain before";
}

TEST(JudgeScheduleTest, AStepThatIsNotPossibleIsNamed) {
  const absl::StatusOr<Verdict> verdict =
      JudgeSchedule(MustLoad("correct"), {{0, Choice::kStep}, {0, Choice::kTakeNmi}});
  EXPECT_EQ(verdict.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(verdict.status().message()), testing::HasSubstr("step 2"));
}

}  // namespace
}  // namespace nvmx::sim
