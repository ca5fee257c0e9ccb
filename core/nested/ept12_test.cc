// SPDX-License-Identifier: Apache-2.0
//
// The walk of EPT12. SDM Vol. 3C, 29.3.2 "EPT Translation Mechanism", 29.3.3 "EPT-Induced VM
// Exits". What makes an EPT pointer valid is tested as a rule of VM entry.
#include "core/nested/ept12.h"

#include "core/testing/nested_paging_fixture.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint64_t kTooWide = uint64_t{1} << 39;
constexpr uint64_t kR = EptEntry::kRead;
constexpr uint64_t kW = EptEntry::kWrite;
constexpr uint64_t kX = EptEntry::kExecute;
constexpr unsigned kEachLevel[] = {1, 2, 3, 4, 5};

Capabilities WithoutCap(uint64_t bits) {
  Capabilities c = BuildOfferedCapabilities();
  c.ept_vpid_cap &= ~bits;
  return c;
}

// --- Misconfigurations, entry by entry ---

TEST(EptMisconfigurationTest, AnEntryThatIsNotPresentIsNone) {
  const Capabilities c = BuildOfferedCapabilities();
  for (unsigned level : kEachLevel) {
    EXPECT_FALSE(IsEptMisconfigured(~uint64_t{7}, level, c)) << level;
  }
}

TEST(EptMisconfigurationTest, WriteWithoutRead) {
  const Capabilities c = BuildOfferedCapabilities();
  for (unsigned level : kEachLevel) {
    EXPECT_TRUE(IsEptMisconfigured(kW, level, c)) << level;
    EXPECT_TRUE(IsEptMisconfigured(kW | kX, level, c)) << level;
    EXPECT_FALSE(IsEptMisconfigured(kR | kW, level, c)) << level;
  }
}

TEST(EptMisconfigurationTest, ExecuteOnlyNeedsTheCpu) {
  for (unsigned level : kEachLevel) {
    EXPECT_FALSE(IsEptMisconfigured(kX, level, BuildOfferedCapabilities())) << level;
    EXPECT_TRUE(IsEptMisconfigured(kX, level, WithoutCap(EptVpidCap::kExecuteOnly))) << level;
    EXPECT_FALSE(IsEptMisconfigured(kR | kX, level, WithoutCap(EptVpidCap::kExecuteOnly)));
  }
}

TEST(EptMisconfigurationTest, AddressBitsBeyondTheWidth) {
  const Capabilities c = BuildOfferedCapabilities();
  for (unsigned level : kEachLevel) {
    for (unsigned bit = 39; bit < 52; ++bit) {
      EXPECT_TRUE(IsEptMisconfigured(kEptAll | uint64_t{1} << bit, level, c)) << level;
    }
    EXPECT_FALSE(IsEptMisconfigured(kEptAll | kTooWide >> 1, level, c)) << level;
    // Bits 63:52 mean something else, or nothing.
    EXPECT_FALSE(IsEptMisconfigured(kEptAll | uint64_t{0xFFF} << 52, level, c)) << level;
  }
}

TEST(EptMisconfigurationTest, ReservedBitsOfAnEntryThatRefersToAStructure) {
  const Capabilities c = BuildOfferedCapabilities();
  for (unsigned level : {2, 3, 4, 5}) {
    for (unsigned bit = 3; bit <= 6; ++bit) {
      EXPECT_TRUE(IsEptMisconfigured(kEptAll | 1 << bit, level, c)) << level << " " << bit;
    }
    for (unsigned bit = 8; bit <= 11; ++bit) {
      EXPECT_FALSE(IsEptMisconfigured(kEptAll | 1 << bit, level, c)) << level << " " << bit;
    }
  }
  EXPECT_TRUE(IsEptMisconfigured(kEptAll | EptEntry::kLarge, 4, c));
  EXPECT_TRUE(IsEptMisconfigured(kEptAll | EptEntry::kLarge, 5, c));
}

TEST(EptMisconfigurationTest, LargePagesNeedTheCpu) {
  constexpr uint64_t kLeaf = kEptAll | EptEntry::kLarge | kEptWriteBack;
  EXPECT_FALSE(IsEptMisconfigured(kLeaf, 2, BuildOfferedCapabilities()));
  EXPECT_FALSE(IsEptMisconfigured(kLeaf, 3, BuildOfferedCapabilities()));
  EXPECT_TRUE(IsEptMisconfigured(kLeaf, 2, WithoutCap(EptVpidCap::k2MByteMapping)));
  EXPECT_TRUE(IsEptMisconfigured(kLeaf, 3, WithoutCap(EptVpidCap::k1GByteMapping)));
}

