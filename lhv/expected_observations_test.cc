// SPDX-License-Identifier: Apache-2.0
#include "lhv/expected_observations.h"

#include <vector>

#include "core/vmx/vmcs_field.h"
#include "gtest/gtest.h"

namespace nvmx::lhv {
namespace {

constexpr Observation kVmcall{ObservationKind::kVmExit,         1,  6,
                              Encoding(VmcsField::kExitReason), 18, 0};
constexpr Observation kDone{ObservationKind::kDone, 1, 7, 0, 0, 0};

TEST(ExpectedObservations, AreTextsWithTheirLevel) {
  EXPECT_TRUE(IsExpectedObservation("L1: done"));
  EXPECT_TRUE(IsExpectedObservation("L2 #4: done"));
  EXPECT_FALSE(IsExpectedObservation("done"));
  EXPECT_FALSE(IsExpectedObservation("L3: done"));
  EXPECT_FALSE(IsExpectedObservation("L1"));
}

TEST(ExpectedObservations, MatchWithOrWithoutTheOperation) {
  EXPECT_TRUE(Matches("L1: VM exit: EXIT_REASON = 18 (VMCALL)", kVmcall));
  EXPECT_TRUE(Matches("L1 #6: VM exit: EXIT_REASON = 18 (VMCALL)", kVmcall));
  EXPECT_FALSE(Matches("L1 #5: VM exit: EXIT_REASON = 18 (VMCALL)", kVmcall));
  EXPECT_FALSE(Matches("L2: VM exit: EXIT_REASON = 18 (VMCALL)", kVmcall));
  EXPECT_FALSE(Matches("L1: VM exit: EXIT_REASON = 18", kVmcall));
}

TEST(ExpectedObservations, StarsStandForAnyText) {
  EXPECT_TRUE(Matches("L1: VM exit: EXIT_REASON = *", kVmcall));
  EXPECT_TRUE(Matches("L1: *18*VMCALL*", kVmcall));
  EXPECT_TRUE(Matches("L1: VM exit: EXIT_REASON = 18 (VMCALL)*", kVmcall));
  EXPECT_FALSE(Matches("L1: *19*", kVmcall));
}

TEST(ExpectedObservations, TheLogMustBeAllOfThemInOrder) {
  const std::vector<ExpectedObservation> expected = {{"L1: VM exit: *", 10}, {"L1: done", 11}};
  EXPECT_FALSE(CompareWithExpected(expected, std::vector{kVmcall, kDone}).has_value());

  const auto swapped = CompareWithExpected(expected, std::vector{kDone, kVmcall});
  ASSERT_TRUE(swapped.has_value());
  EXPECT_EQ(swapped->position, 0u);
  EXPECT_EQ(swapped->line, 10);
  EXPECT_EQ(swapped->text, "expected L1: VM exit: *, observed L1 #7: done");

  const auto shorter = CompareWithExpected(expected, std::vector{kVmcall});
  ASSERT_TRUE(shorter.has_value());
  EXPECT_EQ(shorter->text, "expected L1: done, observed the end of the log");

  const auto longer = CompareWithExpected(expected, std::vector{kVmcall, kDone, kDone});
  ASSERT_TRUE(longer.has_value());
  EXPECT_EQ(longer->position, 2u);
  EXPECT_EQ(longer->line, 0);
}

TEST(ExpectedObservations, ALogCanBeWrittenAsTheSectionThatExpectsIt) {
  const std::vector<Observation> log = {kVmcall, kDone};
  EXPECT_EQ(ExpectSection(log, 4),
            "    expect:\n"
            "      - \"L1: VM exit: EXIT_REASON = 18 (VMCALL)\"\n"
            "      - \"L1: done\"\n");
}

}  // namespace
}  // namespace nvmx::lhv
