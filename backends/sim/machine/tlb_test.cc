// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/tlb.h"

#include <string>

#include "gtest/gtest.h"

namespace nvmx::sim {
namespace {

constexpr uint64_t kEptA = 0x10'0000, kEptB = 0x20'0000;
constexpr uint64_t kPage = 0x7000;

class TlbTest : public testing::Test {
 protected:
  static Mapping Page(uint64_t physical, uint8_t shift = 12) {
    Mapping mapping;
    mapping.physical = physical;
    mapping.page_shift = mapping.paging_shift = shift;
    return mapping;
  }
  static Mapping Global(uint64_t physical) {
    Mapping mapping = Page(physical);
    mapping.global = true;
    return mapping;
  }
  bool Has(MappingTag tag, uint64_t address = kPage) const {
    return tlb_.Find(tag, address) != nullptr;
  }
  void Put(MappingTag tag, uint64_t address = kPage) { tlb_.Insert(tag, address, Page(0xA000)); }

  Tlb tlb_;
};

TEST_F(TlbTest, FindsWhatWasInsertedForAnyByteOfThePage) {
  tlb_.Insert(MappingTag::Linear(1, 2), kPage + 5, Page(0xA000));
  const Mapping* found = tlb_.Find(MappingTag::Linear(1, 2), kPage + 0xFFF);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->At(kPage + 0xFFF), 0xAFFFu);
  EXPECT_FALSE(Has(MappingTag::Linear(1, 2), kPage + 0x1000));
  EXPECT_FALSE(Has(MappingTag::Linear(1, 2), kPage - 1));
}

TEST_F(TlbTest, KnowsPagesOfAllSizes) {
  for (uint8_t shift : {21, 22, 30}) {
    Tlb tlb;
    const uint64_t address = (uint64_t{5} << shift) + 0x1234;
    tlb.Insert(MappingTag::Linear(0, 0), address, Page(0, shift));
    EXPECT_NE(tlb.Find(MappingTag::Linear(0, 0), (uint64_t{6} << shift) - 1), nullptr);
    EXPECT_EQ(tlb.Find(MappingTag::Linear(0, 0), uint64_t{6} << shift), nullptr);
  }
}

TEST_F(TlbTest, TagsKeepMappingsApart) {
  Put(MappingTag::Linear(1, 2));
  EXPECT_FALSE(Has(MappingTag::Linear(2, 2)));
  EXPECT_FALSE(Has(MappingTag::Linear(1, 3)));
  EXPECT_FALSE(Has(MappingTag::Combined(1, 2, 0)));
  Put(MappingTag::Combined(1, 2, kEptA));
  EXPECT_FALSE(Has(MappingTag::Combined(1, 2, kEptB)));
  EXPECT_FALSE(Has(MappingTag::GuestPhysical(kEptA)));
  EXPECT_FALSE(Has(MappingTag::EptTable(kEptA)));
}

TEST_F(TlbTest, AGlobalMappingIsThereForAllPcidsOfItsVpid) {
  tlb_.Insert(MappingTag::Combined(1, 2, kEptA), kPage, Global(0xA000));
  EXPECT_TRUE(Has(MappingTag::Combined(1, 7, kEptA)));
  EXPECT_FALSE(Has(MappingTag::Combined(2, 2, kEptA)));
  EXPECT_FALSE(Has(MappingTag::Combined(1, 2, kEptB)));
  EXPECT_FALSE(Has(MappingTag::Linear(1, 2)));
}

TEST_F(TlbTest, InsertReplacesWhatWasFoundBefore) {
  const MappingTag tag = MappingTag::Linear(1, 2);
  tlb_.Insert(tag, kPage, Page(0xA000));
  tlb_.Insert(tag, kPage, Page(0, 21));
  EXPECT_EQ(tlb_.size(), 1u);
  EXPECT_EQ(tlb_.Find(tag, kPage)->page_shift, 21);
}

TEST_F(TlbTest, NothingIsLostHoweverManyThereAre) {
  constexpr uint64_t kCount = 10'000;
  for (uint64_t i = 0; i < kCount; ++i) {
    tlb_.Insert(MappingTag::Linear(i % 3, i % 5), i << 12, Page(i << 12));
  }
  for (uint64_t i = 0; i < kCount; ++i) {
    const Mapping* found = tlb_.Find(MappingTag::Linear(i % 3, i % 5), i << 12);
    ASSERT_NE(found, nullptr) << i;
    EXPECT_EQ(found->physical, i << 12);
  }
}

TEST_F(TlbTest, ManyTagsOfOnePageAreKeptApart) {
  for (uint64_t i = 0; i < 1000; ++i) {
    tlb_.Insert(MappingTag::GuestPhysical(i << 12), kPage, Page(i << 12));
  }
  for (uint64_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(tlb_.Find(MappingTag::GuestPhysical(i << 12), kPage)->physical, i << 12);
    EXPECT_FALSE(Has(MappingTag::GuestPhysical((i + 1000) << 12)));
  }
}

TEST_F(TlbTest, ASmallPageIsNotTakenForALargeOneThatBeginsThere) {
  const MappingTag tag = MappingTag::Linear(1, 2);
  tlb_.Insert(tag, 0x20'0000, Page(0xA000));
  tlb_.Insert(tag, 0x40'0000, Page(0, 21));
  EXPECT_FALSE(Has(tag, 0x20'5000));
  EXPECT_TRUE(Has(tag, 0x40'5000));
}

TEST_F(TlbTest, DroppingSomeOfManyLeavesTheOthers) {
  constexpr uint64_t kCount = 1000;
  for (uint64_t i = 0; i < kCount; ++i) {
    tlb_.Insert(MappingTag::Linear(i % 3, 0), i << 12, Page(i << 12));
  }
  tlb_.DropVpid(1, false);
  for (uint64_t i = 0; i < kCount; ++i) {
    EXPECT_EQ(Has(MappingTag::Linear(i % 3, 0), i << 12), i % 3 != 1) << i;
  }
}

TEST_F(TlbTest, ClearLeavesNothing) {
  Put(MappingTag::Linear(1, 2));
  Put(MappingTag::GuestPhysical(kEptA));
  tlb_.Clear();
  EXPECT_EQ(tlb_.size(), 0u);
  EXPECT_FALSE(Has(MappingTag::Linear(1, 2)));
  Put(MappingTag::Linear(1, 2));
  EXPECT_TRUE(Has(MappingTag::Linear(1, 2)));
}

// --- Invalidation, one operation a test: what it drops, and what stays. SDM Vol. 3A, 5.10.4.1;
// Vol. 3C, 29.4.3.1 "Operations that Invalidate Cached Mappings"

// Mappings that differ from the first in one thing.
struct Case {
  char name;
  MappingTag tag;
  uint64_t address;
  bool global = false;
};
constexpr uint64_t kOther = 0x9000, kGlobalPage = 0xB000;
constexpr Case kCases[] = {
    {'l', MappingTag::Linear(1, 2), kPage},
    {'c', MappingTag::Combined(1, 2, kEptA), kPage},
    {'d', MappingTag::Combined(1, 2, kEptB), kPage},
    {'o', MappingTag::Linear(1, 2), kOther},
    {'p', MappingTag::Linear(1, 3), kPage},
    {'v', MappingTag::Linear(2, 2), kPage},
    {'0', MappingTag::Linear(0, 2), kPage},
    {'g', MappingTag::Linear(1, 2), kGlobalPage, true},
    {'G', MappingTag::Combined(1, 2, kEptA), kGlobalPage, true},
    {'n', MappingTag::GuestPhysical(kEptA), kPage},
    {'m', MappingTag::GuestPhysical(kEptB), kPage},
    {'t', MappingTag::EptTable(kEptA), kPage},
};

class TlbDropTest : public TlbTest {
 protected:
  TlbDropTest() {
    for (const Case& c : kCases) tlb_.Insert(c.tag, c.address, c.global ? Global(0) : Page(0));
    EXPECT_EQ(Left().size(), std::size(kCases));
  }
  // The names of those that are left.
  std::string Left() const {
    std::string left;
    for (const Case& c : kCases) {
      if (Has(c.tag, c.address)) left += c.name;
    }
    return left;
  }
};

TEST_F(TlbDropTest, PageTakesThePageOfThePcidWhateverTheEp4ta) {
  tlb_.DropPage(1, 2, kPage + 5);
  EXPECT_EQ(Left(), "opv0gGnmt");
}

TEST_F(TlbDropTest, PageTakesGlobalMappingsOfAnyPcid) {
  tlb_.DropPage(1, 7, kGlobalPage);
  EXPECT_EQ(Left(), "lcdopv0nmt");
}

TEST_F(TlbDropTest, PageOfPcidLeavesGlobalMappings) {
  tlb_.DropPageOfPcid(1, 2, kGlobalPage);
  EXPECT_EQ(Left(), "lcdopv0gGnmt");
  tlb_.DropPageOfPcid(1, 2, kPage);
  EXPECT_EQ(Left(), "opv0gGnmt");
}

TEST_F(TlbDropTest, PageOfVpidTakesAllPcids) {
  tlb_.DropPageOfVpid(1, kPage);
  EXPECT_EQ(Left(), "ov0gGnmt");
  tlb_.DropPageOfVpid(1, kGlobalPage);
  EXPECT_EQ(Left(), "ov0nmt");
}

TEST_F(TlbDropTest, PcidLeavesGlobalMappingsAndOtherPcids) {
  tlb_.DropPcid(1, 2);
  EXPECT_EQ(Left(), "pv0gGnmt");
}

TEST_F(TlbDropTest, VpidTakesAllOfIt) {
  tlb_.DropVpid(1, false);
  EXPECT_EQ(Left(), "v0nmt");
}

TEST_F(TlbDropTest, VpidCanRetainGlobalMappings) {
  tlb_.DropVpid(1, true);
  EXPECT_EQ(Left(), "v0gGnmt");
}

TEST_F(TlbDropTest, AllVpidsLeaveVpid0) {
  tlb_.DropAllVpids();
  EXPECT_EQ(Left(), "0nmt");
}

TEST_F(TlbDropTest, Ep4taTakesCombinedAndGuestPhysicalMappings) {
  tlb_.DropEp4ta(kEptA);
  EXPECT_EQ(Left(), "ldopv0gm");
}

TEST_F(TlbDropTest, AllEp4tasLeaveLinearMappings) {
  tlb_.DropAllEp4tas();
  EXPECT_EQ(Left(), "lopv0g");
}

TEST_F(TlbDropTest, GuestPhysicalTakesPageAndTableOfTheEp4ta) {
  tlb_.DropGuestPhysical(kEptA, kPage + 5);
  EXPECT_EQ(Left(), "lcdopv0gGm");
}

// A page of 2 MBytes in pieces of 4 KBytes, as EPT can make it: INVLPG of any address takes all.
// SDM Vol. 3A, 5.10.2.3 "Details of TLB Use".
TEST_F(TlbTest, APageInPiecesIsDroppedWhole) {
  Mapping piece = Page(0);
  piece.paging_shift = 21;
  const MappingTag tag = MappingTag::Combined(1, 2, kEptA);
  tlb_.Insert(tag, 0x20'0000, piece);
  tlb_.Insert(tag, 0x20'5000, piece);
  tlb_.Insert(tag, 0x40'0000, piece);
  tlb_.DropPage(1, 2, 0x21'0000);
  EXPECT_FALSE(Has(tag, 0x20'0000));
  EXPECT_FALSE(Has(tag, 0x20'5000));
  EXPECT_TRUE(Has(tag, 0x40'0000));
}

}  // namespace
}  // namespace nvmx::sim
