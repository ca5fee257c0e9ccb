// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/explorer/schedule.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx::sim {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr ScheduleStep Step(uint8_t cpu) { return {cpu, Choice::kStep}; }
constexpr ScheduleStep Take(uint8_t cpu) { return {cpu, Choice::kTakeNmi}; }
constexpr ScheduleStep Device(uint8_t cpu) { return {cpu, Choice::kDeviceNmi}; }

Schedule Make(std::vector<ScheduleStep> steps) {
  Schedule schedule{"main-deadlock", "correct", 2, {}, std::move(steps)};
  for (size_t i = 0; i < schedule.steps.size(); ++i) {
    schedule.step_marks.push_back(static_cast<uint16_t>(0xA0B0 + i));
  }
  return schedule;
}
void ExpectRoundTrip(const Schedule& schedule) {
  const absl::StatusOr<Schedule> parsed = ParseSchedule(ToString(schedule));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->scenario, schedule.scenario);
  EXPECT_EQ(parsed->variant, schedule.variant);
  EXPECT_EQ(parsed->cpus, schedule.cpus);
  EXPECT_EQ(parsed->steps, schedule.steps);
  EXPECT_EQ(parsed->step_marks, schedule.step_marks);
}
std::string ErrorOf(const std::string& text) {
  const absl::StatusOr<Schedule> parsed = ParseSchedule(text);
  return parsed.ok() ? "" : std::string(parsed.status().message());
}

TEST(Schedule, IsOneLineOfText) {
  EXPECT_EQ(ToString(Make({Step(0), Step(1), Take(1), Device(0)})),
            "nvmx1:main-deadlock:correct:2:01n1d0:a0b0a0b1a0b2a0b3");
}

TEST(Schedule, ThreeOrMoreOfAKindAreCounted) {
  EXPECT_EQ(
      ToString(Make({Step(0), Step(0), Step(0), Step(1), Step(1), Take(0), Take(0), Take(0)})),
      "nvmx1:main-deadlock:correct:2:0*3,11n0*3:a0b0a0b1a0b2a0b3a0b4a0b5a0b6a0b7");
}

TEST(Schedule, TextAndScheduleGoBackAndForth) {
  ExpectRoundTrip(Make({}));
  ExpectRoundTrip(Make({Step(0)}));
  ExpectRoundTrip(
      Make({Device(1), Device(1), Take(1), Step(1), Step(1), Step(1), Step(1), Step(0)}));
  ExpectRoundTrip(Make(std::vector<ScheduleStep>(1000, Step(1))));
}

TEST(Schedule, ACountBeforeACpuNumberIsUnambiguous) {
  std::vector<ScheduleStep> steps(12, Step(0));
  steps.push_back(Step(1));
  steps.push_back(Step(0));
  ExpectRoundTrip(Make(steps));
}

TEST(Schedule, SpaceAroundItIsIgnored) {
  EXPECT_TRUE(ParseSchedule("  nvmx1:a:b:1:0:0000\n").ok());
}

TEST(Schedule, CountsMayEndTheText) {
  const absl::StatusOr<Schedule> parsed = ParseSchedule("nvmx1:a:b:2:1*2:00000000");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_THAT(parsed->steps, ElementsAre(Step(1), Step(1)));
}

TEST(Schedule, NoChoicesAreASchedule) {
  const absl::StatusOr<Schedule> parsed = ParseSchedule("nvmx1:a:b:2::");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_THAT(parsed->steps, IsEmpty());
}

TEST(ScheduleErrors, SayAtWhichCharacterWhatWasExpected) {
  const struct {
    const char* text;
    const char* error;
  } kCases[] = {
      {"",
       "schedule, character 1: expected a schedule of version nvmx1, as "
       "\"nvmx1:SCENARIO:VARIANT:CPUS:CHOICES:MARKS\""},
      {"nvmx2:a:b:1:0:0000",
       "schedule, character 1: expected a schedule of version nvmx1, as "
       "\"nvmx1:SCENARIO:VARIANT:CPUS:CHOICES:MARKS\""},
      {"nvmx1:a:b:1",
       "schedule, character 12: expected 6 parts set off by colons, found 4; the "
       "schedule may be cut off"},
      {"nvmx1:a:b:1:0:0000:x",
       "schedule, character 21: expected 6 parts set off by colons, found "
       "7; the schedule may be cut off"},
      {"nvmx1:a:b:0:0:0000", "schedule, character 11: expected a number of CPUs from 1 to 8"},
      {"nvmx1:a:b:9:0:0000", "schedule, character 11: expected a number of CPUs from 1 to 8"},
      {"nvmx1:a:b:x:0:0000", "schedule, character 11: expected a number of CPUs from 1 to 8"},
      {"nvmx1:a:b:-1:0:0000", "schedule, character 11: expected a number of CPUs from 1 to 8"},
      {"nvmx1:a:b:2:2:0000", "schedule, character 13: CPU 2 of 2"},
      {"nvmx1:a:b:2:0n3:00000000", "schedule, character 15: CPU 3 of 2"},
      {"nvmx1:a:b:2:x:0000", "schedule, character 13: expected a CPU number, n or d"},
      {"nvmx1:a:b:2:0n:0000", "schedule, character 15: expected a CPU number, n or d"},
      {"nvmx1:a:b:2:nn0:0000", "schedule, character 14: expected a CPU number, n or d"},
      {"nvmx1:a:b:2:0*:0000",
       "schedule, character 15: expected a repeat count from 1 to 1000000 after *"},
      {"nvmx1:a:b:2:0*0:0000",
       "schedule, character 15: expected a repeat count from 1 to 1000000 after *"},
      {"nvmx1:a:b:2:0*1000001:0000",
       "schedule, character 15: expected a repeat count from 1 to 1000000 after *"},
      {"nvmx1:a:b:2:0*99999999999999999999:0000",
       "schedule, character 15: expected a repeat count from 1 to 1000000 after *"},
      {"nvmx1:a:b:2:0*2n1:000000000000", "schedule, character 16: expected , after a repeat count"},
      {"nvmx1:a:b:2:0*1000000,0:0000", "schedule, character 24: more than 1000000 steps"},
      {"nvmx1:a:b:2:01:0000000",
       "schedule, character 23: expected 2 marks of 4 digits, found 7 digits; the schedule may be "
       "cut off"},
      {"nvmx1:a:b:2:01:",
       "schedule, character 16: expected 2 marks of 4 digits, found 0 digits; "
       "the schedule may be cut off"},
      {"nvmx1:a:b:2:01:0000000g", "schedule, character 20: expected four hexadecimal digits"},
      {"nvmx1:a:b:2:0:0x01", "schedule, character 15: expected four hexadecimal digits"},
      {"nvmx1:a:b:2:01:000000 1", "schedule, character 20: expected four hexadecimal digits"},
  };
  for (const auto& c : kCases) EXPECT_EQ(ErrorOf(c.text), c.error) << c.text;
}

}  // namespace
}  // namespace nvmx::sim