TEST(EptMisconfigurationTest, AddressBitsBelowTheSizeOfALargePage) {
  const Capabilities c = BuildOfferedCapabilities();
  constexpr uint64_t kLeaf = kEptAll | EptEntry::kLarge | kEptWriteBack;
  for (unsigned level : {2u, 3u}) {
    for (unsigned bit = 12; bit < EptLevelShift(level); ++bit) {
      EXPECT_TRUE(IsEptMisconfigured(kLeaf | uint64_t{1} << bit, level, c)) << level << " " << bit;
    }
    EXPECT_FALSE(IsEptMisconfigured(kLeaf | uint64_t{1} << EptLevelShift(level), level, c));
  }
}

TEST(EptMisconfigurationTest, ReservedMemoryTypesOfALeaf) {
  const Capabilities c = BuildOfferedCapabilities();
  for (unsigned level : {1u, 2u, 3u}) {
    const uint64_t leaf = kEptAll | (level > 1 ? EptEntry::kLarge : 0);
    for (uint64_t type = 0; type < 8; ++type) {
      const bool reserved = type == 2 || type == 3 || type == 7;
      EXPECT_EQ(IsEptMisconfigured(leaf | type << 3, level, c), reserved) << level << " " << type;
    }
    EXPECT_FALSE(IsEptMisconfigured(leaf | EptEntry::kIgnorePat, level, c));
  }
  EXPECT_FALSE(IsEptMisconfigured(kEptAll | EptEntry::kLarge, 1, c)) << "bit 7 is ignored here";
}

// --- The walk ---

class Ept12WalkTest : public NestedPagingTest {
 protected:
  Ept12Walk Walk(uint64_t address, uint64_t needed = kR) {
    return WalkEpt12(l1_.memory, l1_.state.offered, eptp_, GuestPhysicalAddress{address}, needed);
  }
  void ExpectTo(const Ept12Walk& walk, uint64_t address, unsigned shift) {
    EXPECT_EQ(walk.result, Ept12Walk::Result::kTranslated);
    EXPECT_EQ(walk.address.value, address);
    EXPECT_EQ(walk.block_shift, shift);
  }
  uint64_t eptp_ = ept12_.Eptp();
};

TEST_F(Ept12WalkTest, APage) {
  ept12_.Map(kL2, kL1);
  const Ept12Walk walk = Walk(kL2 + 0x123);
  ExpectTo(walk, kL1 + 0x123, 12);
  EXPECT_EQ(walk.permissions, kEptAll);
  EXPECT_EQ(walk.memory_type, kEptWriteBack);
  EXPECT_EQ(walk.step_count, 4u);
  EXPECT_EQ(walk.steps[3].address.value, ept12_.EntryAt(kL2, 1));
  EXPECT_EQ(walk.steps[3].entry, ept12_.Entry(kL2));
  EXPECT_EQ(walk.steps[0].address.value, kRoot);
}

