// SPDX-License-Identifier: Apache-2.0
//
// Blocking by NMI across VM entries and VM exits in the three modes in which L1 can run L2. L0
// always runs L2 with virtual NMIs, so what L1 sees is computed. SDM Vol. 3C, 27.7.1
// "Interruptibility State", 28.5.5 "Updating Non-Register State".
#include "core/nested/guest_nmi.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint32_t kBlocked = Interruptibility::kBlockingByNmi;

struct Mode {
  const char* name;
  uint32_t pin;
  // Whether blocking at entry is found in L1 after an exit that no NMI caused.
  bool exit_leaves_l1_blocked;
  // Bit 3 that VMCS02 runs with when VMCS12's is 1.
  bool vmcs02_blocked;
  // Whether IRET of L2 ends what L1 sees as blocking.
  bool iret_unblocks;
};

constexpr Mode kModes[] = {
    {"Neither", 0, true, true, true},
    {"NmiExiting", PinBased::kNmiExiting, true, false, false},
    {"VirtualNmis", PinBased::kNmiExiting | PinBased::kVirtualNmis, false, true, true},
};

class NmiBlockingTest : public testing::TestWithParam<Mode> {
 protected:
  // L1 enters L2 with this interruptibility state in VMCS12, blocked itself or not.
  void Enter(uint32_t interruptibility12, uint32_t blocking_in_l1) {
    VmcsImage v = ValidVmcs12(l1_.state.offered);
    constexpr uint32_t kBoth = PinBased::kNmiExiting | PinBased::kVirtualNmis;
    v.Set<VmcsField::kPinBasedControls>((v.Get<VmcsField::kPinBasedControls>() & ~kBoth) |
                                        GetParam().pin);
    v.Set<VmcsField::kGuestInterruptibilityState>(interruptibility12);
    l1_.vmcs.vmcs01().Set<VmcsField::kGuestInterruptibilityState>(blocking_in_l1);
    l1_.RunL2(v);
  }
  // L2 executes IRET under VMCS02, whose virtual blocking it ends.
  void Iret() {
    VmcsImage& image = l1_.vmcs.vmcs02();
    image.Set<VmcsField::kGuestInterruptibilityState>(
        image.Get<VmcsField::kGuestInterruptibilityState>() & ~kBlocked);
  }
  uint32_t InL1() { return l1_.vmcs.vmcs01().Get<VmcsField::kGuestInterruptibilityState>(); }
  uint32_t InVmcs02() { return l1_.vmcs.vmcs02().Get<VmcsField::kGuestInterruptibilityState>(); }
  uint32_t InVmcs12() { return l1_.state.vmcs12.Get<VmcsField::kGuestInterruptibilityState>(); }

  FakeVcpu l1_;
};

TEST_P(NmiBlockingTest, L2EntersBlockedAsVmcs12SaysAndL1FindsItInVmcs12) {
  Enter(kBlocked | Interruptibility::kBlockingByMovSs, 0);
  EXPECT_EQ(InVmcs02(),
            Interruptibility::kBlockingByMovSs | (GetParam().vmcs02_blocked ? kBlocked : 0u));
  l1_.Exit(ExitReason::kCpuid);
  EXPECT_EQ(InVmcs12(), kBlocked | Interruptibility::kBlockingByMovSs);
}

TEST_P(NmiBlockingTest, L2EntersUnblockedAsVmcs12SaysWhateverL1s) {
  Enter(0, kBlocked);
  EXPECT_EQ(InVmcs02(), 0u);
  l1_.Exit(ExitReason::kCpuid);
  EXPECT_EQ(InVmcs12(), 0u);
  EXPECT_EQ(InL1(), 0u);
}

TEST_P(NmiBlockingTest, AnExitThatNoNmiCausedLeavesPhysicalBlockingAsItWas) {
  Enter(kBlocked, 0);
  l1_.Exit(ExitReason::kCpuid);
  EXPECT_EQ(InL1(), GetParam().exit_leaves_l1_blocked ? kBlocked : 0u);
}

TEST_P(NmiBlockingTest, IretOfL2) {
  Enter(kBlocked, kBlocked);
  Iret();
  l1_.Exit(ExitReason::kCpuid);
  EXPECT_EQ(InVmcs12(), GetParam().iret_unblocks ? 0u : kBlocked);
  EXPECT_EQ(InL1(), GetParam().iret_unblocks ? 0u : kBlocked);
}

TEST_P(NmiBlockingTest, BlockingOfAnEarlierEntryIsForgotten) {
  Enter(kBlocked, 0);
  l1_.Exit(ExitReason::kCpuid);
  Enter(0, 0);
  l1_.Exit(ExitReason::kCpuid);
  EXPECT_EQ(InVmcs12(), 0u);
  EXPECT_EQ(InL1(), 0u);
}

// Two states that L1 cannot tell apart are the same bytes.
TEST_P(NmiBlockingTest, OnlyTheModeThatNeedsItRemembersBlockingBesideVmcs02) {
  l1_.state.l2_blocking_by_nmi = 1;
  Enter(0, 0);
  EXPECT_EQ(l1_.state.l2_blocking_by_nmi, 0u);
  l1_.Exit(ExitReason::kCpuid);
  Enter(kBlocked, 0);
  EXPECT_EQ(l1_.state.l2_blocking_by_nmi, GetParam().pin == PinBased::kNmiExiting ? 1u : 0u);
}

INSTANTIATE_TEST_SUITE_P(Modes, NmiBlockingTest, testing::ValuesIn(kModes),
                         [](const testing::TestParamInfo<Mode>& info) {
                           return std::string(info.param.name);
                         });

}  // namespace
}  // namespace nvmx
