// SPDX-License-Identifier: Apache-2.0
//
// L1's paging in all modes: how entries are found, what in them is reserved, who may access what,
// and the flags that an access leaves. SDM Vol. 3A, chapter 5 "Paging".
#include "core/nested/guest_paging.h"

#include "core/nested/pdptes.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/matchers.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/rflags.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint64_t kValue = 0x1122'3344'5566'7788;
constexpr uint64_t kPresent = 1;
constexpr uint64_t kWritable = 2;
constexpr uint64_t kUser = 4;
constexpr uint64_t kAccessed = 0x20;
constexpr uint64_t kDirty = 0x40;
constexpr uint64_t kLarge = 0x80;
constexpr uint64_t kAll = kPresent | kWritable;
constexpr uint32_t kP = PageFaultErrorCode::kP;
constexpr uint32_t kWr = PageFaultErrorCode::kWr;
constexpr uint32_t kRsvd = PageFaultErrorCode::kRsvd;
constexpr uint64_t kPage = 0x50000;

class PagingTest : public testing::Test {
 protected:
  void SetRegisters(uint64_t cr0, uint64_t cr4, uint64_t efer, uint64_t cr3) {
    VmcsImage& l1 = L1();
    l1.Set<VmcsField::kGuestCr0>(cr0 | Cr0::kPe | Cr0::kWp);
    l1.Set<VmcsField::kGuestCr4>(cr4);
    l1.Set<VmcsField::kGuestIa32Efer>(efer);
    l1.Set<VmcsField::kGuestCr3>(cr3);
    if ((efer & Efer::kLma) == 0) l1.Set<VmcsField::kGuestCsAccessRights>(0xC09B);
  }
  VmcsImage& L1() { return l1_.vmcs.vmcs01(); }
  void ExpectReads(uint64_t linear, uint64_t physical) {
    l1_.memory.Poke(physical, kValue);
    uint64_t value = 0;
    EXPECT_EQ(ReadLinearValue(l1_.vcpu(), linear, value), std::nullopt);
    EXPECT_EQ(value, kValue);
  }
  void ExpectReadFaults(uint64_t linear, uint32_t error_code) {
    uint64_t value = 0;
    EXPECT_EQ(ReadLinearValue(l1_.vcpu(), linear, value),
              VmxOutcome::Fault(Vector::kPageFault, error_code));
    EXPECT_EQ(l1_.state.cr2, linear);
  }
  void ExpectWriteFaults(uint64_t linear, uint32_t error_code) {
    EXPECT_EQ(WriteLinearValue(l1_.vcpu(), linear, kValue),
              VmxOutcome::Fault(Vector::kPageFault, error_code));
  }
  void ExpectWrites(uint64_t linear) {
    EXPECT_EQ(WriteLinearValue(l1_.vcpu(), linear, kValue), std::nullopt);
  }

  FakeVcpu l1_;
};

TEST_F(PagingTest, WithoutPagingLinearIsPhysical) {
  SetRegisters(0, 0, 0, 0);
  ExpectReads(kPage, kPage);
}

