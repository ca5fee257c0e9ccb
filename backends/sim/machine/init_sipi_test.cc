// SPDX-License-Identifier: Apache-2.0
//
// INIT and SIPI between two CPUs. SDM Vol. 3A, 9.4 "Multiple-Processor (MP) Initialization", Table
// 10-1; SDM Vol. 3C, 24.8 "Restrictions on VMX Operation", 26.2 "Other Causes of VM Exits".
#include <string>

#include "backends/sim/machine/testing/program_run.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/general_register.h"
#include "gmock/gmock.h"

namespace nvmx::sim {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr uint64_t kInitExit = 3;
constexpr uint64_t kVmcallExit = 18;

std::string Pair(const std::string& sends, const std::string& receiver) {
  return "name: start-up\ncpus:\n  - run: [" + sends + "]\n  - " + receiver + "\n";
}
// A receiver in VMX operation with these operations.
std::string InVmx(const std::string& run, const std::string& l2 = "nop, vmcall",
                  const std::string& setup = "") {
  return "{memory: {vmxon: {bytes: 4096}, vmcs: {bytes: 4096}, "
         "list: {msr_list: [{msr: 0xdead}]}}, setup: [enter_vmx: vmxon, baseline_vmcs: vmcs" +
         setup + "], run: [" + run + "], l2: [" + l2 + "]}";
}
constexpr char kInit[] = "send_init: {cpu: 1}";
// A sender has to wait between the two: L0 may still be busy with the INIT.
constexpr char kInitSipi[] =
    "send_init: {cpu: 1}, nop, nop, nop, nop, nop, send_sipi: {cpu: 1, vector: 8}";

class InitSipi : public testing::Test {
 protected:
  // The VMCS that L1 of CPU 1 runs with.
  static uint64_t Field(ProgramRun& run, VmcsField field) {
    return run.cpu(1).processor().state().vmcs[0].fields.Read(field);
  }
  static bool WaitsForSipi(ProgramRun& run) { return run.cpu(1).processor().WaitsForSipi(); }
  // Lets a CPU take an event or execute an instruction, with whatever L0 does about it, so many
  // times.
  static void Step(ProgramRun& run, uint32_t cpu, int times = 1) {
    for (int i = 0; i < times; ++i) {
      do {
        ASSERT_TRUE(run.machine().IsPossible(cpu, Choice::kStep));
        run.machine().Step(cpu, Choice::kStep);
      } while (!run.cpu(cpu).processor().in_guest());
    }
  }
};

TEST_F(InitSipi, InitPutsL1WhereTheTableSays) {
  ProgramRun run(Pair(kInit, "run: [wrmsr: {msr: IA32_STAR, value: 5}, nop, nop]"), 2);
  Step(run, 1);
  ProcessorState& state = run.cpu(1).processor().state();
  state.registers.fill(~uint64_t{0});
  state.switched.cr0 |= Cr0::kCd;
  Step(run, 0);
  Step(run, 1);
  EXPECT_TRUE(WaitsForSipi(run));
  EXPECT_FALSE(run.machine().IsPossible(1, Choice::kStep));
  EXPECT_THAT(run.Log(1), IsEmpty());
  const struct {
    VmcsField field;
    uint64_t value;
  } kExpected[] = {
      {VmcsField::kGuestRip, 0xFFF0},
      {VmcsField::kGuestRsp, 0},
      {VmcsField::kGuestRflags, 2},
      {VmcsField::kCr0ReadShadow, Cr0::kEt | Cr0::kCd},
      {VmcsField::kCr4ReadShadow, 0},
      {VmcsField::kGuestCr3, 0},
      {VmcsField::kGuestIa32Efer, 0},
      {VmcsField::kGuestDr7, 0x400},
      {VmcsField::kGuestCsSelector, 0xF000},
      {VmcsField::kGuestCsBase, 0xFFFF0000},
      {VmcsField::kGuestCsLimit, 0xFFFF},
      {VmcsField::kGuestDsSelector, 0},
      {VmcsField::kGuestSsBase, 0},
      {VmcsField::kGuestEsLimit, 0xFFFF},
      {VmcsField::kGuestGsAccessRights, 0x93},
      {VmcsField::kGuestLdtrAccessRights, 0x82},
      {VmcsField::kGuestTrAccessRights, 0x8B},
      {VmcsField::kGuestGdtrLimit, 0xFFFF},
      {VmcsField::kGuestIdtrBase, 0},
      {VmcsField::kGuestInterruptibilityState, 0},
  };
  for (const auto& row : kExpected) EXPECT_EQ(Field(run, row.field), row.value) << Name(row.field);
  EXPECT_EQ(Field(run, VmcsField::kGuestCr0) & (Cr0::kPe | Cr0::kPg), 0u);
  EXPECT_EQ(Field(run, VmcsField::kVmEntryControls) & VmEntry::kIa32eModeGuest, 0u);
  for (size_t number = 0; number < state.registers.size(); ++number) {
    const bool edx = number == static_cast<size_t>(GeneralRegister::kRdx);
    EXPECT_EQ(state.registers[number], edx ? 0x906EAu : 0u) << number;
  }
  EXPECT_EQ(run.cpu(1).processor().ReadMsr(0xC0000081), uint64_t{5}) << "MSRs are left alone";
}

TEST_F(InitSipi, SipiStartsL1AtItsPage) {
  ProgramRun run(Pair(kInitSipi, "run: [nop, nop]"), 2);
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_FALSE(run.l0_failed());
  EXPECT_TRUE(run.cpu(1).processor().IsActive());
  const SwitchedRegisters& r = run.cpu(1).processor().state().switched;
  EXPECT_EQ(r.cs.selector, 0x800u);
  EXPECT_EQ(r.cs.base, 0x8000u);
  EXPECT_EQ(r.rip, 0u);
}

TEST_F(InitSipi, ASipiThatComesWithTheInitFindsItsEffect) {
  ProgramRun run(Pair(kInitSipi, "run: [nop, nop]"), 2);
  run.StepWhilePossible(0);
  Step(run, 1);
  EXPECT_TRUE(WaitsForSipi(run));
  Step(run, 1);
  EXPECT_TRUE(run.cpu(1).processor().IsActive());
}

TEST_F(InitSipi, ASipiIsLostOnACpuThatRuns) {
  ProgramRun run(Pair("send_sipi: {cpu: 1, vector: 8}, send_init: {cpu: 1}", "run: [nop, nop]"), 2);
  Step(run, 0);
  EXPECT_EQ(run.cpu(1).local_apic().sipi(), std::nullopt);
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_TRUE(WaitsForSipi(run)) << "the INIT that came later has no SIPI";
}

TEST_F(InitSipi, ASecondInitIsLostOnACpuThatWaits) {
  ProgramRun run(Pair("send_init: {cpu: 1}, send_init: {cpu: 1}, send_sipi: {cpu: 1, vector: 8}",
                      "run: [nop, nop]"),
                 2);
  Step(run, 0);
  Step(run, 1);
  ASSERT_TRUE(WaitsForSipi(run));
  Step(run, 0, 2);
  EXPECT_FALSE(run.cpu(1).local_apic().has_init());
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_TRUE(run.cpu(1).processor().IsActive());
}

TEST_F(InitSipi, ASecondSipiIsLost) {
  ProgramRun run(
      Pair(std::string(kInitSipi) + ", send_sipi: {cpu: 1, vector: 9}", "run: [nop, nop]"), 2);
  Step(run, 0);
  Step(run, 1);
  Step(run, 0, 6);
  Step(run, 1);
  Step(run, 0);
  EXPECT_FALSE(run.machine().IsPossible(1, Choice::kStep));
  EXPECT_EQ(run.cpu(1).processor().state().switched.cs.base, 0x8000u);
}

TEST_F(InitSipi, InitEndsHlt) {
  ProgramRun run(Pair(kInit, "run: [hlt]"), 2);
  run.StepWhilePossible(1);
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_TRUE(WaitsForSipi(run));
}

// CPU 1 is inside L0, at the lock that it prints the write of an MTRR under.
class InRoot : public InitSipi {
 protected:
  InRoot() {
    while (run_.cpu(1).point().kind == PointKind::kGuest) run_.machine().Step(1, Choice::kStep);
    EXPECT_FALSE(run_.cpu(1).processor().in_guest());
  }
  ProgramRun run_{Pair("nop", "run: [wrmsr: {msr: 0x200, value: 6}, nop]"), 2};
};

TEST_F(InRoot, InitWaitsForTheVmEntry) {
  run_.cpu(1).ReceiveIpi(lhv::InterruptCommand::kInit, 0);
  EXPECT_TRUE(run_.cpu(1).local_apic().has_init());
  ASSERT_TRUE(run_.ToTheEnd());
  EXPECT_TRUE(WaitsForSipi(run_));
  EXPECT_EQ(run_.cpu(1).vcpu_state().mtrr.variable[0].base, 6u) << "the WRMSR has completed";
}

TEST_F(InRoot, SipiIsLost) {
  run_.cpu(1).ReceiveIpi(lhv::InterruptCommand::kInit, 0);
  run_.cpu(1).ReceiveIpi(lhv::InterruptCommand::kStartUp, 8);
  EXPECT_EQ(run_.cpu(1).local_apic().sipi(), std::nullopt);
  ASSERT_TRUE(run_.ToTheEnd());
  EXPECT_TRUE(WaitsForSipi(run_));
}

// --- L1 in VMX operation.

TEST_F(InitSipi, InitIsHeldBackInL1sRootOperationUntilVmxoff) {
  ProgramRun run(Pair(kInit, InVmx("nop, nop, vmxoff, nop")), 2);
  Step(run, 0);
  Step(run, 1);  // the INIT
  EXPECT_TRUE(run.cpu(1).processor().IsActive());
  EXPECT_EQ(run.cpu(1).vcpu_state().init_latched, 1u);
  Step(run, 1, 2);  // two NOPs
  EXPECT_FALSE(WaitsForSipi(run));
  Step(run, 1);  // VMXOFF
  EXPECT_TRUE(WaitsForSipi(run));
  EXPECT_EQ(run.cpu(1).vcpu_state().init_latched, 0u);
  EXPECT_EQ(run.cpu(1).vcpu_state().operation, VmxOperation::kOff);
}

TEST_F(InitSipi, ASipiDoesNothingToL1InItsRootOperation) {
  ProgramRun run(Pair(kInitSipi, InVmx("nop, nop, nop")), 2);
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_EQ(run.cpu(1).local_apic().sipi(), std::nullopt);
  EXPECT_EQ(run.Log(1).back().substr(run.Log(1).back().size() - 4), "done");
}

TEST_F(InitSipi, InitIsAVmExitOfL2) {
  ProgramRun run(Pair(kInit, InVmx("vmlaunch, observe_exit: [exit_reason, exit_qualification, "
                                   "guest_rip], vmresume, observe_exit: [exit_reason]")),
                 2);
  ASSERT_TRUE(run.StepToL2(1));
  Step(run, 0);
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_FALSE(run.l0_failed());
  EXPECT_THAT(run.ExitFields(VmcsField::kExitReason, 1), ElementsAre(kInitExit, kVmcallExit));
  EXPECT_THAT(run.ExitFields(VmcsField::kExitQualification, 1), ElementsAre(0));
  EXPECT_THAT(run.ExitFields(VmcsField::kGuestRip, 1),
              ElementsAre(lhv::CodeOf(1, lhv::kL2CodeBase)));
}

TEST_F(InitSipi, AnInitThatWasHeldBackIsTheVmExitOfTheNextVmEntry) {
  ProgramRun run(Pair(kInit, InVmx("nop, vmlaunch, observe_exit: [exit_reason, guest_rip, "
                                   "instruction_length], vmresume, observe_exit: [exit_reason]")),
                 2);
  Step(run, 0);
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_THAT(run.ExitFields(VmcsField::kExitReason, 1), ElementsAre(kInitExit, kVmcallExit));
  EXPECT_THAT(run.ExitFields(VmcsField::kGuestRip, 1),
              ElementsAre(lhv::CodeOf(1, lhv::kL2CodeBase)))
      << "L2 has executed nothing";
  EXPECT_THAT(run.ExitFields(VmcsField::kVmExitInstructionLength, 1), ElementsAre(0));
}

// SDM Vol. 3C, 27.6: the injected event is delivered as part of the VM entry; INIT comes before the
// first instruction of its handler.
TEST_F(InitSipi, AnInitThatWasHeldBackExitsBeforeTheHandlerOfAnInjectedEvent) {
  ProgramRun run(
      Pair(kInit, InVmx("nop, vmlaunch, observe_exit: [exit_reason, guest_rip], vmresume, "
                        "observe_exit: [exit_reason]",
                        "nop, vmcall",
                        ", vmwrite: {field: GUEST_RFLAGS, value: 0x202}, "
                        "vmwrite: {field: VM_ENTRY_INTERRUPTION_INFORMATION, value: 0x80000021}")),
      2);
  Step(run, 0);
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_THAT(run.ExitFields(VmcsField::kExitReason, 1), ElementsAre(kInitExit, kVmcallExit));
  EXPECT_THAT(run.ExitFields(VmcsField::kGuestRip, 1),
              ElementsAre(lhv::HandlerAddress(lhv::HandlersOf(1, lhv::kL2HandlerBase), 0x21)));
  EXPECT_THAT(run.Log(1), testing::Contains("L2 #0: interrupt 0x21 before operation 0"));
}

TEST_F(InitSipi, NothingWakesACpuInVmxAbort) {
  ProgramRun run(
      Pair(kInitSipi, InVmx("vmlaunch, nop", "vmcall", ", use_msr_list: {exit_load: list}")), 2);
  run.StepWhilePossible(1);
  ASSERT_EQ(run.cpu(1).vcpu_state().in_vmx_abort, 1u);
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_EQ(run.cpu(1).processor().state().activity_state,
            static_cast<uint64_t>(ActivityState::kShutdown));
  EXPECT_THAT(run.Log(1), IsEmpty());
}

TEST_F(InitSipi, InitToOthersReachesAllButTheSender) {
  ProgramRun run(
      "name: all\ncpus:\n  - run: [send_init: others, nop]\n  - {repeat: all, run: [nop, nop]}\n",
      3);
  Step(run, 0);
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_FALSE(run.cpu(0).processor().WaitsForSipi());
  EXPECT_TRUE(run.cpu(1).processor().WaitsForSipi());
  EXPECT_TRUE(run.cpu(2).processor().WaitsForSipi());
}

// --- What else takes L1 out of its program.

TEST_F(InitSipi, ATripleFaultOfL1IsShutdownAndNoDefectOfL0) {
  ProgramRun run(Pair("nop", "run: [nop]"), 2);
  // A handler that nothing led to: its IRET faults, and no exception finds a handler.
  run.cpu(1).processor().state().switched.idtr_limit = 0;
  run.cpu(1).processor().Jump(lhv::HandlerAddress(lhv::HandlersOf(1, lhv::kL1HandlerBase), 2));
  ASSERT_TRUE(run.ToTheEnd());
  EXPECT_FALSE(run.l0_failed());
  EXPECT_EQ(run.cpu(1).processor().state().activity_state,
            static_cast<uint64_t>(ActivityState::kShutdown));
}

}  // namespace
}  // namespace nvmx::sim
