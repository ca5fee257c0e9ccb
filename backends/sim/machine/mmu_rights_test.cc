// SPDX-License-Identifier: Apache-2.0
//
// Which accesses paging allows, and the error codes of page faults. SDM Vol. 3A, 5.6.1
// "Determination of Access Rights"; 5.7 "Page-Fault Exceptions".
#include "backends/sim/machine/testing/mmu_fixture.h"
#include "core/x86/exception.h"

namespace nvmx::sim {
namespace {

constexpr uint32_t kPresent = PageFaultErrorCode::kP;
constexpr uint32_t kWr = PageFaultErrorCode::kWr;
constexpr uint32_t kUs = PageFaultErrorCode::kUs;
constexpr uint32_t kId = PageFaultErrorCode::kId;

class RightsTest : public MmuTest {
 protected:
  // Maps kLinear with these bits in the last entry, and forgets what was known of it.
  void MapWith(uint64_t bits) {
    Map(kLinear, kData | kP | bits);
    mmu_.tlb().Clear();
  }
};

// --- Supervisor mode

TEST_F(RightsTest, SupervisorReadsAnyPage) {
  for (uint64_t bits : {uint64_t{0}, kW, kU, kW | kU}) {
    MapWith(bits);
    EXPECT_TRUE(Read(kLinear)) << bits;
  }
}

TEST_F(RightsTest, SupervisorDoesNotWriteReadOnlyPagesWithWp) {
  for (uint64_t bits : {uint64_t{0}, kU}) {
    MapWith(bits);
    EXPECT_FALSE(Write(kLinear));
    ExpectPageFault(kPresent | kWr);
  }
  MapWith(kW);
  EXPECT_TRUE(Write(kLinear));
}

TEST_F(RightsTest, SupervisorWritesReadOnlyPagesWithoutWp) {
  context_.cr0 &= ~Cr0::kWp;
  for (uint64_t bits : {uint64_t{0}, kU}) {
    MapWith(bits);
    EXPECT_TRUE(Write(kLinear)) << bits;
  }
}

TEST_F(RightsTest, SmepKeepsSupervisorFetchesOffUserPages) {
  MapWith(kU);
  EXPECT_TRUE(Fetch(kLinear));
  context_.cr4 |= Cr4::kSmep;
  EXPECT_FALSE(Fetch(kLinear));
  ExpectPageFault(kPresent | kId);
  EXPECT_TRUE(Read(kLinear));
  MapWith(0);
  EXPECT_TRUE(Fetch(kLinear));
}

TEST_F(RightsTest, APageOfSupervisorAtOneLevelIsOneOfSupervisor) {
  context_.cr4 |= Cr4::kSmep;
  for (unsigned level = 1; level <= 4; ++level) {
    MapWith(kU | kW);
    RemoveFromEntry(level, kLinear, kU);
    EXPECT_TRUE(Fetch(kLinear)) << level;
  }
}

TEST_F(RightsTest, SmapKeepsSupervisorDataAccessesOffUserPages) {
  context_.cr4 |= Cr4::kSmap;
  MapWith(kU | kW);
  EXPECT_FALSE(Read(kLinear));
  ExpectPageFault(kPresent);
  EXPECT_FALSE(Write(kLinear));
  ExpectPageFault(kPresent | kWr);
  EXPECT_TRUE(Fetch(kLinear));
  MapWith(kW);
  EXPECT_TRUE(Read(kLinear));
  EXPECT_TRUE(Write(kLinear));
}

TEST_F(RightsTest, AcOverridesSmapForExplicitAccesses) {
  context_.cr4 |= Cr4::kSmap;
  context_.rflags |= Rflags::kAc;
  MapWith(kU | kW);
  EXPECT_TRUE(Read(kLinear));
  EXPECT_TRUE(Write(kLinear));
}

TEST_F(RightsTest, AcDoesNotOverrideSmapForImplicitAccesses) {
  context_.cr4 |= Cr4::kSmap;
  context_.rflags |= Rflags::kAc;
  MapWith(kU | kW);
  context_ = ImplicitSupervisor(context_);
  EXPECT_FALSE(Read(kLinear));
  ExpectPageFault(kPresent);
}

TEST_F(RightsTest, AcDoesNotMakeReadOnlyPagesWritable) {
  context_.cr4 |= Cr4::kSmap;
  context_.rflags |= Rflags::kAc;
  MapWith(kU);
  EXPECT_FALSE(Write(kLinear));
  ExpectPageFault(kPresent | kWr);
}

TEST_F(RightsTest, SmapHoldsWithoutWpToo) {
  context_.cr0 &= ~Cr0::kWp;
  context_.cr4 |= Cr4::kSmap;
  MapWith(kU | kW);
  EXPECT_FALSE(Write(kLinear));
  ExpectPageFault(kPresent | kWr);
}

TEST_F(RightsTest, AnImplicitAccessOfUserCodeIsOneOfSupervisor) {
  context_.user = true;
  MapWith(kW);
  EXPECT_FALSE(Read(kLinear));
  context_ = ImplicitSupervisor(context_);
  EXPECT_TRUE(Read(kLinear));
}

// --- User mode

TEST_F(RightsTest, UserNeedsUserPagesAtEachLevel) {
  context_.user = true;
  MapWith(kU | kW);
  EXPECT_TRUE(Read(kLinear));
  EXPECT_TRUE(Write(kLinear));
  EXPECT_TRUE(Fetch(kLinear));
  for (unsigned level = 1; level <= 4; ++level) {
    MapWith(kU | kW);
    RemoveFromEntry(level, kLinear, kU);
    EXPECT_FALSE(Read(kLinear)) << level;
    ExpectPageFault(kPresent | kUs);
  }
}

TEST_F(RightsTest, UserNeedsWritablePagesAtEachLevelWhateverWp) {
  context_.user = true;
  context_.cr0 &= ~Cr0::kWp;
  for (unsigned level = 1; level <= 4; ++level) {
    MapWith(kU | kW);
    RemoveFromEntry(level, kLinear, kW);
    EXPECT_TRUE(Read(kLinear)) << level;
    EXPECT_FALSE(Write(kLinear)) << level;
    ExpectPageFault(kPresent | kWr | kUs);
  }
}

TEST_F(RightsTest, SmapAndSmepAreNotForUserMode) {
  context_.user = true;
  context_.cr4 |= Cr4::kSmap | Cr4::kSmep;
  MapWith(kU);
  EXPECT_TRUE(Read(kLinear));
  EXPECT_TRUE(Fetch(kLinear));
}

// --- Execute-disable

TEST_F(RightsTest, ExecuteDisableAtAnyLevelForbidsFetchesOnly) {
  for (bool user : {false, true}) {
    context_.user = user;
    for (unsigned level = 1; level <= 4; ++level) {
      MapWith(kU | kW);
      AddToEntry(level, kLinear, kNx);
      EXPECT_FALSE(Fetch(kLinear)) << level;
      ExpectPageFault(kPresent | kId | (user ? kUs : 0));
      EXPECT_TRUE(Read(kLinear)) << level;
      EXPECT_TRUE(Write(kLinear)) << level;
    }
  }
}

// --- Error codes

TEST_F(RightsTest, TheFetchBitOfTheErrorCodeNeedsNxeOrSmep) {
  Map(kLinear, 0);
  EXPECT_FALSE(Fetch(kLinear));
  ExpectPageFault(kId);
  context_.efer &= ~Efer::kNxe;
  EXPECT_FALSE(Fetch(kLinear));
  ExpectPageFault(0);
  context_.cr4 |= Cr4::kSmep;
  EXPECT_FALSE(Fetch(kLinear));
  ExpectPageFault(kId);
}

TEST_F(RightsTest, With32BitPagingNxeGivesNoFetchBit) {
  context_.cr4 = 0;
  context_.cr3 = kTables;
  context_.efer = Efer::kNxe;
  EXPECT_FALSE(Fetch(0x40'3000));
  ExpectPageFault(0);
}

TEST_F(RightsTest, AFaultOnAnAbsentPageTellsTheAccess) {
  Map(kLinear, 0);
  context_.user = true;
  EXPECT_FALSE(Write(kLinear));
  ExpectPageFault(kWr | kUs);
  EXPECT_FALSE(Read(kLinear));
  ExpectPageFault(kUs);
}

TEST_F(RightsTest, ReservedBitsComeBeforeRights) {
  context_.user = true;
  MapWith(0);
  AddToEntry(1, kLinear, uint64_t{1} << 45);
  EXPECT_FALSE(Write(kLinear));
  ExpectPageFault(kPresent | kWr | kUs | PageFaultErrorCode::kRsvd);
}

TEST_F(RightsTest, CachedPagesHaveTheSameRights) {
  MapWith(kU);
  EXPECT_TRUE(Read(kLinear));  // now it is cached
  EXPECT_FALSE(Write(kLinear));
  ExpectPageFault(kPresent | kWr);
  EXPECT_TRUE(Read(kLinear));
  context_.cr4 |= Cr4::kSmap;
  EXPECT_FALSE(Read(kLinear));
  ExpectPageFault(kPresent);
}

}  // namespace
}  // namespace nvmx::sim
