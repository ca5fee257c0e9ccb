// SPDX-License-Identifier: Apache-2.0
//
// EPT violations and misconfigurations of linear accesses, and what they report. SDM Vol. 3C,
// 29.3.3 "EPT-Induced VM Exits"; 28.2.1, table "Exit Qualification for EPT Violations".
#include "backends/sim/machine/testing/mmu_fixture.h"

namespace nvmx::sim {
namespace {

constexpr uint64_t kRead = EptViolation::kRead;
constexpr uint64_t kWrite = EptViolation::kWrite;
constexpr uint64_t kFetch = EptViolation::kFetch;
constexpr uint64_t kReadable = EptViolation::kReadable;
constexpr uint64_t kWritable = EptViolation::kWritable;
constexpr uint64_t kExecutable = EptViolation::kExecutable;
constexpr uint64_t kLinearValid = EptViolation::kLinearAddressValid;
constexpr uint64_t kFinal = kLinearValid | EptViolation::kToFinalAddress;

class EptTest : public MmuTest {
 protected:
  EptTest() {
    UseEpt();
    Map(kLinear, kGuestPhysical | kAll);
  }
  void Forget() { mmu_.tlb().Clear(); }
};

TEST_F(EptTest, TranslatesPagingStructuresAndThePage) {
  EXPECT_EQ(Translate(kLinear + 0x123, AccessKind::kRead), kData + 0x123);
  // The page table elsewhere too.
  constexpr uint64_t kElsewhere = 0x7000;
  SetEntry(2, kLinear, kElsewhere | kAll);
  MapEpt(kElsewhere, Table(1) | kRwx | kWb);
  Forget();
  EXPECT_EQ(Read(kLinear), kMark);
}

TEST_F(EptTest, WithoutPagingLinearAddressesAreGuestPhysical) {
  context_.cr0 = Cr0::kPe;
  context_.efer = 0;
  EXPECT_EQ(Read(kGuestPhysical), kMark);
  EXPECT_FALSE(Read(0x9000));
  ExpectEptViolation(0x9000, kRead | kFinal);
}

TEST_F(EptTest, PagesOfDifferentSizesGiveTheSmallerMapping) {
  Map(0x40'0020'0000, 0 | kAll | kLarge, 2);
  EXPECT_EQ(Translate(0x40'0020'0000 + kGuestPhysical, AccessKind::kRead), kData);
  EXPECT_EQ(Translate(0x40'0020'0000 + kData, AccessKind::kRead), kData);
  MapEpt(0x20'0000, 0x60'0000 | kRwx | kWb | EptEntry::kLarge, 2);
  Map(kLinear2, 0x21'2000 | kAll);
  EXPECT_EQ(Translate(kLinear2, AccessKind::kRead), 0x61'2000u);
}

// --- Violations of the access itself

TEST_F(EptTest, AnAbsentPageReportsTheAccessAndNoPermission) {
  SetEptEntry(1, kGuestPhysical, 0);
  EXPECT_FALSE(Read(kLinear + 8));
  ExpectEptViolation(kGuestPhysical + 8, kRead | kFinal);
  EXPECT_EQ(fault_->linear, kLinear + 8);
  EXPECT_FALSE(Write(kLinear));
  ExpectEptViolation(kGuestPhysical, kWrite | kFinal);
  EXPECT_FALSE(Fetch(kLinear));
  ExpectEptViolation(kGuestPhysical, kFetch | kFinal);
}

TEST_F(EptTest, AMissingPermissionReportsThoseThatAreThere) {
  RemoveFromEptEntry(1, kGuestPhysical, kEptW);
  EXPECT_FALSE(Write(kLinear));
  ExpectEptViolation(kGuestPhysical, kWrite | kReadable | kExecutable | kFinal);
  EXPECT_TRUE(Read(kLinear));
  EXPECT_TRUE(Fetch(kLinear));
}

TEST_F(EptTest, APageWithoutExecutePermissionCannotBeFetchedFrom) {
  RemoveFromEptEntry(1, kGuestPhysical, kX);
  EXPECT_FALSE(Fetch(kLinear));
  ExpectEptViolation(kGuestPhysical, kFetch | kReadable | kWritable | kFinal);
  EXPECT_TRUE(Write(kLinear));
}

TEST_F(EptTest, AnExecuteOnlyPageCannotBeRead) {
  RemoveFromEptEntry(1, kGuestPhysical, kR | kEptW);
  EXPECT_TRUE(Fetch(kLinear));
  EXPECT_FALSE(Read(kLinear));
  ExpectEptViolation(kGuestPhysical, kRead | kExecutable | kFinal);
}

TEST_F(EptTest, PermissionsAreTheAndOfAllEntries) {
  RemoveFromEptEntry(3, kGuestPhysical, kX);
  RemoveFromEptEntry(1, kGuestPhysical, kEptW);
  EXPECT_FALSE(Write(kLinear));
  ExpectEptViolation(kGuestPhysical, kWrite | kReadable | kFinal);
}

// --- Violations on the way

TEST_F(EptTest, AnAbsentPagingStructureReportsAReadOnTheWay) {
  for (unsigned level = 1; level <= 4; ++level) {
    SetEptEntry(1, Table(level), 0);
    Forget();
    EXPECT_FALSE(Write(kLinear)) << level;
    ExpectEptViolation(EntryAt(level, kLinear), kRead | kLinearValid);
    EXPECT_EQ(fault_->linear, kLinear);
    SetEptEntry(1, Table(level), Table(level) | kRwx | kWb);
  }
}

TEST_F(EptTest, AnAccessedFlagThatCannotBeWrittenReportsAWriteOnTheWay) {
  RemoveFromEptEntry(1, Table(2), kEptW);
  EXPECT_FALSE(Read(kLinear));
  ExpectEptViolation(EntryAt(2, kLinear), kWrite | kReadable | kExecutable | kLinearValid);
}

TEST_F(EptTest, AFlagThatIsSetNeedsNoWrite) {
  AddToEntry(2, kLinear, kA);
  RemoveFromEptEntry(1, Table(2), kEptW);
  EXPECT_TRUE(Read(kLinear));
}

TEST_F(EptTest, ADirtyFlagThatCannotBeWrittenReportsAWriteOnTheWay) {
  EXPECT_TRUE(Read(kLinear));  // sets the accessed flags
  RemoveFromEptEntry(1, Table(1), kEptW);
  Forget();
  EXPECT_TRUE(Read(kLinear));
  EXPECT_FALSE(Write(kLinear));
  ExpectEptViolation(EntryAt(1, kLinear), kWrite | kReadable | kExecutable | kLinearValid);
}

// --- Priorities: 29.3.3.3 "Prioritization of EPT Misconfigurations and EPT Violations"

TEST_F(EptTest, PagingRightsComeBeforeTheFinalAccess) {
  SetEntry(1, kLinear, kGuestPhysical | kP);
  SetEptEntry(1, kGuestPhysical, 0);
  EXPECT_FALSE(Write(kLinear));
  ExpectPageFault(3);
}

TEST_F(EptTest, AViolationOnTheWayComesBeforeAPageFaultBelow) {
  SetEntry(1, kLinear, 0);
  SetEptEntry(1, Table(2), 0);
  EXPECT_FALSE(Read(kLinear));
  ExpectEptViolation(EntryAt(2, kLinear), kRead | kLinearValid);
}

TEST_F(EptTest, MisconfigurationsAreReportedWithTheirAddress) {
  AddToEptEntry(1, kGuestPhysical, uint64_t{1} << 45);
  EXPECT_FALSE(Read(kLinear + 8));
  ASSERT_TRUE(fault_);
  EXPECT_EQ(fault_->kind, TranslationFault::Kind::kEptMisconfiguration);
  EXPECT_EQ(fault_->guest_physical, kGuestPhysical + 8);
}

TEST_F(EptTest, MisconfigurationsAreFoundOnTheWayToo) {
  AddToEptEntry(1, Table(3), uint64_t{1} << 45);
  EXPECT_FALSE(Read(kLinear));
  ASSERT_TRUE(fault_);
  EXPECT_EQ(fault_->kind, TranslationFault::Kind::kEptMisconfiguration);
  EXPECT_EQ(fault_->guest_physical, EntryAt(3, kLinear));
}

// --- Loading PDPTEs: bit 7 of the qualification is clear, for no linear address led there.

TEST_F(EptTest, PdptesAreLoadedThroughEpt) {
  Put<uint64_t>(kData + 0x20, 0x12'3000 | kP);
  const auto load = mmu_.LoadPdptes(context_, kGuestPhysical + 0x20);
  EXPECT_FALSE(load.fault);
  EXPECT_EQ(load.pdptes[0], 0x12'3000 | kP);
}

TEST_F(EptTest, AViolationOfAPdpteLoadHasNoLinearAddress) {
  SetEptEntry(1, kGuestPhysical, 0);
  fault_ = mmu_.LoadPdptes(context_, kGuestPhysical + 0x20).fault;
  ExpectEptViolation(kGuestPhysical + 0x20, kRead);
}

TEST_F(EptTest, PaePagingUsesThePdpteRegisters) {
  context_.efer = 0;
  context_.cr3 = 0;
  context_.pdptes = {Table(2) | kP, 0, 0, 0};
  Map(0x40'3000, kGuestPhysical | kAll, 1, 2);
  EXPECT_EQ(Read(0x40'3000), kMark);
}

// --- Advanced VM-exit information for EPT violations

TEST_F(EptTest, AdvancedInformationTellsTheRightsByPaging) {
  capabilities_.ept_vpid_cap |= EptVpidCap::kAdvancedEptViolationInformation;
  SetEptEntry(1, kGuestPhysical, 0);
  EXPECT_FALSE(Read(kLinear));
  ExpectEptViolation(kGuestPhysical, kRead | kFinal | EptViolation::kUserLinearAddress |
                                         EptViolation::kWritableLinearAddress);
  SetEntry(1, kLinear, kGuestPhysical | kP | kNx);
  EXPECT_FALSE(Read(kLinear));
  ExpectEptViolation(kGuestPhysical, kRead | kFinal | EptViolation::kNoExecuteLinearAddress);
  context_.cr0 = Cr0::kPe;
  context_.efer = 0;
  EXPECT_FALSE(Read(kGuestPhysical));
  ExpectEptViolation(kGuestPhysical, kRead | kFinal | EptViolation::kUserLinearAddress |
                                         EptViolation::kWritableLinearAddress);
}

TEST_F(EptTest, AdvancedInformationIsNotForAccessesOnTheWay) {
  capabilities_.ept_vpid_cap |= EptVpidCap::kAdvancedEptViolationInformation;
  SetEptEntry(1, Table(1), 0);
  EXPECT_FALSE(Read(kLinear));
  ExpectEptViolation(EntryAt(1, kLinear), kRead | kLinearValid);
}

}  // namespace
}  // namespace nvmx::sim
