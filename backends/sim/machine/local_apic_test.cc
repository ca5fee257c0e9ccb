// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/local_apic.h"

#include <string>

#include "backends/sim/machine/testing/program_run.h"
#include "gmock/gmock.h"

namespace nvmx::sim {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(LocalApic, GivesTheHighestVectorFirst) {
  LocalApic apic;
  EXPECT_EQ(apic.HighestInterrupt(), std::nullopt);
  for (uint8_t vector : {0x30, 0xFF, 0x20, 0x7F, 0x80}) apic.PutInterrupt(vector);
  for (uint8_t vector : {0xFF, 0x80, 0x7F, 0x30, 0x20}) {
    EXPECT_EQ(apic.HighestInterrupt(), vector);
    EXPECT_EQ(apic.TakeInterrupt(), vector);
  }
  EXPECT_EQ(apic.HighestInterrupt(), std::nullopt);
}

TEST(LocalApic, AVectorIsRequestedOnce) {
  LocalApic apic;
  apic.PutInterrupt(0x40);
  apic.PutInterrupt(0x40);
  apic.TakeInterrupt();
  EXPECT_EQ(apic.HighestInterrupt(), std::nullopt);
}

TEST(LocalApic, HoldsAnInitAndTheLastSipi) {
  LocalApic apic;
  EXPECT_FALSE(apic.has_init());
  apic.PutInit();
  EXPECT_TRUE(apic.has_init());
  apic.TakeInit();
  EXPECT_FALSE(apic.has_init());
  EXPECT_EQ(apic.sipi(), std::nullopt);
  apic.PutSipi(8);
  apic.PutSipi(9);
  EXPECT_EQ(apic.sipi(), uint8_t{9});
  apic.DropSipi();
  EXPECT_EQ(apic.sipi(), std::nullopt);
}

// CPU 0 sends, CPU 1 runs the other program.
std::string Pair(const std::string& sends, const std::string& receiver) {
  return "name: interrupts\ncpus:\n  - run: [" + sends + "]\n  - " + receiver + "\n";
}
constexpr char kThree[] =
    "send_interrupt: {cpu: 1, vector: 0x30}, send_interrupt: {cpu: 1, vector: 0x50}, "
    "send_interrupt: {cpu: 1, vector: 0x40}";

TEST(FixedInterrupts, WakeAHaltedCpu) {
  ProgramRun run(Pair("send_interrupt: {cpu: 1, vector: 0x41}", "run: [sti, hlt, nop]"), 2);
  run.StepWhilePossible(1);
  EXPECT_THAT(run.Log(1), IsEmpty()) << "it rests in HLT";
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_THAT(run.Log(1), ElementsAre("L1 #2: interrupt 0x41 before operation 2", "L1 #3: done"));
}

TEST(FixedInterrupts, DoNotWakeACpuThatMasksThem) {
  ProgramRun run(Pair("send_interrupt: {cpu: 1, vector: 0x41}", "run: [hlt, nop]"), 2);
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_THAT(run.Log(1), IsEmpty());
  EXPECT_EQ(run.cpu(1).local_apic().HighestInterrupt(), uint8_t{0x41});
}

TEST(FixedInterrupts, AreDeliveredHighestFirstOneAfterTheOther) {
  ProgramRun run(Pair(kThree, "run: [nop, sti, nop]"), 2);
  run.StepWhilePossible(0);
  ASSERT_TRUE(run.ToTheEnd());
  // STI blocks them until the instruction behind it has completed.
  EXPECT_THAT(run.Log(1), ElementsAre("L1 #3: done", "L1 #3: interrupt 0x50 before operation 3",
                                      "L1 #3: interrupt 0x40 before operation 3",
                                      "L1 #3: interrupt 0x30 before operation 3"));
}

TEST(FixedInterrupts, MaskedAgainStayAway) {
  ProgramRun run(Pair(kThree, "run: [sti, cli, nop, nop]"), 2);
  run.StepWhilePossible(0);
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_THAT(run.Log(1), ElementsAre("L1 #4: done"));
}

TEST(FixedInterrupts, AreDeliveredToTheEndOfAProgram) {
  ProgramRun run(Pair("send_interrupt: {cpu: 1, vector: 0x41}", "run: [sti, nop]"), 2);
  run.StepWhilePossible(1);
  run.StepWhilePossible(0);
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_THAT(run.Log(1), ElementsAre("L1 #2: done", "L1 #2: interrupt 0x41 before operation 2"));
}

TEST(FixedInterrupts, GoToL2IfItRuns) {
  ProgramRun run(Pair("send_interrupt: {to: others, vector: 0x41}",
                      "{memory: {vmxon: {bytes: 4096}, vmcs: {bytes: 4096}}, "
                      "setup: [enter_vmx: vmxon, baseline_vmcs: vmcs, "
                      "vmwrite: {field: GUEST_RFLAGS, value: 0x202}], "
                      "run: [vmlaunch, observe_exit: [exit_reason]], l2: [nop, vmcall]}"),
                 2);
  ASSERT_TRUE(run.StepToL2(1));
  run.StepWhilePossible(0);
  ASSERT_TRUE(run.ToTheEnd());
  ASSERT_GE(run.Log(1).size(), 2u);
  EXPECT_EQ(run.Log(1)[0], "L2 #0: interrupt 0x41 before operation 0");
  EXPECT_THAT(run.ExitFields(VmcsField::kExitReason, 1), ElementsAre(18));
}

TEST(FixedInterrupts, ToSelfArriveToo) {
  ProgramRun run(
      "name: self\ncpus:\n  - run: [sti, nop, send_interrupt: {to: self, vector: 0x22}, nop]\n");
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_THAT(run.Log(), ElementsAre("L1 #3: interrupt 0x22 before operation 3", "L1 #4: done"));
}

TEST(FixedInterrupts, OneDuringTheOtherLevelsHandlerWaits) {
  ProgramRun run(Pair("send_interrupt: {cpu: 1, vector: 0x41}", "run: [sti, nop, nop]"), 2);
  SimCpu& receiver = run.cpu(1);
  for (int i = 0; i < 2; ++i) run.machine().Step(1, Choice::kStep);
  run.machine().Step(0, Choice::kStep);
  run.machine().Step(1, Choice::kStep);  // takes 0x41
  ASSERT_EQ(receiver.processor().Rip(),
            lhv::HandlerAddress(lhv::HandlersOf(1, lhv::kL1HandlerBase), 0x41));
  receiver.ReceiveIpi(lhv::InterruptCommand::kFixed, 0x99);
  run.machine().Step(1, Choice::kStep);  // the IRET, not 0x99
  EXPECT_THAT(run.Log(1), ElementsAre("L1 #2: interrupt 0x41 before operation 2"));
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_EQ(run.Log(1)[1], "L1 #2: interrupt 0x99 before operation 2");
}

}  // namespace
}  // namespace nvmx::sim
