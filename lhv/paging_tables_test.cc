// SPDX-License-Identifier: Apache-2.0
#include "lhv/paging_tables.h"

#include <cstring>

#include "core/vmx/ept.h"
#include "gtest/gtest.h"

namespace nvmx::lhv {
namespace {

constexpr uint64_t kBase = 0x110000;
constexpr uint64_t kRwx = EptEntry::kPermissions;

uint64_t EntryAt(const PagingTables& tables, uint64_t address, unsigned level) {
  const auto offset = tables.EntryOffset(address, level);
  EXPECT_TRUE(offset.has_value()) << address << " level " << level;
  if (!offset) return 0;
  uint64_t entry = 0;
  std::memcpy(&entry, tables.bytes().data() + *offset, tables.format().entry_bytes);
  return entry;
}

TEST(PagingTables, AreOneEmptyTableAtFirst) {
  const PagingTables tables(PagingFormat::Ept(4), kBase);
  EXPECT_EQ(tables.bytes().size(), 4096u);
  EXPECT_EQ(EntryAt(tables, 0, 4), 0u);
  EXPECT_FALSE(tables.EntryOffset(0, 3).has_value());
}

TEST(PagingTables, AddTheTablesOnTheWay) {
  PagingTables tables(PagingFormat::Ept(4), kBase);
  ASSERT_TRUE(tables.Set(0x40201000, 1, 0x5000 | kRwx));
  EXPECT_EQ(tables.bytes().size(), 4 * 4096u);
  EXPECT_EQ(EntryAt(tables, 0x40201000, 4), kBase + 0x1000 + kRwx);
  EXPECT_EQ(EntryAt(tables, 0x40201000, 3), kBase + 0x2000 + kRwx);
  EXPECT_EQ(EntryAt(tables, 0x40201000, 2), kBase + 0x3000 + kRwx);
  EXPECT_EQ(EntryAt(tables, 0x40201000, 1), 0x5000 + kRwx);
  EXPECT_EQ(EntryAt(tables, 0x40200000, 1), 0u);
  EXPECT_EQ(*tables.EntryOffset(0x40201000, 1), 0x3000u + 8);
}

TEST(PagingTables, FiveLevelsTranslateFiftySevenBits) {
  PagingTables tables(PagingFormat::Ept(5), kBase);
  EXPECT_TRUE(tables.Set(uint64_t{1} << 56, 1, kRwx));
  EXPECT_EQ(tables.bytes().size(), 5 * 4096u);
  EXPECT_FALSE(tables.Set(uint64_t{1} << 57, 1, kRwx));
  EXPECT_FALSE(PagingTables(PagingFormat::Ept(4), kBase).Set(uint64_t{1} << 48, 1, kRwx));
}

TEST(PagingTables, SplitALargerPageIntoPagesThatMapTheSame) {
  PagingTables tables(PagingFormat::Ept(4), kBase);
  const uint64_t bits = kRwx | 6 << EptEntry::kMemoryTypeShift;
  ASSERT_TRUE(tables.Set(0, 3, EptEntry::kLarge | bits));
  ASSERT_TRUE(tables.Set(0x201000, 1, 0));
  EXPECT_EQ(EntryAt(tables, 0x201000, 1), 0u);
  EXPECT_EQ(EntryAt(tables, 0x202000, 1), 0x202000 | bits);
  EXPECT_EQ(EntryAt(tables, 0x400000, 2), 0x400000 | EptEntry::kLarge | bits);
}

TEST(PagingTables, ASplitGuestPageKeepsItsPatBit) {
  PagingTables tables(PagingFormat::FourLevel(), kBase);
  ASSERT_TRUE(tables.Set(0, 2, PageEntry::kPresent | PageEntry::kLarge | PageEntry::kLargePat));
  ASSERT_TRUE(tables.Set(0x1000, 1, 0));
  EXPECT_EQ(EntryAt(tables, 0x2000, 1), 0x2000 | PageEntry::kPresent | PageEntry::kPat);
}

TEST(PagingTables, PdptesHaveNoPermissions) {
  PagingTables tables(PagingFormat::Pae(), kBase);
  ASSERT_TRUE(tables.Set(0xC0000000, 1, 0x5000 | PageEntry::kPresent));
  EXPECT_EQ(EntryAt(tables, 0xC0000000, 3), kBase + 0x1000 + PageEntry::kPresent);
  EXPECT_EQ(*tables.EntryOffset(0xC0000000, 3), 24u);
  EXPECT_FALSE(tables.Set(uint64_t{1} << 32, 1, 0));
}

TEST(PagingTables, ThirtyTwoBitEntriesAreFourBytes) {
  PagingTables tables(PagingFormat::ThirtyTwoBit(), kBase);
  ASSERT_TRUE(tables.Set(0x401000, 1, 0x5000 | PageEntry::kPresent));
  EXPECT_EQ(*tables.EntryOffset(0x401000, 2), 4u);
  EXPECT_EQ(*tables.EntryOffset(0x401000, 1), 0x1004u);
  EXPECT_EQ(EntryAt(tables, 0x401000, 1), 0x5000 | PageEntry::kPresent);
}

TEST(PagingTables, HighCanonicalAddressesAreInTheUpperHalf) {
  PagingTables tables(PagingFormat::FourLevel(), kBase);
  EXPECT_TRUE(tables.Set(0xFFFF'8000'0000'0000, 1, 1));
  EXPECT_EQ(*tables.EntryOffset(0xFFFF'8000'0000'0000, 4), 256u * 8);
  EXPECT_FALSE(tables.Set(0x8000'0000'0000'0000, 1, 1));
}

TEST(PagingTables, TheBitsOfAReferenceChangeWithoutItsTable) {
  PagingTables tables(PagingFormat::Ept(4), kBase);
  ASSERT_TRUE(tables.Set(0x1000, 1, kRwx));
  ASSERT_TRUE(tables.SetTableBits(0, 3, EptEntry::kRead));
  EXPECT_EQ(EntryAt(tables, 0, 3), kBase + 0x2000 + EptEntry::kRead);
  EXPECT_EQ(EntryAt(tables, 0x1000, 1), kRwx);
  EXPECT_FALSE(tables.SetTableBits(0x40000000, 3, kRwx));
}

TEST(PagingTables, AnEntryWrittenOverAReferenceCutsTheTableOff) {
  PagingTables tables(PagingFormat::Ept(4), kBase);
  ASSERT_TRUE(tables.Set(0x1000, 1, kRwx));
  ASSERT_TRUE(tables.Set(0, 2, 0));
  EXPECT_EQ(EntryAt(tables, 0, 2), 0u);
  EXPECT_FALSE(tables.EntryOffset(0x1000, 1).has_value());
}

}  // namespace
}  // namespace nvmx::lhv
