// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/ept_walk.h"

#include "backends/sim/machine/testing/mmu_fixture.h"

namespace nvmx::sim {
namespace {

constexpr uint64_t kBeyondWidth = uint64_t{1} << 40;

class EptWalkTest : public MmuTest {
 protected:
  EptWalkTest() { MapEpt(kGuestPhysical, kData | kRwx | kWb); }
  EptWalk Walk(uint64_t guest_physical = kGuestPhysical) const {
    return WalkEpt(memory_, capabilities_, EptRoot(Eptp4Level()), guest_physical);
  }
  EptWalk Walk5() const {
    const uint64_t eptp = EptTable(5) | uint64_t{4} << Eptp::kWalkLengthShift | 6;
    return WalkEpt(memory_, capabilities_, EptRoot(eptp), kGuestPhysical);
  }
  bool Misconfigured(const EptWalk& walk) const {
    return walk.end == EptWalk::End::kMisconfiguration;
  }
  // The walk with `bits` more in the entry of the level.
  EptWalk WalkWith(unsigned level, uint64_t bits) {
    MapEpt(kGuestPhysical, kData | kRwx | kWb);
    AddToEptEntry(level, kGuestPhysical, bits);
    return Walk();
  }
};

TEST_F(EptWalkTest, MapsPagesOf4KBytes) {
  const EptWalk walk = Walk();
  EXPECT_EQ(walk.end, EptWalk::End::kPage);
  EXPECT_EQ(walk.page, kData);
  EXPECT_EQ(walk.page_shift, 12u);
  EXPECT_EQ(walk.count, 4u);
  EXPECT_EQ(walk.permissions, kRwx);
}

TEST_F(EptWalkTest, MapsPagesOf2MBytes) {
  MapEpt(kGuestPhysical, 0x60'0000 | kRwx | kWb | EptEntry::kLarge, 2);
  const EptWalk walk = Walk();
  EXPECT_EQ(walk.end, EptWalk::End::kPage);
  EXPECT_EQ(walk.page, 0x60'0000u);
  EXPECT_EQ(walk.page_shift, 21u);
}

TEST_F(EptWalkTest, MapsPagesOf1GByte) {
  MapEpt(kGuestPhysical, 0x8000'0000 | kRwx | kWb | EptEntry::kLarge, 3);
  const EptWalk walk = Walk();
  EXPECT_EQ(walk.end, EptWalk::End::kPage);
  EXPECT_EQ(walk.page, 0x8000'0000u);
  EXPECT_EQ(walk.page_shift, 30u);
}

TEST_F(EptWalkTest, APointerOfLength5BeginsAtAPml5Table) {
  const EptWalk walk = Walk5();
  EXPECT_EQ(walk.end, EptWalk::End::kPage);
  EXPECT_EQ(walk.count, 5u);
  SetEptEntry(5, kGuestPhysical, 0);
  EXPECT_EQ(Walk5().end, EptWalk::End::kNotPresent);
}

TEST_F(EptWalkTest, PermissionsAreThoseThatAllEntriesGive) {
  RemoveFromEptEntry(3, kGuestPhysical, kX);
  EXPECT_EQ(Walk().permissions, kR | kEptW);
  RemoveFromEptEntry(1, kGuestPhysical, kEptW);
  EXPECT_EQ(Walk().permissions, kR);
}

TEST_F(EptWalkTest, AnEntryWithoutPermissionsIsNotPresentAtEachLevel) {
  for (unsigned level = 1; level <= 4; ++level) {
    MapEpt(kGuestPhysical, kData | kRwx | kWb);
    RemoveFromEptEntry(level, kGuestPhysical, kRwx);
    const EptWalk walk = Walk();
    EXPECT_EQ(walk.end, EptWalk::End::kNotPresent) << level;
    EXPECT_EQ(walk.permissions, 0u) << level;
  }
}

TEST_F(EptWalkTest, AnAbsentEntryIsNotMisconfigured) {
  SetEptEntry(1, kGuestPhysical, kBeyondWidth | uint64_t{7} << 3);
  EXPECT_EQ(Walk().end, EptWalk::End::kNotPresent);
}

TEST_F(EptWalkTest, FourLevelsTranslate48Bits) {
  EXPECT_EQ(Walk(uint64_t{1} << 47 | kGuestPhysical).end, EptWalk::End::kNotPresent);
  SetEptEntry(4, uint64_t{1} << 47, EptTable(3) | kRwx);
  EXPECT_EQ(Walk(uint64_t{1} << 47 | kGuestPhysical).end, EptWalk::End::kPage);
  const EptWalk beyond = Walk(uint64_t{1} << 48 | kGuestPhysical);
  EXPECT_EQ(beyond.end, EptWalk::End::kNotPresent);
  EXPECT_EQ(beyond.permissions, 0u);
}

// --- SDM Vol. 3C, 29.3.3.1 "EPT Misconfigurations"

TEST_F(EptWalkTest, WriteWithoutReadIsMisconfiguredAtEachLevel) {
  for (uint64_t permissions : {kEptW, kEptW | kX}) {
    for (unsigned level = 1; level <= 4; ++level) {
      MapEpt(kGuestPhysical, kData | kRwx | kWb);
      RemoveFromEptEntry(level, kGuestPhysical, kRwx & ~permissions);
      EXPECT_TRUE(Misconfigured(Walk())) << level << ' ' << permissions;
    }
  }
}

TEST_F(EptWalkTest, ExecuteOnlyIsMisconfiguredIfNotSupported) {
  for (unsigned level = 1; level <= 4; ++level) {
    MapEpt(kGuestPhysical, kData | kRwx | kWb);
    RemoveFromEptEntry(level, kGuestPhysical, kR | kEptW);
    EXPECT_EQ(Walk().end, EptWalk::End::kPage) << level;
    EXPECT_EQ(Walk().permissions, kX) << level;
    capabilities_.ept_vpid_cap &= ~EptVpidCap::kExecuteOnly;
    EXPECT_TRUE(Misconfigured(Walk())) << level;
    capabilities_ = AllOfEpt();
  }
}

TEST_F(EptWalkTest, AddressBitsBeyondTheWidthAreReservedAtEachLevel) {
  for (unsigned level = 1; level <= 4; ++level) {
    EXPECT_TRUE(Misconfigured(WalkWith(level, kBeyondWidth))) << level;
    EXPECT_TRUE(Misconfigured(WalkWith(level, uint64_t{1} << 51))) << level;
    EXPECT_FALSE(Misconfigured(WalkWith(level, uint64_t{1} << 52))) << level;
  }
  EXPECT_EQ(WalkWith(1, uint64_t{1} << 39).end, EptWalk::End::kPage);
}

TEST_F(EptWalkTest, Bits6To3OfAnEntryThatReferencesATableAreReserved) {
  for (unsigned level = 2; level <= 4; ++level) {
    for (unsigned bit = 3; bit <= 6; ++bit) {
      EXPECT_TRUE(Misconfigured(WalkWith(level, uint64_t{1} << bit))) << level << ' ' << bit;
    }
  }
}

TEST_F(EptWalkTest, Bit7IsReservedAboveTheLevelsThatMapPages) {
  EXPECT_TRUE(Misconfigured(WalkWith(4, EptEntry::kLarge)));
  MapEpt(kGuestPhysical, kData | kRwx | kWb);
  AddToEptEntry(5, kGuestPhysical, EptEntry::kLarge);
  EXPECT_TRUE(Misconfigured(Walk5()));
}

TEST_F(EptWalkTest, LargePagesThatAreNotSupportedAreReserved) {
  capabilities_.ept_vpid_cap &= ~(EptVpidCap::k2MByteMapping | EptVpidCap::k1GByteMapping);
  MapEpt(kGuestPhysical, kRwx | EptEntry::kLarge, 2);
  EXPECT_TRUE(Misconfigured(Walk()));
  MapEpt(kGuestPhysical, kRwx | EptEntry::kLarge, 3);
  EXPECT_TRUE(Misconfigured(Walk()));
  MapEpt(kGuestPhysical, kData | kRwx | kWb | EptEntry::kLarge);  // ignored in an EPT PTE
  EXPECT_EQ(Walk().end, EptWalk::End::kPage);
}

TEST_F(EptWalkTest, BitsBelowALargePageAreReserved) {
  for (unsigned bit : {12u, 20u}) {
    MapEpt(kGuestPhysical, kRwx | kWb | EptEntry::kLarge | uint64_t{1} << bit, 2);
    EXPECT_TRUE(Misconfigured(Walk())) << bit;
  }
  MapEpt(kGuestPhysical, kRwx | kWb | EptEntry::kLarge | uint64_t{1} << 21, 2);
  EXPECT_EQ(Walk().end, EptWalk::End::kPage);
  for (unsigned bit : {12u, 29u}) {
    MapEpt(kGuestPhysical, kRwx | kWb | EptEntry::kLarge | uint64_t{1} << bit, 3);
    EXPECT_TRUE(Misconfigured(Walk())) << bit;
  }
  MapEpt(kGuestPhysical, kRwx | kWb | EptEntry::kLarge | uint64_t{1} << 30, 3);
  EXPECT_EQ(Walk().end, EptWalk::End::kPage);
}

TEST_F(EptWalkTest, MemoryTypes2And3And7AreMisconfigured) {
  for (unsigned level = 1; level <= 3; ++level) {
    for (uint64_t type = 0; type < 8; ++type) {
      const uint64_t large = level > 1 ? EptEntry::kLarge : 0;
      MapEpt(kGuestPhysical, kRwx | large | type << EptEntry::kMemoryTypeShift, level);
      EXPECT_EQ(Misconfigured(Walk()), type == 2 || type == 3 || type == 7) << level << type;
    }
  }
}

TEST_F(EptWalkTest, IgnorePatIsAllowedWhereAPageIsMapped) {
  EXPECT_EQ(WalkWith(1, EptEntry::kIgnorePat).end, EptWalk::End::kPage);
  MapEpt(kGuestPhysical, kRwx | kWb | EptEntry::kLarge | EptEntry::kIgnorePat, 2);
  EXPECT_EQ(Walk().end, EptWalk::End::kPage);
}

TEST_F(EptWalkTest, FlagsAndIgnoredBitsAreAllowedAtEachLevel) {
  for (unsigned level = 1; level <= 4; ++level) {
    for (unsigned bit : {8u, 9u, 10u, 11u, 52u, 57u, 60u, 61u, 63u}) {
      EXPECT_EQ(WalkWith(level, uint64_t{1} << bit).end, EptWalk::End::kPage) << level << bit;
    }
  }
}

// --- SDM Vol. 3C, 29.3.3.3 "Prioritization of EPT Misconfigurations and EPT Violations": entries
// count in the order in which they are read.

TEST_F(EptWalkTest, AnAbsentEntryHidesAMisconfigurationBelow) {
  AddToEptEntry(1, kGuestPhysical, kBeyondWidth);
  RemoveFromEptEntry(2, kGuestPhysical, kRwx);
  EXPECT_EQ(Walk().end, EptWalk::End::kNotPresent);
}

TEST_F(EptWalkTest, AMissingPermissionDoesNotHideAMisconfigurationBelow) {
  RemoveFromEptEntry(4, kGuestPhysical, kEptW | kX);
  AddToEptEntry(1, kGuestPhysical, kBeyondWidth);
  EXPECT_TRUE(Misconfigured(Walk()));
}

}  // namespace
}  // namespace nvmx::sim
