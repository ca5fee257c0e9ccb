// SPDX-License-Identifier: Apache-2.0
//
// Faults, NMIs and interrupts: what is noted of them, and where their handlers return to.
#include "core/vmx/capabilities.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lhv/interpreter.h"
#include "lhv/interpreter_fixture.h"
#include "lhv/layout.h"

namespace nvmx::lhv {
namespace {

using ::testing::ElementsAre;

TEST_F(InterpreterTest, AnNmiInTheMiddleOfASequenceComesBackToTheSameInstruction) {
  Load({kAdvance});
  EndKindWith(InstructionKind::kVmread, {Value(0x20000000), Value(3)});
  Step();
  Step();
  cpu_.Deliver(1, kNmi);
  Step();
  EXPECT_EQ(cpu_.rip, L1(0, 4));
  Step();
  EXPECT_EQ(cpu_.executed.back().kind, InstructionKind::kVmwrite);
  EXPECT_EQ(cpu_.executed.back().second, 0x20000003u);
  EXPECT_THAT(log_.observations,
              ElementsAre(Observation{ObservationKind::kNmi, 1, 0, kNmi, 2, 0}, Done(1, 1)));
}

TEST_F(InterpreterTest, AnEventInsteadOfAnInstructionRepeatsIt) {
  Load({kReadPat});
  cpu_.on_execute = [this](const Instruction& instruction) -> std::optional<InstructionEnd> {
    if (instruction.kind != InstructionKind::kRdmsr || delivered_) return std::nullopt;
    delivered_ = true;
    cpu_.Deliver(1, kNmi);
    return InstructionEnd{.diverted = true};
  };
  RunToEnd();
  EXPECT_THAT(ExecutedKinds(), ElementsAre(InstructionKind::kRdmsr, InstructionKind::kIret,
                                           InstructionKind::kRdmsr));
}

TEST_F(InterpreterTest, TheSamePlaceIsNotedTheSameWhicheverAddressItHas) {
  const Observation expected{ObservationKind::kNmi, 1, 1, kNmi, 0, 0};
  Load({kNop, kNop});
  DeliverAfter(InstructionKind::kNop, kNmi);
  Step();
  EXPECT_EQ(cpu_.frames.back().rip, L1(0, 1));
  Step();
  EXPECT_EQ(log_.observations.back(), expected);
  EXPECT_EQ(cpu_.rip, L1(1));
  cpu_.Deliver(1, kNmi);
  Step();
  EXPECT_EQ(log_.observations.back(), expected);
  EXPECT_EQ(cpu_.rip, L1(1));
}

TEST_F(InterpreterTest, AFaultSkipsTheRestOfItsOperation) {
  Load(
      {{.kind = OperationKind::kVmwriteControl, .selector = Encoding(VmcsField::kPinBasedControls)},
       kNop});
  cpu_.on_execute = [this](const Instruction& instruction) -> std::optional<InstructionEnd> {
    if (instruction.first != Index(Msr::IA32_VMX_PINBASED_CTLS)) return std::nullopt;
    cpu_.Deliver(1, kGp, 0);
    return kFaulted;
  };
  RunToEnd();
  EXPECT_THAT(ExecutedKinds(), ElementsAre(InstructionKind::kRdmsr, InstructionKind::kRdmsr,
                                           InstructionKind::kIret, InstructionKind::kNop));
  EXPECT_THAT(log_.observations,
              ElementsAre(Observation{ObservationKind::kFault, 1, 0, kGp, 0, 1}, Done(1, 2)));
}

TEST_F(InterpreterTest, AFaultWithoutErrorCodeSaysSo) {
  Load({kVmlaunch});
  cpu_.Deliver(1, static_cast<uint8_t>(Vector::kInvalidOpcode));
  Step();
  EXPECT_EQ(log_.observations[0], (Observation{ObservationKind::kFault, 1, 0, 6, 0, 0}));
}

TEST_F(InterpreterTest, AHandlerThatIsInterruptedBeforeItsIretSkipsOneOperationOnly) {
  Load({kReadPat, kNop, kNop});
  int irets = 0;
  cpu_.on_execute = [&](const Instruction& instruction) -> std::optional<InstructionEnd> {
    if (instruction.kind == InstructionKind::kRdmsr) {
      cpu_.Deliver(1, kGp, 0);
      return kFaulted;
    }
    if (instruction.kind == InstructionKind::kIret && ++irets == 1) {
      cpu_.Deliver(1, kNmi);
      return InstructionEnd{.diverted = true};
    }
    return std::nullopt;
  };
  RunToEnd();
  EXPECT_THAT(
      log_.observations,
      ElementsAre(Observation{ObservationKind::kNmi, 1, kNoOperation, kNmi, kInHandler | kGp, 0},
                  Observation{ObservationKind::kFault, 1, 0, kGp, 0, 1}, Done(1, 3)));
  EXPECT_EQ(ExecutedKinds().back(), InstructionKind::kNop);
  EXPECT_EQ(cpu_.executed.size(), 6u);  // RDMSR, IRET three times, NOP twice
}

TEST_F(InterpreterTest, AFaultBehindAnOperationIsOneOfTheNext) {
  Load({kNop, kReadPat, kReadPat});
  cpu_.on_execute = [this](const Instruction& instruction) -> std::optional<InstructionEnd> {
    if (instruction.kind != InstructionKind::kNop) return std::nullopt;
    cpu_.rip += kInstructionBytes;
    cpu_.Deliver(1, kGp, 0);
    return InstructionEnd{.completed = true, .diverted = true};
  };
  Step();
  Step();
  EXPECT_THAT(log_.observations,
              ElementsAre(Observation{ObservationKind::kFault, 1, 1, kGp, 0, 1}));
  EXPECT_EQ(cpu_.rip, L1(2));
}

TEST_F(InterpreterTest, ATrapIsOneOfItsOperation) {
  constexpr auto kBreakpoint = static_cast<uint8_t>(Vector::kBreakpoint);
  Load({{.kind = OperationKind::kInt3}, kReadPat});
  cpu_.on_execute = [this](const Instruction& instruction) -> std::optional<InstructionEnd> {
    if (instruction.kind != InstructionKind::kInt3) return std::nullopt;
    cpu_.rip += kInstructionBytes;
    cpu_.Deliver(1, kBreakpoint);
    return InstructionEnd{.completed = true, .diverted = true};
  };
  Step();
  Step();
  EXPECT_THAT(log_.observations,
              ElementsAre(Observation{ObservationKind::kFault, 1, 0, kBreakpoint, 0, 0}));
  EXPECT_EQ(cpu_.rip, L1(1));
}

TEST_F(InterpreterTest, ADebugExceptionReturnsToWhatWasNext) {
  Load({kNop, kReadPat});
  Step();
  cpu_.Deliver(1, static_cast<uint8_t>(Vector::kDebug));
  RunToEnd();
  EXPECT_EQ(log_.observations[0], (Observation{ObservationKind::kFault, 1, 1, 1, 0, 0}));
  EXPECT_EQ(log_.observations[1].kind, ObservationKind::kMsrValue);
}

TEST_F(InterpreterTest, AFaultOfL2IsHandledByL2) {
  Load({kNop}, {kReadPat, kNop});
  cpu_.rip = kL2CodeBase;
  cpu_.Deliver(2, kGp, 0);
  Step();
  EXPECT_EQ(cpu_.rip, L2(1));
  EXPECT_THAT(log_.observations,
              ElementsAre(Observation{ObservationKind::kFault, 2, 0, kGp, 0, 1}));
}

TEST_F(InterpreterTest, AnInterruptIsNotedAndReturnsToTheSamePlace) {
  Load({kNop, kNop});
  Step();
  cpu_.Deliver(1, kInterrupt);
  Step();
  EXPECT_EQ(cpu_.rip, L1(1));
  EXPECT_THAT(log_.observations,
              ElementsAre(Observation{ObservationKind::kInterrupt, 1, 1, kInterrupt, 0, 0}));
}

TEST_F(InterpreterTest, AnEventAtTheEndOfTheProgramReturnsToItsEnd) {
  Load({kNop});
  RunToEnd();
  cpu_.Deliver(1, kNmi);
  EXPECT_EQ(Step(), StepResult::kRan);
  EXPECT_EQ(Step(), StepResult::kEndOfProgram);
  EXPECT_THAT(log_.observations,
              ElementsAre(Done(1, 1), Observation{ObservationKind::kNmi, 1, 1, kNmi, 0, 0}));
}

TEST_F(InterpreterTest, AFaultInTheLastOperationEndsTheProgram) {
  Load({kReadPat});
  cpu_.Deliver(1, kGp, 0);
  Step();
  EXPECT_EQ(Step(), StepResult::kEndOfProgram);
  EXPECT_EQ(log_.observations.back(), Done(1, 1));
}

TEST_F(InterpreterTest, ABareHandlerReturnsWithoutIret) {
  Load({kNop, kNop});
  Step();
  cpu_.frames.push_back({.vector = kNmi, .rip = cpu_.rip});
  cpu_.rip = HandlerAddress(kL1BareHandlerBase, kNmi);
  Step();
  EXPECT_EQ(cpu_.rip, L1(1));
  EXPECT_THAT(ExecutedKinds(), ElementsAre(InstructionKind::kNop, InstructionKind::kHandlerReturn));
  EXPECT_THAT(log_.observations, ElementsAre(Observation{ObservationKind::kNmi, 1, 1, kNmi, 0, 0}));
}

TEST_F(InterpreterTest, ABareHandlerOfL2IsL2s) {
  Load({}, {kReadPat, kNop});
  cpu_.frames.push_back({.vector = kGp, .has_error_code = true, .rip = L2(0)});
  cpu_.rip = HandlerAddress(kL2BareHandlerBase, kGp);
  Step();
  EXPECT_EQ(cpu_.rip, L2(1));
  EXPECT_THAT(log_.observations,
              ElementsAre(Observation{ObservationKind::kFault, 2, 0, kGp, 0, 1}));
}

}  // namespace
}  // namespace nvmx::lhv
