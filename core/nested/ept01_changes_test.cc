// SPDX-License-Identifier: Apache-2.0
//
// EPT02 follows EPT01 before L2 runs again, whoever has changed it.
#include <algorithm>
#include <cstring>

#include "core/nested/hypervisor.h"
#include "core/nested/nested_paging.h"
#include "core/testing/nested_paging_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint64_t kR = EptEntry::kRead;

class Ept01ChangesTest : public NestedPagingTest {
 protected:
  Ept01ChangesTest() {
    l1_.OthersAnswerQuiesce();
    embedder_.SetBlockShift(12);
    for (uint64_t n = 0; n < kPages; ++n) ept12_.Map(kL2 + n * kPageSize, kL1 + n * kPageSize);
  }
  static constexpr uint64_t kPages = 20;
  void RunAndTouch() {
    RunL2();
    for (uint64_t n = 0; n < kPages; ++n) ASSERT_TRUE(Access(kL2 + n * kPageSize, kR));
    l1_.log.clear();
  }
  // L0 takes pages of L1's away on this CPU.
  void TakeAway(uint64_t page, uint64_t bytes = kPageSize) {
    for (uint64_t n = 0; n < bytes; n += kPageSize) embedder_.Unmap(page + n);
    SmpContext smp = l1_.smp();
    StoppedWorld world = l1_.vcpu().quiesce.Stop(smp);
    Ept01Changed(l1_.vcpu(), world, PhysicalAddress{page}, bytes);
    l1_.vcpu().quiesce.Resume(smp, std::move(world));
  }
  // An exit that L0 keeps: L2 is entered again behind it.
  void ComeAndGo() {
    l1_.Exit(ExitReason::kNmiWindow);
    ASSERT_TRUE(l1_.L2Runs());
  }
  int Loads(const char* cell) const {
    return static_cast<int>(
        std::count(l1_.log.begin(), l1_.log.end(), std::string("load ") + cell));
  }
  bool IsMapped(uint64_t n) { return Find(kL2 + n * kPageSize).has_value(); }
};

TEST_F(Ept01ChangesTest, WhatLedThereIsDroppedBeforeL2RunsAgain) {
  RunAndTouch();
  TakeAway(kL1 + 3 * kPageSize);
  ComeAndGo();
  for (uint64_t n = 0; n < kPages; ++n) EXPECT_EQ(IsMapped(n), n != 3) << n;
}

TEST_F(Ept01ChangesTest, ThenTheAccessIsForbidden) {
  RunAndTouch();
  TakeAway(kL1);
  ComeAndGo();
  Violation(kL2, kR);
  EXPECT_TRUE(Injected().IsHardwareException(Vector::kGeneralProtection));
}

TEST_F(Ept01ChangesTest, AChangeWhileL1RunsIsFollowedAtTheNextEntry) {
  RunAndTouch();
  l1_.Exit(ExitReason::kVmcall);
  TakeAway(kL1);
  ASSERT_EQ(l1_.Execute(ExitReason::kVmptrst, {.displacement = FakeVcpu::kOperand}),
            VmxOutcome::Succeed());
  l1_.Exit(ExitReason::kVmresume);
  ASSERT_TRUE(l1_.L2Runs());
  EXPECT_FALSE(IsMapped(0));
  EXPECT_TRUE(IsMapped(1));
}

TEST_F(Ept01ChangesTest, AnEntryLoadsOneCell) {
  RunAndTouch();
  ComeAndGo();
  EXPECT_EQ(Loads("ept01_generation"), 1);
  EXPECT_EQ(Loads("ept01_changes"), 0);
}

TEST_F(Ept01ChangesTest, AnEntryIntoAnL2ThatDependsOnNothingLoadsNone) {
  v_ = ValidVmcs12(l1_.state.offered);
  l1_.RunL2(v_);
  l1_.log.clear();
  ComeAndGo();
  EXPECT_EQ(Loads("ept01_generation"), 0);
}

TEST_F(Ept01ChangesTest, WhatWasFollowedIsNotFollowedAgain) {
  RunAndTouch();
  TakeAway(kL1);
  ComeAndGo();
  l1_.log.clear();
  ComeAndGo();
  EXPECT_EQ(Loads("ept01_changes"), 0);
}

TEST_F(Ept01ChangesTest, SeveralChangesAreFollowedAtOnce) {
  RunAndTouch();
  for (uint64_t n = 0; n < Ept01Changes::kKept; ++n) TakeAway(kL1 + n * kPageSize);
  ComeAndGo();
  for (uint64_t n = 0; n < kPages; ++n) EXPECT_EQ(IsMapped(n), n >= Ept01Changes::kKept) << n;
}

