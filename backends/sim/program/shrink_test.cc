// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/shrink.h"

#include <algorithm>

#include "backends/sim/program/generator/generator.h"
#include "gtest/gtest.h"

namespace nvmx::sim {
namespace {

using lhv::Operation;
using lhv::OperationKind;

size_t Count(const std::vector<Operation>& code, OperationKind kind) {
  return static_cast<size_t>(std::count_if(code.begin(), code.end(),
                                           [kind](const Operation& o) { return o.kind == kind; }));
}

lhv::GuestProgram Program() {
  lhv::CpuProgram cpu;
  cpu.l1 = {{.kind = OperationKind::kNop},  // the setup
            {.kind = OperationKind::kCpuid},
            {.kind = OperationKind::kSti},
            {.kind = OperationKind::kSetHostRip, .value = 5},
            {.kind = OperationKind::kVmlaunch},
            {.kind = OperationKind::kObserveExit, .selector = 7},
            {.kind = OperationKind::kHlt},
            {.kind = OperationKind::kVmwrite, .selector = 0x4000, .value = 0xFF}};
  cpu.run_begin = 1;
  cpu.l2 = {{.kind = OperationKind::kPause}, {.kind = OperationKind::kVmcall}};
  lhv::GuestProgram program;
  program.cpus.push_back(cpu);
  return program;
}

TEST(ShrinkTest, KeepsWhatIsNeededAndNothingElse) {
  const lhv::GuestProgram small = Shrink(Program(), [](const lhv::GuestProgram& p) {
    return Count(p.cpus[0].l1, OperationKind::kHlt) == 1 &&
           Count(p.cpus[0].l2, OperationKind::kVmcall) == 1;
  });
  EXPECT_EQ(small.cpus[0].l1, (std::vector<Operation>{{}, {.kind = OperationKind::kHlt}}))
      << "the setup stays";
  EXPECT_EQ(small.cpus[0].l2, (std::vector<Operation>{{.kind = OperationKind::kVmcall}}));
}

TEST(ShrinkTest, TheOperationThatHostRipNamesStaysTheSame) {
  const lhv::GuestProgram small = Shrink(Program(), [](const lhv::GuestProgram& p) {
    const std::vector<Operation>& code = p.cpus[0].l1;
    for (const Operation& o : code) {
      if (o.kind != OperationKind::kSetHostRip) continue;
      return o.value < code.size() && code[o.value].kind == OperationKind::kObserveExit;
    }
    return false;
  });
  ASSERT_EQ(small.cpus[0].l1.size(), 3u);
  EXPECT_EQ(small.cpus[0].l1[1].value, 2u);
}

TEST(ShrinkTest, ARepetitionStaysOneOfTheSameOperations) {
  lhv::GuestProgram program = Program();
  // CPUID to HLT.
  program.cpus[0].l1.push_back({.kind = OperationKind::kRepeat, .selector = 2, .value = 7});
  const lhv::GuestProgram small = Shrink(program, [](const lhv::GuestProgram& p) {
    const std::vector<Operation>& code = p.cpus[0].l1;
    for (size_t at = 0; at < code.size(); ++at) {
      if (code[at].kind != OperationKind::kRepeat) continue;
      return code[at].value < at && code[at - code[at].value].kind == OperationKind::kCpuid;
    }
    return false;
  });
  ASSERT_EQ(small.cpus[0].l1.size(), 3u);
  EXPECT_EQ(small.cpus[0].l1[2].value, 1u);
}

TEST(ShrinkTest, ValuesLoseTheBitsThatAreNotNeeded) {
  const lhv::GuestProgram small = Shrink(Program(), [](const lhv::GuestProgram& p) {
    for (const Operation& o : p.cpus[0].l1) {
      if (o.kind == OperationKind::kVmwrite && (o.value & 0x10) != 0) return true;
    }
    return false;
  });
  EXPECT_EQ(small.cpus[0].l1.back().value, 0x10u);
}

TEST(ShrinkTest, TheLastCpusGoIfTheyAreNotNeeded) {
  lhv::GuestProgram program = Program();
  program.cpus.resize(3, program.cpus[0]);
  EXPECT_EQ(Shrink(program, [](const lhv::GuestProgram&) { return true; }).cpus.size(), 1u);
  const lhv::GuestProgram small =
      Shrink(program, [](const lhv::GuestProgram& p) { return p.cpus.size() >= 2; });
  EXPECT_EQ(small.cpus.size(), 2u);
}

TEST(ShrinkTest, AProgramThatNeedsEverythingStays) {
  const lhv::GuestProgram program = Program();
  const lhv::GuestProgram same = Shrink(program, [&](const lhv::GuestProgram& p) {
    return p.cpus[0].l1 == program.cpus[0].l1 && p.cpus[0].l2 == program.cpus[0].l2;
  });
  EXPECT_EQ(same.cpus[0].l1, program.cpus[0].l1);
}

}  // namespace
}  // namespace nvmx::sim
