// SPDX-License-Identifier: Apache-2.0
//
// What an access of L2 leaves behind in EPT12 and in the page-modification log. SDM Vol. 3C, 29.3.5
// "Accessed and Dirty Flags for EPT", 29.3.6 "Page-Modification Logging".
#include "core/nested/ept12_access.h"

#include "core/testing/nested_paging_fixture.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using Result = Ept12Access::Result;

constexpr uint64_t kR = EptEntry::kRead;
constexpr uint64_t kW = EptEntry::kWrite;
constexpr uint64_t kX = EptEntry::kExecute;
constexpr uint64_t kA = EptEntry::kAccessed;
constexpr uint64_t kD = EptEntry::kDirty;

class Ept12AccessTest : public NestedPagingTest {
 protected:
  Ept12AccessTest() { ept12_.Map(kL2, kL1); }
  Ept12Access Touch(uint64_t address, uint64_t needed, uint64_t eptp) {
    v_.Set<VmcsField::kEptPointer>(eptp);
    l1_.state.vmcs12 = v_;
    const Ept12Access access =
        AccessThroughEpt12(l1_.vcpu(), GuestPhysicalAddress{address}, needed);
    v_ = l1_.state.vmcs12;
    return access;
  }
  Ept12Access Touch(uint64_t address, uint64_t needed) {
    return Touch(address, needed, ept12_.Eptp(kFlags));
  }
  uint64_t Flags(unsigned level, uint64_t address = kL2) {
    return ept12_.Entry(address, level) & (kA | kD);
  }
  uint64_t PmlIndex() { return v_.Get<VmcsField::kPmlIndex>(); }
  uint64_t Logged(uint64_t index) { return l1_.memory.Peek<uint64_t>(kLog + 8 * index); }
};

TEST_F(Ept12AccessTest, WithoutFlagsNothingIsWritten) {
  const Ept12Access access = Touch(kL2, kW, ept12_.Eptp());
  EXPECT_EQ(access.result, Result::kTranslated);
  EXPECT_TRUE(access.dirty) << "there is nothing that a first write would show";
  for (unsigned level : {1, 2, 3, 4}) EXPECT_EQ(Flags(level), 0u);
}

TEST_F(Ept12AccessTest, AReadSetsAccessedInEveryEntryOnTheWay) {
  const Ept12Access access = Touch(kL2, kR);
  EXPECT_EQ(access.result, Result::kTranslated);
  EXPECT_FALSE(access.dirty);
  for (unsigned level : {1, 2, 3, 4}) EXPECT_EQ(Flags(level), kA) << level;
}

TEST_F(Ept12AccessTest, AFetchIsNoWrite) {
  Touch(kL2, kX);
  EXPECT_EQ(Flags(1), kA);
}

TEST_F(Ept12AccessTest, AWriteSetsDirtyInTheLastEntryOnly) {
  const Ept12Access access = Touch(kL2, kW);
  EXPECT_TRUE(access.dirty);
  EXPECT_EQ(Flags(1), kA | kD);
  for (unsigned level : {2, 3, 4}) EXPECT_EQ(Flags(level), kA) << level;
}

