// SPDX-License-Identifier: Apache-2.0
//
// What is noted of the values that instructions read.
#include "core/vmx/vmcs_field.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lhv/interpreter.h"
#include "lhv/interpreter_fixture.h"

namespace nvmx::lhv {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

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

}  // namespace
}  // namespace nvmx::lhv
