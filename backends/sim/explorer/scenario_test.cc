// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/explorer/scenario.h"

#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx::sim {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr char kProgram[] = "program: {name: p, cpus: [{repeat: all, run: [nop]}]}\n";

std::string ErrorOf(const std::string& text, const ScenarioChanges& changes = {}) {
  const absl::StatusOr<Scenario> scenario = ParseScenario("s", "s.yaml", text, changes);
  return scenario.ok() ? "" : std::string(scenario.status().message());
}

TEST(Scenario, TheDefaultsAreTwoCpusOfTheCoreAsItIs) {
  const absl::StatusOr<Scenario> scenario =
      ParseScenario("s", "s.yaml", std::string("summary: x\nexpect: completes\n") + kProgram, {});
  ASSERT_TRUE(scenario.ok()) << scenario.status();
  EXPECT_EQ(scenario->name, "s");
  EXPECT_EQ(scenario->summary, "x");
  EXPECT_EQ(scenario->variant, "correct");
  EXPECT_EQ(scenario->cpus, 2u);
  EXPECT_EQ(scenario->device_nmis, 0u);
  EXPECT_TRUE(scenario->log_mtrr_writes);
  EXPECT_EQ(scenario->expected, Verdict::kCompletes);
  EXPECT_EQ(scenario->program.cpus.size(), 2u);
}

TEST(Scenario, EveryKeyIsRead) {
  const absl::StatusOr<Scenario> scenario = ParseScenario(
      "s", "s.yaml",
      std::string("summary: x\nvariant: no-print-lock\ncpus: 3\nlog_mtrr_writes: false\n"
                  "device_nmis: 2\nexpect: deadlock\n") +
          kProgram,
      {});
  ASSERT_TRUE(scenario.ok()) << scenario.status();
  EXPECT_EQ(scenario->variant, "no-print-lock");
  EXPECT_EQ(scenario->cpus, 3u);
  EXPECT_FALSE(scenario->log_mtrr_writes);
  EXPECT_EQ(scenario->device_nmis, 2u);
  EXPECT_EQ(scenario->expected, Verdict::kDeadlock);
}

TEST(Scenario, EveryVerdictCanBeExpected) {
  for (Verdict verdict : {Verdict::kCompletes, Verdict::kLockBeforeSettling, Verdict::kNmiStolen,
                          Verdict::kNmiLost, Verdict::kL0Failed, Verdict::kDeadlock}) {
    const absl::StatusOr<Scenario> scenario = ParseScenario(
        "s", "s.yaml", std::string("summary: x\nexpect: ") + Name(verdict) + "\n" + kProgram, {});
    ASSERT_TRUE(scenario.ok()) << scenario.status();
    EXPECT_EQ(scenario->expected, verdict);
  }
}

TEST(Scenario, MergesAndExchangesAreExpectedOfAScenarioThatCompletes) {
  for (const char* word : {"merges", "exchanges"}) {
    const absl::StatusOr<Scenario> scenario = ParseScenario(
        "s", "s.yaml", std::string("summary: x\nexpect: ") + word + "\n" + kProgram, {});
    ASSERT_TRUE(scenario.ok()) << scenario.status();
    EXPECT_EQ(scenario->expected, Verdict::kCompletes);
    EXPECT_EQ(scenario->expects_merge, std::string(word) == "merges");
    EXPECT_EQ(scenario->expects_exchange, std::string(word) == "exchanges");
  }
}

TEST(Scenario, ChangesComeBeforeWhatTheFileSays) {
  const absl::StatusOr<Scenario> scenario = ParseScenario(
      "s", "s.yaml",
      std::string("summary: x\ncpus: 2\ndevice_nmis: 2\nexpect: completes\n") + kProgram,
      {.cpus = 4, .variant = "no-unblocking", .device_nmis = 0});
  ASSERT_TRUE(scenario.ok()) << scenario.status();
  EXPECT_EQ(scenario->cpus, 4u);
  EXPECT_EQ(scenario->program.cpus.size(), 4u);
  EXPECT_EQ(scenario->variant, "no-unblocking");
  EXPECT_EQ(scenario->device_nmis, 0u);
}

