// SPDX-License-Identifier: Apache-2.0
//
// The NMI window that L1 asked for, and that of L0, with a guest NMI pending while L2 runs. SDM
// Vol. 3C, 27.7.6 "NMI-Window Exiting".
#include "core/nested/guest_nmi.h"
#include "core/testing/guest_nmi_fixture.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

TEST_F(GuestNmiTest, ANmiWindowExitThatL1AskedForGoesBeforeTheNmi) {
  UseMode(Mode::kVirtualNmis);
  AskForNmiWindow();
  l1_.MakeCurrentVmcs12(v_);
  L1().Set<VmcsField::kGuestInterruptibilityState>(kBlocked);
  Pend(1);
  l1_.Exit(ExitReason::kVmlaunch);
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_EQ(Pending(), 1u);
  EXPECT_TRUE(Window(L2()));
  l1_.Exit(ExitReason::kNmiWindow);
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(Vmcs12().Get<VmcsField::kExitReason>(), 8u);
  EXPECT_EQ(Injection(L1()), kNmi);
}

TEST_F(GuestNmiTest, WhileTheWindowThatL1AskedForIsShutTheNmiExits) {
  UseMode(Mode::kVirtualNmis);
  AskForNmiWindow();
  EnterBlocked();
  l1_.RunL2(v_);
  Pend(1);
  Deliver();
  ExpectNmiExitToL1();
}

// SDM Vol. 3C, 26.2 "Other Causes of VM Exits": blocking by STI shuts the window.
TEST_F(GuestNmiTest, BlockingByStiShutsTheWindowAndNotTheNmi) {
  AskForNmiWindow();
  RunL2(Mode::kVirtualNmis);
  L2().Set<VmcsField::kGuestInterruptibilityState>(Interruptibility::kBlockingBySti);
  Pend(1);
  Deliver();
  ExpectNmiExitToL1();
}

TEST_F(GuestNmiTest, L1sOwnNmiWindowIsKeptWhateverIsPending) {
  UseMode(Mode::kVirtualNmis);
  AskForNmiWindow();
  l1_.RunL2(v_);
  Deliver();
  EXPECT_TRUE(Window(L2()));
  l1_.Exit(ExitReason::kNmiWindow);
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(Vmcs12().Get<VmcsField::kExitReason>(), 8u);
}

TEST_F(GuestNmiTest, AWindowThatOnlyL0AskedForIsNotL1s) {
  RunL2(Mode::kVirtualNmis);
  SetNmiWindowExiting(l1_.vcpu(), true);
  l1_.Exit(ExitReason::kNmiWindow);
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_FALSE(Window(L2()));
}

TEST_F(GuestNmiTest, MaskedNmisDoNotExitToL1EitherAndLeaveItsWindow) {
  AskForNmiWindow();
  RunL2(Mode::kVirtualNmis);
  MaskGuestNmis(l1_.vcpu(), true);
  Pend(1);
  Deliver();
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_TRUE(Window(L2()));
}

}  // namespace
}  // namespace nvmx
