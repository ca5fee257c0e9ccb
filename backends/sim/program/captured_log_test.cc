// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/captured_log.h"

#include <cstdint>
#include <string>

#include "core/vmx/vmcs_field.h"
#include "gtest/gtest.h"
#include "lhv/assembler.h"

namespace nvmx::sim {
namespace {

using lhv::ImageEnd;

class CapturedLogTest : public testing::Test {
 protected:
  lhv::GuestProgram Assembled(const std::string& run) {
    const auto program = lhv::Assemble("p.yaml", "name: p\ncpus:\n  - {run: [" + run + "]}\n", 1);
    EXPECT_TRUE(program.ok()) << program.status();
    return *program;
  }
  // Runs it on the reference; the machine saw the same.
  void Run(const lhv::GuestProgram& program) {
    NativeMachine keep(1, TlbPolicy::kKeep), evict(1, TlbPolicy::kEvictAtOnce);
    keep.Run(program, result_.comparison.keep);
    evict.Run(program, result_.comparison.evict);
    captured_.cpus = {{result_.comparison.keep.cpus[0].log, ImageEnd::kComplete, 0}};
  }
  Calibration Compare(const lhv::GuestProgram& program, const std::string& name = "p.yaml") {
    CompareCaptured(name, program, captured_, result_);
    return result_.calibration;
  }

