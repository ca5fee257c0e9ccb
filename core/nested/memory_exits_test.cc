// SPDX-License-Identifier: Apache-2.0
//
// How EPT violations out of VMCS02 fill EPT02: addresses, rights, types and sizes, what its entries
// keep of L1's accessed and dirty flags, and what is delivered then. SDM Vol. 3C, 29.3.3
// "EPT-Induced VM Exits".
#include "core/testing/memory_exits_fixture.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

// --- Filling ---

TEST_F(MemoryExitsTest, AtFirstNothingIsMapped) {
  ept12_.Map(kL2, kL1);
  RunL2();
  EXPECT_EQ(Find(kL2), std::nullopt);
  EXPECT_EQ(Eptp02() & 0xFFF, 3u << 3 | 6);
  EXPECT_GE(Eptp02(), FakeVcpu::kHostPages.value);
}

TEST_F(MemoryExitsTest, AnAccessMapsItsPage) {
  ept12_.Map(kL2, kL1);
  RunL2();
  const uint64_t rip = Vmcs02().Get<VmcsField::kGuestRip>();
  Violation(kL2 + 0x18, kR);
  ASSERT_TRUE(l1_.L2Runs());
  EXPECT_EQ(Vmcs02().Get<VmcsField::kGuestRip>(), rip);
  EXPECT_FALSE(Injected().valid());
  const auto leaf = Find(kL2);
  ASSERT_TRUE(leaf);
  EXPECT_EQ(leaf->address(), kL1);
  EXPECT_EQ(leaf->rights(), kEptAll);
  EXPECT_EQ(leaf->type(), kEptWriteBack);
  EXPECT_EQ(leaf->level, kEptLevelPte);
  EXPECT_EQ(Find(kL2 + 0x1000), std::nullopt);
  EXPECT_EQ(Find(kL2 - 0x1000), std::nullopt);
}

TEST_F(MemoryExitsTest, TheAddressIsThatOfEpt12AndEpt01) {
  embedder_.Map(kL1, {.address = PhysicalAddress{0x12'3456'7000},
                      .readable = true,
                      .writable = true,
                      .executable = true});
  ept12_.Map(kL2, kL1);
  RunL2();
  ASSERT_TRUE(Access(kL2, kR));
  EXPECT_EQ(Find(kL2)->address(), 0x12'3456'7000u);
}

TEST_F(MemoryExitsTest, RightsAreThoseThatBothGive) {
  ept12_.Map(kL2, kL1, kR | kX);
  embedder_.Map(kL1, {.address = PhysicalAddress{kL1}, .readable = true, .writable = true});
  RunL2();
  ASSERT_TRUE(Access(kL2, kR));
  EXPECT_EQ(Find(kL2)->rights(), kR);
}

TEST_F(MemoryExitsTest, AnUpperEntryOfEpt12TakesRightsToo) {
  ept12_.Map(kL2, kL1);
  ept12_.SetEntry(kL2, 3, ept12_.Entry(kL2, 3) & ~kW);
  RunL2();
  ASSERT_TRUE(Access(kL2, kR));
  EXPECT_EQ(Find(kL2)->rights(), kR | kX);
}

TEST_F(MemoryExitsTest, ExecuteOnlyStaysSo) {
  ept12_.Map(kL2, kL1, kX);
  RunL2();
  ASSERT_TRUE(Access(kL2, kX));
  EXPECT_EQ(Find(kL2)->rights(), kX);
}

TEST_F(MemoryExitsTest, WhatNoProcessorCanHaveIsNotGiven) {
  // EPT12 gives reading and executing, EPT01 executing alone, and the CPU has no such pages.
  l1_.state.offered.ept_vpid_cap &= ~EptVpidCap::kExecuteOnly;
  ept12_.Map(kL2, kL1, kR | kX);
  embedder_.Map(kL1, {.address = PhysicalAddress{kL1}, .executable = true});
  RunL2();
  Violation(kL2, kX);
  EXPECT_EQ(Find(kL2), std::nullopt);
  EXPECT_EQ(Injected().value(), kGp0);
}

TEST_F(MemoryExitsTest, MemoryTypeAndIgnorePatAreEpt12s) {
  for (uint64_t type : {0, 1, 4, 5, 6}) {
    const uint64_t bits = type << 3 | (type == 4 ? EptEntry::kIgnorePat : 0);
    const uint64_t page = kL2 + type * 0x1000;
    ept12_.Map(page, kL1, kEptAll, 1, bits);
    RunL2();
    ASSERT_TRUE(Access(page, kR));
    EXPECT_EQ(Find(page)->type(), bits);
  }
}

TEST_F(MemoryExitsTest, AFinalMemoryTypeOfEpt01Wins) {
  embedder_.Map(kL1, {.address = PhysicalAddress{kL1},
                      .readable = true,
                      .memory_type = MemoryType::kUncacheable,
                      .memory_type_is_final = true});
  ept12_.Map(kL2, kL1);
  RunL2();
  ASSERT_TRUE(Access(kL2, kR));
  EXPECT_EQ(Find(kL2)->type(), EptEntry::kIgnorePat);
}