TEST_F(Ept12AccessTest, ALargePageHasItsFlagsInItsEntry) {
  ept12_.Map(0x4000'0000, 0x40'0000, kEptAll, 2);
  EXPECT_TRUE(Touch(0x4000'5008, kW).dirty);
  EXPECT_EQ(Flags(2, 0x4000'0000), kA | kD);
  EXPECT_TRUE(Touch(0x4001'6000, kR).dirty) << "one flag for all of it";
}

TEST_F(Ept12AccessTest, AReadOfADirtyPageLeavesLaterWritesFree) {
  Touch(kL2, kW);
  EXPECT_TRUE(Touch(kL2, kR).dirty);
}

TEST_F(Ept12AccessTest, FlagsThatAreSetAreNotWrittenAgain) {
  Touch(kL2, kW);
  l1_.log.clear();
  Touch(kL2, kW);
  EXPECT_EQ(std::count(l1_.log.begin(), l1_.log.end(), "write memory"), 0);
}

TEST_F(Ept12AccessTest, AnAccessThatIsNotTranslatedLeavesNothing) {
  ept12_.Map(kL2, kL1, kR);
  EXPECT_EQ(Touch(kL2, kW).result, Result::kViolation);
  ept12_.Map(kL2 + 0x1000, kL1, kEptAll, 1, 7 << 3);
  EXPECT_EQ(Touch(kL2 + 0x1000, kR).result, Result::kMisconfiguration);
  for (unsigned level : {1, 2, 3, 4}) EXPECT_EQ(Flags(level), 0u);
}

TEST_F(Ept12AccessTest, MemoryThatTakesNoWritesKeepsItsFlagsAndHoldsNobodyUp) {
  // The port answers reads of the page and no writes: like a ROM.
  class Rom final : public GuestMemory {
   public:
    Rom(GuestMemory& memory, uint64_t page) : memory_(memory), page_(page) {}
    bool Read(GuestPhysicalAddress a, std::span<std::byte> b) override {
      return memory_.Read(a, b);
    }
    bool Write(GuestPhysicalAddress a, std::span<const std::byte> b) override {
      return PageBase(a.value) != page_ && memory_.Write(a, b);
    }

   private:
    GuestMemory& memory_;
    uint64_t page_;
  } rom(l1_.memory, PageBase(ept12_.EntryAt(kL2, 1)));
  v_.Set<VmcsField::kEptPointer>(ept12_.Eptp(kFlags));
  l1_.state.vmcs12 = v_;
  Vcpu& real = l1_.vcpu();
  Vcpu vcpu{
      {real.ports.cpu, real.ports.vmcs, rom, real.ports.apic, real.ports.clock, real.ports.trace},
      real.system,
      real.own,
      real.state,
      real.quiesce,
      real.choreography,
      real.embedder};
  const Ept12Access access = AccessThroughEpt12(vcpu, GuestPhysicalAddress{kL2}, kW);
  EXPECT_EQ(access.result, Result::kTranslated);
  EXPECT_TRUE(access.dirty) << "or the write would never get on";
  EXPECT_EQ(Flags(1), 0u);
  EXPECT_EQ(Flags(2), kA);
}

// --- Page-modification logging ---

TEST_F(Ept12AccessTest, TheFirstWriteOfAPageIsLogged) {
  UsePml(511);
  Touch(kL2 + 0x123, kW);
  EXPECT_EQ(PmlIndex(), 510u);
  EXPECT_EQ(Logged(511), kL2) << "bits 11:0 are 0";
  Touch(kL2, kW);
  EXPECT_EQ(PmlIndex(), 510u) << "the second write is not";
}

TEST_F(Ept12AccessTest, AWriteIntoALargePageIsLoggedByItsOwn4KBytes) {
  ept12_.Map(0x4000'0000, 0x40'0000, kEptAll, 2);
  UsePml(7);
  Touch(0x4001'2345, kW);
  EXPECT_EQ(Logged(7), 0x4001'2000u);
}

TEST_F(Ept12AccessTest, ReadsAndFetchesAreNotLogged) {
  UsePml(511);
  Touch(kL2, kR);
  Touch(kL2, kX);
  EXPECT_EQ(PmlIndex(), 511u);
}

TEST_F(Ept12AccessTest, BelowIndex0TheIndexIsFFFFH) {
  UsePml(0);
  EXPECT_EQ(Touch(kL2, kW).result, Result::kTranslated);
  EXPECT_EQ(Logged(0), kL2);
  EXPECT_EQ(PmlIndex(), 0xFFFFu);
}

TEST_F(Ept12AccessTest, AFullLogStopsAWriteThatWouldSetAFlag) {
  for (uint64_t index : {512u, 0xFFFFu}) {
    UsePml(index);
    EXPECT_EQ(Touch(kL2, kW).result, Result::kLogFull);
    EXPECT_EQ(PmlIndex(), index);
    for (unsigned level : {1, 2, 3, 4}) EXPECT_EQ(Flags(level), 0u);
  }
}

TEST_F(Ept12AccessTest, AFullLogStopsAReadThatWouldSetAFlag) {
  UsePml(0xFFFF);
  EXPECT_EQ(Touch(kL2, kR).result, Result::kLogFull);
}

TEST_F(Ept12AccessTest, AFullLogStopsNoAccessThatSetsNothing) {
  Touch(kL2, kW);
  UsePml(0xFFFF);
  EXPECT_EQ(Touch(kL2, kW).result, Result::kTranslated);
}

TEST_F(Ept12AccessTest, AViolationComesBeforeAFullLog) {
  ept12_.Map(kL2, kL1, kR);
  UsePml(0xFFFF);
  EXPECT_EQ(Touch(kL2, kW).result, Result::kViolation);
}

TEST_F(Ept12AccessTest, WithoutFlagsTheLogIsNotUsed) {
  UsePml(0xFFFF);
  EXPECT_EQ(Touch(kL2, kW, ept12_.Eptp()).result, Result::kTranslated);
  EXPECT_EQ(PmlIndex(), 0xFFFFu);
}

TEST_F(Ept12AccessTest, ALogThatNoMemoryBacksTakesNothing) {
  UsePml(5, FakeVcpu::kMemorySize);
  EXPECT_EQ(Touch(kL2, kW).result, Result::kTranslated);
  EXPECT_EQ(PmlIndex(), 4u);
}

}  // namespace
}  // namespace nvmx