TEST_F(Ept12WalkTest, LargePages) {
  ept12_.Map(0x4020'0000, 0x60'0000, kEptAll, 2);
  ExpectTo(Walk(0x4021'2345), 0x61'2345, 21);
  ept12_.Map(0x8000'0000, 0x4000'0000, kEptAll, 3);
  ExpectTo(Walk(0x8765'4321), 0x4765'4321, 30);
  EXPECT_EQ(Walk(0x8765'4321).step_count, 2u);
}

TEST_F(Ept12WalkTest, FiveLevels) {
  l1_.state.offered.ept_vpid_cap |= EptVpidCap::kPageWalkLength5;
  Ept12Builder ept5(l1_.memory, 0x20'0000, 5);
  eptp_ = ept5.Eptp();
  constexpr uint64_t kHigh = uint64_t{0x12} << 48 | kL2;
  ept5.Map(kHigh, kL1);
  ExpectTo(Walk(kHigh + 8), kL1 + 8, 12);
  EXPECT_EQ(Walk(kHigh).step_count, 5u);
}

TEST_F(Ept12WalkTest, WithFourLevelsAddressesHave48Bits) {
  ept12_.Map(0, kL1);
  EXPECT_EQ(Walk(0).result, Ept12Walk::Result::kTranslated);
  const Ept12Walk walk = Walk(uint64_t{1} << 48);
  EXPECT_EQ(walk.result, Ept12Walk::Result::kViolation);
  EXPECT_EQ(walk.permissions, 0u);
}

TEST_F(Ept12WalkTest, MemoryTypeAndIgnorePatAreThoseOfTheLastEntry) {
  ept12_.Map(kL2, kL1, kEptAll, 1, 1 << 3 | EptEntry::kIgnorePat);
  EXPECT_EQ(Walk(kL2).memory_type, uint64_t{1 << 3} | EptEntry::kIgnorePat);
}

TEST_F(Ept12WalkTest, AnEntryThatIsNotPresentPermitsNothing) {
  for (unsigned level : {1, 2, 3, 4}) {
    ept12_.SetEntry(kL2, level, kL1 | kEptWriteBack);
    const Ept12Walk walk = Walk(kL2);
    EXPECT_EQ(walk.result, Ept12Walk::Result::kViolation) << level;
    EXPECT_EQ(walk.permissions, 0u);
  }
}

TEST_F(Ept12WalkTest, WhatOneEntryForbidsIsForbidden) {
  for (unsigned level : {1, 2, 3, 4}) {
    ept12_.Map(kL2, kL1);
    const uint64_t entry = ept12_.Entry(kL2, level);
    ept12_.SetEntry(kL2, level, entry & ~kW);
    EXPECT_EQ(Walk(kL2, kR | kX).result, Ept12Walk::Result::kTranslated);
    const Ept12Walk walk = Walk(kL2, kW);
    EXPECT_EQ(walk.result, Ept12Walk::Result::kViolation);
    EXPECT_EQ(walk.permissions, kR | kX) << level;
    ept12_.SetEntry(kL2, level, entry);
  }
}

TEST_F(Ept12WalkTest, PermissionsAreTheAndOfAll) {
  ept12_.Map(kL2, kL1, kR | kX);
  ept12_.SetEntry(kL2, 3, ept12_.Entry(kL2, 3) & ~kX);
  EXPECT_EQ(Walk(kL2, kX).permissions, kR);
  EXPECT_EQ(Walk(kL2, kR).permissions, kR);
}

TEST_F(Ept12WalkTest, ReadAndWriteTogetherNeedBoth) {
  ept12_.Map(kL2, kL1, kR);
  EXPECT_EQ(Walk(kL2, kR | kW).result, Ept12Walk::Result::kViolation);
}

TEST_F(Ept12WalkTest, AMisconfigurationAtEachLevel) {
  for (unsigned level : {1, 2, 3, 4}) {
    ept12_.Map(kL2, kL1);
    const uint64_t entry = ept12_.Entry(kL2, level);
    ept12_.SetEntry(kL2, level, entry | kTooWide);
    EXPECT_EQ(Walk(kL2).result, Ept12Walk::Result::kMisconfiguration) << level;
    ept12_.SetEntry(kL2, level, entry);
    EXPECT_EQ(Walk(kL2).result, Ept12Walk::Result::kTranslated) << level;
  }
}

TEST_F(Ept12WalkTest, AMisconfigurationBelowComesBeforeAPermissionAbove) {
  ept12_.Map(kL2, kL1);
  ept12_.SetEntry(kL2, 4, ept12_.Entry(kL2, 4) & ~kW);
  ept12_.SetEntry(kL2, 1, ept12_.Entry(kL2) | kTooWide);
  EXPECT_EQ(Walk(kL2, kW).result, Ept12Walk::Result::kMisconfiguration);
}

TEST_F(Ept12WalkTest, AnEntryNotPresentAboveComesBeforeAMisconfigurationBelow) {
  ept12_.Map(kL2, kL1);
  ept12_.SetEntry(kL2, 1, ept12_.Entry(kL2) | kTooWide);
  ept12_.SetEntry(kL2, 3, ept12_.Entry(kL2, 3) & ~kEptAll);
  EXPECT_EQ(Walk(kL2).result, Ept12Walk::Result::kViolation);
}

TEST_F(Ept12WalkTest, WhereNoMemoryAnswersAnEntryIsAllOnes) {
  ept12_.Map(kL2, kL1);
  l1_.memory.RemovePage(ept12_.EntryAt(kL2, 1));
  EXPECT_EQ(Walk(kL2).result, Ept12Walk::Result::kMisconfiguration);
}

TEST_F(Ept12WalkTest, ChangesNothing) {
  ept12_.Map(kL2, kL1);
  eptp_ = ept12_.Eptp(kFlags);
  Walk(kL2, kW);
  for (unsigned level : {1, 2, 3, 4}) {
    EXPECT_EQ(ept12_.Entry(kL2, level) & (EptEntry::kAccessed | EptEntry::kDirty), 0u);
  }
}

}  // namespace
}  // namespace nvmx
