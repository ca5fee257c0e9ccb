// SPDX-License-Identifier: Apache-2.0
//
// What is noted of VMfail, and what it ends.
#include "core/vmx/vmcs_field.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lhv/interpreter.h"
#include "lhv/interpreter_fixture.h"
#include "lhv/operation_sequence.h"

namespace nvmx::lhv {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST_F(InterpreterTest, VmfailInvalidIsNotedAndTheProgramGoesOn) {
  Load({{.kind = OperationKind::kVmptrld, .value = 0x123}, kNop});
  EndKindWith(InstructionKind::kVmptrld, {kVmfailInvalid});
  Step();
  EXPECT_EQ(cpu_.rip, L1(1));
  EXPECT_THAT(log_.observations,
              ElementsAre(Observation{ObservationKind::kVmfailInvalid, 1, 0,
                                      static_cast<uint64_t>(InstructionKind::kVmptrld), 0, 0x123}));
}

TEST_F(InterpreterTest, VmfailValidIsNotedWithTheNumberThatIsRead) {
  Load({kVmlaunch, kNop});
  cpu_.on_execute = [](const Instruction& instruction) -> std::optional<InstructionEnd> {
    if (instruction.kind == InstructionKind::kVmlaunch) return kVmfailValid;
    if (instruction.kind == InstructionKind::kVmread) return Value(7);
    return std::nullopt;
  };
  Step();
  EXPECT_THAT(log_.observations, IsEmpty());
  Step();
  ASSERT_EQ(cpu_.executed.size(), 2u);
  EXPECT_EQ(cpu_.executed[1].first, Encoding(VmcsField::kVmInstructionError));
  EXPECT_EQ(cpu_.rip, L1(1));
  EXPECT_THAT(log_.observations,
              ElementsAre(Observation{ObservationKind::kVmfailValid, 1, 0,
                                      static_cast<uint64_t>(InstructionKind::kVmlaunch), 7, 0}));
}

TEST_F(InterpreterTest, TheNumberIsZeroIfItCannotBeRead) {
  Load({kVmlaunch});
  cpu_.on_execute = [](const Instruction& instruction) -> std::optional<InstructionEnd> {
    if (instruction.kind == InstructionKind::kVmlaunch) return kVmfailValid;
    return InstructionEnd{.completed = true, .zero = true, .value = 9};
  };
  RunToEnd();
  EXPECT_EQ(log_.observations[0].kind, ObservationKind::kVmfailValid);
  EXPECT_EQ(log_.observations[0].value, 0u);
}

TEST_F(InterpreterTest, TheNumberIsReadAlsoIfAnNmiComesRightAfterTheVmfail) {
  Load({kVmlaunch, kNop});
  EndKindWith(InstructionKind::kVmlaunch, {kVmfailValid});
  DeliverAfter(InstructionKind::kVmlaunch, kNmi);
  RunToEnd();
  EXPECT_THAT(ExecutedKinds(), ElementsAre(InstructionKind::kVmlaunch, InstructionKind::kIret,
                                           InstructionKind::kVmread, InstructionKind::kNop));
  EXPECT_EQ(log_.observations[0].kind, ObservationKind::kNmi);
  EXPECT_EQ(log_.observations[1].kind, ObservationKind::kVmfailValid);
}

TEST_F(InterpreterTest, NoNumberIsReadIfAnNmiComesRightAfterASuccess) {
  Load({{.kind = OperationKind::kVmwrite, .selector = 1}, kNop});
  cpu_.scratch = kScratchVmfailValid;  // of an earlier operation
  DeliverAfter(InstructionKind::kVmwrite, kNmi);
  RunToEnd();
  EXPECT_THAT(ExecutedKinds(), ElementsAre(InstructionKind::kVmwrite, InstructionKind::kIret,
                                           InstructionKind::kNop));
}

TEST_F(InterpreterTest, InveptReportsVmfailAsOtherVmxInstructionsDo) {
  Load({{.kind = OperationKind::kInvept, .selector = 7}});
  EndKindWith(InstructionKind::kInvept, {kVmfailValid});
  RunToEnd();
  EXPECT_EQ(log_.observations[0].kind, ObservationKind::kVmfailValid);
  EXPECT_EQ(log_.observations[0].extra, 7u);
}

TEST_F(InterpreterTest, AVmfailEndsASequenceWhoseInstructionsDependOnEachOther) {
  Load({kAdvance, kNop});
  EndKindWith(InstructionKind::kVmread, {Value(0x20000000), kVmfailValid, Value(12)});
  RunToEnd();
  EXPECT_THAT(ExecutedKinds(), ElementsAre(InstructionKind::kVmread, InstructionKind::kVmread,
                                           InstructionKind::kVmread, InstructionKind::kNop));
}

TEST_F(InterpreterTest, SoDoesOneWithAnNmiBetweenItAndTheNextInstruction) {
  for (const InstructionEnd& fail : {kVmfailInvalid, kVmfailValid}) {
    cpu_ = FakeGuestCpu();
    Load({kAdvance, kNop});
    EndKindWith(InstructionKind::kVmread, {fail});
    // After the VMREAD that fails and, the second time, after that of its number.
    cpu_.after_completion = [this](const Instruction& instruction) {
      if (instruction.kind != InstructionKind::kVmread) return false;
      cpu_.Deliver(1, kNmi);
      return true;
    };
    RunToEnd();
    EXPECT_EQ(cpu_.executed.back().kind, InstructionKind::kNop);
    EXPECT_THAT(ExecutedKinds(), testing::Not(testing::Contains(InstructionKind::kVmwrite)));
  }
}

TEST_F(InterpreterTest, AVmfailDoesNotEndASequenceOfIndependentInstructions) {
  Load({{.kind = OperationKind::kVmwriteHostState}});
  const size_t count = InstructionCount({.kind = OperationKind::kVmwriteHostState});
  EndKindWith(InstructionKind::kVmwrite, {kVmfailValid, kVmfailInvalid});
  RunToEnd();
  // One more for the number of the first failure.
  EXPECT_EQ(cpu_.executed.size(), count + 1);
  EXPECT_EQ(log_.observations[0].kind, ObservationKind::kVmfailValid);
  EXPECT_EQ(log_.observations[0].extra, Encoding(VmcsField::kHostCr0));
  EXPECT_EQ(log_.observations[1].kind, ObservationKind::kVmfailInvalid);
}

}  // namespace
}  // namespace nvmx::lhv
