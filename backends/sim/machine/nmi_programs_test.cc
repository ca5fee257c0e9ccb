// SPDX-License-Identifier: Apache-2.0
//
// NMIs that devices send to a guest program, at chosen moments.
#include <string>

#include "backends/sim/machine/testing/program_run.h"
#include "gmock/gmock.h"

namespace nvmx::sim {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::string Alone(const std::string& run) { return "name: nmi\ncpus:\n  - run: [" + run + "]\n"; }
std::string WithL2(const std::string& setup, const std::string& run, const std::string& l2) {
  return "name: nmi\ncpus:\n  - memory: {vmxon: {bytes: 4096}, vmcs: {bytes: 4096}}\n"
         "    setup: [enter_vmx: vmxon, baseline_vmcs: vmcs" +
         setup +
         "]\n"
         "    run: [" +
         run + "]\n    l2: [" + l2 + "]\n";
}

class NmiPrograms : public testing::Test {
 protected:
  static void SendAndTake(ProgramRun& run) {
    run.machine().Step(0, Choice::kDeviceNmi);
    ASSERT_TRUE(run.machine().IsPossible(0, Choice::kTakeNmi));
    run.machine().Step(0, Choice::kTakeNmi);
  }
};

TEST_F(NmiPrograms, L1TakesAnNmiWhereItIs) {
  ProgramRun run(Alone("nop, nop"));
  run.machine().Step(0, Choice::kStep);
  SendAndTake(run);
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_THAT(run.Log(), ElementsAre("L1 #1: NMI before operation 1", "L1 #2: done"));
}

TEST_F(NmiPrograms, ANmiWakesAHaltedL1) {
  ProgramRun run(Alone("hlt, nop"));
  run.StepWhilePossible(0);
  SendAndTake(run);
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_THAT(run.Log(), ElementsAre("L1 #1: NMI before operation 1", "L1 #2: done"));
}

TEST_F(NmiPrograms, AnNmiInL2IsAnExitIfL1WantsIt) {
  ProgramRun run(WithL2("", "vmlaunch, observe_exit, iret", "nop, vmcall"));
  ASSERT_TRUE(run.StepToL2());
  SendAndTake(run);
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_THAT(run.ExitFields(VmcsField::kExitReason), ElementsAre(0));
  EXPECT_THAT(run.ExitFields(VmcsField::kVmExitInterruptionInformation), ElementsAre(0x80000202));
}

TEST_F(NmiPrograms, AnNmiInL2IsL2sIfL1DoesNotWantIt) {
  ProgramRun run(WithL2(", vmwrite_control: {field: PIN_BASED_CONTROLS, value: 0}",
                        "vmlaunch, observe_exit: [exit_reason]", "nop, vmcall"));
  ASSERT_TRUE(run.StepToL2());
  SendAndTake(run);
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_EQ(run.Log()[0], "L2 #0: NMI before operation 0");
  EXPECT_THAT(run.ExitFields(VmcsField::kExitReason), ElementsAre(18));
}

// Right after a VM entry: an injected event, then the NMI window, then a pending NMI. The NMI waits
// in L1's root operation, blocked, until L2 is entered.
TEST_F(NmiPrograms, TheNmiWindowComesBeforeAnNmi) {
  ProgramRun run(
      WithL2(", vmwrite_control: {field: PRIMARY_PROCESSOR_BASED_CONTROLS, "
             "bits: [NMI_WINDOW_EXITING]}",
             "vmlaunch, observe_exit: [exit_reason, guest_rip], nop", "nop, vmcall"));
  // Latched, and not taken before VMLAUNCH is.
  run.machine().Step(0, Choice::kDeviceNmi);
  run.machine().Step(0, Choice::kStep);
  ASSERT_TRUE(run.ToTheEnd());
  ASSERT_GE(run.Log().size(), 2u);
  EXPECT_THAT(run.ExitFields(VmcsField::kExitReason), ElementsAre(8));
  EXPECT_THAT(run.ExitFields(VmcsField::kGuestRip), ElementsAre(lhv::kL2CodeBase));
  int nmis = 0;
  for (const std::string& line : run.Log())
    nmis += line.find("L1") == 0 && line.find("NMI before") != std::string::npos;
  EXPECT_EQ(nmis, 1) << "it hits L1 behind the exit";
}

TEST_F(NmiPrograms, TwoNmisInTheLatchAreOne) {
  ProgramRun run(Alone("nop, nop"));
  run.machine().Step(0, Choice::kDeviceNmi);
  run.machine().Step(0, Choice::kDeviceNmi);
  run.machine().Step(0, Choice::kTakeNmi);
  EXPECT_FALSE(run.machine().IsPossible(0, Choice::kTakeNmi));
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_THAT(run.Log(), ElementsAre("L1 #0: NMI before operation 0", "L1 #2: done"));
}

TEST_F(NmiPrograms, TheEmbedderMasksAndUnmasksGuestNmis) {
  ProgramRun run(Alone("vmcall: 0x6e760001, nop, vmcall: 0x6e760002, nop"));
  while (run.cpu().vcpu_state().guest_nmis_masked == 0) run.machine().Step(0, Choice::kStep);
  while (!run.cpu().processor().in_guest()) run.machine().Step(0, Choice::kStep);
  SendAndTake(run);
  while (run.cpu().vcpu_state().guest_nmis_masked != 0) {
    EXPECT_THAT(run.Log(), IsEmpty());
    run.machine().Step(0, Choice::kStep);
  }
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_THAT(run.Log(), ElementsAre("L1 #3: NMI before operation 3", "L1 #4: done"));
}

TEST_F(NmiPrograms, ACallToTheEmbedderSucceedsWhateverTheFlagsBefore) {
  ProgramRun run(
      "name: flags\ncpus:\n  - memory: {vmxon: {bytes: 4096}}\n    setup: [enter_vmx: vmxon]\n"
      "    run: [vmread: GUEST_RIP, vmcall: 0x6e760001]\n");
  ASSERT_TRUE(run.ToTheEnd());
  ASSERT_EQ(run.Log().size(), 2u);
  EXPECT_NE(run.Log()[0].find("VMfailInvalid"), std::string::npos) << "no VMCS is current";
  EXPECT_NE(run.Log()[1].find("done"), std::string::npos);
}

TEST_F(NmiPrograms, ACallThatNobodyServesIsAVmxInstructionOutsideVmxOperation) {
  ProgramRun run(Alone("vmcall: 7"));
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_THAT(run.Log(), ElementsAre("L1 #0: #UD", "L1 #1: done"));
}

TEST_F(NmiPrograms, AVmEntrySucceedsWhateverTheFlagsOfL2) {
  ProgramRun run(WithL2(", vmwrite: {field: GUEST_RFLAGS, value: 0x43}",
                        "vmlaunch, observe_exit: [exit_reason]", "vmcall"));
  ASSERT_TRUE(run.ToTheEnd());
  for (const std::string& line : run.Log()) {
    EXPECT_EQ(line.find("VMfail"), std::string::npos) << line;
  }
  EXPECT_THAT(run.ExitFields(VmcsField::kExitReason), ElementsAre(18));
}

}  // namespace
}  // namespace nvmx::sim
