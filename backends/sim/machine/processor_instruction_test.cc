// SPDX-License-Identifier: Apache-2.0
//
// What Execute() tells of an instruction, and what instructions do that is not a VM exit.
#include "backends/sim/machine/testing/processor_fixture.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/general_register.h"
#include "core/x86/msr.h"

namespace nvmx::sim {
namespace {

using lhv::InstructionEnd;
using lhv::InstructionKind;

constexpr uint64_t kL2Rip = lhv::kL2CodeBase;
// Above what the guest's paging structures map.
constexpr uint64_t kUnmapped = 0x4000'0010;

class ProcessorInstruction : public ProcessorTest {
 protected:
  ProcessorInstruction() { cpu_.EnterGuest(); }

  void Emulate(std::function<void()> emulation) {
    root_.on_exit = [this, emulation = std::move(emulation)] {
      emulation();
      SkipInstructionAndEnter();
    };
  }
  uint64_t& Register(GeneralRegister name) { return state().registers[static_cast<size_t>(name)]; }
  // Runs L2, as an emulation of VMLAUNCH does.
  void EnterL2() {
    cpu_.MakeCurrent(VmcsRole::kVmcs02);
    Write(VmcsField::kGuestRip, kL2Rip);
    cpu_.EnterGuest();
  }
  static void Expect(const InstructionEnd& end, bool completed, bool diverted) {
    EXPECT_EQ(end.completed, completed);
    EXPECT_EQ(end.diverted, diverted);
  }
};

TEST_F(ProcessorInstruction, OneWithoutAnExitCompletes) {
  Expect(Execute(InstructionKind::kNop), true, false);
  EXPECT_EQ(cpu_.Rip(), kGuestRip + 8);
}

TEST_F(ProcessorInstruction, OneThatIsEmulatedCompletesWithItsValue) {
  Emulate([this] {
    EXPECT_EQ(Read(VmcsField::kExitReason), static_cast<uint64_t>(ExitReason::kRdmsr));
    EXPECT_EQ(Read(VmcsField::kVmExitInstructionLength), 8u);
    EXPECT_EQ(Register(GeneralRegister::kRcx), 0x277u);
    Register(GeneralRegister::kRax) = 0xFFFFFFFF'11111111;
    Register(GeneralRegister::kRdx) = 0x22222222;
  });
  const InstructionEnd end = Execute(InstructionKind::kRdmsr, Index(Msr::IA32_PAT));
  Expect(end, true, false);
  EXPECT_EQ(end.value, 0x2222222211111111u);
}

TEST_F(ProcessorInstruction, WrmsrHasItsOperandsInThreeRegisters) {
  Emulate([this] {
    EXPECT_EQ(Register(GeneralRegister::kRcx), 0x277u);
    EXPECT_EQ(Register(GeneralRegister::kRax), 0x55667788u);
    EXPECT_EQ(Register(GeneralRegister::kRdx), 0x11223344u);
  });
  Execute(InstructionKind::kWrmsr, 0x277, 0x1122334455667788);
  EXPECT_EQ(root_.exits, 1);
}

TEST_F(ProcessorInstruction, VmcallHasItsOperandInRax) {
  Emulate([this] { EXPECT_EQ(Register(GeneralRegister::kRax), 0x6E760001u); });
  Expect(Execute(InstructionKind::kVmcall, 0x6E760001), true, false);
}

TEST_F(ProcessorInstruction, AFaultLeavesItIncompleteAtItsHandler) {
  root_.on_exit = [this] {
    Write(VmcsField::kVmEntryInterruptionInformation,
          InterruptionInformation::HardwareException(Vector::kGeneralProtection).value());
    cpu_.EnterGuest();
  };
  Expect(Execute(InstructionKind::kRdmsr, 0xDEAD), false, true);
  EXPECT_EQ(cpu_.TopFrame(0).rip, kGuestRip) << "the instruction that faulted";
}

TEST_F(ProcessorInstruction, AnEventBehindItLeavesItCompleteAtTheHandler) {
  Emulate([this] {
    Write(VmcsField::kVmEntryInterruptionInformation, InterruptionInformation::Nmi().value());
  });
  Expect(Execute(InstructionKind::kRdmsr, 0x277), true, true);
  EXPECT_EQ(cpu_.TopFrame(0).rip, kGuestRip + 8) << "the instruction that follows";
}

TEST_F(ProcessorInstruction, AVmEntryCompletesSomewhereElse) {
  root_.on_exit = [this] { EnterL2(); };
  Expect(Execute(InstructionKind::kVmlaunch), true, true);
  EXPECT_EQ(cpu_.Rip(), kL2Rip);
}

TEST_F(ProcessorInstruction, AVmEntrySucceedsWhateverTheFlagsOfL2) {
  root_.on_exit = [this] {
    cpu_.MakeCurrent(VmcsRole::kVmcs02);
    Write(VmcsField::kGuestRflags, Rflags::kFixed1 | Rflags::kCf | Rflags::kZf);
    cpu_.EnterGuest();
  };
  const InstructionEnd end = Execute(InstructionKind::kVmlaunch);
  EXPECT_FALSE(end.carry);
  EXPECT_FALSE(end.zero);
}

TEST_F(ProcessorInstruction, AVmfailCompletesWithItsFlags) {
  for (uint64_t flag : {Rflags::kCf, Rflags::kZf}) {
    Emulate([this, flag] { Write(VmcsField::kGuestRflags, Rflags::kFixed1 | flag); });
    const InstructionEnd end = Execute(InstructionKind::kVmxoff);
    Expect(end, true, false);
    EXPECT_EQ(end.carry, flag == Rflags::kCf);
    EXPECT_EQ(end.zero, flag == Rflags::kZf);
  }
}

TEST_F(ProcessorInstruction, AVmExitOfL2ToL1LeavesItIncomplete) {
  root_.on_exit = [this] { EnterL2(); };
  Execute(InstructionKind::kVmlaunch);
  root_.on_exit = [this] {
    cpu_.MakeCurrent(VmcsRole::kVmcs01);
    Write(VmcsField::kGuestRip, 0x12345000);
    cpu_.EnterGuest();
  };
  Expect(Execute(InstructionKind::kVmcall), false, true);
  EXPECT_EQ(cpu_.Rip(), 0x12345000u);
}

TEST_F(ProcessorInstruction, AnExitOfL2ThatTheRootSettlesIsInvisible) {
  root_.on_exit = [this] { EnterL2(); };
  Execute(InstructionKind::kVmlaunch);
  Emulate([] {});
  Expect(Execute(InstructionKind::kCpuid), true, false);
}

TEST_F(ProcessorInstruction, HltCompletesAndStopsTheProcessor) {
  Expect(Execute(InstructionKind::kHlt), true, false);
  EXPECT_FALSE(cpu_.IsActive());
  EXPECT_EQ(cpu_.Rip(), kGuestRip + 8);
}

TEST_F(ProcessorInstruction, HltExitsIfTheControlSaysSo) {
  Add(VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kHltExiting);
  Execute(InstructionKind::kHlt);
  EXPECT_EQ(Read(VmcsField::kExitReason), static_cast<uint64_t>(ExitReason::kHlt));
  EXPECT_EQ(Read(VmcsField::kGuestActivityState), static_cast<uint64_t>(ActivityState::kActive));
}

TEST_F(ProcessorInstruction, PointerOperandsLieInMemoryWhereTheQualificationSays) {
  Execute(InstructionKind::kVmptrld, 0x1234567);
  const uint64_t address = Read(VmcsField::kExitQualification);
  uint64_t pointer = 0;
  ASSERT_TRUE(memory_.Read(address, std::as_writable_bytes(std::span(&pointer, 1))));
  EXPECT_EQ(pointer, 0x1234567u);
}

TEST_F(ProcessorInstruction, VmptrstGivesWhatTheRootStored) {
  const uint64_t place = lhv::kWindowBase + 0x100;
  Emulate([&] {
    EXPECT_EQ(Read(VmcsField::kExitQualification), place);
    const uint64_t pointer = 0xABC000;
    memory_.Write(place, std::as_bytes(std::span(&pointer, 1)));
  });
  EXPECT_EQ(Execute(InstructionKind::kVmptrst, place).value, 0xABC000u);
}

TEST_F(ProcessorInstruction, MemoryOperandsHaveTheirWidth) {
  const uint64_t place = lhv::kWindowBase + 0x200;
  cpu_.Execute(
      {.kind = InstructionKind::kWriteMemory, .width = 8, .first = place, .second = ~uint64_t{0}});
  cpu_.Execute({.kind = InstructionKind::kWriteMemory, .width = 2, .first = place, .second = 0});
  EXPECT_EQ(cpu_.Execute({.kind = InstructionKind::kReadMemory, .width = 4, .first = place}).value,
            0xFFFF0000u);
}

TEST_F(ProcessorInstruction, MemoryThatNothingAnswersReadsAsAllOnesAndIgnoresWrites) {
  EXPECT_TRUE(
      cpu_.Execute({.kind = InstructionKind::kWriteMemory, .width = 8, .first = 0x10}).completed);
  const InstructionEnd end =
      cpu_.Execute({.kind = InstructionKind::kReadMemory, .width = 8, .first = 0x10});
  Expect(end, true, false);
  EXPECT_EQ(end.value, ~uint64_t{0});
}

TEST_F(ProcessorInstruction, MemoryThatIsNotMappedIsAPageFault) {
  const struct {
    InstructionKind kind;
    uint32_t error_code;
  } kCases[] = {{InstructionKind::kReadMemory, 0}, {InstructionKind::kWriteMemory, 2}};
  for (const auto& c : kCases) {
    cpu_.Jump(kGuestRip);
    Expect(cpu_.Execute({.kind = c.kind, .width = 8, .first = kUnmapped}), false, true);
    EXPECT_EQ(cpu_.Rip(), lhv::HandlerAddress(lhv::kL1HandlerBase, 14));
    EXPECT_EQ(cpu_.TopFrame(0).error_code, c.error_code);
    EXPECT_EQ(state().cr2, kUnmapped);
  }
}

// SDM Vol. 3C, 25.6.3 "Exception Bitmap": the mask and the match turn the meaning of bit 14 around.
TEST_F(ProcessorInstruction, APageFaultExitsAsBitmapMaskAndMatchSay) {
  const struct {
    uint32_t bitmap, mask, match;
    bool exits;
  } kCases[] = {{0, 0, 0, false},       {1u << 14, 0, 0, true}, {1u << 14, 2, 2, false},
                {1u << 14, 2, 0, true}, {0, 2, 2, true},        {0, 0, 1, true}};
  for (const auto& c : kCases) {
    ExitByVmcall();
    Write(VmcsField::kExceptionBitmap, c.bitmap);
    Write(VmcsField::kPageFaultErrorCodeMask, c.mask);
    Write(VmcsField::kPageFaultErrorCodeMatch, c.match);
    state().cr2 = 0;
    root_.exits = 0;
    cpu_.EnterGuest();
    cpu_.Execute({.kind = InstructionKind::kReadMemory, .width = 8, .first = kUnmapped});
    EXPECT_EQ(root_.exits, c.exits ? 1 : 0);
    if (!c.exits) continue;
    EXPECT_EQ(Read(VmcsField::kExitReason), static_cast<uint64_t>(ExitReason::kExceptionOrNmi));
    EXPECT_EQ(Read(VmcsField::kExitQualification), kUnmapped);
    EXPECT_EQ(Read(VmcsField::kVmExitInterruptionInformation), 0x80000B0Eu);
    EXPECT_EQ(state().cr2, 0u);
  }
}

TEST_F(ProcessorInstruction, SendingAnIpiReachesThePlatform) {
  Expect(Execute(InstructionKind::kSendIpi, 0x4400), true, false);
  EXPECT_EQ(root_.ipis, std::vector<uint64_t>{0x4400});
}

TEST_F(ProcessorInstruction, IretReturnsWhereTheFrameSaysWithItsFlags) {
  state().switched.rflags |= Rflags::kIf;
  TakeInterrupt(0x21);
  EXPECT_EQ(state().switched.rflags & Rflags::kIf, 0u) << "an interrupt gate";
  cpu_.SetResumeRip(kGuestRip + 0x40);
  Expect(Execute(InstructionKind::kIret), true, true);
  EXPECT_EQ(cpu_.Rip(), kGuestRip + 0x40);
  EXPECT_NE(state().switched.rflags & Rflags::kIf, 0u);
}

TEST_F(ProcessorInstruction, IretToTheNextInstructionIsNoDiversion) {
  Expect(Execute(InstructionKind::kIret, kGuestRip + 8), true, false);
}

TEST_F(ProcessorInstruction, FramesNest) {
  TakeInterrupt(0x21);
  TakeInterrupt(0x22);
  EXPECT_EQ(cpu_.Rip(), lhv::HandlerAddress(lhv::kL1HandlerBase, 0x22));
  Execute(InstructionKind::kIret);
  EXPECT_EQ(cpu_.Rip(), lhv::HandlerAddress(lhv::kL1HandlerBase, 0x21));
  Execute(InstructionKind::kIret);
  EXPECT_EQ(cpu_.Rip(), kGuestRip);
}

TEST_F(ProcessorInstruction, InterruptsNeedTheFlag) {
  EXPECT_FALSE(CanTakeInterrupt());
  Execute(InstructionKind::kSti);
  Execute(InstructionKind::kNop);
  EXPECT_TRUE(CanTakeInterrupt());
  Execute(InstructionKind::kCli);
  EXPECT_FALSE(CanTakeInterrupt());
}

TEST_F(ProcessorInstruction, StiBlocksInterruptsUntilTheNextInstructionHasCompleted) {
  Execute(InstructionKind::kSti);
  EXPECT_FALSE(CanTakeInterrupt());
  Execute(InstructionKind::kHlt);
  EXPECT_TRUE(CanTakeInterrupt()) << "HLT does not lose the interrupt";
}

TEST_F(ProcessorInstruction, StiBlocksNothingIfInterruptsWereOnAlready) {
  Execute(InstructionKind::kSti);
  Execute(InstructionKind::kSti);
  EXPECT_TRUE(CanTakeInterrupt());
}

TEST_F(ProcessorInstruction, IretEndsBlockingByMovSsAndSti) {
  state().blocking_by_mov_ss = state().blocking_by_sti = 1;
  Execute(InstructionKind::kIret, kGuestRip + 8);
  EXPECT_EQ(state().blocking_by_mov_ss, 0u);
  EXPECT_EQ(state().blocking_by_sti, 0u);
}

TEST_F(ProcessorInstruction, AnInterruptEndsHltButNotShutdownNorWaitForSipi) {
  state().switched.rflags |= Rflags::kIf;
  const struct {
    ActivityState state;
    bool wakes;
  } kCases[] = {{ActivityState::kHlt, true},
                {ActivityState::kShutdown, false},
                {ActivityState::kWaitForSipi, false}};
  for (const auto& c : kCases) {
    state().activity_state = static_cast<uint64_t>(c.state);
    EXPECT_EQ(CanTakeInterrupt(), c.wakes) << Name(c.state);
  }
  state().activity_state = static_cast<uint64_t>(ActivityState::kHlt);
  TakeInterrupt(0x21);
  EXPECT_TRUE(cpu_.IsActive());
}

TEST_F(ProcessorInstruction, TheTimeStampCounterStandsStillUntilItIsWritten) {
  Execute(InstructionKind::kNop);
  EXPECT_EQ(cpu_.ReadTsc(), 0u);
  EXPECT_TRUE(cpu_.WriteMsr(Index(Msr::IA32_TIME_STAMP_COUNTER), 6));
  Execute(InstructionKind::kNop);
  EXPECT_EQ(cpu_.ReadTsc(), 6u);
}

}  // namespace
}  // namespace nvmx::sim