TEST_F(PagingTest, Outside64BitModeAddressesWrapAroundAt4GBytes) {
  SetRegisters(0, 0, 0, 0);
  l1_.memory.Poke(0, uint32_t{0x11223344});
  uint64_t value = 0;
  EXPECT_EQ(ReadLinearValue(l1_.vcpu(), 0xFFFFFFFC, value), std::nullopt);
  EXPECT_EQ(value, 0x11223344'FFFFFFFF);
}

// --- 32-bit paging: SDM Vol. 3A, 5.3 ---

class Paging32BitTest : public PagingTest {
 protected:
  static constexpr uint64_t kLinear = 0x00C05008;
  static constexpr uint64_t kPde = 0x40000 + 4 * 3;
  static constexpr uint64_t kPte = 0x41000 + 4 * 5;

  Paging32BitTest() {
    SetRegisters(Cr0::kPg, Cr4::kPse, 0, 0x40018);
    PutPde(0x41000 | kAll);
    PutPte(kPage | kAll);
  }
  void PutPde(uint64_t entry) { l1_.memory.Poke(kPde, static_cast<uint32_t>(entry)); }
  void PutPte(uint64_t entry) { l1_.memory.Poke(kPte, static_cast<uint32_t>(entry)); }
};

TEST_F(Paging32BitTest, A4KBytePageIsTwoLevelsDown) { ExpectReads(kLinear, kPage + 8); }

TEST_F(Paging32BitTest, A4MBytePageIsALeafOfThePageDirectory) {
  PutPde(0x00800000 | kLarge | kAll);
  ExpectReads(kLinear, 0x00805008);
}

TEST_F(Paging32BitTest, WithoutPseThereAreNo4MBytePages) {
  L1().Set<VmcsField::kGuestCr4>(0);
  PutPde(0x41000 | kLarge | kAll);
  ExpectReads(kLinear, kPage + 8);
}

TEST_F(Paging32BitTest, Bits20To13OfA4MBytePageAreAddressBitsUpToTheWidth) {
  l1_.state.offered.physical_address_width = 34;
  PutPde(0x00800000 | 3u << 13 | kLarge | kAll);
  uint64_t value = 0;
  EXPECT_EQ(ReadLinearValue(l1_.vcpu(), kLinear, value), std::nullopt);
  EXPECT_EQ(value, ~uint64_t{0});
  PutPde(0x00800000 | 4u << 13 | kLarge | kAll);
  ExpectReadFaults(kLinear, kP | kRsvd);
}

TEST_F(Paging32BitTest, Bit21OfA4MBytePageIsReserved) {
  PutPde(0x00800000 | 1u << 21 | kLarge | kAll);
  ExpectReadFaults(kLinear, kP | kRsvd);
  ExpectWriteFaults(kLinear, kP | kRsvd | kWr);
}

TEST_F(Paging32BitTest, NotPresentFaultsAtEachLevel) {
  PutPte(kPage | kWritable);
  ExpectReadFaults(kLinear, 0);
  PutPte(kPage | kAll);
  PutPde(0x41000 | kWritable);
  ExpectWriteFaults(kLinear, kWr);
}

TEST_F(Paging32BitTest, FlagsAreSetIn32BitEntries) {
  ExpectWrites(kLinear);
  EXPECT_EQ(l1_.memory.Peek<uint32_t>(kPde), 0x41000 | kAll | kAccessed);
  EXPECT_EQ(l1_.memory.Peek<uint32_t>(kPte), kPage | kAll | kAccessed | kDirty);
  EXPECT_EQ(l1_.memory.Peek<uint32_t>(kPte + 4), 0u);
}

// --- PAE paging: SDM Vol. 3A, 5.4 ---

class PagingPaeTest : public PagingTest {
 protected:
  static constexpr uint64_t kLinear = 0xC0605008;
  static constexpr uint64_t kPdpte = 0x40020 + 8 * 3;
  static constexpr uint64_t kPde = 0x41000 + 8 * 3;
  static constexpr uint64_t kPte = 0x42000 + 8 * 5;

  PagingPaeTest() {
    SetRegisters(Cr0::kPg, Cr4::kPae, Efer::kNxe, 0x40020);
    l1_.memory.Poke(kPdpte, 0x41000 | kPresent);
    l1_.memory.Poke(kPde, 0x42000 | kAll);
    l1_.memory.Poke(kPte, kPage | kAll);
  }
};

TEST_F(PagingPaeTest, A4KBytePageIsThreeLevelsDown) { ExpectReads(kLinear, kPage + 8); }

TEST_F(PagingPaeTest, A2MBytePageIsALeafOfThePageDirectory) {
  l1_.memory.Poke(kPde, 0x200000 | kLarge | kAll);
  ExpectReads(kLinear, 0x205008);
}

TEST_F(PagingPaeTest, WithEptThePdptesAreThoseOfTheVmcs) {
  L1().Set<VmcsField::kPrimaryProcessorBasedControls>(
      L1().Get<VmcsField::kPrimaryProcessorBasedControls>() |
      PrimaryProcessorBased::kActivateSecondaryControls);
  L1().Set<VmcsField::kSecondaryProcessorBasedControls>(Secondary::kEnableEpt);
  ExpectReadFaults(kLinear, 0);
  L1().Set<VmcsField::kGuestPdpte3>(0x41000 | kPresent);
  l1_.memory.Poke(kPdpte, uint64_t{0});
  ExpectReads(kLinear, kPage + 8);
}

TEST_F(PagingPaeTest, Bits62DownToTheWidthAreReserved) {
  for (uint64_t entry : {kPde, kPte}) {
    const auto good = l1_.memory.Peek<uint64_t>(entry);
    for (unsigned bit : {39u, 52u, 62u}) {
      l1_.memory.Poke(entry, good | uint64_t{1} << bit);
      ExpectReadFaults(kLinear, kP | kRsvd);
    }
    l1_.memory.Poke(entry, good);
  }
  ExpectReads(kLinear, kPage + 8);
}

TEST_F(PagingPaeTest, ThePdpteGivesNoRightsAndTakesNone) {
  ExpectWrites(kLinear);
  EXPECT_EQ(l1_.memory.Peek<uint64_t>(kPdpte), 0x41000 | kPresent);
}

// --- 4-level and 5-level paging: SDM Vol. 3A, 5.5 ---

class Paging64BitTest : public PagingTest {
 protected:
  static constexpr uint64_t kTables = 0x40000;

  void UseLevels(unsigned levels) {
    levels_ = levels;
    SetRegisters(Cr0::kPg, Cr4::kPae | (levels == 5 ? Cr4::kLa57 : 0),
                 Efer::kLme | Efer::kLma | Efer::kNxe, kTables);
    Map(1, kPage | kAll);
  }
  // Entry of a level: index `level`, so that no two are alike.
  uint64_t EntryAddress(unsigned level) const {
    return kTables + (levels_ - level) * kPageSize + 8 * level;
  }
  uint64_t Linear() const {
    uint64_t linear = 8;
    for (unsigned level = 1; level <= levels_; ++level) {
      linear |= uint64_t{level} << (12 + 9 * (level - 1));
    }
    return linear;
  }
  void Map(unsigned leaf_level, uint64_t leaf) {
    for (unsigned level = levels_; level > leaf_level; --level) {
      l1_.memory.Poke(EntryAddress(level), (kTables + (levels_ - level + 1) * kPageSize) | kAll);
    }
    l1_.memory.Poke(EntryAddress(leaf_level), leaf);
  }
  void Change(unsigned level, uint64_t clear, uint64_t set) {
    const auto entry = l1_.memory.Peek<uint64_t>(EntryAddress(level));
    l1_.memory.Poke(EntryAddress(level), (entry & ~clear) | set);
  }
  uint64_t Entry(unsigned level) { return l1_.memory.Peek<uint64_t>(EntryAddress(level)); }

  unsigned levels_ = 4;
};

TEST_F(Paging64BitTest, FiveLevelsAreWalkedWithLa57) {
  UseLevels(5);
  ExpectReads(Linear(), kPage + 8);
  EXPECT_NE(Linear() >> 48, 0u);
}

TEST_F(Paging64BitTest, TheWidthOfCanonicalAddressesIsThatOfTheMode) {
  UseLevels(4);
  l1_.state.offered.linear_address_width = 57;
  uint64_t value = 0;
  EXPECT_EQ(ReadLinearValue(l1_.vcpu(), uint64_t{1} << 47, value),
            VmxOutcome::Fault(Vector::kGeneralProtection));
  UseLevels(5);
  ExpectReadFaults(uint64_t{1} << 47, 0);
  EXPECT_EQ(ReadLinearValue(l1_.vcpu(), uint64_t{1} << 56, value),
            VmxOutcome::Fault(Vector::kGeneralProtection));
}

TEST_F(Paging64BitTest, AddressBitsFromTheWidthOnAreReserved) {
  for (unsigned levels : {4u, 5u}) {
    UseLevels(levels);
    for (unsigned level = 1; level <= levels; ++level) {
      for (unsigned bit : {39u, 51u}) {
        Map(1, kPage | kAll);
        Change(level, 0, uint64_t{1} << bit);
        ExpectReadFaults(Linear(), kP | kRsvd);
      }
      Map(1, kPage | kAll);
      Change(level, 0, uint64_t{0x7FF} << 52);
      ExpectReads(Linear(), kPage + 8);
    }
  }
}

TEST_F(Paging64BitTest, WithoutNxeBit63IsReserved) {
  UseLevels(4);
  Change(2, 0, uint64_t{1} << 63);
  ExpectReads(Linear(), kPage + 8);
  L1().Set<VmcsField::kGuestIa32Efer>(Efer::kLme | Efer::kLma);
  ExpectReadFaults(Linear(), kP | kRsvd);
}

TEST_F(Paging64BitTest, TheLargePageBitIsReservedAboveThePdpt) {
  for (unsigned levels : {4u, 5u}) {
    UseLevels(levels);
    for (unsigned level = 4; level <= levels; ++level) {
      Map(1, kPage | kAll);
      Change(level, 0, kLarge);
      ExpectReadFaults(Linear(), kP | kRsvd);
    }
  }
}

TEST_F(Paging64BitTest, AddressBitsBelowTheSizeOfALargePageAreReservedButForThePatBit) {
  UseLevels(4);
  for (unsigned level : {2u, 3u}) {
    const unsigned shift = 12 + 9 * (level - 1);
    for (unsigned bit = 13; bit < shift; ++bit) {
      Map(level, uint64_t{1} << bit | kLarge | kAll);
      ExpectReadFaults(Linear(), kP | kRsvd);
    }
    Map(level, uint64_t{1} << 12 | kLarge | kAll);
    uint64_t value = 0;
    EXPECT_EQ(ReadLinearValue(l1_.vcpu(), Linear(), value), std::nullopt);
  }
}

// The error code says whether there is a translation first, and what forbids the access second.
TEST_F(Paging64BitTest, AReadOnlyEntryOnTheWayToNothingIsNotAProtectionFault) {
  UseLevels(4);
  Change(4, kWritable, 0);
  Change(1, kPresent, 0);
  ExpectWriteFaults(Linear(), kWr);
}

TEST_F(Paging64BitTest, WhereNoMemoryAnswersAnEntryIsAllOnes) {
  UseLevels(4);
  Change(3, ~uint64_t{0}, FakeVcpu::kMemorySize | kAll);
  ExpectReadFaults(Linear(), kP | kRsvd);
}

// --- Access rights: SDM Vol. 3A, 5.6 ---

TEST_F(Paging64BitTest, SmapKeepsL1OffPagesThatAreUserAtEveryLevel) {
  UseLevels(4);
  for (unsigned level = 1; level <= 4; ++level) Change(level, 0, kUser);
  ExpectReads(Linear(), kPage + 8);
  ExpectWrites(Linear());
  L1().Set<VmcsField::kGuestCr4>(Cr4::kPae | Cr4::kSmap);
  ExpectReadFaults(Linear(), kP);
  ExpectWriteFaults(Linear(), kP | kWr);
  Change(3, kUser, 0);
  ExpectReads(Linear(), kPage + 8);
}

TEST_F(Paging64BitTest, RflagsAcOverridesSmap) {
  UseLevels(4);
  for (unsigned level = 1; level <= 4; ++level) Change(level, 0, kUser);
  L1().Set<VmcsField::kGuestCr4>(Cr4::kPae | Cr4::kSmap);
  L1().Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | Rflags::kAc);
  ExpectReads(Linear(), kPage + 8);
  ExpectWrites(Linear());
}

