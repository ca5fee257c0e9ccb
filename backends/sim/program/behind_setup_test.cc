// SPDX-License-Identifier: Apache-2.0
//
// A machine that starts behind a setup which it remembers is the machine that has run it, whatever
// ran on it before.
#include "backends/sim/program/generator/generator.h"
#include "backends/sim/program/native_machine.h"
#include "backends/sim/program/nested_machine.h"
#include "gtest/gtest.h"

namespace nvmx::sim {
namespace {

constexpr uint64_t kPrograms = 300;

lhv::GuestProgram Program(uint64_t number) {
  return GenerateProgram({.seed = 11, .topic = ""}, number);
}

void ExpectSameFromBoth(ProgramMachine& fresh, ProgramMachine& remembering) {
  remembering.RememberSetup(GeneratedSetup());
  ProgramResult expected, found;
  for (uint64_t number = 0; number < kPrograms; ++number) {
    const lhv::GuestProgram program = Program(number);
    fresh.Run(program, expected);
    remembering.RunBehindSetup(program, found);
    EXPECT_TRUE(SameObservations(expected, found)) << program.name;
    EXPECT_EQ(expected.defect, found.defect) << program.name;
    EXPECT_EQ(expected.steps, found.steps) << program.name;
  }
}

TEST(BehindSetupTest, TheReferenceThatKeepsTranslations) {
  NativeMachine fresh(1, TlbPolicy::kKeep), remembering(1, TlbPolicy::kKeep);
  ExpectSameFromBoth(fresh, remembering);
}

TEST(BehindSetupTest, TheReferenceThatEvictsThem) {
  NativeMachine fresh(1, TlbPolicy::kEvictAtOnce), remembering(1, TlbPolicy::kEvictAtOnce);
  ExpectSameFromBoth(fresh, remembering);
}

TEST(BehindSetupTest, TheCore) {
  NestedMachine fresh(1), remembering(1);
  ExpectSameFromBoth(fresh, remembering);
}

TEST(BehindSetupTest, AProgramFromResetInBetweenChangesNothing) {
  NestedMachine fresh(1), remembering(1);
  remembering.RememberSetup(GeneratedSetup());
  ProgramResult expected, found;
  for (uint64_t number = 0; number < 20; ++number) {
    remembering.Run(Program(number + 1000), found);
    remembering.RunBehindSetup(Program(number), found);
    fresh.Run(Program(number), expected);
    EXPECT_TRUE(SameObservations(expected, found)) << number;
  }
}

}  // namespace
}  // namespace nvmx::sim
