// SPDX-License-Identifier: Apache-2.0
//
// The pages that EPT02 is made of: none is lost, and too few of them cost time and nothing else.
#include <algorithm>
#include <set>

#include "core/nested/ept02.h"
#include "core/nested/ept02_pages.h"
#include "core/testing/nested_paging_fixture.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint64_t kR = EptEntry::kRead;
// So far apart that each needs a page directory and a page table of its own.
constexpr uint64_t kFarApart = uint64_t{1} << 30;

class Ept02PoolTest : public NestedPagingTest {
 protected:
  void HavePages(size_t count) {
    l1_.host_pages.resize(kFirstEpt02Page + count);
    l1_.vcpu().host_pages.pages = l1_.host_pages;
  }
  // Counts by taking them all, and gives them back.
  size_t FreePages() {
    std::set<PhysicalAddress> taken;
    while (const auto page = AllocateEpt02Page(l1_.vcpu())) {
      EXPECT_TRUE(taken.insert(*page).second) << "given twice";
      for (uint64_t word : l1_.vcpu().host_pages.At(*page).words) EXPECT_EQ(word, 0u);
    }
    for (PhysicalAddress page : taken) FreeEpt02Page(l1_.vcpu(), page);
    return taken.size();
  }
  void MapFarApart(Ept12Builder& ept12, uint64_t count) {
    for (uint64_t n = 0; n < count; ++n) ept12.Map(n * kFarApart, kL1 + n * 0x1000);
  }
};

TEST_F(Ept02PoolTest, AtFirstAllPagesAreFree) {
  HavePages(40);
  EXPECT_EQ(FreePages(), 40u);
  EXPECT_EQ(FreePages(), 40u);
}

TEST_F(Ept02PoolTest, PagesBeforeTheFirstOneOfEpt02AreNotTouched) {
  HavePages(40);
  for (size_t n = 0; n < kFirstEpt02Page; ++n) l1_.host_pages[n].words.fill(0x77);
  FreePages();
  for (size_t n = 0; n < kFirstEpt02Page; ++n) EXPECT_EQ(l1_.host_pages[n].words[0], 0x77u);
}

TEST_F(Ept02PoolTest, InveptGivesAllPagesBack) {
  HavePages(40);
  MapFarApart(ept12_, 5);
  RunL2();
  for (uint64_t n = 0; n < 5; ++n) ASSERT_TRUE(Access(n * kFarApart, kR));
  EXPECT_EQ(FreePages(), 40u - 1 - 1 - 2 * 5) << "root, PDPT, and two for each";
  DropAllEpt02s(l1_.vcpu());
  EXPECT_EQ(FreePages(), 40u);
}

TEST_F(Ept02PoolTest, StructuresThatAreEmptyThenAreGivenBack) {
  HavePages(40);
  MapFarApart(ept12_, 2);
  RunL2();
  ASSERT_TRUE(Access(0, kR));
  ASSERT_TRUE(Access(kFarApart, kR));
  DropFromEpt02sWhatLeadsTo(l1_.vcpu(), PhysicalAddress{kL1 + 0x1000}, kPageSize);
  EXPECT_EQ(FreePages(), 40u - 4);
  EXPECT_TRUE(Find(0).has_value());
}

TEST_F(Ept02PoolTest, ALargePageGivesTheStructureBackThatItReplaces) {
  HavePages(40);
  ept12_.Map(0x4000'0000, 0x20'0000);
  RunL2();
  ASSERT_TRUE(Access(0x4000'0000, kR));
  EXPECT_EQ(FreePages(), 36u);
  ept12_.Map(0x4000'0000, 0x20'0000, kEptAll, 2);
  ASSERT_TRUE(Access(0x4000'1000, kR));
  EXPECT_EQ(FreePages(), 37u);
}

TEST_F(Ept02PoolTest, WhatWasDroppedLeavesNoBytesBehind) {
  HavePages(40);
  MapFarApart(ept12_, 3);
  for (int round = 0; round < 2; ++round) {
    RunL2();
    for (uint64_t n = 0; n < 3; ++n) ASSERT_TRUE(Access(n * kFarApart, kR));
    l1_.Exit(ExitReason::kVmcall);
    DropAllEpt02s(l1_.vcpu());
    // Nothing but the links is left.
    for (size_t page = kFirstEpt02Page; page < l1_.host_pages.size(); ++page) {
      const auto& words = l1_.host_pages[page].words;
      EXPECT_EQ(std::count(words.begin() + 1, words.end(), 0), 511) << page;
    }
  }
}

// --- Too few pages ---

TEST_F(Ept02PoolTest, TheLeastRecentlyUsedEpt02GivesItsPages) {
  HavePages(10);
  MapFarApart(ept12_, 1);
  MapFarApart(other_, 3);
  RunL2(ept12_.Eptp());
  ASSERT_TRUE(Access(0, kR));
  l1_.Exit(ExitReason::kVmcall);
  RunL2(other_.Eptp());
  for (uint64_t n = 0; n < 3; ++n) ASSERT_TRUE(Access(n * kFarApart, kR));
  for (uint64_t n = 0; n < 3; ++n) EXPECT_TRUE(Find(n * kFarApart).has_value());
  l1_.Exit(ExitReason::kVmcall);
  RunL2(ept12_.Eptp());
  EXPECT_FALSE(Find(0).has_value());
}

TEST_F(Ept02PoolTest, TheOneInUseStartsAnew) {
  HavePages(8);  // enough for three far apart
  MapFarApart(ept12_, 4);
  RunL2();
  const uint64_t eptp02 = Eptp02();
  for (uint64_t n = 0; n < 4; ++n) ASSERT_TRUE(Access(n * kFarApart, kR));
  EXPECT_EQ(Eptp02(), eptp02) << "VMCS02 still names it";
  EXPECT_TRUE(Find(3 * kFarApart).has_value());
  for (uint64_t n = 0; n < 3; ++n) EXPECT_FALSE(Find(n * kFarApart).has_value()) << n;
  EXPECT_EQ(l1_.cpu.invalidations().back(),
            (Invalidation{.kind = Invalidation::Kind::kEptSingleContext, .eptp = eptp02}));
  EXPECT_EQ(FreePages(), 8u - 4);
}

TEST_F(Ept02PoolTest, ANewEpt02TakesAPageFromAnOldOne) {
  HavePages(6);
  MapFarApart(ept12_, 2);
  RunL2(ept12_.Eptp());
  ASSERT_TRUE(Access(0, kR));
  ASSERT_TRUE(Access(kFarApart, kR));
  EXPECT_EQ(FreePages(), 0u);
  l1_.Exit(ExitReason::kVmcall);
  RunL2(other_.Eptp());
  EXPECT_EQ(FreePages(), 5u);
}

TEST_F(Ept02PoolTest, AManyPagedL2GetsEveryPageSoonerOrLater) {
  HavePages(12);
  constexpr uint64_t kCount = 40;
  Ept12Builder big(l1_.memory, 0x80'0000);
  MapFarApart(big, kCount);
  RunL2(big.Eptp());
  for (uint64_t n = 0; n < 4 * kCount; ++n) {
    const uint64_t page = n * 7 % kCount;
    ASSERT_TRUE(Access(page * kFarApart, kR));
    EXPECT_EQ(Find(page * kFarApart)->address(), kL1 + page * 0x1000);
  }
}

}  // namespace
}  // namespace nvmx
