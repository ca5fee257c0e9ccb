// SPDX-License-Identifier: Apache-2.0
//
// What the collection of scenarios promises: verdicts, recorded schedules, and what the reports say
// of them.
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "backends/sim/explorer/collection.h"
#include "backends/sim/explorer/explorer.h"
#include "backends/sim/replay/diagnosis.h"
#include "backends/sim/replay/replay.h"
#include "gtest/gtest.h"

namespace nvmx::sim {
namespace {

Scenario Load(const std::string& name, const ScenarioChanges& changes = {}) {
  absl::StatusOr<Scenario> scenario = LoadScenario(name, changes);
  EXPECT_TRUE(scenario.ok()) << scenario.status();
  return *std::move(scenario);
}

ExploreResult ExploreAll(const Scenario& scenario) {
  absl::StatusOr<ExploreResult> result = Explore(scenario, {});
  EXPECT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->exhausted);
  EXPECT_TRUE(result->analyzed);
  EXPECT_TRUE(result->acyclic) << "a schedule has no end";
  return *std::move(result);
}

Schedule Recorded(const CollectionFile& file) {
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(file.schedule, '\n'))) {
    if (line.empty() || line[0] == '#') continue;
    absl::StatusOr<Schedule> schedule = ParseSchedule(line);
    EXPECT_TRUE(schedule.ok()) << schedule.status();
    return *std::move(schedule);
  }
  ADD_FAILURE() << file.path << " has no schedule";
  return {};
}

ReplayResult RunSchedule(const Scenario& scenario, const Schedule& schedule,
                         const ReplayOptions& options = {}) {
  absl::StatusOr<ReplayResult> result =
      Replay(scenario, schedule.steps, schedule.step_marks, options);
  EXPECT_TRUE(result.ok()) << result.status();
  return *std::move(result);
}

// The deadlock that is recorded for a scenario, at its end.
struct Stuck {
  Scenario scenario;
  Schedule schedule;
  ReplayResult result;
};

Stuck Reach(const std::string& name) {
  for (const CollectionFile& file : Collection()) {
    if (name != file.name) continue;
    Stuck stuck{Load(name), Recorded(file), {}};
    stuck.result = RunSchedule(stuck.scenario, stuck.schedule);
    EXPECT_EQ(stuck.result.ending, Ending::kDeadlock);
    return stuck;
  }
  ADD_FAILURE() << name;
  return {};
}

// How the machine ends if a device sends one more NMI to a CPU, and everybody then goes on.
Ending WithExtraNmi(const Stuck& stuck, uint32_t cpu) {
  ReplayOptions options;
  options.extra_nmis = {{cpu, stuck.schedule.steps.size()}};
  options.run_to_end = true;
  return RunSchedule(stuck.scenario, stuck.schedule, options).ending;
}

class CollectionTest : public testing::TestWithParam<size_t> {
 protected:
  const CollectionFile& file() const { return Collection()[GetParam()]; }
};

TEST_P(CollectionTest, EveryScheduleTriedGivesTheExpectedVerdict) {
  const Scenario scenario = Load(file().name);
  const ExploreResult result = ExploreAll(scenario);
  EXPECT_EQ(result.verdict(), scenario.expected) << Name(result.verdict());
  EXPECT_TRUE(!scenario.expects_merge || result.merges);
  EXPECT_TRUE(!scenario.expects_exchange || result.exchanges);
}

TEST_P(CollectionTest, AFailureHasARecordedScheduleThatStillFits) {
  const Scenario scenario = Load(file().name);
  if (scenario.expected == Verdict::kCompletes) {
    EXPECT_STREQ(file().schedule, "");
    return;
  }
  const Schedule schedule = Recorded(file());
  EXPECT_EQ(schedule.scenario, scenario.name);
  const ReplayResult result = RunSchedule(scenario, schedule);
  EXPECT_FALSE(result.divergence.has_value())
      << "step " << result.divergence->step << ": " << result.divergence->what;
  EXPECT_EQ(result.ending,
            scenario.expected == Verdict::kDeadlock ? Ending::kDeadlock : Ending::kComplete);
}

TEST_P(CollectionTest, TheSameScheduleHasTheSameTrace) {
  const Scenario scenario = Load(file().name);
  ReplayOptions options;
  options.run_to_end = true;
  absl::StatusOr<ReplayResult> first = Replay(scenario, {}, {}, options);
  absl::StatusOr<ReplayResult> second = Replay(scenario, {}, {}, options);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->machine->trace().hash(), second->machine->trace().hash());
  EXPECT_EQ(first->steps, second->steps);
}

std::string NameOf(const testing::TestParamInfo<size_t>& info) {
  std::string name = Collection()[info.param].name;
  std::erase(name, '-');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Scenarios, CollectionTest, testing::Range<size_t>(0, Collection().size()),
                         NameOf);

TEST(ExtraNmiTest, RecoversWhereTheNmiWasSwallowedByL2) {
  EXPECT_EQ(WithExtraNmi(Reach("swallowed-in-l2"), 0), Ending::kComplete);
}

TEST(ExtraNmiTest, DoesNothingWhereTheAcknowledgementIsLate) {
  for (const char* name : {"main-deadlock", "late-quiesce"}) {
    const Stuck stuck = Reach(name);
    EXPECT_EQ(WithExtraNmi(stuck, 0), Ending::kDeadlock) << name;
    EXPECT_FALSE(stuck.result.machine->cpu(0).CanTakeNmi()) << name;
  }
}

TEST(ExtraNmiTest, RecoversBehindAnEarlyIret) {
  EXPECT_EQ(WithExtraNmi(Reach("early-iret"), 0), Ending::kComplete);
}

