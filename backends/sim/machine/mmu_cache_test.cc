// SPDX-License-Identifier: Apache-2.0
//
// What the processor goes on using after it has changed in memory, and until when. SDM Vol.
// 3A, 5.10 "Caching Translation Information"; Vol. 3C, 29.4 "Caching Translation Information".
#include "backends/sim/machine/testing/mmu_fixture.h"

namespace nvmx::sim {
namespace {

class CacheTest : public MmuTest {
 protected:
  CacheTest() { Map(kLinear, kData | kAll); }
  // Another page where the first was.
  void Remap(uint64_t linear = kLinear) { SetEntry(1, linear, (kData + kPageSize) | kAll); }
  static constexpr uint64_t kOld = kMark, kNew = kMark + 1;
};

TEST_F(CacheTest, AMappingIsUsedUntilItIsDropped) {
  EXPECT_EQ(Read(kLinear), kOld);
  Remap();
  EXPECT_EQ(Read(kLinear), kOld);
  mmu_.tlb().DropPage(0, 0, kLinear);
  EXPECT_EQ(Read(kLinear), kNew);
}

TEST_F(CacheTest, AMappingOutlivesItsPresentBit) {
  EXPECT_EQ(Read(kLinear), kOld);
  SetEntry(1, kLinear, 0);
  EXPECT_EQ(Read(kLinear), kOld);
}

TEST_F(CacheTest, AWriteThatHasADirtyFlagToSetWalks) {
  EXPECT_EQ(Read(kLinear), kOld);
  SetEntry(1, kLinear, 0);
  EXPECT_FALSE(Write(kLinear));
  ExpectPageFault(2);
}

TEST_F(CacheTest, ADirtyMappingIsWrittenThroughWithoutAWalk) {
  EXPECT_TRUE(Write(kLinear, 1));
  SetEntry(1, kLinear, 0);
  EXPECT_TRUE(Write(kLinear, 2));
  EXPECT_EQ(Get(kData), 2u);
}

TEST_F(CacheTest, AnAbsentPageIsNotRemembered) {
  SetEntry(1, kLinear, 0);
  EXPECT_FALSE(Read(kLinear));
  Remap();
  EXPECT_EQ(Read(kLinear), kNew);
}

TEST_F(CacheTest, APageFaultOfACachedMappingDropsIt) {
  Map(kLinear, kData | kP | kU);
  EXPECT_EQ(Read(kLinear), kOld);
  SetEntry(1, kLinear, kData | kAll);  // the right is there now
  EXPECT_FALSE(Write(kLinear));        // spurious
  ExpectPageFault(3);
  EXPECT_TRUE(Write(kLinear));
}

TEST_F(CacheTest, EvictingAtOnceSeesEachChange) {
  mmu_.KeepTranslations(false);
  EXPECT_EQ(Read(kLinear), kOld);
  Remap();
  EXPECT_EQ(Read(kLinear), kNew);
  EXPECT_EQ(mmu_.tlb().size(), 0u);
}

TEST_F(CacheTest, ChangingTheModeForgets) {
  EXPECT_EQ(Read(kLinear), kOld);
  Remap();
  mmu_.KeepTranslations(true);
  EXPECT_EQ(Read(kLinear), kNew);
}

TEST_F(CacheTest, EachVpidHasItsOwn) {
  EXPECT_EQ(Read(kLinear), kOld);
  Remap();
  context_.vpid = 5;
  EXPECT_EQ(Read(kLinear), kNew);
  context_.vpid = 0;
  EXPECT_EQ(Read(kLinear), kOld);
}

TEST_F(CacheTest, EachPcidHasItsOwnIfPcidsAreOn) {
  EXPECT_EQ(Read(kLinear), kOld);
  Remap();
  context_.cr3 |= 7;
  EXPECT_EQ(Read(kLinear), kOld);  // bits 11:0 are no PCID
  context_.cr4 |= Cr4::kPcide;
  EXPECT_EQ(Read(kLinear), kNew);
  context_.cr3 &= ~uint64_t{7};
  EXPECT_EQ(Read(kLinear), kOld);
}

TEST_F(CacheTest, GlobalPagesAreThereForAllPcids) {
  SetEntry(1, kLinear, kData | kAll | kG);
  context_.cr4 |= Cr4::kPcide;
  EXPECT_EQ(Read(kLinear), kOld);
  Remap();
  context_.cr3 |= 7;
  EXPECT_EQ(Read(kLinear), kOld);
  mmu_.tlb().DropPcid(0, 7);
  EXPECT_EQ(Read(kLinear), kOld);
  mmu_.tlb().DropVpid(0, false);
  EXPECT_EQ(Read(kLinear), kNew);
}

TEST_F(CacheTest, WithoutPgeNoPageIsGlobal) {
  context_.cr4 = Cr4::kPae | Cr4::kPcide;
  SetEntry(1, kLinear, kData | kAll | kG);
  EXPECT_EQ(Read(kLinear), kOld);
  Remap();
  context_.cr3 |= 7;
  EXPECT_EQ(Read(kLinear), kNew);
}

TEST_F(CacheTest, ALargePageIsRememberedWhole) {
  constexpr uint64_t kLargeLinear = 0x40'0020'0000;
  Map(kLargeLinear, kAll | kLarge, 2);
  EXPECT_EQ(Read(kLargeLinear + kData), kOld);
  SetEntry(2, kLargeLinear, 0);
  EXPECT_EQ(Read(kLargeLinear + kData + kPageSize), kNew);
  mmu_.tlb().DropPage(0, 0, kLargeLinear);
  EXPECT_FALSE(Read(kLargeLinear + kData));
}

// --- With EPT

class EptCacheTest : public CacheTest {
 protected:
  static constexpr uint64_t kEp4ta = EptTable(4);
  EptCacheTest() {
    UseEpt();
    Map(kLinear, kGuestPhysical | kAll);
    context_.vpid = 3;
  }
  void RemapEpt() { SetEptEntry(1, kGuestPhysical, (kData + kPageSize) | kRwx | kWb); }
};

TEST_F(EptCacheTest, ACombinedMappingOutlivesAChangeOfEpt) {
  EXPECT_EQ(Read(kLinear), kOld);
  RemapEpt();
  EXPECT_EQ(Read(kLinear), kOld);
  mmu_.tlb().DropEp4ta(kEp4ta);
  EXPECT_EQ(Read(kLinear), kNew);
}

TEST_F(EptCacheTest, AGuestPhysicalMappingOutlivesTheInvalidationOfAVpid) {
  EXPECT_EQ(Read(kLinear), kOld);
  RemapEpt();
  mmu_.tlb().DropVpid(3, false);
  EXPECT_EQ(Read(kLinear), kOld);
  mmu_.tlb().DropAllEp4tas();
  EXPECT_EQ(Read(kLinear), kNew);
}

TEST_F(EptCacheTest, AGuestPhysicalMappingServesOtherLinearAddresses) {
  EXPECT_EQ(Read(kLinear), kOld);
  RemapEpt();
  Map(kLinear2, kGuestPhysical | kAll);
  EXPECT_EQ(Read(kLinear2), kOld);
}

TEST_F(EptCacheTest, DroppingAVpidShowsAChangeOfPaging) {
  EXPECT_EQ(Read(kLinear), kOld);
  Remap();
  EXPECT_EQ(Read(kLinear), kOld);
  mmu_.tlb().DropVpid(3, false);
  EXPECT_EQ(Read(kLinear), kNew);
}

TEST_F(EptCacheTest, AMappingMadeWithoutEptIsNotUsedWithIt) {
  EXPECT_EQ(Read(kLinear), kOld);
  context_.ept = false;
  Remap();
  EXPECT_EQ(Read(kLinear), kNew);
  context_.ept = true;
  EXPECT_EQ(Read(kLinear), kOld);
}

TEST_F(EptCacheTest, TheFlagsAndTheLengthOfThePointerAreNoTag) {
  EXPECT_EQ(Read(kLinear), kOld);
  RemapEpt();
  context_.eptp ^= Eptp::kAccessedAndDirty;
  EXPECT_EQ(Read(kLinear), kOld);
}

// An upper entry has changed, and a page that was never used is reached: what is remembered of the
// table leads there all the same. SDM Vol. 3C, 29.4.1 "Information That May Be Cached",
// guest-physical paging-structure-cache entries.
TEST_F(EptCacheTest, ATableOfEptIsRemembered) {
  EXPECT_EQ(Read(kLinear), kOld);
  Map(kLinear2, (kGuestPhysical + kPageSize) | kAll);
  MapEpt(kGuestPhysical + kPageSize, (kData + kPageSize) | kRwx | kWb);
  SetEptEntry(2, kGuestPhysical, 0);
  EXPECT_EQ(Read(kLinear2), kNew);
  mmu_.tlb().DropEp4ta(kEp4ta);
  EXPECT_FALSE(Read(kLinear2));
}

TEST_F(EptCacheTest, ATableOfEptIsRememberedForHighAddressesToo) {
  constexpr uint64_t kHigh = 0x81'4000'0000;
  Map(kLinear, kHigh | kAll);
  Map(kLinear2, (kHigh + kPageSize) | kAll);
  MapEpt(kHigh, kData | kRwx | kWb);
  MapEpt(kHigh + kPageSize, (kData + kPageSize) | kRwx | kWb);
  context_.eptp = EptTable(5) | uint64_t{4} << Eptp::kWalkLengthShift | 6;
  capabilities_.physical_address_width = 46;
  EXPECT_EQ(Read(kLinear), kOld);
  EXPECT_EQ(Read(kLinear2), kNew);
}

TEST_F(EptCacheTest, APageOf1GByteLeavesNoTableBehind) {
  Map(kLinear, 0x4000'0000 + kData | kAll);
  MapEpt(0x4000'0000, kRwx | kWb | EptEntry::kLarge, 3);
  EXPECT_EQ(Read(kLinear), kOld);
  SetEptEntry(3, 0x4000'0000, 0);
  Map(kLinear2, 0x4000'0000 + kData + kPageSize | kAll);
  EXPECT_EQ(Read(kLinear2), kNew);  // the page itself is remembered
  mmu_.tlb().DropGuestPhysical(kEp4ta, 0x4000'0000);
  mmu_.tlb().DropVpid(3, false);
  EXPECT_FALSE(Read(kLinear2));
}

// 5.10.4.1: a page fault drops all of the page, also where EPT has made pieces of it.
TEST_F(EptCacheTest, APageFaultDropsAllPiecesOfTheLargePage) {
  constexpr uint64_t kLargeLinear = 0x40'0020'0000;
  Map(kLargeLinear, kAll | kLarge, 2);
  EXPECT_EQ(Read(kLargeLinear + kData), kOld);
  EXPECT_EQ(Read(kLargeLinear + kData + kPageSize), kNew);
  SetEntry(2, kLargeLinear, 0);
  EXPECT_FALSE(Write(kLargeLinear + kData));  // to set the dirty flag, it walks
  EXPECT_FALSE(Read(kLargeLinear + kData + kPageSize));
}

TEST_F(EptCacheTest, EvictingAtOnceConcernsPdptesToo) {
  mmu_.KeepTranslations(false);
  EXPECT_FALSE(mmu_.LoadPdptes(context_, kGuestPhysical).fault);
  EXPECT_EQ(mmu_.tlb().size(), 0u);
}

TEST_F(EptCacheTest, ATableOfEptKeepsThePermissionsOfTheWay) {
  RemoveFromEptEntry(3, kGuestPhysical, kX);
  EXPECT_EQ(Read(kLinear), kOld);
  AddToEptEntry(3, kGuestPhysical, kX);
  Map(kLinear2, (kGuestPhysical + kPageSize) | kAll);
  MapEpt(kGuestPhysical + kPageSize, (kData + kPageSize) | kRwx | kWb);
  EXPECT_FALSE(Fetch(kLinear2));  // spurious: it drops the table
  EXPECT_TRUE(Fetch(kLinear2));
}

// 29.4.3.1: a violation drops the guest-physical mappings and the combined one of its access.
TEST_F(EptCacheTest, AViolationDropsWhatCausedIt) {
  RemoveFromEptEntry(1, kGuestPhysical, kEptW);
  EXPECT_EQ(Read(kLinear), kOld);
  AddToEptEntry(1, kGuestPhysical, kEptW);
  EXPECT_FALSE(Write(kLinear));  // spurious: the guest-physical mapping is an old one
  EXPECT_EQ(fault_->kind, TranslationFault::Kind::kEptViolation);
  EXPECT_TRUE(Write(kLinear));
}

TEST_F(EptCacheTest, AnAbsentPageOfEptIsNotRemembered) {
  SetEptEntry(1, kGuestPhysical, 0);
  EXPECT_FALSE(Read(kLinear));
  RemapEpt();
  EXPECT_EQ(Read(kLinear), kNew);
}

TEST_F(EptCacheTest, AMisconfiguredEntryIsNotRemembered) {
  AddToEptEntry(1, kGuestPhysical, uint64_t{1} << 45);
  EXPECT_FALSE(Read(kLinear));
  RemapEpt();
  EXPECT_EQ(Read(kLinear), kNew);
}

TEST_F(EptCacheTest, WithoutPagingGuestPhysicalMappingsAreUsed) {
  EXPECT_EQ(Read(kLinear), kOld);
  RemapEpt();
  context_.cr0 = Cr0::kPe;
  context_.efer = 0;
  EXPECT_EQ(Read(kGuestPhysical), kOld);
  mmu_.tlb().DropVpid(3, false);
  EXPECT_EQ(Read(kGuestPhysical), kOld);
  mmu_.tlb().DropEp4ta(kEp4ta);
  EXPECT_EQ(Read(kGuestPhysical), kNew);
}

TEST_F(EptCacheTest, EvictingAtOnceSeesEachChange) {
  mmu_.KeepTranslations(false);
  EXPECT_EQ(Read(kLinear), kOld);
  RemapEpt();
  EXPECT_EQ(Read(kLinear), kNew);
  SetEptEntry(2, kGuestPhysical, 0);
  EXPECT_FALSE(Read(kLinear));
}

}  // namespace
}  // namespace nvmx::sim