TEST_F(Paging64BitTest, SmepAndExecuteDisableDoNotMatterToData) {
  UseLevels(4);
  L1().Set<VmcsField::kGuestCr4>(Cr4::kPae | Cr4::kSmep);
  for (unsigned level = 1; level <= 4; ++level) Change(level, 0, kUser | uint64_t{1} << 63);
  ExpectReads(Linear(), kPage + 8);
}

// --- Accessed and dirty flags: SDM Vol. 3A, 5.8 ---

TEST_F(Paging64BitTest, AReadSetsTheAccessedFlagAtEachLevel) {
  UseLevels(5);
  ExpectReads(Linear(), kPage + 8);
  for (unsigned level = 1; level <= 5; ++level) {
    EXPECT_EQ(Entry(level) & (kAccessed | kDirty), kAccessed) << level;
  }
}

TEST_F(Paging64BitTest, AWriteSetsTheDirtyFlagInTheLeafOnly) {
  for (unsigned leaf : {1u, 2u, 3u}) {
    UseLevels(4);
    Map(leaf, (leaf == 1 ? 0 : kLarge) | kAll);
    ExpectWrites(Linear());
    for (unsigned level = leaf; level <= 4; ++level) {
      EXPECT_EQ(Entry(level) & (kAccessed | kDirty), kAccessed | (level == leaf ? kDirty : 0));
    }
  }
}

TEST_F(Paging64BitTest, FlagsThatAreSetAreNotWrittenAgain) {
  UseLevels(4);
  ExpectWrites(Linear());
  l1_.log.clear();
  ExpectWrites(Linear());
  EXPECT_EQ(std::count(l1_.log.begin(), l1_.log.end(), "write memory"), 1);
}

TEST_F(Paging64BitTest, AnAccessThatFaultsSetsNoFlag) {
  UseLevels(4);
  Change(1, kWritable, 0);
  ExpectWriteFaults(Linear(), kP | kWr);
  Change(1, kPresent, 0);
  ExpectReadFaults(Linear(), 0);
  for (unsigned level = 1; level <= 4; ++level) EXPECT_EQ(Entry(level) & kAccessed, 0u);
}

}  // namespace
}  // namespace nvmx
