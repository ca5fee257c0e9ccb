// SPDX-License-Identifier: Apache-2.0
//
// What both machines promise to whoever runs programs on them: when a run ends, what is said of it,
// and how CPUs share the time.
#include <algorithm>
#include <memory>
#include <string>

#include "backends/sim/program/native_machine.h"
#include "backends/sim/program/nested_machine.h"
#include "gtest/gtest.h"
#include "lhv/assembler.h"
#include "lhv/observation_text.h"

namespace nvmx::sim {
namespace {

enum class Kind { kNative, kNested };

class ProgramMachinesTest : public testing::TestWithParam<Kind> {
 protected:
  static std::unique_ptr<ProgramMachine> Make(uint32_t cpus) {
    if (GetParam() == Kind::kNative) return std::make_unique<NativeMachine>(cpus, TlbPolicy::kKeep);
    return std::make_unique<NestedMachine>(cpus);
  }
  ProgramResult Run(const std::string& text, uint32_t cpus = 1, uint64_t step_limit = 10'000) {
    program_ = *lhv::Assemble("test.yaml", text, cpus);
    std::unique_ptr<ProgramMachine> machine = Make(cpus);
    machine->set_step_limit(step_limit);
    ProgramResult result;
    machine->Run(program_, result);
    EXPECT_EQ(result.defect, "");
    return result;
  }
  static std::string Line(const ProgramResult& result, size_t position, uint32_t cpu = 0) {
    if (position >= result.cpus[cpu].log.size()) return "";
    return lhv::ToString(result.cpus[cpu].log[position]);
  }

