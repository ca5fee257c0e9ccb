// SPDX-License-Identifier: Apache-2.0
//
// Where a CPU goes on: from instruction to instruction and operation to operation, at the end of
// its program, across VM entries and VM exits, and where a fetch goes.
#include "lhv/interpreter.h"

#include <algorithm>
#include <optional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lhv/exit_fields.h"
#include "lhv/interpreter_fixture.h"
#include "lhv/layout.h"
#include "lhv/operation_sequence.h"

namespace nvmx::lhv {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// With memory for counters.
class InterpreterRepeatTest : public InterpreterTest {
 protected:
  static constexpr uint64_t kCounter = 0x4000;

  InterpreterRepeatTest() {
    cpu_.on_execute = [this](const Instruction& instruction) { return Execute(instruction); };
  }
  static Operation Repeat(uint64_t operations, uint32_t times, uint64_t offset = 0) {
    return {.kind = OperationKind::kRepeat,
            .selector = times,
            .value = operations,
            .extra = kCounter + offset};
  }
  int Executed(InstructionKind kind) const {
    const auto kinds = ExecutedKinds();
    return static_cast<int>(std::count(kinds.begin(), kinds.end(), kind));
  }

  uint64_t counter_ = 0;
  bool counter_is_mapped_ = true;

 private:
  std::optional<InstructionEnd> Execute(const Instruction& instruction) {
    const bool reads = instruction.kind == InstructionKind::kReadMemory;
    if (!reads && instruction.kind != InstructionKind::kWriteMemory) return std::nullopt;
    if (!counter_is_mapped_) {
      cpu_.Deliver(1, kGp, 0);
      return kFaulted;
    }
    uint64_t& word = instruction.first == kCounter ? counter_ : second_counter_;
    if (reads) return Value(word);
    word = instruction.second;
    return std::nullopt;
  }
  uint64_t second_counter_ = 0;
};

TEST_F(InterpreterTest, OneStepIsOneInstruction) {
  Load({kNop, kAdvance, kNop});
  EXPECT_EQ(Step(), StepResult::kRan);
  EXPECT_EQ(cpu_.rip, L1(1));
  EXPECT_EQ(Step(), StepResult::kRan);
  EXPECT_EQ(cpu_.rip, L1(1, 2));
  Step();
  EXPECT_EQ(cpu_.rip, L1(1, 4));
  Step();
  EXPECT_EQ(cpu_.rip, L1(2));
  EXPECT_EQ(cpu_.executed.size(), 4u);
}

TEST_F(InterpreterTest, TheEndOfTheProgramIsNotedOnceAndRests) {
  Load({kNop});
  EXPECT_EQ(Step(), StepResult::kRan);
  EXPECT_EQ(Step(), StepResult::kEndOfProgram);
  EXPECT_EQ(Step(), StepResult::kEndOfProgram);
  EXPECT_EQ(cpu_.executed.size(), 1u);
  EXPECT_THAT(log_.observations, ElementsAre(Done(1, 1)));
}

TEST_F(InterpreterTest, AnEmptyProgramRests) {
  Load({});
  EXPECT_EQ(Step(), StepResult::kEndOfProgram);
  EXPECT_THAT(log_.observations, IsEmpty());
}

TEST_F(InterpreterTest, L2RestsAfterItsLastOperation) {
  Load({kNop}, {kNop});
  cpu_.rip = kL2CodeBase;
  EXPECT_EQ(Step(), StepResult::kRan);
  EXPECT_EQ(Step(), StepResult::kEndOfProgram);
  EXPECT_THAT(log_.observations, ElementsAre(Done(2, 1)));
}

TEST_F(InterpreterTest, OutsideAllCodeTheCpuRests) {
  Load({kNop}, {kNop});
  for (const uint64_t rip : {uint64_t{0}, L1(0) + 3, L1(2), L2(7), kL1HandlerBase + 8,
                             kL2HandlerBase + kVectorCount * kHandlerBytes, ~uint64_t{0}}) {
    cpu_.rip = rip;
    EXPECT_EQ(Step(), StepResult::kEndOfProgram) << rip;
  }
  EXPECT_THAT(cpu_.executed, IsEmpty());
}

TEST_F(InterpreterTest, CodeAndHandlersHaveInstructionsAndTheEndsHaveNone) {
  Load({kNop, kAdvance}, {kNop});
  EXPECT_TRUE(interpreter_->HasInstructionAt(L1(0)));
  EXPECT_TRUE(interpreter_->HasInstructionAt(L1(1, 4)));
  EXPECT_TRUE(interpreter_->HasInstructionAt(L2(0)));
  EXPECT_TRUE(interpreter_->HasInstructionAt(kL1HandlerBase));
  EXPECT_TRUE(interpreter_->HasInstructionAt(kL2BareHandlerBase));
  EXPECT_FALSE(interpreter_->HasInstructionAt(L1(2)));
  EXPECT_FALSE(interpreter_->HasInstructionAt(L2(1)));
  EXPECT_FALSE(interpreter_->HasInstructionAt(0));
}

TEST_F(InterpreterTest, AnOperationWithoutInstructionsIsPassedOver) {
  Load({{.kind = OperationKind::kObserveExit, .selector = 0}, kNop});
  Step();
  EXPECT_THAT(ExecutedKinds(), ElementsAre(InstructionKind::kNop));
}

TEST_F(InterpreterTest, AVmExitContinuesWhereHostRipSays) {
  Load({kVmlaunch, {.kind = OperationKind::kObserveExit, .selector = kDefaultExitFields}},
       {{.kind = OperationKind::kVmcall}});
  cpu_.on_execute = [this](const Instruction& instruction) -> std::optional<InstructionEnd> {
    if (instruction.kind == InstructionKind::kVmlaunch) {
      cpu_.rip = kL2CodeBase;
      return InstructionEnd{.completed = true, .diverted = true};
    }
    if (instruction.kind == InstructionKind::kVmcall) {
      cpu_.rip = L1(1);
      return InstructionEnd{.diverted = true};
    }
    return Value(18);
  };
  RunToEnd();
  EXPECT_THAT(ExecutedKinds(), ElementsAre(InstructionKind::kVmlaunch, InstructionKind::kVmcall,
                                           InstructionKind::kVmread, InstructionKind::kVmread,
                                           InstructionKind::kVmread));
  EXPECT_EQ(log_.observations.size(), 4u);
}

TEST_F(InterpreterTest, L2GoesOnAfterTheInstructionThatL1HasAdvancedItPast) {
  Load({kNop}, {{.kind = OperationKind::kVmcall}, kReadPat});
  cpu_.rip = L2(0) + kInstructionBytes;
  // What L1 left there is no outcome of L2's.
  cpu_.scratch = kScratchVmfailValid;
  Step();
  EXPECT_THAT(ExecutedKinds(), ElementsAre(InstructionKind::kRdmsr));
}

TEST_F(InterpreterTest, AFaultWhereAFetchWentIsOneOfItsOperation) {
  Load({kNop, {.kind = OperationKind::kFetch, .value = 0x4000'0000}, kReadPat});
  cpu_.on_execute = [this](const Instruction& instruction) -> std::optional<InstructionEnd> {
    if (instruction.kind != InstructionKind::kFetch) return std::nullopt;
    cpu_.rip = instruction.first;
    cpu_.Deliver(1, kGp, 0);
    return kFaulted;
  };
  RunToEnd();
  EXPECT_THAT(ExecutedKinds(), ElementsAre(InstructionKind::kNop, InstructionKind::kFetch,
                                           InstructionKind::kIret, InstructionKind::kRdmsr));
  EXPECT_EQ(log_.observations[0], (Observation{ObservationKind::kFault, 1, 1, kGp, 0, 1}));
}

TEST_F(InterpreterTest, AFetchThatWasInterruptedGoesOnWhereItWent) {
  Load({{.kind = OperationKind::kFetch, .value = 0x4000'0000}, kNop});
  bool exited = false;
  cpu_.on_execute = [&](const Instruction& instruction) -> std::optional<InstructionEnd> {
    if (instruction.kind != InstructionKind::kFetch) return std::nullopt;
    if (exited) {
      cpu_.rip = L1(0, 1);
      return InstructionEnd{.completed = true, .diverted = true};
    }
    exited = true;
    cpu_.rip = instruction.first;
    return kFaulted;
  };
  RunToEnd();
  EXPECT_THAT(ExecutedKinds(),
              ElementsAre(InstructionKind::kFetch, InstructionKind::kFetch, InstructionKind::kNop));
  EXPECT_EQ(cpu_.executed[1].first, 0x4000'0000u);
}

TEST_F(InterpreterRepeatTest, RunsTheOperationsSoOften) {
  Load({kReadPat, kNop, Repeat(1, 3), {.kind = OperationKind::kHlt}});
  RunToEnd();
  EXPECT_EQ(Executed(InstructionKind::kRdmsr), 1);
  EXPECT_EQ(Executed(InstructionKind::kNop), 3);
  EXPECT_EQ(Executed(InstructionKind::kHlt), 1);
  EXPECT_EQ(counter_, 0u);
}

TEST_F(InterpreterRepeatTest, OnceIsNoRepetition) {
  Load({kNop, Repeat(1, 1)});
  RunToEnd();
  EXPECT_EQ(Executed(InstructionKind::kNop), 1);
}

TEST_F(InterpreterRepeatTest, OneInAnotherBeginsAnewEachTime) {
  Load({kReadPat, kNop, Repeat(1, 4), Repeat(3, 5, 8)});
  RunToEnd();
  EXPECT_EQ(Executed(InstructionKind::kRdmsr), 5);
  EXPECT_EQ(Executed(InstructionKind::kNop), 20);
}

TEST_F(InterpreterRepeatTest, MoreThanThereAreIsAllThereAre) {
  Load({kNop, kReadPat, Repeat(100, 2)});
  RunToEnd();
  EXPECT_EQ(Executed(InstructionKind::kNop), 2);
}

TEST_F(InterpreterRepeatTest, AnEventBehindTheCountFindsTheOperationThatComesNext) {
  Load({kNop, kReadPat, Repeat(1, 2)});
  DeliverAfter(InstructionKind::kWriteMemory, kNmi);
  RunToEnd();
  EXPECT_EQ(Executed(InstructionKind::kRdmsr), 2);
  EXPECT_EQ(
      log_.observations[1],
      (Observation{.kind = ObservationKind::kNmi, .level = 1, .operation = 1, .selector = 2}));
}

TEST_F(InterpreterRepeatTest, AFaultEndsTheRepetition) {
  Load({kNop, Repeat(1, 9), kReadPat});
  counter_is_mapped_ = false;
  // As if it had gone back before.
  cpu_.rip = L1(1);
  cpu_.scratch = kScratchRepeats;
  RunToEnd();
  EXPECT_EQ(Executed(InstructionKind::kNop), 0);
  EXPECT_EQ(Executed(InstructionKind::kRdmsr), 1);
  EXPECT_EQ(log_.observations[0].kind, ObservationKind::kFault);
  EXPECT_EQ(log_.observations[0].operation, 1u);
}

TEST_F(InterpreterTest, AFetchThatCompletesLeavesNoMark) {
  Load({{.kind = OperationKind::kFetch, .value = 0x4000'0000}, kNop});
  Step();
  EXPECT_EQ(cpu_.scratch, 0u);
}

}  // namespace
}  // namespace nvmx::lhv