TEST(ScenarioErrors, NameTheFileTheLineAndTheColumn) {
  const std::string program(kProgram);
  const struct {
    std::string text;
    const char* error;
  } kCases[] = {
      {"[a]", "s.yaml:1:1: a scenario is a list"},
      {"expect: completes\n" + program, "s.yaml:1:1: a scenario has no key summary"},
      {"summary: x\n" + program, "s.yaml:1:1: a scenario has no key expect"},
      {"summary: x\nexpect: completes\n", "s.yaml:1:1: a scenario has no key program"},
      {"summary: x\nexpects: completes\n" + program,
       "s.yaml:2:1: unknown key \"expects\" of a scenario; did you mean expect?"},
      {"summary: x\nexpect: deadlok\n" + program,
       "s.yaml:2:9: unknown expect \"deadlok\"; did you mean deadlock?"},
      {"summary: x\nexpect: zzz\n" + program,
       "s.yaml:2:9: unknown expect \"zzz\"; expected one of merges, exchanges, completes, "
       "lock-before-settling, nmi-stolen, nmi-lost, l0-failed, deadlock"},
      {"summary: x\nexpect: completes\nvariant: corect\n" + program,
       "s.yaml:3:10: unknown variant \"corect\"; did you mean correct?"},
      {"summary: x\nexpect: completes\nvariant: [a]\n" + program, "s.yaml:3:10: variant"},
      {"summary: x\nexpect: completes\ncpus: 9\n" + program, "s.yaml:3:7: cpus 9 is too large"},
      {"summary: x\nexpect: completes\ncpus: 0\n" + program, "s.yaml:3:7: cpus 0 is too small"},
      {"summary: x\nexpect: completes\ncpus: two\n" + program,
       "s.yaml:3:7: cpus is \"two\", which is not a number"},
      {"summary: x\nexpect: completes\ndevice_nmis: 4\n" + program,
       "s.yaml:3:14: device_nmis 4 is too large"},
      {"summary: x\nexpect: completes\nlog_mtrr_writes: maybe\n" + program,
       "s.yaml:3:18: unknown log_mtrr_writes \"maybe\"; expected one of true, false"},
      {"summary: x\nexpect: completes\nprogram:\n  name: p\n  cpus:\n    - run: [vmluanch]\n",
       "s.yaml:6:13: unknown operation \"vmluanch\"; did you mean vmlaunch?"},
      {"summary: x\nexpect: completes\nprogram: {name: p, cpus: [{run: [nop]}, {run: [nop]}, "
       "{run: [nop]}]}\n",
       "s.yaml:3:55: there are programs for more than 2 CPUs"},
      {"summary: [x\n", "s.yaml:2:1: "},
  };
  for (const auto& c : kCases) EXPECT_THAT(ErrorOf(c.text), StartsWith(c.error)) << c.text;
}

TEST(ScenarioErrors, ChangesAreChecked) {
  const std::string text = std::string("summary: x\nexpect: completes\n") + kProgram;
  EXPECT_EQ(ErrorOf(text, {.cpus = 9, .variant = ""}), "--cpus 9: the simulator has 1 to 8 CPUs");
  EXPECT_EQ(ErrorOf(text, {.variant = "", .device_nmis = 4}), "--device-nmis 4: at most 3");
  EXPECT_THAT(ErrorOf(text, {.variant = "x"}),
              StartsWith("--variant x: there is none of that name; there are: correct, "));
}

TEST(Scenario, OfTheCollectionAreFoundByName) {
  ASSERT_FALSE(ScenarioNames().empty());
  for (const std::string& name : ScenarioNames()) {
    const absl::StatusOr<Scenario> scenario = LoadScenario(name);
    EXPECT_TRUE(scenario.ok()) << name << ": " << scenario.status();
  }
}

TEST(ScenarioErrors, ANameThatIsNotThereIsNotFound) {
  const absl::StatusOr<Scenario> scenario = LoadScenario("no-such-scenario");
  EXPECT_EQ(scenario.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(scenario.status().message()),
              StartsWith("no scenario named \"no-such-scenario\"; "));
}

TEST(ScenarioErrors, AFileThatIsNotThereIsNotFound) {
  for (const char* path : {"/no/such/file.yaml", "missing.yaml"}) {
    const absl::StatusOr<Scenario> scenario = LoadScenario(path);
    EXPECT_EQ(scenario.status().code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(std::string(scenario.status().message()), std::string(path) + ": cannot be read");
  }
}

TEST(Scenario, AFileIsNamedByItsPath) {
  const std::string path = testing::TempDir() + "/mine.yaml";
  std::ofstream(path) << "summary: mine\nexpect: completes\n" << kProgram;
  const absl::StatusOr<Scenario> scenario = LoadScenario(path);
  ASSERT_TRUE(scenario.ok()) << scenario.status();
  EXPECT_EQ(scenario->summary, "mine");
  EXPECT_EQ(scenario->file_name, path);
}

TEST(Scenario, ASetupThatDoesNotEndMakesNoMachine) {
  for (const char* setup : {"[hlt, nop]", "[wrmsr: {msr: 0x200, value: 6}]"}) {
    const absl::StatusOr<Scenario> scenario = ParseScenario(
        "s", "s.yaml",
        std::string("summary: x\nexpect: completes\nprogram: {name: p, cpus: [{setup: ") + setup +
            ", run: [nop]}]}\n",
        {});
    ASSERT_TRUE(scenario.ok()) << scenario.status();
    const auto machine = BuildMachine(*scenario, false);
    ASSERT_FALSE(machine.ok()) << setup;
    EXPECT_THAT(std::string(machine.status().message()),
                HasSubstr("the setup of CPU 0 does not reach its end"));
  }
}

TEST(BuildMachineTest, ASetupThatSendsAnNmiIsRefused) {
  const absl::StatusOr<Scenario> scenario = ParseScenario("s", "s.yaml",
                                                          "summary: s\n"
                                                          "expect: completes\n"
                                                          "program:\n"
                                                          "  name: p\n"
                                                          "  cpus:\n"
                                                          "    - setup: [{send_nmi: others}]\n",
                                                          {});
  ASSERT_TRUE(scenario.ok()) << scenario.status();
  const auto machine = BuildMachine(*scenario, /*keep_trace=*/false);
  EXPECT_EQ(machine.status().message(),
            "p: a setup sends CPU 1 an NMI, which nobody takes there; send it in `run`");
}

}  // namespace
}  // namespace nvmx::sim