  lhv::GuestProgram program_;
};

TEST_P(ProgramMachinesTest, AProgramComesToItsEnd) {
  const ProgramResult result = Run("name: p\ncpus: [{run: [nop, {rdmsr: IA32_EFER}, nop]}]\n");
  EXPECT_EQ(result.cpus[0].end, CpuEnd::kComplete);
  EXPECT_TRUE(result.IsComplete());
  EXPECT_EQ(result.steps, 3u);
  EXPECT_EQ(Line(result, 0), "L1 #1: RDMSR IA32_EFER = 0x500");
}

TEST_P(ProgramMachinesTest, HltThatNothingEndsIsHalted) {
  const ProgramResult result = Run("name: p\ncpus: [{run: [hlt, nop]}]\n");
  EXPECT_EQ(result.cpus[0].end, CpuEnd::kHalted);
  EXPECT_FALSE(result.IsComplete());
}

TEST_P(ProgramMachinesTest, AnNmiEndsHlt) {
  const ProgramResult result = Run("name: p\ncpus: [{run: [{send_nmi: self}, hlt, nop]}]\n");
  EXPECT_EQ(Line(result, 0), "L1 #1: NMI before operation 1");
  EXPECT_EQ(result.cpus[0].end, CpuEnd::kHalted) << "it came before";
}

TEST_P(ProgramMachinesTest, ATripleFaultIsShutdown) {
  const ProgramResult result =
      Run("name: p\ncpus: [{memory: {empty: {qwords: [0, 0]}}, "
          "run: [{lidt: empty}, ud2, nop]}]\n");
  EXPECT_EQ(result.cpus[0].end, CpuEnd::kShutdown);
}

TEST_P(ProgramMachinesTest, AProgramThatNeverEndsIsCutOff) {
  // Each #UD goes back to the instruction that raises it.
  const ProgramResult result = Run(
      "name: p\ncpus: [{memory: {vmxon: {bytes: 4096}, vmcs: {bytes: 4096}}, "
      "setup: [{enter_vmx: vmxon}, {baseline_vmcs: vmcs}], "
      "run: [vmlaunch, {label: again}, {vmwrite: {field: HOST_RIP, value: {operation: again}}}, "
      "{vmresume: {keep_host_rip: true}}], l2: [vmcall]}]\n",
      1, 500);
  EXPECT_EQ(result.cpus[0].end, CpuEnd::kStepLimit);
  EXPECT_GE(result.steps, 500u);
}

// L2 rests at the end of its program until the NMI that L1 has sent makes it exit again.
TEST_P(ProgramMachinesTest, AProgramIsCutOffWhereverItIs) {
  const std::string text =
      "name: p\ncpus: [{memory: {vmxon: {bytes: 4096}, vmcs: {bytes: 4096}}, "
      "setup: [{enter_vmx: vmxon}, {baseline_vmcs: vmcs}, "
      "{vmwrite_control: {field: PIN_BASED_CONTROLS, value: 0x28}}], "
      "run: [vmlaunch, {label: again}, {vmwrite: {field: HOST_RIP, value: {operation: again}}}, "
      "{send_nmi: self}, {vmresume: {keep_host_rip: true}}], l2: [{send_nmi: self}]}]\n";
  for (uint64_t limit = 500; limit < 510; ++limit) {
    EXPECT_EQ(Run(text, 1, limit).cpus[0].end, CpuEnd::kStepLimit) << limit;
  }
}

TEST_P(ProgramMachinesTest, CpusTakeTurns) {
  // CPU 1 is at its fourth instruction when the NMI that CPU 0's third sends reaches it.
  const ProgramResult result =
      Run("name: p\ncpus: [{run: [nop, nop, {send_nmi: others}, nop]}, {run: [nop, nop, nop, nop, "
          "nop]}]\n",
          2);
  EXPECT_EQ(Line(result, 0, 1), "L1 #2: NMI before operation 2");
  EXPECT_TRUE(result.IsComplete());
}

TEST_P(ProgramMachinesTest, ACpuThatRestsTakesWhatIsSentToIt) {
  const ProgramResult result =
      Run("name: p\ncpus: [{run: [nop, nop, nop, {send_nmi: others}]}, {run: [nop]}]\n", 2);
  EXPECT_EQ(Line(result, 1, 1), "L1 #1: NMI before operation 1");
}

// It blocks events for the instruction behind it: the rest is one.
TEST_P(ProgramMachinesTest, AProgramThatEndsInMovSsTakesWhatIsSentToIt) {
  const ProgramResult result =
      Run("name: p\ncpus: [{run: [nop, {send_nmi: others}]}, {run: [mov_ss]}]\n", 2);
  EXPECT_EQ(Line(result, 1, 1), "L1 #1: NMI before operation 1");
}

// Whenever the NMI comes. (Inputs in fuzz/corpora/event.finds have L0 wait for the monitor trap.)
TEST_P(ProgramMachinesTest, AnL2ThatEndsInMovSsTakesAnNmiToo) {
  std::string nops;
  for (int before = 0; before < 6; ++before, nops += "nop, ") {
    const ProgramResult result =
        Run("name: p\ncpus: [{memory: {vmxon: {bytes: 4096}, vmcs: {bytes: 4096}}, "
            "setup: [{enter_vmx: vmxon}, {baseline_vmcs: vmcs}, "
            "{vmwrite_control: {field: PIN_BASED_CONTROLS, value: 0}}], "
            "run: [vmlaunch, nop], l2: [mov_ss]}, {run: [" +
                nops + "{send_nmi: others}]}]\n",
            2);
    const std::vector<lhv::Observation>& log = result.cpus[0].log;
    EXPECT_TRUE(std::any_of(log.begin(), log.end(), [](const lhv::Observation& o) {
      return o.kind == lhv::ObservationKind::kNmi;
    })) << before;
  }
}

TEST_P(ProgramMachinesTest, AProgramThatEndsInMovSsStopsNobodyForGood) {
  const ProgramResult result = Run(
      "name: p\ncpus: [{run: [mov_ss]}, "
      "{run: [nop, {wrmsr: {msr: IA32_MTRR_PHYSBASE1, value: 0x80000006}}, {rdmsr: IA32_EFER}]}]\n",
      2);
  EXPECT_EQ(result.cpus[1].end, CpuEnd::kComplete);
}

TEST_P(ProgramMachinesTest, AnMtrrThatAllCpusFollowStopsNobodyForGood) {
  const ProgramResult result =
      Run("name: p\ncpus:\n  - repeat: all\n    run:\n"
          "      - wrmsr: {msr: IA32_MTRR_PHYSBASE1, value: 0x80000006}\n"
          "      - wrmsr: {msr: IA32_MTRR_PHYSBASE1, value: 0x40000006}\n"
          "      - rdmsr: IA32_MTRR_PHYSBASE1\n",
          4);
  for (uint32_t cpu = 0; cpu < 4; ++cpu) {
    EXPECT_EQ(Line(result, 0, cpu), "L1 #2: RDMSR IA32_MTRR_PHYSBASE1 = 0x40000006");
    EXPECT_EQ(result.cpus[cpu].end, CpuEnd::kComplete);
  }
}

TEST_P(ProgramMachinesTest, ARunLeavesNothingBehind) {
  std::unique_ptr<ProgramMachine> machine = Make(1);
  const lhv::GuestProgram writes = *lhv::Assemble(
      "a.yaml",
      "name: a\ncpus: [{run: [{write_memory: {address: 0x120000, value: 7}}, "
      "{wrmsr: {msr: IA32_LSTAR, value: 9}}, {out: {port: 0x60, value: 5}}, hlt]}]\n",
      1);
  const lhv::GuestProgram reads = *lhv::Assemble(
      "b.yaml",
      "name: b\ncpus: [{run: [{read_memory: {address: 0x120000}}, {rdmsr: IA32_LSTAR}, "
      "{in: {port: 0x60}}, rdtsc]}]\n",
      1);
  ProgramResult alone, after;
  machine->Run(reads, alone);
  machine->Run(writes, after);
  machine->Run(reads, after);
  EXPECT_TRUE(SameObservations(alone, after));
}

INSTANTIATE_TEST_SUITE_P(Both, ProgramMachinesTest, testing::Values(Kind::kNative, Kind::kNested),
                         [](const testing::TestParamInfo<Kind>& info) {
                           return info.param == Kind::kNative ? "Native" : "Nested";
                         });

}  // namespace
}  // namespace nvmx::sim