TEST(DiagnosisTest, TheMainDeadlockIsACycleOfAcknowledgementAndPrintLock) {
  const Stuck stuck = Reach("main-deadlock");
  const Machine& machine = *stuck.result.machine;
  EXPECT_EQ(DescribeCycle(machine),
            "CPU 0 -> print_lock, held by CPU 1 -> CPU 1 -> the acknowledgement of CPU 0 -> CPU 0");
  EXPECT_EQ(LocksHeldBy(machine, 0), std::vector<std::string>{});
  EXPECT_EQ(LocksHeldBy(machine, 1), (std::vector<std::string>{"quiesce_lock", "print_lock"}));
  EXPECT_TRUE(
      absl::StrContains(DescribeReason(machine), "consumed by its VM exit from L2 at step 36"))
      << DescribeReason(machine);
  EXPECT_TRUE(absl::StrContains(DescribeLastNmi(machine, 0), "not acknowledged"));
  EXPECT_TRUE(absl::StrContains(DescribePlace(stuck.scenario, machine, 0), "raw exit reason 0"));
}

TEST(DiagnosisTest, EachKindOfFailureHasItsOwnReason) {
  const struct {
    const char* scenario;
    const char* reason;
  } kRows[] = {
      {"swallowed-in-l2", "past L0"},
      {"late-quiesce", "asked for quiesce_lock"},
      {"no-print-lock", "was stopped while it held print_lock"},
      {"signal-before-withdrawal", "a request that had been answered already"},
      {"no-unblocking", "lies in its latch, but NMIs are blocked"},
      {"resume-reentry", "was counted twice among the resumed"},
  };
  for (const auto& row : kRows) {
    const Stuck stuck = Reach(row.scenario);
    const std::string reason = DescribeReason(*stuck.result.machine);
    EXPECT_TRUE(absl::StrContains(reason, row.reason)) << row.scenario << ": " << reason;
  }
}

TEST(DoomTest, TheNmiExitDoomsTheMainDeadlock) {
  const Scenario scenario = Load("main-deadlock");
  const ExploreResult result = ExploreAll(scenario);
  ASSERT_TRUE(result.doom.has_value() && result.doom->first_doomed_step.has_value());
  const size_t doomed = *result.doom->first_doomed_step;
  const std::vector<ScheduleStep>& steps = result.Worst()->steps;
  EXPECT_EQ(steps[doomed].choice, Choice::kTakeNmi);
  // The nearest passing schedule shares everything before, and passes.
  ASSERT_GT(result.doom->nearest_passing.size(), doomed);
  for (size_t step = 0; step < doomed; ++step) {
    EXPECT_EQ(result.doom->nearest_passing[step], steps[step]);
  }
  EXPECT_NE(result.doom->nearest_passing[doomed], steps[doomed]);
  absl::StatusOr<ReplayResult> passing = Replay(scenario, result.doom->nearest_passing, {});
  ASSERT_TRUE(passing.ok());
  EXPECT_EQ(passing->ending, Ending::kComplete);
}

// The correct code with one of its rules broken: exploring it must fail, with a schedule that
// replays.
TEST(BrokenOnPurposeTest, EachRuleOfTheProtocolIsNeeded) {
  const struct {
    const char* variant;
    int device_nmis;
  } kRows[] = {{"late-acknowledgement", 0},
               {"signal-before-withdrawal", 1},
               {"early-print-lock-release", 0},
               {"no-unblocking", 1}};
  for (const auto& row : kRows) {
    for (uint32_t cpus : {2u, 3u}) {
      const Scenario scenario = Load("correct", {cpus, row.variant, row.device_nmis});
      const ExploreResult result = ExploreAll(scenario);
      EXPECT_EQ(result.verdict(), Verdict::kDeadlock) << row.variant << ", " << cpus << " CPUs";
      absl::StatusOr<Schedule> schedule = MakeSchedule(scenario, result.Worst()->steps);
      ASSERT_TRUE(schedule.ok()) << schedule.status();
      absl::StatusOr<Schedule> again = ParseSchedule(ToString(*schedule));
      ASSERT_TRUE(again.ok()) << again.status();
      EXPECT_EQ(RunSchedule(scenario, *again).ending, Ending::kDeadlock);
    }
  }
}

TEST(CorrectCodeTest, CannotDeadlockOrLoseAnNmiUnderAnySchedule) {
  for (uint32_t cpus : {1u, 2u, 3u, 4u}) {
    for (int device_nmis : {0, 1}) {
      if (cpus == 4 && device_nmis == 1) continue;  // minutes under the sanitizers
      const ExploreResult result = ExploreAll(Load("correct", {cpus, "", device_nmis}));
      EXPECT_EQ(result.verdict(), Verdict::kCompletes) << cpus << " CPUs, " << device_nmis;
      EXPECT_EQ(result.merges, device_nmis == 1 && cpus > 1) << cpus << " CPUs, " << device_nmis;
    }
  }
}

TEST(DivergenceTest, AScheduleOfOtherCodeIsToldAtTheStepWhereItDiffers) {
  const Stuck stuck = Reach("main-deadlock");
  const Scenario correct = Load("main-deadlock", {0, "print-lock-first", -1});
  const ReplayResult result = RunSchedule(correct, stuck.schedule);
  ASSERT_TRUE(result.divergence.has_value());
  EXPECT_EQ(result.steps.size(), result.divergence->step);
  ReplayOptions options;
  options.continue_after_divergence = true;
  options.run_to_end = true;
  const ReplayResult continued = RunSchedule(correct, stuck.schedule, options);
  EXPECT_EQ(continued.divergence->step, result.divergence->step);
  EXPECT_GT(continued.steps.size(), result.steps.size());
}

}  // namespace
}  // namespace nvmx::sim
