// SPDX-License-Identifier: Apache-2.0
#include "core/vmx/outcomes.h"

#include <cstdint>
#include <string>
#include <type_traits>

#include "core/vmx/vmx_abort.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

static_assert(!std::is_convertible_v<VmxOutcome, int>);
static_assert(!std::is_convertible_v<int, VmxOutcome>);
static_assert(!std::is_default_constructible_v<VmxOutcome>);
static_assert(!std::is_default_constructible_v<EntryOutcome>);

constexpr auto kInvalidControls = VmInstructionError::kVmEntryWithInvalidControlFields;

TEST(VmxOutcomeTest, EachKindIsItselfAndNoOther) {
  EXPECT_TRUE(VmxOutcome::Succeed().succeeded());
  EXPECT_TRUE(VmxOutcome::FailInvalid().is_fail_invalid());
  EXPECT_TRUE(VmxOutcome::FailValid(kInvalidControls).is_fail_valid());
  EXPECT_TRUE(VmxOutcome::Fault(Vector::kInvalidOpcode).is_fault());
  EXPECT_FALSE(VmxOutcome::FailInvalid().succeeded());
  EXPECT_FALSE(VmxOutcome::Fault(Vector::kInvalidOpcode).is_fail_valid());
}

TEST(VmxOutcomeTest, TheKindIsOneToSwitchOn) {
  EXPECT_EQ(VmxOutcome::Succeed().kind(), VmxOutcome::Kind::kSucceed);
  EXPECT_EQ(VmxOutcome::FailInvalid().kind(), VmxOutcome::Kind::kFailInvalid);
  EXPECT_EQ(VmxOutcome::FailValid(kInvalidControls).kind(), VmxOutcome::Kind::kFailValid);
  EXPECT_EQ(VmxOutcome::Fault(Vector::kInvalidOpcode).kind(), VmxOutcome::Kind::kFault);
}

TEST(VmxOutcomeTest, AFailureCarriesItsNumberAndAFaultItsVectorAndErrorCode) {
  EXPECT_EQ(VmxOutcome::FailValid(kInvalidControls).vm_instruction_error(), kInvalidControls);
  constexpr VmxOutcome kFault = VmxOutcome::Fault(Vector::kPageFault, 0xB);
  EXPECT_EQ(kFault.vector(), Vector::kPageFault);
  EXPECT_EQ(kFault.error_code(), 0xBu);
}

TEST(VmxOutcomeTest, VmfailNeedsACurrentVmcsToHoldItsNumber) {
  EXPECT_EQ(VmxOutcome::Fail(kInvalidControls, true), VmxOutcome::FailValid(kInvalidControls));
  EXPECT_EQ(VmxOutcome::Fail(kInvalidControls, false), VmxOutcome::FailInvalid());
}

TEST(VmxOutcomeTest, AnErrorNumberAndTheEqualVectorDiffer) {
  EXPECT_NE(VmxOutcome::FailValid(VmInstructionError::kVmwriteToReadOnlyVmcsComponent),
            VmxOutcome::Fault(Vector::kGeneralProtection));
}

TEST(VmxOutcomeTest, FaultsWithDifferentErrorCodesDiffer) {
  EXPECT_NE(VmxOutcome::Fault(Vector::kGeneralProtection, 0),
            VmxOutcome::Fault(Vector::kGeneralProtection, 8));
}

TEST(EntryOutcomeTest, TheKindIsOneToSwitchOn) {
  EXPECT_EQ(EntryOutcome::Entered().kind(), EntryOutcome::Kind::kEntered);
  EXPECT_EQ(EntryOutcome::Fail(VmxOutcome::FailInvalid()).kind(), EntryOutcome::Kind::kFail);
  EXPECT_EQ(EntryOutcome::EntryFailure(ExitReason::kVmEntryFailureMsrLoading, 1).kind(),
            EntryOutcome::Kind::kEntryFailure);
}

