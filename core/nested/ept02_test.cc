// SPDX-License-Identifier: Apache-2.0
//
// What EPT02 keeps, and what it forgets.
#include "core/nested/ept02.h"

#include "core/testing/nested_paging_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint64_t kR = EptEntry::kRead;
constexpr uint64_t k2M = 0x20'0000;

class Ept02Test : public NestedPagingTest {
 protected:
  void Leave() { l1_.Exit(ExitReason::kVmcall); }
  int InveptCount() const {
    const auto& all = l1_.cpu.invalidations();
    return static_cast<int>(std::count_if(all.begin(), all.end(), [](const Invalidation& i) {
      return i.kind == Invalidation::Kind::kEptSingleContext;
    }));
  }
};

// --- One for each EPT12 ---

TEST_F(Ept02Test, WhatWasMappedIsThereWhenL2RunsAgain) {
  ept12_.Map(kL2, kL1);
  RunL2();
  ASSERT_TRUE(Access(kL2, kR));
  const uint64_t eptp02 = Eptp02();
  Leave();
  RunL2();
  EXPECT_EQ(Eptp02(), eptp02);
  EXPECT_TRUE(Find(kL2).has_value());
}

TEST_F(Ept02Test, TwoEpt12sDoNotMix) {
  ept12_.Map(kL2, kL1);
  other_.Map(kL2, kL1 + 0x5000);
  for (int round = 0; round < 2; ++round) {
    RunL2(ept12_.Eptp());
    ASSERT_TRUE(Access(kL2, kR));
    EXPECT_EQ(Find(kL2)->address(), kL1);
    Leave();
    RunL2(other_.Eptp());
    ASSERT_TRUE(Access(kL2, kR));
    EXPECT_EQ(Find(kL2)->address(), kL1 + 0x5000);
    Leave();
  }
}

TEST_F(Ept02Test, WhatDecidesAboutTranslationsMakesAnotherOne) {
  RunL2(ept12_.Eptp());
  const uint64_t plain = Eptp02();
  Leave();
  RunL2(ept12_.Eptp(kFlags));
  EXPECT_NE(Eptp::Ep4ta(Eptp02()), Eptp::Ep4ta(plain));
  Leave();
  l1_.state.offered.ept_vpid_cap |= EptVpidCap::kPageWalkLength5;
  RunL2(kRoot | 4 << 3 | 6);
  EXPECT_NE(Eptp::Ep4ta(Eptp02()), Eptp::Ep4ta(plain));
}

TEST_F(Ept02Test, TheMemoryTypeOfTheStructuresDoesNot) {
  RunL2(kRoot | 3 << 3 | 6);
  const uint64_t eptp02 = Eptp02();
  Leave();
  RunL2(kRoot | 3 << 3 | 0);
  EXPECT_EQ(Eptp02(), eptp02);
}

TEST_F(Ept02Test, AsManyAsThereArePlacesAreKept) {
  const auto eptp = [](uint64_t n) { return 0x50'0000 + n * 0x1'0000; };
  for (uint64_t n = 0; n <= Ept02State::kRoots; ++n) {
    Ept12Builder ept12(l1_.memory, eptp(n));
    ept12.Map(kL2, kL1);
    RunL2(ept12.Eptp());
    ASSERT_TRUE(Access(kL2, kR));
    Leave();
  }
  // The first one had to go, and nothing else.
  for (uint64_t n = Ept02State::kRoots; n > 0; --n) {
    RunL2(eptp(n) | 3 << 3 | 6);
    EXPECT_TRUE(Find(kL2).has_value()) << n;
    Leave();
  }
  RunL2(eptp(0) | 3 << 3 | 6);
  EXPECT_FALSE(Find(kL2).has_value());
}

TEST_F(Ept02Test, TheLeastRecentlyUsedOneGoes) {
  const auto eptp = [](uint64_t n) { return 0x50'0000 + n * 0x1'0000; };
  const auto touch = [&](uint64_t n) {
    Ept12Builder ept12(l1_.memory, eptp(n));
    ept12.Map(kL2, kL1);
    RunL2(ept12.Eptp());
    ASSERT_TRUE(Access(kL2, kR));
    Leave();
  };
  for (uint64_t n = 0; n < Ept02State::kRoots; ++n) touch(n);
  touch(0);
  touch(Ept02State::kRoots);
  RunL2(eptp(0) | 3 << 3 | 6);
  EXPECT_TRUE(Find(kL2).has_value());
  Leave();
  RunL2(eptp(1) | 3 << 3 | 6);
  EXPECT_FALSE(Find(kL2).has_value());
}

TEST_F(Ept02Test, WhatGoesIsForgottenByHardwareBeforeItsPagesServeAgain) {
  RunL2(ept12_.Eptp());
  const uint64_t eptp02 = Eptp02();
  Leave();
  DropEpt02sOf(l1_.vcpu(), ept12_.Eptp());
  EXPECT_THAT(l1_.cpu.invalidations(),
              testing::Contains(
                  Invalidation{.kind = Invalidation::Kind::kEptSingleContext, .eptp = eptp02}));
}

// --- Pages of different sizes in the same place ---

