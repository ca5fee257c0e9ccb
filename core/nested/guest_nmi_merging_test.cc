// SPDX-License-Identifier: Apache-2.0
//
// Several guest NMIs: one is given and one is held, and those that come while one is held merge
// with it. SDM Vol. 3A, 6.7.1 "Handling Multiple NMIs".
#include "core/nested/guest_nmi.h"
#include "core/testing/guest_nmi_fixture.h"
#include "core/testing/matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

TEST_F(GuestNmiTest, OfTwoPendingNmisL1IsGivenOneAndTheOtherWaitsForTheWindow) {
  Pend(2);
  Deliver();
  EXPECT_EQ(Injection(L1()), kNmi);
  EXPECT_EQ(Pending(), 1u);
  EXPECT_TRUE(Window(L1()));
}

TEST_F(GuestNmiTest, OfTwoThatCannotBeGivenOneStays) {
  L1().Set<VmcsField::kGuestInterruptibilityState>(kBlocked);
  Pend(2);
  Deliver();
  EXPECT_EQ(Pending(), 1u);
  EXPECT_TRUE(Window(L1()));
  EXPECT_THAT(l1_.trace.events(),
              testing::ElementsAre(TraceEvent{TraceKind::kNmiMergedWhileHeld, 0, 0}));
}

// The guest can take it now; but the second came while the first was in the latch.
TEST_F(GuestNmiTest, AnNmiMergesWithOneThatWasHeldUntilTheWindowOpened) {
  L1().Set<VmcsField::kGuestInterruptibilityState>(kBlocked);
  Pend(1);
  Deliver();
  ASSERT_EQ(Pending(), 1u);
  L1().Set<VmcsField::kGuestInterruptibilityState>(0);
  Pend(2);
  Deliver();
  EXPECT_EQ(Injection(L1()), kNmi);
  EXPECT_EQ(Pending(), 0u);
}

TEST_F(GuestNmiTest, AnNmiThatComesBehindOneThatWasGivenIsKept) {
  L1().Set<VmcsField::kGuestInterruptibilityState>(kBlocked);
  Pend(1);
  Deliver();
  L1().Set<VmcsField::kGuestInterruptibilityState>(0);
  Deliver();
  ASSERT_EQ(Injection(L1()), kNmi);
  L1().Set<VmcsField::kVmEntryInterruptionInformation>(0);  // delivered, and without blocking
  Pend(2);
  Deliver();
  EXPECT_EQ(Injection(L1()), kNmi);
  EXPECT_EQ(Pending(), 1u);
}

TEST_F(GuestNmiTest, OneThatWasHeldInL1ExitsFromL2Once) {
  UseMode(Mode::kVirtualNmis);
  EnterWithPendingNmi();
  ExpectNmiExitToL1();
  L1().Set<VmcsField::kGuestInterruptibilityState>(kBlocked);
  Pend(1);
  Deliver();
  Pend(2);
  l1_.Exit(ExitReason::kVmresume);
  ExpectNmiExitToL1();
  EXPECT_EQ(Pending(), 0u);
}

TEST_F(GuestNmiTest, AfterAnNmiExitASecondNmiWaitsUntilL1ExecutesIret) {
  RunL2(Mode::kVirtualNmis);
  Pend(2);
  Deliver();
  ExpectNmiExitToL1();
  EXPECT_EQ(Pending(), 1u);
  EXPECT_EQ(Injection(L1()), 0u);
  EXPECT_TRUE(Window(L1()));
}

}  // namespace
}  // namespace nvmx