TEST(EntryOutcomeTest, AFailedInstructionKeepsItsOutcome) {
  constexpr auto kOutcome = EntryOutcome::Fail(VmxOutcome::FailValid(kInvalidControls), "a rule");
  EXPECT_TRUE(kOutcome.is_fail());
  EXPECT_FALSE(kOutcome.entered());
  EXPECT_EQ(kOutcome.outcome(), VmxOutcome::FailValid(kInvalidControls));
  EXPECT_STREQ(kOutcome.rule(), "a rule");
}

TEST(EntryOutcomeTest, AnEntryFailureIsAnExitReasonWithBit31) {
  constexpr auto kOutcome = EntryOutcome::EntryFailure(ExitReason::kVmEntryFailureMsrLoading, 3);
  EXPECT_TRUE(kOutcome.is_entry_failure());
  EXPECT_EQ(kOutcome.reason(), ExitReason::kVmEntryFailureMsrLoading);
  EXPECT_EQ(kOutcome.exit_reason_value().value, 0x80000022u);
  EXPECT_EQ(kOutcome.qualification(), 3u);
  EXPECT_EQ(kOutcome.rule(), nullptr);
}

TEST(EntryOutcomeTest, EqualityIsWhatL1CanSee) {
  constexpr auto kReason = ExitReason::kVmEntryFailureInvalidGuestState;
  EXPECT_EQ(EntryOutcome::EntryFailure(kReason, 0, "a rule"),
            EntryOutcome::EntryFailure(kReason, 0, "another rule"));
  EXPECT_NE(EntryOutcome::EntryFailure(kReason, 0), EntryOutcome::EntryFailure(kReason, 2));
  EXPECT_NE(EntryOutcome::EntryFailure(kReason, 0),
            EntryOutcome::EntryFailure(ExitReason::kVmEntryFailureMsrLoading, 0));
  EXPECT_NE(EntryOutcome::Entered(), EntryOutcome::Fail(VmxOutcome::FailInvalid()));
  EXPECT_EQ(EntryOutcome::Entered(), EntryOutcome::Entered());
}

TEST(VmInstructionErrorTest, NumbersAreThoseOfTheSdm) {
  EXPECT_EQ(static_cast<int>(VmInstructionError::kVmlaunchWithNonClearVmcs), 4);
  EXPECT_EQ(static_cast<int>(VmInstructionError::kVmEntryWithInvalidHostStateFields), 8);
  EXPECT_EQ(static_cast<int>(VmInstructionError::kVmptrldWithIncorrectVmcsRevisionIdentifier), 11);
  EXPECT_EQ(static_cast<int>(VmInstructionError::kUnsupportedVmcsComponent), 12);
  EXPECT_EQ(static_cast<int>(VmInstructionError::kVmEntryWithEventsBlockedByMovSs), 26);
  EXPECT_EQ(static_cast<int>(VmInstructionError::kInvalidOperandToInveptInvvpid), 28);
}

TEST(VmInstructionErrorTest, ThreeNumbersUpTo28AreNotInUse) {
  for (int number = 0; number <= 40; ++number) {
    const bool in_use = number >= 1 && number <= 28 && number != 14 && number != 21 && number != 27;
    EXPECT_EQ(std::string(Name(static_cast<VmInstructionError>(number))) != "reserved", in_use)
        << number;
  }
}

TEST(VmxAbortTest, IndicatorsAre1To6) {
  for (uint32_t indicator = 0; indicator <= 8; ++indicator) {
    const bool in_use = indicator >= 1 && indicator <= 6;
    EXPECT_EQ(std::string(Name(static_cast<VmxAbort>(indicator))) != "reserved", in_use);
  }
  EXPECT_EQ(static_cast<int>(VmxAbort::kSavingGuestMsrs), 1);
  EXPECT_EQ(static_cast<int>(VmxAbort::kLoadingHostMsrs), 4);
}

}  // namespace
}  // namespace nvmx
