// SPDX-License-Identifier: Apache-2.0
//
// SDM Vol. 3C, 29.3.5 "Accessed and Dirty Flags for EPT"; 29.3.6 "Page-Modification Logging".
#include "backends/sim/machine/testing/mmu_fixture.h"

namespace nvmx::sim {
namespace {

constexpr uint64_t kEptA = EptEntry::kAccessed;
constexpr uint64_t kEptD = EptEntry::kDirty;
constexpr uint64_t kEptFlags = kEptA | kEptD;

class EptFlagsTest : public MmuTest {
 protected:
  EptFlagsTest() {
    UseEpt(Eptp::kAccessedAndDirty);
    Map(kLinear, kGuestPhysical | kAll | kA | kD);
    for (unsigned level = 2; level <= 4; ++level) AddToEntry(level, kLinear, kA);
  }
  uint64_t Flags(unsigned level, uint64_t guest_physical) const {
    return Get(EptEntryAt(level, guest_physical)) & kEptFlags;
  }
  void Forget() { mmu_.tlb().Clear(); }
};

TEST_F(EptFlagsTest, WithoutTheEnableBitNothingIsSet) {
  context_.eptp = Eptp4Level();
  EXPECT_TRUE(Write(kLinear));
  for (unsigned level = 1; level <= 4; ++level) EXPECT_EQ(Flags(level, kGuestPhysical), 0u);
}

TEST_F(EptFlagsTest, AReadSetsTheAccessedFlagsOfAllEntries) {
  EXPECT_TRUE(Read(kLinear));
  for (unsigned level = 1; level <= 4; ++level) {
    EXPECT_EQ(Flags(level, kGuestPhysical), kEptA) << level;
  }
}

TEST_F(EptFlagsTest, AFetchSetsNoDirtyFlag) {
  EXPECT_TRUE(Fetch(kLinear));
  EXPECT_EQ(Flags(1, kGuestPhysical), kEptA);
}

TEST_F(EptFlagsTest, AWriteSetsTheDirtyFlagOfTheLastEntryOnly) {
  EXPECT_TRUE(Write(kLinear));
  EXPECT_EQ(Flags(1, kGuestPhysical), kEptFlags);
  for (unsigned level = 2; level <= 4; ++level) {
    EXPECT_EQ(Flags(level, kGuestPhysical), kEptA) << level;
  }
}

TEST_F(EptFlagsTest, AWriteAfterAReadSetsTheDirtyFlag) {
  EXPECT_TRUE(Read(kLinear));
  EXPECT_TRUE(Write(kLinear));
  EXPECT_EQ(Flags(1, kGuestPhysical), kEptFlags);
}

TEST_F(EptFlagsTest, TheFlagsOfALargePageAreInItsEntry) {
  MapEpt(0x20'0000, kRwx | kWb | EptEntry::kLarge, 2);
  Map(kLinear2, 0x20'0000 + kData | kAll);
  EXPECT_TRUE(Write(kLinear2));
  EXPECT_EQ(Flags(2, 0x20'0000), kEptFlags);
}

TEST_F(EptFlagsTest, AccessesToPagingStructuresCountAsWrites) {
  EXPECT_TRUE(Read(kLinear));
  for (unsigned level = 1; level <= 4; ++level) {
    EXPECT_EQ(Flags(1, Table(level)), kEptFlags) << level;
  }
}

TEST_F(EptFlagsTest, AnAccessToAReadOnlyPagingStructureIsAViolationOfReadAndWrite) {
  RemoveFromEptEntry(1, Table(2), kEptW);
  EXPECT_FALSE(Read(kLinear));
  ExpectEptViolation(EntryAt(2, kLinear), EptViolation::kRead | EptViolation::kWrite |
                                              EptViolation::kReadable | EptViolation::kExecutable |
                                              EptViolation::kLinearAddressValid);
}

TEST_F(EptFlagsTest, AViolationSetsNoFlags) {
  RemoveFromEptEntry(1, kGuestPhysical, kEptW);
  EXPECT_FALSE(Write(kLinear));
  EXPECT_EQ(Flags(1, kGuestPhysical), 0u);
}

TEST_F(EptFlagsTest, APageFaultLeavesTheFlagsOfThePagingStructures) {
  SetEntry(1, kLinear, 0);
  EXPECT_FALSE(Read(kLinear));
  EXPECT_EQ(Flags(1, Table(1)), kEptFlags);
  EXPECT_EQ(Flags(1, kGuestPhysical), 0u);
}

TEST_F(EptFlagsTest, APdpteLoadIsARead) {
  EXPECT_FALSE(mmu_.LoadPdptes(context_, kGuestPhysical).fault);
  EXPECT_EQ(Flags(1, kGuestPhysical), kEptA);
}

// --- Page-modification logging

class PageModificationLogTest : public EptFlagsTest {
 protected:
  static constexpr uint16_t kIndex = 300;
  PageModificationLogTest() {
    context_.page_modification_log = true;
    context_.log_address = kLog;
    mmu_.log_index = kIndex;
    // What the walk itself would log is dirty already.
    EXPECT_TRUE(Read(kLinear));
    Forget();
    mmu_.log_index = kIndex;
  }
  uint64_t Logged(uint16_t index) const { return Get(kLog + 8 * index); }
  void ExpectLogFull() {
    ASSERT_TRUE(fault_);
    EXPECT_EQ(fault_->kind, TranslationFault::Kind::kPageModificationLogFull);
  }
};

TEST_F(PageModificationLogTest, AWriteThatSetsADirtyFlagIsLogged) {
  EXPECT_TRUE(Write(kLinear + 0x123));
  EXPECT_EQ(Logged(kIndex), kGuestPhysical);
  EXPECT_EQ(mmu_.log_index, kIndex - 1);
}

TEST_F(PageModificationLogTest, ASecondWriteIsNotLogged) {
  EXPECT_TRUE(Write(kLinear));
  EXPECT_TRUE(Write(kLinear));
  Forget();
  EXPECT_TRUE(Write(kLinear));
  EXPECT_EQ(mmu_.log_index, kIndex - 1);
}

TEST_F(PageModificationLogTest, ReadsAreNotLogged) {
  RemoveFromEptEntry(1, kGuestPhysical, kEptA);
  EXPECT_TRUE(Read(kLinear));
  EXPECT_EQ(Flags(1, kGuestPhysical), kEptA);
  EXPECT_EQ(mmu_.log_index, kIndex);
}

TEST_F(PageModificationLogTest, AccessesToPagingStructuresAreLogged) {
  RemoveFromEptEntry(1, Table(3), kEptD);
  EXPECT_TRUE(Read(kLinear));
  EXPECT_EQ(Logged(kIndex), Table(3));
  EXPECT_EQ(mmu_.log_index, kIndex - 1);
}

TEST_F(PageModificationLogTest, TheIndexGoesFrom0ToFfff) {
  mmu_.log_index = 0;
  EXPECT_TRUE(Write(kLinear));
  EXPECT_EQ(Logged(0), kGuestPhysical);
  EXPECT_EQ(mmu_.log_index, 0xFFFF);
}

TEST_F(PageModificationLogTest, AFullLogStopsAWriteBeforeTheFlag) {
  for (uint16_t index : {512, 0xFFFF}) {
    mmu_.log_index = index;
    EXPECT_FALSE(Write(kLinear));
    ExpectLogFull();
    EXPECT_EQ(Flags(1, kGuestPhysical), kEptA);
    EXPECT_EQ(mmu_.log_index, index);
    EXPECT_EQ(Get(kData), kMark);
  }
  mmu_.log_index = 511;
  EXPECT_TRUE(Write(kLinear));
  EXPECT_EQ(Logged(511), kGuestPhysical);
}

TEST_F(PageModificationLogTest, AFullLogStopsAnAccessedFlagToo) {
  mmu_.log_index = 512;
  RemoveFromEptEntry(1, kGuestPhysical, kEptA);
  EXPECT_FALSE(Read(kLinear));
  ExpectLogFull();
  EXPECT_EQ(Flags(1, kGuestPhysical), 0u);
}

TEST_F(PageModificationLogTest, AFullLogDoesNotStopWhatSetsNoFlag) {
  EXPECT_TRUE(Write(kLinear));
  Forget();
  mmu_.log_index = 512;
  EXPECT_TRUE(Write(kLinear));
}

TEST_F(PageModificationLogTest, WithoutFlagsForEptNothingIsLogged) {
  context_.eptp = Eptp4Level();
  EXPECT_TRUE(Write(kLinear));
  EXPECT_EQ(mmu_.log_index, kIndex);
}

}  // namespace
}  // namespace nvmx::sim
