// SPDX-License-Identifier: Apache-2.0
#include "lhv/interpreter.h"

#include <vector>

#include "core/vmx/capabilities.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/exception.h"
#include "core/x86/msr.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lhv/exit_fields.h"
#include "lhv/fake_guest_cpu.h"
#include "lhv/layout.h"
#include "lhv/operation_sequence.h"

namespace nvmx::lhv {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint8_t kNmi = static_cast<uint8_t>(Vector::kNmi);
constexpr uint8_t kGp = static_cast<uint8_t>(Vector::kGeneralProtection);
constexpr uint8_t kInterrupt = 0x40;
constexpr InstructionEnd kFaulted{.diverted = true};
constexpr InstructionEnd kVmfailInvalid{.completed = true, .carry = true};
constexpr InstructionEnd kVmfailValid{.completed = true, .zero = true};

InstructionEnd Value(uint64_t value) { return {.completed = true, .value = value}; }

constexpr Operation kNop{.kind = OperationKind::kNop};
constexpr Operation kVmlaunch{.kind = OperationKind::kVmlaunch};
constexpr Operation kAdvance{.kind = OperationKind::kAdvanceGuestRip};
constexpr Operation kReadPat{.kind = OperationKind::kRdmsr, .selector = Index(Msr::IA32_PAT)};

constexpr uint64_t L1(size_t operation, size_t slot = 0) {
  return OperationAddress(kL1CodeBase, operation) + slot * kInstructionBytes;
}
constexpr uint64_t L2(size_t operation, size_t slot = 0) {
  return OperationAddress(kL2CodeBase, operation) + slot * kInstructionBytes;
}

Observation Done(uint32_t level, uint64_t operation) {
  return {.kind = ObservationKind::kDone, .level = level, .operation = operation};
}

class InterpreterTest : public ::testing::Test {
 protected:
  void Load(std::vector<Operation> l1, std::vector<Operation> l2 = {}) {
    l1_ = std::move(l1);
    l2_ = std::move(l2);
    interpreter_.emplace(CpuProgramView{l1_, 0, l2_}, 0, log_);
  }
  StepResult Step() { return interpreter_->Step(cpu_); }
  // Steps until the end of the program; at most 1000 steps.
  void RunToEnd() {
    for (int i = 0; i < 1000; ++i) {
      if (Step() == StepResult::kEndOfProgram) return;
    }
    FAIL() << "the program does not end";
  }
  std::vector<InstructionKind> ExecutedKinds() const {
    std::vector<InstructionKind> kinds;
    for (const Instruction& instruction : cpu_.executed) kinds.push_back(instruction.kind);
    return kinds;
  }
  // Makes the nth VMREAD (from 0), and so on, of the program end with the given ends.
  void EndKindWith(InstructionKind kind, std::vector<InstructionEnd> ends) {
    cpu_.on_execute = [kind, ends, n = size_t{0}](
                          const Instruction& instruction) mutable -> std::optional<InstructionEnd> {
      if (instruction.kind != kind || n >= ends.size()) return std::nullopt;
      return ends[n++];
    };
  }
  // Delivers the event to L1 once, right after the first instruction of the kind has completed.
  void DeliverAfter(InstructionKind kind, uint8_t vector) {
    cpu_.after_completion = [this, kind, vector](const Instruction& instruction) {
      if (instruction.kind != kind || delivered_) return false;
      delivered_ = true;
      cpu_.Deliver(1, vector);
      return true;
    };
  }

  FakeGuestCpu cpu_;
  RecordingLog log_;
  std::optional<Interpreter> interpreter_;
  bool delivered_ = false;