TEST_F(Ept02Test, ALargePageTakesThePlaceOfAStructure) {
  ept12_.Map(0x4000'0000, k2M);
  ept12_.Map(0x4000'1000, k2M + 0x7000);
  RunL2();
  ASSERT_TRUE(Access(0x4000'0000, kR));
  ept12_.Map(0x4000'0000, 2 * k2M, kEptAll, 2);
  const int before = InveptCount();
  ASSERT_TRUE(Access(0x4000'1000, kR));
  EXPECT_EQ(Find(0x4000'1000)->level, 2u);
  EXPECT_EQ(Find(0x4000'0000)->address(), 2 * k2M);
  EXPECT_EQ(InveptCount(), before + 1);
}

TEST_F(Ept02Test, AStructureTakesThePlaceOfALargePage) {
  ept12_.Map(0x4000'0000, k2M, kR, 2);
  RunL2();
  ASSERT_TRUE(Access(0x4000'0000, kR));
  // L1 gives rights page by page now; no INVEPT is needed for that.
  ept12_.SetEntry(0x4000'0000, 2, 0x1F'0000 | kEptAll);
  ept12_.Map(0x4000'3000, k2M + 0x3000);
  const int before = InveptCount();
  ASSERT_TRUE(Access(0x4000'3000, EptEntry::kWrite));
  EXPECT_EQ(Find(0x4000'3000)->level, 1u);
  EXPECT_EQ(Find(0x4000'4000), std::nullopt);
  EXPECT_EQ(InveptCount(), before + 1);
}

TEST_F(Ept02Test, MoreRightsForAPageNeedNoInvalidation) {
  ept12_.Map(kL2, kL1, kR);
  RunL2();
  ASSERT_TRUE(Access(kL2, kR));
  ept12_.Map(kL2, kL1);
  const int before = InveptCount();
  ASSERT_TRUE(Access(kL2, EptEntry::kWrite));
  EXPECT_EQ(InveptCount(), before);
}

// --- Dropping by host-physical address ---

TEST_F(Ept02Test, WhatLeadsToARangeIsDroppedAndNothingElse) {
  embedder_.SetBlockShift(12);
  constexpr uint64_t kPages = 6;
  for (uint64_t n = 0; n < kPages; ++n) ept12_.Map(kL2 + n * 0x1000, kL1 + n * 0x1000);
  RunL2();
  for (uint64_t n = 0; n < kPages; ++n) ASSERT_TRUE(Access(kL2 + n * 0x1000, kR));
  // From the last byte of page 1 to the first of page 4.
  DropFromEpt02sWhatLeadsTo(l1_.vcpu(), PhysicalAddress{kL1 + 0x1FFF}, 0x2002);
  for (uint64_t n = 0; n < kPages; ++n) {
    EXPECT_EQ(Find(kL2 + n * 0x1000).has_value(), n == 0 || n == 5) << n;
  }
}

TEST_F(Ept02Test, ALargePageWithOneByteOfTheRangeGoesWhole) {
  ept12_.Map(0x4000'0000, k2M, kEptAll, 2);
  ept12_.Map(0x4020'0000, 2 * k2M, kEptAll, 2);
  RunL2();
  ASSERT_TRUE(Access(0x4000'0000, kR));
  ASSERT_TRUE(Access(0x4020'0000, kR));
  DropFromEpt02sWhatLeadsTo(l1_.vcpu(), PhysicalAddress{2 * k2M - 1}, 1);
  EXPECT_FALSE(Find(0x4000'0000).has_value());
  EXPECT_TRUE(Find(0x4020'0000).has_value());
}

TEST_F(Ept02Test, EveryEpt02IsLookedThrough) {
  ept12_.Map(kL2, kL1);
  other_.Map(kL2 + 0x1000, kL1);
  RunL2(ept12_.Eptp());
  ASSERT_TRUE(Access(kL2, kR));
  const uint64_t first = Eptp02();
  Leave();
  RunL2(other_.Eptp());
  ASSERT_TRUE(Access(kL2 + 0x1000, kR));
  DropFromEpt02sWhatLeadsTo(l1_.vcpu(), PhysicalAddress{kL1}, kPageSize);
  EXPECT_FALSE(Find(first, kL2).has_value());
  EXPECT_FALSE(Find(kL2 + 0x1000).has_value());
}

TEST_F(Ept02Test, HardwareForgetsOnlyWhereSomethingWasDropped) {
  ept12_.Map(kL2, kL1);
  RunL2();
  ASSERT_TRUE(Access(kL2, kR));
  const int before = InveptCount();
  DropFromEpt02sWhatLeadsTo(l1_.vcpu(), PhysicalAddress{kL1 + 0x1000}, kPageSize);
  EXPECT_EQ(InveptCount(), before);
  DropFromEpt02sWhatLeadsTo(l1_.vcpu(), PhysicalAddress{kL1}, kPageSize);
  EXPECT_EQ(InveptCount(), before + 1);
}

TEST_F(Ept02Test, ARangeUpToTheEndOfAllAddresses) {
  ept12_.Map(kL2, kL1);
  RunL2();
  ASSERT_TRUE(Access(kL2, kR));
  DropFromEpt02sWhatLeadsTo(l1_.vcpu(), PhysicalAddress{kL1}, ~uint64_t{0} - kL1);
  EXPECT_FALSE(Find(kL2).has_value());
}

}  // namespace
}  // namespace nvmx
