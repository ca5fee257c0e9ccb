// SPDX-License-Identifier: Apache-2.0
#include "core/vmx/exit_reason.h"

#include <cstdint>
#include <optional>

#include "gtest/gtest.h"

namespace nvmx {
namespace {

TEST(ExitReasonTest, NumbersAreThoseOfAppendixC) {
  EXPECT_EQ(static_cast<int>(ExitReason::kExceptionOrNmi), 0);
  EXPECT_EQ(static_cast<int>(ExitReason::kNmiWindow), 8);
  EXPECT_EQ(static_cast<int>(ExitReason::kCpuid), 10);
  EXPECT_EQ(static_cast<int>(ExitReason::kHlt), 12);
  EXPECT_EQ(static_cast<int>(ExitReason::kVmcall), 18);
  EXPECT_EQ(static_cast<int>(ExitReason::kVmxon), 27);
  EXPECT_EQ(static_cast<int>(ExitReason::kControlRegisterAccesses), 28);
  EXPECT_EQ(static_cast<int>(ExitReason::kWrmsr), 32);
  EXPECT_EQ(static_cast<int>(ExitReason::kVmEntryFailureMsrLoading), 34);
  EXPECT_EQ(static_cast<int>(ExitReason::kVmEntryFailureMachineCheck), 41);
  EXPECT_EQ(static_cast<int>(ExitReason::kEptViolation), 48);
  EXPECT_EQ(static_cast<int>(ExitReason::kVmxPreemptionTimerExpired), 52);
  EXPECT_EQ(static_cast<int>(ExitReason::kPageModificationLogFull), 62);
  EXPECT_EQ(static_cast<int>(ExitReason::kTdcall), 77);
}

TEST(ExitReasonTest, FourNumbersUpTo77AreNotInUse) {
  for (uint16_t number = 0; number <= 100; ++number) {
    const bool in_use =
        number <= 77 && number != 35 && number != 38 && number != 42 && number != 71;
    EXPECT_EQ(IsExitReason(number), in_use) << number;
    EXPECT_EQ(RouteOf(static_cast<ExitReason>(number)).has_value(), in_use) << number;
  }
}

TEST(ExitReasonTest, NamesAreThoseOfTheSdm) {
  EXPECT_STREQ(Name(ExitReason::kTripleFault), "Triple fault");
  EXPECT_STREQ(Name(ExitReason::kEptMisconfiguration), "EPT misconfiguration");
  EXPECT_STREQ(Name(static_cast<ExitReason>(35)), "reserved");
}

TEST(ExitReasonTest, VmEntryFailuresOfVmcs02AreNeverReflectedAsExits) {
  for (ExitReason reason :
       {ExitReason::kVmEntryFailureInvalidGuestState, ExitReason::kVmEntryFailureMsrLoading,
        ExitReason::kVmEntryFailureMachineCheck}) {
    EXPECT_EQ(RouteOf(reason), DefaultRoute::kVmEntryFailure) << Name(reason);
  }
}

TEST(ExitReasonTest, VmxInstructionsOfL2BelongToL1ExceptTheTwoThatBitmapsDecide) {
  for (auto number = static_cast<uint16_t>(ExitReason::kVmcall);
       number <= static_cast<uint16_t>(ExitReason::kVmxon); ++number) {
    const auto reason = static_cast<ExitReason>(number);
    const bool by_bitmap = reason == ExitReason::kVmread || reason == ExitReason::kVmwrite;
    EXPECT_EQ(RouteOf(reason), by_bitmap ? DefaultRoute::kByBitmap : DefaultRoute::kL1Always)
        << Name(reason);
  }
}

TEST(ExitReasonValueTest, Bit31IsAVmEntryFailure) {
  constexpr auto kValue =
      ExitReasonValue::EntryFailure(ExitReason::kVmEntryFailureInvalidGuestState);
  EXPECT_EQ(kValue.value, 0x80000021u);
  EXPECT_TRUE(kValue.is_vm_entry_failure());
  EXPECT_EQ(kValue.basic(), ExitReason::kVmEntryFailureInvalidGuestState);
}

TEST(ExitReasonValueTest, TheBasicReasonIsTheLow16Bits) {
  constexpr ExitReasonValue kValue{0x28000030};
  EXPECT_EQ(kValue.basic(), ExitReason::kEptViolation);
  EXPECT_FALSE(kValue.is_vm_entry_failure());
  EXPECT_EQ(ExitReasonValue::Exit(ExitReason::kEptViolation).value, 0x30u);
}

}  // namespace
}  // namespace nvmx