 private:
  std::vector<Operation> l1_;
  std::vector<Operation> l2_;
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

TEST_F(InterpreterTest, WhatIsReadIsNoted) {
  Load({kReadPat,
        {.kind = OperationKind::kVmread, .selector = Encoding(VmcsField::kGuestRip)},
        {.kind = OperationKind::kVmptrst, .value = 0x100100},
        {.kind = OperationKind::kReadMemory, .selector = 4, .value = 0x100200},
        {.kind = OperationKind::kCpuid, .selector = 4, .value = 1},
        {.kind = OperationKind::kObserveExit, .selector = 1}});
  cpu_.on_execute = [](const Instruction&) { return Value(7); };
  RunToEnd();
  using enum ObservationKind;
  EXPECT_THAT(
      log_.observations,
      ElementsAre(Observation{kMsrValue, 1, 0, Index(Msr::IA32_PAT), 7, 0},
                  Observation{kFieldValue, 1, 1, Encoding(VmcsField::kGuestRip), 7, 0},
                  Observation{kVmcsPointer, 1, 2, 0x100100, 7, 0},
                  Observation{kMemoryValue, 1, 3, 0x100200, 7, 4},
                  Observation{kCpuidValue, 1, 4, 4, 7, 1},
                  Observation{kVmExit, 1, 5, Encoding(VmcsField::kExitReason), 7, 0}, Done(1, 6)));
}

TEST_F(InterpreterTest, WhatASequenceReadsForItselfIsNotNoted) {
  Load(
      {{.kind = OperationKind::kInitializeVmxRegion},
       {.kind = OperationKind::kVmwriteControl, .selector = Encoding(VmcsField::kPinBasedControls)},
       kAdvance});
  RunToEnd();
  EXPECT_THAT(log_.observations, ElementsAre(Done(1, 3)));
}

TEST_F(InterpreterTest, AnInstructionThatDidNotCompleteHasNoValue) {
  Load({kReadPat});
  cpu_.on_execute = [this](const Instruction& instruction) -> std::optional<InstructionEnd> {
    if (instruction.kind != InstructionKind::kRdmsr) return std::nullopt;
    cpu_.Deliver(1, kGp, 0);
    return kFaulted;
  };
  Step();
  EXPECT_THAT(log_.observations, IsEmpty());
}

TEST_F(InterpreterTest, AValueIsNotedEvenIfAnEventFollowsAtOnce) {
  Load({kReadPat});
  DeliverAfter(InstructionKind::kRdmsr, kNmi);
  Step();
  ASSERT_EQ(log_.observations.size(), 1u);
  EXPECT_EQ(log_.observations[0].kind, ObservationKind::kMsrValue);
}

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

TEST_F(InterpreterTest, AnOperationWithoutInstructionsIsPassedOver) {
  Load({{.kind = OperationKind::kObserveExit, .selector = 0}, kNop});
  Step();
  EXPECT_THAT(ExecutedKinds(), ElementsAre(InstructionKind::kNop));
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

TEST_F(InterpreterTest, AFetchThatCompletesLeavesNoMark) {
  Load({{.kind = OperationKind::kFetch, .value = 0x4000'0000}, kNop});
  Step();
  EXPECT_EQ(cpu_.scratch, 0u);
}

TEST_F(InterpreterTest, WhatAnyOtherInstructionReadsIsNotedWithWhatItReadFrom) {
  Load({{.kind = OperationKind::kMovFromCr, .selector = 3},
        {.kind = OperationKind::kIn, .selector = 1, .value = 0x80},
        {.kind = OperationKind::kRdtsc},
        {.kind = OperationKind::kOut, .selector = 1, .value = 0x80, .extra = 1}});
  cpu_.on_execute = [](const Instruction&) { return Value(7); };
  RunToEnd();
  const auto kind = [](InstructionKind k) { return static_cast<uint64_t>(k); };
  using enum ObservationKind;
  EXPECT_THAT(
      log_.observations,
      ElementsAre(Observation{kReadValue, 1, 0, kind(InstructionKind::kMovFromCr), 7, 3},
                  Observation{kReadValue, 1, 1, kind(InstructionKind::kIn), 7, 0x80},
                  Observation{kReadValue, 1, 2, kind(InstructionKind::kRdtsc), 7, 0}, Done(1, 4)));
}

TEST_F(InterpreterTest, InveptReportsVmfailAsOtherVmxInstructionsDo) {
  Load({{.kind = OperationKind::kInvept, .selector = 7}});
  EndKindWith(InstructionKind::kInvept, {kVmfailValid});
  RunToEnd();
  EXPECT_EQ(log_.observations[0].kind, ObservationKind::kVmfailValid);
  EXPECT_EQ(log_.observations[0].extra, 7u);
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

}  // namespace
}  // namespace nvmx::lhv
