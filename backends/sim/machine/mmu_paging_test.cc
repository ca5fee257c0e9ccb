// SPDX-License-Identifier: Apache-2.0
//
// How each paging mode finds a page, which bits it reserves, and which flags it sets. SDM Vol. 3A,
// chapter 5 "Paging".
#include "backends/sim/machine/testing/mmu_fixture.h"

namespace nvmx::sim {
namespace {

constexpr uint64_t kBeyondWidth = uint64_t{1} << 40;
constexpr uint32_t kReservedCode = 0x9;  // P and RSVD

using NoPagingTest = MmuTest;

TEST_F(NoPagingTest, LinearAddressesArePhysical) {
  context_.cr0 = Cr0::kPe;
  context_.efer = 0;
  EXPECT_EQ(Read(kData), kMark);
}

TEST_F(NoPagingTest, LinearAddressesHave32Bits) {
  context_.cr0 = Cr0::kPe;
  context_.efer = 0;
  EXPECT_EQ(Read(kData | uint64_t{1} << 32), kMark);
}

TEST_F(NoPagingTest, NothingAnswersWithOnesAndIgnoresWrites) {
  context_.cr0 = Cr0::kPe;
  context_.efer = 0;
  EXPECT_TRUE(Write(0x1000));
  EXPECT_EQ(Read(0x1000), ~uint64_t{0});
}

// --- 4-level paging

using Paging4LevelTest = MmuTest;

TEST_F(Paging4LevelTest, MapsPagesOf4KBytes) {
  Map(kLinear, kData | kAll);
  EXPECT_EQ(Read(kLinear), kMark);
  EXPECT_EQ(Translate(kLinear + 0x123, AccessKind::kRead), kData + 0x123);
}

TEST_F(Paging4LevelTest, MapsPagesOf2MBytes) {
  Map(0x40'0020'0000, 0 | kAll | kLarge, 2);
  EXPECT_EQ(Read(0x40'0020'0000 + kData), kMark);
}

TEST_F(Paging4LevelTest, MapsPagesOf1GByte) {
  Map(0x40'4000'0000, 0 | kAll | kLarge, 3);
  EXPECT_EQ(Read(0x40'4000'0000 + kData + kPageSize), kMark + 1);
}

TEST_F(Paging4LevelTest, IndexesEachTableByItsNineBits) {
  constexpr uint64_t kHigh = 0xFFFF'8123'4567'8000;
  Map(kHigh, kData | kAll);
  EXPECT_EQ(Read(kHigh), kMark);
}

TEST_F(Paging4LevelTest, AnEntryThatIsNotPresentFaultsAtEachLevel) {
  for (unsigned level = 1; level <= 4; ++level) {
    Map(kLinear, kData | kAll);
    RemoveFromEntry(level, kLinear, kP);
    EXPECT_FALSE(Read(kLinear)) << level;
    ExpectPageFault(0);
    EXPECT_EQ(fault_->linear, kLinear);
  }
}

TEST_F(Paging4LevelTest, ReservedBitsOfAnAbsentEntryDoNotCount) {
  Map(kLinear, kData | kBeyondWidth);
  EXPECT_FALSE(Read(kLinear));
  ExpectPageFault(0);
}

TEST_F(Paging4LevelTest, AddressBitsBeyondTheWidthAreReservedAtEachLevel) {
  for (unsigned level = 1; level <= 4; ++level) {
    Map(kLinear, kData | kAll);
    AddToEntry(level, kLinear, kBeyondWidth);
    EXPECT_FALSE(Read(kLinear)) << level;
    ExpectPageFault(kReservedCode);
  }
}

TEST_F(Paging4LevelTest, TheHighestAddressBitIsNotReserved) {
  Map(kLinear, uint64_t{1} << 39 | kAll);
  EXPECT_EQ(Read(kLinear), ~uint64_t{0});
}

TEST_F(Paging4LevelTest, Bits62To52AreIgnored) {
  for (unsigned level = 1; level <= 4; ++level) {
    Map(kLinear, kData | kAll);
    AddToEntry(level, kLinear, 0x7FF0'0000'0000'0000);
    EXPECT_TRUE(Read(kLinear)) << level;
  }
}

TEST_F(Paging4LevelTest, Bit7OfAPml4eIsReserved) {
  Map(kLinear, kData | kAll);
  AddToEntry(4, kLinear, kLarge);
  EXPECT_FALSE(Read(kLinear));
  ExpectPageFault(kReservedCode);
}

TEST_F(Paging4LevelTest, Bit7OfAPteIsThePat) {
  Map(kLinear, kData | kAll | kLarge);
  EXPECT_EQ(Read(kLinear), kMark);
}

TEST_F(Paging4LevelTest, BitsBelowALargePageAreReservedButForThePat) {
  Map(0x40'0020'0000, kAll | kLarge | uint64_t{1} << 13, 2);
  EXPECT_FALSE(Read(0x40'0020'0000));
  ExpectPageFault(kReservedCode);
  Map(0x40'0020'0000, kAll | kLarge | uint64_t{1} << 20, 2);
  EXPECT_FALSE(Read(0x40'0020'0000));
  Map(0x40'0020'0000, kAll | kLarge | uint64_t{1} << 12, 2);
  EXPECT_TRUE(Read(0x40'0020'0000));
  Map(0x40'4000'0000, kAll | kLarge | uint64_t{1} << 29, 3);
  EXPECT_FALSE(Read(0x40'4000'0000));
  ExpectPageFault(kReservedCode);
  Map(0x40'4000'0000, kAll | kLarge | uint64_t{1} << 30, 3);
  EXPECT_TRUE(Read(0x40'4000'0000));
}

TEST_F(Paging4LevelTest, Bit63IsReservedWithoutNxe) {
  context_.efer &= ~Efer::kNxe;
  for (unsigned level = 1; level <= 4; ++level) {
    Map(kLinear, kData | kAll);
    AddToEntry(level, kLinear, kNx);
    EXPECT_FALSE(Read(kLinear)) << level;
    ExpectPageFault(kReservedCode);
  }
}

TEST_F(Paging4LevelTest, ATableThatNothingAnswersForHasReservedBits) {
  context_.cr3 = 0x8000'0000;
  EXPECT_FALSE(Read(kLinear));
  ExpectPageFault(kReservedCode);
}

TEST_F(Paging4LevelTest, TheLowBitsOfCr3AreNoAddress) {
  Map(kLinear, kData | kAll);
  context_.cr3 |= 0x18;  // PWT, PCD
  EXPECT_EQ(Read(kLinear), kMark);
}

TEST_F(Paging4LevelTest, NonCanonicalAddressesAreNoPageFaults) {
  for (uint64_t linear : {uint64_t{1} << 47, 0xFFFF'7FFF'FFFF'F000}) {
    EXPECT_FALSE(Read(linear));
    ASSERT_TRUE(fault_);
    EXPECT_EQ(fault_->kind, TranslationFault::Kind::kNotCanonical);
    EXPECT_EQ(fault_->linear, linear);
  }
}

// --- Accessed and dirty flags: 5.8 "Accessed and Dirty Flags"

TEST_F(Paging4LevelTest, AReadSetsTheAccessedFlagsOfAllEntries) {
  Map(kLinear, kData | kAll);
  Read(kLinear);
  for (unsigned level = 1; level <= 4; ++level) {
    EXPECT_EQ(Get(EntryAt(level, kLinear)) & (kA | kD), kA) << level;
  }
}

TEST_F(Paging4LevelTest, AWriteSetsTheDirtyFlagOfTheLastEntryOnly) {
  Map(kLinear, kData | kAll);
  Write(kLinear);
  EXPECT_EQ(Get(EntryAt(1, kLinear)) & (kA | kD), kA | kD);
  EXPECT_EQ(Get(EntryAt(2, kLinear)) & (kA | kD), kA);
}

TEST_F(Paging4LevelTest, AFetchSetsNoDirtyFlag) {
  Map(kLinear, kData | kAll);
  EXPECT_TRUE(Fetch(kLinear));
  EXPECT_EQ(Get(EntryAt(1, kLinear)) & (kA | kD), kA);
}

TEST_F(Paging4LevelTest, AWriteAfterAReadSetsTheDirtyFlag) {
  Map(kLinear, kData | kAll);
  Read(kLinear);
  Write(kLinear);
  EXPECT_EQ(Get(EntryAt(1, kLinear)) & kD, kD);
}

TEST_F(Paging4LevelTest, AFaultSetsNoFlags) {
  Map(kLinear, kData | kP | kU);
  EXPECT_FALSE(Write(kLinear));
  for (unsigned level = 1; level <= 4; ++level) {
    EXPECT_EQ(Get(EntryAt(level, kLinear)) & (kA | kD), 0u) << level;
  }
}

TEST_F(Paging4LevelTest, TheFlagsOfALargePageAreInItsEntry) {
  Map(0x40'0020'0000, kAll | kLarge, 2);
  Write(0x40'0020'0000 + kData);
  EXPECT_EQ(Get(EntryAt(2, 0x40'0020'0000)) & (kA | kD), kA | kD);
}

// --- 5-level paging

class Paging5LevelTest : public MmuTest {
 protected:
  static constexpr uint64_t kLinear57 = 0x0055'1234'5678'9000;
  Paging5LevelTest() {
    context_.cr4 |= Cr4::kLa57;
    context_.cr3 = Table(5);
    Map(kLinear57, kData | kAll, 1, 5);
  }
};

TEST_F(Paging5LevelTest, MapsLinearAddressesOf57Bits) {
  EXPECT_EQ(Read(kLinear57), kMark);
  EXPECT_EQ(Get(EntryAt(5, kLinear57)) & kA, kA);
}

TEST_F(Paging5LevelTest, Bit7OfAPml5eIsReserved) {
  AddToEntry(5, kLinear57, kLarge);
  EXPECT_FALSE(Read(kLinear57));
  ExpectPageFault(kReservedCode);
}

TEST_F(Paging5LevelTest, AnAbsentPml5eFaults) {
  RemoveFromEntry(5, kLinear57, kP);
  EXPECT_FALSE(Read(kLinear57));
  ExpectPageFault(0);
}

TEST_F(Paging5LevelTest, CanonicalAddressesHave57Bits) {
  EXPECT_FALSE(Read(uint64_t{1} << 56));
  ASSERT_TRUE(fault_);
  EXPECT_EQ(fault_->kind, TranslationFault::Kind::kNotCanonical);
}

// --- PAE paging

class PaePagingTest : public MmuTest {
 protected:
  static constexpr uint64_t kLinear32 = 0xC040'3000;
  PaePagingTest() {
    context_.efer = Efer::kNxe;
    context_.cr3 = 0;  // the PDPTEs are registers
    context_.pdptes = {0, 0, 0, Table(2) | kP};
    Map(kLinear32, kData | kAll, 1, 2);
  }
};

TEST_F(PaePagingTest, BeginsAtThePdpteOfBits31And30) {
  EXPECT_EQ(Read(kLinear32), kMark);
  EXPECT_FALSE(Read(kLinear32 & 0x3FFF'FFFF));
  ExpectPageFault(0);
}

TEST_F(PaePagingTest, MapsPagesOf2MBytes) {
  Map(0xC020'0000, kAll | kLarge, 2, 2);
  EXPECT_EQ(Read(0xC020'0000 + kData), kMark);
}

TEST_F(PaePagingTest, Bits62To52AreReserved) {
  for (unsigned level = 1; level <= 2; ++level) {
    for (unsigned bit : {52u, 62u}) {
      Map(kLinear32, kData | kAll, 1, 2);
      AddToEntry(level, kLinear32, uint64_t{1} << bit);
      EXPECT_FALSE(Read(kLinear32)) << level << ' ' << bit;
      ExpectPageFault(kReservedCode);
    }
  }
}

TEST_F(PaePagingTest, Bit63IsReservedWithoutNxe) {
  AddToEntry(1, kLinear32, kNx);
  EXPECT_TRUE(Read(kLinear32));
  context_.efer = 0;
  mmu_.tlb().Clear();
  EXPECT_FALSE(Read(kLinear32));
  ExpectPageFault(kReservedCode);
}

TEST_F(PaePagingTest, SetsAccessedAndDirtyFlags) {
  Write(kLinear32);
  EXPECT_EQ(Get(EntryAt(1, kLinear32)) & (kA | kD), kA | kD);
  EXPECT_EQ(Get(EntryAt(2, kLinear32)) & (kA | kD), kA);
}

TEST_F(PaePagingTest, LinearAddressesHave32Bits) {
  EXPECT_EQ(Read(kLinear32 | uint64_t{7} << 32), kMark);
}

// --- Loading PDPTEs: 5.4.1 "PDPTE Registers"

TEST_F(PaePagingTest, LoadsFourPdptesFromA32ByteAlignedTable) {
  const uint64_t table = kData + 0x120;
  for (uint64_t i = 0; i < 4; ++i) Put<uint64_t>(table + 8 * i, kWindow | i << 12 | kP);
  const auto load = mmu_.LoadPdptes(context_, table | 0x18);
  EXPECT_FALSE(load.fault);
  EXPECT_FALSE(load.reserved_bits);
  EXPECT_EQ(load.pdptes[3], kWindow | uint64_t{3} << 12 | kP);
}

TEST_F(PaePagingTest, PdptesHaveReservedBits) {
  for (unsigned bit : {1u, 2u, 5u, 6u, 7u, 8u, 40u, 63u}) {
    Put<uint64_t>(kData + 8, kP | uint64_t{1} << bit);
    EXPECT_TRUE(mmu_.LoadPdptes(context_, kData).reserved_bits) << bit;
  }
  for (unsigned bit : {3u, 4u, 9u, 11u, 12u, 39u}) {
    Put<uint64_t>(kData, 0);
    Put<uint64_t>(kData + 8, kP | uint64_t{1} << bit);
    EXPECT_FALSE(mmu_.LoadPdptes(context_, kData).reserved_bits) << bit;
  }
}

TEST_F(PaePagingTest, ReservedBitsOfAnAbsentPdpteDoNotCount) {
  Put<uint64_t>(kData, ~kP);
  EXPECT_FALSE(mmu_.LoadPdptes(context_, kData).reserved_bits);
}

// --- 32-bit paging

class Paging32BitTest : public MmuTest {
 protected:
  static constexpr uint64_t kLinear32 = 0x8040'3000;
  static constexpr uint64_t kPde = kTables + (kLinear32 >> 22) * 4;
  static constexpr uint64_t kPageTable = kTables + kPageSize;
  static constexpr uint64_t kPte = kPageTable + (kLinear32 >> 12 & 0x3FF) * 4;
  Paging32BitTest() {
    context_.efer = 0;
    context_.cr4 = Cr4::kPse;
    context_.cr3 = kTables;
    Put<uint32_t>(kPde, kPageTable | kAll);
    Put<uint32_t>(kPte, kData | kAll);
  }
};

TEST_F(Paging32BitTest, MapsPagesOf4KBytes) { EXPECT_EQ(Read(kLinear32), kMark); }

TEST_F(Paging32BitTest, AbsentEntriesFault) {
  Put<uint32_t>(kPte, kData);
  EXPECT_FALSE(Read(kLinear32));
  ExpectPageFault(0);
  Put<uint32_t>(kPde, kPageTable);
  EXPECT_FALSE(Read(kLinear32));
  ExpectPageFault(0);
}

TEST_F(Paging32BitTest, MapsPagesOf4MBytes) {
  Put<uint32_t>(kPde, kAll | kLarge);
  EXPECT_EQ(Read((kLinear32 & ~0x3F'FFFF) + kData), kMark);
}

TEST_F(Paging32BitTest, APageOf4MBytesCanLieAbove4GBytes) {
  // Bits 20:13 of the entry are bits 39:32 of the address.
  Put<uint32_t>(kPde, kAll | kLarge | 0xC0'0000 | 0x81 << 13);
  EXPECT_EQ(Translate(kLinear32, AccessKind::kRead),
            uint64_t{0x81} << 32 | 0xC0'0000 | (kLinear32 & 0x3F'FFFF));
}

TEST_F(Paging32BitTest, Bit21OfA4MBytePageIsReserved) {
  Put<uint32_t>(kPde, kAll | kLarge | 1 << 21);
  EXPECT_FALSE(Read(kLinear32));
  ExpectPageFault(kReservedCode);
}

TEST_F(Paging32BitTest, Bit21OfThePageTablesAddressIsNotReserved) {
  // Nothing answers there: the entry is all ones, and 32-bit paging reserves none of its bits.
  Put<uint32_t>(kPde, 1 << 21 | kAll);
  EXPECT_EQ(Translate(kLinear32 + 5, AccessKind::kRead), 0xFFFF'F005u);
}

TEST_F(Paging32BitTest, AddressBitsOfA4MBytePageBeyondTheWidthAreReserved) {
  capabilities_.physical_address_width = 36;
  Put<uint32_t>(kPde, kAll | kLarge | 1 << 17);
  EXPECT_FALSE(Read(kLinear32));
  ExpectPageFault(kReservedCode);
  Put<uint32_t>(kPde, kAll | kLarge | 1 << 16);
  EXPECT_TRUE(Read(kLinear32));
}

TEST_F(Paging32BitTest, WithoutPseBit7OfAPdeIsIgnored) {
  context_.cr4 = 0;
  Put<uint32_t>(kPde, kPageTable | kAll | kLarge);
  EXPECT_EQ(Read(kLinear32), kMark);
}

TEST_F(Paging32BitTest, FlagsAreSetInEntriesOf4Bytes) {
  Put<uint32_t>(kPte + 4, 0x1111);
  Put<uint32_t>(kPde + 4, 0x2222);
  Write(kLinear32);
  EXPECT_EQ(Get<uint32_t>(kPte), kData | kAll | kA | kD);
  EXPECT_EQ(Get<uint32_t>(kPde), kPageTable | kAll | kA);
  EXPECT_EQ(Get<uint32_t>(kPte + 4), 0x1111u);
  EXPECT_EQ(Get<uint32_t>(kPde + 4), 0x2222u);
}

}  // namespace
}  // namespace nvmx::sim
