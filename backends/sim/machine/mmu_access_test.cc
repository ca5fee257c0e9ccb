// SPDX-License-Identifier: Apache-2.0
//
// Accesses of several bytes, accesses without a trace, and the APIC-access page.
#include <vector>

#include "backends/sim/machine/testing/mmu_fixture.h"

namespace nvmx::sim {
namespace {

class AccessTest : public MmuTest {
 protected:
  AccessTest() {
    Map(kLinear, (kData + 2 * kPageSize) | kAll);
    Map(kLinear2, kData | kAll);
  }
  static constexpr uint64_t kCrossing = kLinear2 - 4;
};

TEST_F(AccessTest, AnAccessMayCrossPages) {
  EXPECT_TRUE(Write(kCrossing, 0x1122'3344'5566'7788));
  EXPECT_EQ(Get<uint32_t>(kData + 3 * kPageSize - 4), 0x5566'7788u);
  EXPECT_EQ(Get<uint32_t>(kData), 0x1122'3344u);
  EXPECT_EQ(Read(kCrossing), 0x1122'3344'5566'7788u);
}

TEST_F(AccessTest, NothingIsWrittenIfTheSecondPageFaults) {
  SetEntry(1, kLinear2, kData | kP);
  EXPECT_FALSE(Write(kCrossing));
  ExpectPageFault(3);
  EXPECT_EQ(fault_->linear, kLinear2);
  EXPECT_EQ(Get<uint32_t>(kData + 3 * kPageSize - 4), 0u);
}

TEST_F(AccessTest, ABufferIsLeftAloneIfTheSecondPageFaults) {
  SetEntry(1, kLinear2, 0);
  uint64_t value = 0xBAD;
  EXPECT_TRUE(mmu_.Read(context_, kCrossing, std::as_writable_bytes(std::span(&value, 1))));
  EXPECT_EQ(value, 0xBADu);
}

TEST_F(AccessTest, AnAccessMayCrossIntoNonCanonicalAddresses) {
  constexpr uint64_t kEnd = uint64_t{1} << 47;
  Map(kEnd - kPageSize, kData | kAll);
  EXPECT_TRUE(Read(kEnd - 8));
  EXPECT_FALSE(Read(kEnd - 4));
  ASSERT_TRUE(fault_);
  EXPECT_EQ(fault_->kind, TranslationFault::Kind::kNotCanonical);
}

TEST_F(AccessTest, WithoutLongModeAddressesWrapAt4GBytes) {
  context_.efer = Efer::kNxe;
  context_.pdptes = {Table(2) | kP, 0, 0, Table(2) | kP};
  Map(0xFFFF'F000, kData | kAll, 1, 2);
  SetEntry(2, 0, Table(1) | kAll);
  SetEntry(1, 0, (kData + kPageSize) | kAll);
  EXPECT_TRUE(Write(0xFFFF'FFFC, 0x1122'3344'5566'7788));
  EXPECT_EQ(Get<uint32_t>(kData + kPageSize), 0x1122'3344u);
}

// --- Peek

class PeekTest : public AccessTest {
 protected:
  uint64_t Peek(uint64_t linear) const {
    uint64_t value = 0xBAD;
    mmu_.Peek(context_, linear, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
};

TEST_F(PeekTest, ReadsAsReadDoes) {
  EXPECT_EQ(Peek(kLinear2), kMark);
  Write(kCrossing, 0x1122'3344'5566'7788);
  EXPECT_EQ(Peek(kCrossing), 0x1122'3344'5566'7788u);
}

TEST_F(PeekTest, KnowsAGuestPhysicalMappingWithoutPaging) {
  UseEpt(0);
  context_.cr0 &= ~Cr0::kPg;
  context_.efer = 0;
  ASSERT_TRUE(Write(kData, kMark));
  SetEptEntry(1, kData, 0);
  EXPECT_EQ(Peek(kData), kMark);
}

TEST_F(PeekTest, LeavesNoTrace) {
  UseEpt(Eptp::kAccessedAndDirty);
  SetEptEntry(1, Table(1), 0);
  Peek(kLinear2);
  SetEptEntry(1, Table(1), Table(1) | kRwx | kWb);
  EXPECT_EQ(Peek(kLinear2), kMark);
  EXPECT_EQ(mmu_.tlb().size(), 0u);
  for (unsigned level = 1; level <= 4; ++level) {
    EXPECT_EQ(Get(EntryAt(level, kLinear2)) & kA, 0u) << level;
    EXPECT_EQ(Get(EptEntryAt(1, Table(level))) & EptEntry::kAccessed, 0u) << level;
  }
}

TEST_F(PeekTest, AFullLogIsNoHindrance) {
  UseEpt(Eptp::kAccessedAndDirty);
  context_.page_modification_log = true;
  mmu_.log_index = 512;
  EXPECT_EQ(Peek(kLinear2), kMark);
}

TEST_F(PeekTest, GivesZerosWhereItWouldFault) {
  SetEntry(1, kLinear, 0);
  EXPECT_EQ(Peek(kLinear), 0u);
  EXPECT_EQ(Peek(kCrossing), (kMark & 0xFFFF'FFFF) << 32);
  EXPECT_EQ(Peek(uint64_t{1} << 47), 0u);
  context_.user = true;
  SetEntry(1, kLinear2, kData | kP);
  EXPECT_EQ(Peek(kLinear2), 0u);
}

TEST_F(PeekTest, SeesWhatIsCached) {
  EXPECT_EQ(Read(kLinear2), kMark);
  SetEntry(1, kLinear2, 0);
  EXPECT_EQ(Peek(kLinear2), kMark);
  context_.user = true;
  EXPECT_EQ(Peek(kLinear2), kMark);
}

TEST_F(PeekTest, RightsHoldForWhatIsCachedToo) {
  SetEntry(1, kLinear2, kData | kP);
  EXPECT_EQ(Read(kLinear2), kMark);
  context_.user = true;
  EXPECT_EQ(Peek(kLinear2), 0u);
}

// --- SDM Vol. 3C, 30.4 "Virtualizing Memory-Mapped APIC Accesses"

class ApicAccessTest : public AccessTest {
 protected:
  ApicAccessTest() {
    context_.virtualize_apic_accesses = true;
    context_.apic_access_address = kData;
  }
  void ExpectApicAccess(uint64_t physical, bool is_linear) {
    ASSERT_TRUE(fault_);
    EXPECT_EQ(fault_->kind, TranslationFault::Kind::kApicAccess);
    EXPECT_EQ(fault_->physical, physical);
    EXPECT_EQ(fault_->is_linear_access, is_linear);
  }
};

TEST_F(ApicAccessTest, AnAccessThatLeadsToThePageIsReported) {
  for (int round = 0; round < 2; ++round) {  // walked, then cached
    EXPECT_FALSE(Read(kLinear2 + 0x80));
    ExpectApicAccess(kData + 0x80, true);
    EXPECT_EQ(fault_->linear, kLinear2 + 0x80);
  }
  EXPECT_FALSE(Write(kLinear2));
  EXPECT_EQ(Get(kData), kMark);
  EXPECT_FALSE(Fetch(kLinear2));
  ExpectApicAccess(kData, true);
}

TEST_F(ApicAccessTest, OtherPagesAreNotConcerned) { EXPECT_TRUE(Read(kLinear)); }

TEST_F(ApicAccessTest, WithoutTheControlThePageIsMemory) {
  context_.virtualize_apic_accesses = false;
  EXPECT_EQ(Read(kLinear2), kMark);
}

TEST_F(ApicAccessTest, ItIsThePhysicalAddressThatCounts) {
  UseEpt();
  Map(kLinear, kGuestPhysical | kAll);
  EXPECT_FALSE(Read(kLinear));
  ExpectApicAccess(kData, true);
}

TEST_F(ApicAccessTest, PageFaultsComeFirst) {
  SetEntry(1, kLinear2, kData | kP);
  EXPECT_FALSE(Write(kLinear2));
  ExpectPageFault(3);
}

TEST_F(ApicAccessTest, APagingStructureThereIsAGuestPhysicalAccess) {
  UseEpt();
  context_.apic_access_address = Table(2);
  EXPECT_FALSE(Read(kLinear));
  ExpectApicAccess(EntryAt(2, kLinear), false);
}

TEST_F(ApicAccessTest, PdptesThereAreAGuestPhysicalAccess) {
  UseEpt();
  fault_ = mmu_.LoadPdptes(context_, kGuestPhysical).fault;
  ExpectApicAccess(kData, false);
}

}  // namespace
}  // namespace nvmx::sim