TEST_F(MemoryExitsTest, PagesAreAsLargeAsBothAreAndTheCpuHas) {
  struct Case {
    unsigned ept12_level, ept01_shift;
    uint64_t lacking;
    unsigned expected;
  };
  constexpr uint64_t kGByte = uint64_t{1} << 30;
  for (const Case& c :
       {Case{3, 30, 0, 3}, Case{3, 21, 0, 2}, Case{3, 12, 0, 1}, Case{2, 30, 0, 2},
        Case{2, 12, 0, 1}, Case{1, 30, 0, 1}, Case{3, 30, EptVpidCap::k1GByteMapping, 2}}) {
    FakeVcpu l1;
    embedder_.SetBlockShift(c.ept01_shift);
    l1.SetEmbedder(embedder_);
    Ept12Builder ept12(l1.memory, kRoot);
    VmcsImage v = v_;
    constexpr uint64_t kOffset = 0x1234'5678;
    const uint64_t to = c.ept12_level == 1 ? 0x1234'5000 : c.ept12_level == 2 ? 0x1220'0000 : 0;
    ept12.Map(kGByte + kOffset, to, kEptAll, c.ept12_level);
    v.Set<VmcsField::kEptPointer>(ept12.Eptp());
    l1.RunL2(v);
    // EPT12 is made with all sizes; hardware lacks one.
    const auto offered = l1.state.offered;
    if (c.lacking != 0) {
      ept12.SetEntry(kGByte + kOffset, 3, 0);
      ept12.Map(kGByte + kOffset, 0x1220'0000, kEptAll, 2);
      l1.state.offered.ept_vpid_cap &= ~c.lacking;
    }
    l1.vmcs.vmcs02().Set<VmcsField::kGuestPhysicalAddress>(kGByte + kOffset);
    l1.Exit(ExitReason::kEptViolation, kR | kToFinal);
    ASSERT_TRUE(l1.L2Runs());
    uint64_t table = l1.vmcs.vmcs02().Get<VmcsField::kEptPointer>() & EptEntry::kAddress;
    unsigned level = 4;
    uint64_t entry = 0;
    for (;; --level) {
      entry =
          l1.vcpu().host_pages.At(PhysicalAddress{table}).words[EptIndex(kGByte + kOffset, level)];
      if (level == 1 || (entry & EptEntry::kLarge) != 0) break;
      table = entry & EptEntry::kAddress;
    }
    EXPECT_EQ(level, c.expected);
    const uint64_t offset = (uint64_t{1} << EptLevelShift(level)) - 1;
    EXPECT_EQ(entry & EptEntry::kAddress, kOffset & ~offset);
    l1.state.offered = offered;
  }
}

TEST_F(MemoryExitsTest, ABlockThatIsNotAlignedAlikeIsMappedInPages) {
  embedder_.Map(0x40'0000,
                {.address = PhysicalAddress{0x100'1000}, .block_shift = 21, .readable = true});
  ept12_.Map(0x4000'0000, 0x40'0000, kEptAll, 2);
  RunL2();
  ASSERT_TRUE(Access(0x4000'5000, kR));
  EXPECT_EQ(Find(0x4000'5000)->level, 1u);
  EXPECT_EQ(Find(0x4000'5000)->address(), 0x100'6000u);
}

TEST_F(MemoryExitsTest, FiveLevelsAreWalkedInEpt02Too) {
  l1_.state.offered.ept_vpid_cap |= EptVpidCap::kPageWalkLength5;
  Ept12Builder ept5(l1_.memory, 0x20'0000, 5);
  constexpr uint64_t kHigh = uint64_t{0x12} << 48 | kL2;
  ept5.Map(kHigh, kL1);
  RunL2(ept5.Eptp());
  EXPECT_EQ(Eptp02() & 0xFFF, 4u << 3 | 6);
  ASSERT_TRUE(Access(kHigh, kR));
  EXPECT_EQ(Find(kHigh)->address(), kL1);
}

TEST_F(MemoryExitsTest, Ept02NeedsNoFlagsOfItsOwn) {
  ept12_.Map(kL2, kL1);
  RunL2();
  ASSERT_TRUE(Access(kL2, kR));
  EXPECT_EQ(Find(kL2)->entry & (EptEntry::kAccessed | EptEntry::kDirty),
            EptEntry::kAccessed | EptEntry::kDirty);
}

// EPT02 holds nothing that a processor finds misconfigured.
TEST_F(MemoryExitsTest, AMisconfigurationThatIsNotEpt12sIsReportedAndFilled) {
  ept12_.Map(kL2, kL1);
  RunL2();
  Vmcs02().Set<VmcsField::kGuestPhysicalAddress>(kL2);
  l1_.Exit(ExitReason::kEptMisconfiguration);
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_TRUE(Find(kL2));
  EXPECT_EQ(l1_.trace.Count(TraceKind::kAssertionFailed), 1);
}

// --- Accessed and dirty flags of L1 ---

TEST_F(MemoryExitsTest, HardwareTreatsWalksAsWritesIfL1sFlagsAreOn) {
  ept12_.Map(kL2, kL1);
  RunL2(ept12_.Eptp(kFlags));
  EXPECT_NE(Eptp02() & Eptp::kAccessedAndDirty, 0u);
}

TEST_F(MemoryExitsTest, ACleanPageIsNotWritableYet) {
  ept12_.Map(kL2, kL1);
  RunL2(ept12_.Eptp(kFlags));
  ASSERT_TRUE(Access(kL2, kR));
  EXPECT_EQ(Find(kL2)->rights(), kR | kX);
  EXPECT_EQ(ept12_.Entry(kL2) & EptEntry::kDirty, 0u);
  ASSERT_TRUE(Access(kL2, kW));
  EXPECT_EQ(Find(kL2)->rights(), kEptAll);
  EXPECT_NE(ept12_.Entry(kL2) & EptEntry::kDirty, 0u);
}

TEST_F(MemoryExitsTest, AReadOfAPageStructureIsAWriteAsHardwareSays) {
  ept12_.Map(kL2, kL1);
  RunL2(ept12_.Eptp(kFlags));
  Violation(kL2, kR | kW, EptViolation::kLinearAddressValid);
  ASSERT_TRUE(l1_.L2Runs());
  EXPECT_NE(ept12_.Entry(kL2) & EptEntry::kDirty, 0u);
}

TEST_F(MemoryExitsTest, APageIsLoggedAndTheIndexIsL1s) {
  ept12_.Map(kL2, kL1);
  UsePml(511);
  RunL2(ept12_.Eptp(kFlags));
  ASSERT_TRUE(Access(kL2, kW));
  l1_.Exit(ExitReason::kVmcall);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kPmlIndex>(), 510u);
  EXPECT_EQ(l1_.memory.Peek<uint64_t>(kLog + 8 * 511), kL2);
}

TEST_F(MemoryExitsTest, AFullLogIsAnExitOfL1) {
  ept12_.Map(kL2, kL1);
  UsePml(0xFFFF);
  RunL2(ept12_.Eptp(kFlags));
  Violation(kL2, kW, kToFinal | EptViolation::kNmiUnblocking);
  ExpectExit(ExitReason::kPageModificationLogFull, EptViolation::kNmiUnblocking, 0, 0);
}

TEST_F(MemoryExitsTest, TheLogIsNotForHardware) {
  UsePml(511);
  ept12_.Map(kL2, kL1);
  RunL2(ept12_.Eptp(kFlags));
  EXPECT_EQ(Vmcs02().Get<VmcsField::kSecondaryProcessorBasedControls>() & Secondary::kEnablePml,
            0u);
}

// --- What stays ---

// SDM Vol. 3C, 29.4.3.1: an EPT violation invalidates what was cached about its address.
TEST_F(MemoryExitsTest, AViolationMakesEpt02ForgetThePage) {
  ept12_.Map(kL2, kL1, kR);
  RunL2();
  ASSERT_TRUE(Access(kL2, kR));
  const uint64_t eptp02 = Eptp02();
  Violation(kL2, kW);
  ASSERT_FALSE(l1_.L2Runs());
  EXPECT_EQ(Find(eptp02, kL2), std::nullopt);
}

TEST_F(MemoryExitsTest, WhatL1HasNotInvalidatedStays) {
  ept12_.Map(kL2, kL1);
  RunL2();
  ASSERT_TRUE(Access(kL2, kR));
  ept12_.Map(kL2, kL1 + 0x1000);
  l1_.Exit(ExitReason::kVmcall);
  RunL2();
  EXPECT_EQ(Find(kL2)->address(), kL1);
}

// --- Events that an exit interrupted ---

TEST_F(MemoryExitsTest, AnInterruptedEventIsDeliveredAfterThePageIsMapped) {
  ept12_.Map(kL2, kL1);
  RunL2();
  Vmcs02().Set<VmcsField::kIdtVectoringInformation>(0x80000021);
  Violation(kL2, kW);
  EXPECT_EQ(Injected().value(), 0x80000021u);
}

TEST_F(MemoryExitsTest, AnIretThatIsExecutedAgainFindsNmisBlocked) {
  ept12_.Map(kL2, kL1);
  RunL2();
  Violation(kL2, kR, kToFinal | EptViolation::kNmiUnblocking);
  EXPECT_EQ(Vmcs02().Get<VmcsField::kGuestInterruptibilityState>() & 8, 8u);
}

}  // namespace
}  // namespace nvmx