  CapturedComparison result_;
  lhv::LoggedProgram captured_;
};

TEST_F(CapturedLogTest, EqualLogsAreTheSame) {
  const auto program = Assembled("rdmsr: IA32_PAT");
  Run(program);
  EXPECT_EQ(Compare(program), Calibration::kSame);
}

TEST_F(CapturedLogTest, AnotherValueIsADifference) {
  const auto program = Assembled("rdmsr: IA32_PAT");
  Run(program);
  captured_.cpus[0].log[0].value ^= 1;
  EXPECT_EQ(Compare(program), Calibration::kDifferent);
  ASSERT_TRUE(result_.comparison.difference);
  EXPECT_EQ(result_.comparison.difference->position, 0u);
}

// The simulator reads ones where nobody answers; a machine has memory there.
TEST_F(CapturedLogTest, WhatIsReadOfMemoryThatIsNotTheProgramsIsTheMachinesOwn) {
  for (const unsigned width : {4, 8}) {
    const auto program =
        Assembled("read_memory: {address: 0x110000, width: " + std::to_string(width) + "}");
    Run(program);
    captured_.cpus[0].log[0].value = 0x12;
    EXPECT_EQ(Compare(program), Calibration::kDifferent) << width;
    const uint64_t ones = ~uint64_t{0} >> (64 - 8 * width);
    result_.comparison.keep.cpus[0].log[0].value = ones;
    result_.comparison.evict.cpus[0].log[0].value = ones;
    EXPECT_EQ(Compare(program), Calibration::kWhereDefined) << width;
  }
}

// Whatever follows is compared, too.
TEST_F(CapturedLogTest, ADifferenceBehindTheMachinesOwnIsOne) {
  const auto program = Assembled("read_memory: {address: 0x110000, width: 8}, rdmsr: IA32_PAT");
  Run(program);
  result_.comparison.keep.cpus[0].log[0].value = ~uint64_t{0};
  result_.comparison.evict.cpus[0].log[0].value = ~uint64_t{0};
  EXPECT_EQ(Compare(program), Calibration::kWhereDefined);
  EXPECT_EQ(result_.reason, "it reads physical memory that is not the program's");
  captured_.cpus[0].log[1].value ^= 1;
  EXPECT_EQ(Compare(program), Calibration::kDifferent);
}

// Rows about Bochs are for Bochs.
TEST_F(CapturedLogTest, ADeviationOfBochsIsADifferenceOnAnotherMachine) {
  const auto program = Assembled("rdmsr: IA32_DEBUGCTL");
  Run(program);
  captured_.cpus[0].log[0] = {
      .kind = lhv::ObservationKind::kFault, .level = 1, .selector = 13, .extra = 1};
  EXPECT_EQ(Compare(program), Calibration::kDeviation);
  result_.machine = CapturedMachine::kOther;
  EXPECT_EQ(Compare(program), Calibration::kDifferent);
}

// nvmx checks VM entries itself.
TEST_F(CapturedLogTest, WhatNvmxHidesIsADifferenceUnderIt) {
  const auto program = Assembled("rdmsr: IA32_PAT");
  Run(program);
  const auto field = [](VmcsField name, uint64_t value) {
    return lhv::Observation{.kind = lhv::ObservationKind::kVmExit,
                            .level = 1,
                            .selector = Encoding(name),
                            .value = value};
  };
  auto& log = captured_.cpus[0].log;
  log = {field(VmcsField::kExitReason, 0x8000'0021), field(VmcsField::kVmExitInstructionLength, 0)};
  for (auto* reference : {&result_.comparison.keep, &result_.comparison.evict}) {
    reference->cpus[0].log = log;
  }
  log[1].value = 8;
  EXPECT_EQ(Compare(program), Calibration::kDeviation);
  result_.machine = CapturedMachine::kBochsNested;
  EXPECT_EQ(Compare(program), Calibration::kDifferent);
}

// The simulated processor under the core has that revision, a machine another.
TEST_F(CapturedLogTest, AByteOfTheRevisionOfTheCoreIsNotCompared) {
  const auto program =
      Assembled("write_memory: {address: 0x110003, width: 1, value: 0x6e}, rdmsr: IA32_PAT");
  Run(program);
  captured_.cpus[0].log[0].value ^= 1;
  EXPECT_EQ(Compare(program), Calibration::kNotComparable);
}

TEST_F(CapturedLogTest, AnotherEndIsADifference) {
  const auto program = Assembled("rdmsr: IA32_PAT");
  Run(program);
  captured_.cpus[0].end = ImageEnd::kResting;
  EXPECT_EQ(Compare(program), Calibration::kDifferent);
  captured_.cpus[0].end.reset();
  EXPECT_EQ(Compare(program), Calibration::kDifferent) << "the machine stopped";
}

TEST_F(CapturedLogTest, AMachineThatStopsWhereNothingWakesTheReferenceIsTheSame) {
  const auto program = Assembled("rdmsr: IA32_PAT, hlt");
  Run(program);
  captured_.cpus[0].end.reset();
  EXPECT_EQ(Compare(program), Calibration::kSame);
  captured_.cpus[0].end = ImageEnd::kResting;
  EXPECT_EQ(Compare(program), Calibration::kSame);
  captured_.cpus[0].end = ImageEnd::kComplete;
  EXPECT_EQ(Compare(program), Calibration::kDifferent);
}

TEST_F(CapturedLogTest, TimeIsNotComparedButMayBeEqual) {
  const auto program = Assembled("rdtsc");
  Run(program);
  EXPECT_EQ(Compare(program), Calibration::kSame);
  captured_.cpus[0].log[0].value += 1000;
  EXPECT_EQ(Compare(program), Calibration::kNotComparable);
  EXPECT_EQ(result_.reason, "it reads the time");
}

TEST_F(CapturedLogTest, WhatTheImageRefusesIsNotCompared) {
  const auto program = Assembled("rdmsr: IA32_PAT");
  Run(program);
  captured_.cpus[0] = {{}, ImageEnd::kRefused, 3};
  EXPECT_EQ(Compare(program), Calibration::kNotComparable);
  captured_.cpus[0].end = ImageEnd::kBadProgram;
  EXPECT_EQ(Compare(program), Calibration::kNotComparable);
}

TEST_F(CapturedLogTest, TheTableSaysWhatTheMachineIsKnownToDoOtherwise) {
  constexpr CapturedMachine kNative = CapturedMachine::kBochsNative;
  EXPECT_EQ(KnownDeviation(kNative, "lhv/suites/classics/hypercalls.yaml"),
            KnownDeviation(kNative, "/somewhere/lhv/suites/classics/hypercalls.yaml"));
  EXPECT_NE(KnownDeviation(kNative, "lhv/suites/classics/hypercalls.yaml"), "");
  EXPECT_EQ(KnownDeviation(kNative, "lhv/suites/classics/ept-cycle.yaml"), "");
  const auto program = Assembled("rdmsr: IA32_PAT");
  Run(program);
  captured_.cpus[0].log.clear();
  EXPECT_EQ(Compare(program, "lhv/suites/classics/hypercalls.yaml"), Calibration::kDeviation);
}

TEST_F(CapturedLogTest, ACpuThatTheProgramDoesNotNameMustSeeWhatTheReferenceDoes) {
  const auto program = lhv::Assemble(
      "p.yaml", "name: p\ncpus:\n  - {run: [rdmsr: IA32_PAT], expect: [\"L1: done\"]}\n", 2);
  ASSERT_TRUE(program.ok()) << program.status();
  ASSERT_EQ(program->cpus.size(), 2u);
  NativeMachine keep(2, TlbPolicy::kKeep), evict(2, TlbPolicy::kEvictAtOnce);
  keep.Run(*program, result_.comparison.keep);
  evict.Run(*program, result_.comparison.evict);
  const auto& seen = result_.comparison.keep.cpus;
  captured_.cpus = {{{seen[0].log.back()}, ImageEnd::kComplete, 0},
                    {seen[1].log, ImageEnd::kComplete, 0}};
  EXPECT_EQ(Compare(*program), Calibration::kAsExpected);
  captured_.cpus[1].log.push_back(seen[0].log.back());
  EXPECT_EQ(Compare(*program), Calibration::kDifferent);
}

TEST_F(CapturedLogTest, AProgramThatHasNotBegunIsNoDeviation) {
  const auto program = Assembled("rdmsr: IA32_PAT");
  Run(program);
  captured_.cpus[0] = {{}, ImageEnd::kBadProgram, 2};
  EXPECT_EQ(Compare(program, "lhv/suites/classics/hypercalls.yaml"), Calibration::kNotComparable);
  EXPECT_EQ(result_.reason, "it needs 2 CPUs");
}

TEST_F(CapturedLogTest, ARowHoldsWhereItSaysAndOnBochsAlone) {
  // Under nvmx no VMCALL of L1's is executed in VMX root operation.
  const std::string name = "lhv/suites/classics/hypercalls.yaml";
  EXPECT_EQ(KnownDeviation(CapturedMachine::kBochsNested, name), "");
  EXPECT_EQ(KnownDeviation(CapturedMachine::kOther, name), "");
  const std::string everywhere = "lhv/suites/control-registers/perf-global-ctrl.yaml";
  EXPECT_NE(KnownDeviation(CapturedMachine::kBochsNative, everywhere), "");
  EXPECT_NE(KnownDeviation(CapturedMachine::kBochsNested, everywhere), "");
  const auto program = Assembled("rdmsr: IA32_PAT");
  Run(program);
  captured_.cpus[0].log.clear();
  result_.machine = CapturedMachine::kBochsNested;
  EXPECT_EQ(Compare(program, name), Calibration::kDifferent);
}

TEST(KnownDeviationTest, ARowCanBeOneOfAnL1ForI386Alone) {
  const std::string of_i386 = "lhv/suites/unrestricted-guest/enters-ia32e-mode.yaml";
  EXPECT_NE(KnownDeviation(CapturedMachine::kBochsNativeI386, of_i386), "");
  EXPECT_EQ(KnownDeviation(CapturedMachine::kBochsNative, of_i386), "");
  const std::string of_both = "lhv/suites/classics/hypercalls.yaml";
  EXPECT_NE(KnownDeviation(CapturedMachine::kBochsNativeI386, of_both), "");
  EXPECT_NE(KnownDeviation(CapturedMachine::kBochsNative, of_both), "");
}

TEST(KnownDeviationTest, ARowCanBeOneOfNvmxForI386Alone) {
  const std::string of_i386 = "lhv/suites/msr-lists/entry-load-efer-lme.yaml";
  EXPECT_NE(KnownDeviation(CapturedMachine::kBochsNestedI386, of_i386), "");
  EXPECT_EQ(KnownDeviation(CapturedMachine::kBochsNested, of_i386), "");
  const std::string of_both = "lhv/suites/hostile/accesses-of-l1.yaml";
  EXPECT_NE(KnownDeviation(CapturedMachine::kBochsNestedI386, of_both), "");
  EXPECT_NE(KnownDeviation(CapturedMachine::kBochsNested, of_both), "");
}

}  // namespace
}  // namespace nvmx::sim