TEST_F(Ept01ChangesTest, WithMoreThanAreRememberedEverythingIsDropped) {
  RunAndTouch();
  const uint64_t eptp02 = Eptp02();
  for (uint64_t n = 0; n <= Ept01Changes::kKept; ++n) TakeAway(kL1 + n * kPageSize);
  ComeAndGo();
  for (uint64_t n = 0; n < kPages; ++n) EXPECT_FALSE(IsMapped(n)) << n;
  EXPECT_EQ(Eptp02(), eptp02);
  ASSERT_TRUE(Access(kL2 + 19 * kPageSize, kR));
}

TEST_F(Ept01ChangesTest, TheCpuThatChangesForgetsWhatItsHardwareHas) {
  RunAndTouch();
  TakeAway(kL1);
  EXPECT_THAT(l1_.cpu.invalidations(),
              testing::Contains(Invalidation{.kind = Invalidation::Kind::kEptAllContexts}));
}

// An NMI that stops this CPU after its look at EPT01 and before its last look at guest NMIs, which
// alone is one step with the VM entry.
TEST_F(Ept01ChangesTest, AChangeBetweenTheTwoLooksIsFollowed) {
  RunAndTouch();
  EventLog log;
  FakeCpu other(1, log);
  bool changed = false;
  l1_.cpu.BeforeEachAccess([&](const SharedAccess& access) {
    if (changed || access.cell != &l1_.own.guest_nmis_pending) return;
    changed = true;
    embedder_.Unmap(kL1);
    // The other CPU's request is open when the NMI arrives, and over when its handler returns.
    QuiesceCells& cells = l1_.system.quiesce;
    cells.initiator.Store(other, other.Index() + 1);
    l1_.cpu.WhileWaiting([&](const SpinCondition& condition) {
      if (condition.cell != &cells.resume_signal) return;
      Ept01Changes changes{};
      changes.count = 1;
      changes.latest[0] = {kL1, kPageSize};
      std::memcpy(l1_.system.ept01_changes.bytes().data(), &changes, sizeof changes);
      l1_.system.ept01_generation.Store(other, 1);
      cells.initiator.Store(other, 0);
      cells.resume_signal.Store(other, 1);
    });
    HandleHostNmi(l1_.vcpu());
  });
  ComeAndGo();
  ASSERT_TRUE(changed);
  EXPECT_FALSE(IsMapped(0));
  EXPECT_TRUE(IsMapped(1));
  EXPECT_EQ(l1_.own.guest_nmis_pending.Peek(), 0u);
}

TEST_F(Ept01ChangesTest, TheMarkIsNoGuestNmi) {
  RunAndTouch();
  l1_.own.guest_nmis_pending.Store(l1_.cpu, kEpt01Suspected);
  ComeAndGo();
  EXPECT_EQ(l1_.own.guest_nmis_pending.Peek(), 0u);
  EXPECT_EQ(l1_.trace.Count(TraceKind::kNmiExitToL1), 0);
}

TEST_F(Ept01ChangesTest, AddressesThatHardwareUsesAreTranslatedAgain) {
  constexpr uint64_t kVirtualApic = 0x34'0000;
  v_ = ValidVmcs12(l1_.state.offered);
  v_.Set<VmcsField::kPrimaryProcessorBasedControls>(
      v_.Get<VmcsField::kPrimaryProcessorBasedControls>() | PrimaryProcessorBased::kUseTprShadow);
  v_.Set<VmcsField::kVirtualApicAddress>(kVirtualApic);
  l1_.RunL2(v_);
  EXPECT_EQ(l1_.vmcs.vmcs02().Get<VmcsField::kVirtualApicAddress>(), kVirtualApic);
  embedder_.Map(kVirtualApic,
                {.address = PhysicalAddress{0x1'2345'6000}, .readable = true, .writable = true});
  SmpContext smp = l1_.smp();
  StoppedWorld world = l1_.vcpu().quiesce.Stop(smp);
  Ept01Changed(l1_.vcpu(), world, PhysicalAddress{kVirtualApic}, kPageSize);
  l1_.vcpu().quiesce.Resume(smp, std::move(world));
  ComeAndGo();
  EXPECT_EQ(l1_.vmcs.vmcs02().Get<VmcsField::kVirtualApicAddress>(), 0x1'2345'6000u);
}

}  // namespace
}  // namespace nvmx
