// SPDX-License-Identifier: Apache-2.0
//
// The VM-exit MSR-store list. SDM Vol. 3C, 28.4 "Saving MSRs".
#include "core/nested/msr_lists.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint32_t kLstar = Index(Msr::IA32_LSTAR);
constexpr uint32_t kCstar = Index(Msr::IA32_CSTAR);
constexpr uint32_t kStar = Index(Msr::IA32_STAR);
constexpr uint32_t kAbsent = 0x12345;
constexpr uint64_t kList = FakeVcpu::kExitStoreList;

class MsrStoreListTest : public testing::Test {
 protected:
  MsrStoreListTest() {
    l1_.RunL2();
    l1_.cpu.msrs() = {{kLstar, 0x11}, {kCstar, 0x22}, {kStar, 0x33}};
  }

  FailedMsrListEntry Store(const MsrList& list) { return StoreMsrsOnExit(l1_.vcpu(), list); }
  FailedMsrListEntry Store(const std::vector<MsrListEntry>& entries) {
    return Store(l1_.PutMsrList(kList, entries));
  }
  // What is in the entry afterwards.
  MsrListEntry Entry(uint32_t position) {
    return l1_.memory.Peek<MsrListEntry>(kList + (position - 1) * sizeof(MsrListEntry));
  }
  bool Refuses(uint32_t index) { return Store({{index, 0, 0}}) == 1; }
  uint32_t Readable(uint32_t msr) {
    l1_.cpu.msrs()[msr] = 5;
    return msr;
  }
  // What the list stores of this MSR.
  uint64_t Stored(Msr msr) {
    EXPECT_EQ(Store({{Index(msr), 0, 0xDEAD}}), 0u);
    return Entry(1).data;
  }

  FakeVcpu l1_;
};

TEST_F(MsrStoreListTest, EveryEntryGetsItsValueAndKeepsItsIndex) {
  EXPECT_EQ(Store({{kLstar, 0, 0}, {kCstar, 0, 0}}), 0u);
  EXPECT_EQ(Entry(1), (MsrListEntry{kLstar, 0, 0x11}));
  EXPECT_EQ(Entry(2), (MsrListEntry{kCstar, 0, 0x22}));
}

TEST_F(MsrStoreListTest, NothingBesideTheDataOfTheEntriesIsWritten) {
  l1_.memory.Poke(kList + 16, uint64_t{0xAAAA});
  l1_.memory.Poke(kList - 8, uint64_t{0xBBBB});
  EXPECT_EQ(Store({{kLstar, 0, 0}}), 0u);
  EXPECT_EQ(l1_.memory.Peek<uint64_t>(kList + 16), 0xAAAAu);
  EXPECT_EQ(l1_.memory.Peek<uint64_t>(kList - 8), 0xBBBBu);
}

TEST_F(MsrStoreListTest, AReservedBitFailsTheEntry) {
  for (unsigned bit = 0; bit < 32; ++bit) {
    EXPECT_EQ(Store({{kLstar, 1u << bit, 0}}), 1u) << "bit " << 32 + bit;
  }
  EXPECT_EQ(Entry(1).data, 0u);
}

TEST_F(MsrStoreListTest, FsAndGsBaseAreAllowedAndAreL2s) {
  l1_.vmcs.vmcs02().Set<VmcsField::kGuestFsBase>(0x111000);
  l1_.vmcs.vmcs02().Set<VmcsField::kGuestGsBase>(0x222000);
  EXPECT_EQ(Stored(Msr::IA32_FS_BASE), 0x111000u);
  EXPECT_EQ(Stored(Msr::IA32_GS_BASE), 0x222000u);
}

TEST_F(MsrStoreListTest, TheX2ApicRangeIsRefusedAndItsNeighboursAreNot) {
  for (uint32_t msr = 0x800; msr <= 0x8FF; ++msr) EXPECT_TRUE(Refuses(Readable(msr))) << msr;
  EXPECT_FALSE(Refuses(Readable(0x7FF)));
  EXPECT_FALSE(Refuses(Readable(0x900)));
}

TEST_F(MsrStoreListTest, SmbaseIsRefusedAndSmmMonitorCtlIsNot) {
  EXPECT_TRUE(Refuses(Readable(Index(Msr::IA32_SMBASE))));
  EXPECT_FALSE(Refuses(Readable(Index(Msr::IA32_SMM_MONITOR_CTL))));
}

TEST_F(MsrStoreListTest, TheMicrocodeRegistersAreRefused) {
  EXPECT_TRUE(Refuses(Readable(Index(Msr::IA32_BIOS_UPDT_TRIG))));
  EXPECT_TRUE(Refuses(Readable(Index(Msr::IA32_BIOS_SIGN_ID))));
  EXPECT_FALSE(Refuses(Readable(Index(Msr::IA32_BIOS_SIGN_ID) + 1)));
}

TEST_F(MsrStoreListTest, AnMsrThatFaultsIsRefused) { EXPECT_TRUE(Refuses(kAbsent)); }

TEST_F(MsrStoreListTest, AFailureLeavesEarlierEntriesStoredAndLaterOnesNot) {
  constexpr MsrListEntry kGood[] = {{kLstar, 0, 0}, {kCstar, 0, 0}, {kStar, 0, 0}};
  for (uint32_t bad = 0; bad < 3; ++bad) {
    std::vector<MsrListEntry> entries(std::begin(kGood), std::end(kGood));
    entries[bad].index = kAbsent;
    EXPECT_EQ(Store(entries), bad + 1);
    for (uint32_t n = 0; n < 3; ++n) {
      EXPECT_EQ(Entry(n + 1).data, n < bad ? l1_.cpu.msrs().at(kGood[n].index) : 0u);
    }
  }
}

TEST_F(MsrStoreListTest, TheTimeStampCounterIsTheOneOfRootOperationWhateverTheOffset) {
  l1_.vmcs.vmcs02().Set<VmcsField::kTscOffset>(uint64_t{1} << 30);
  l1_.clock.Set(1000);
  EXPECT_EQ(Stored(Msr::IA32_TIME_STAMP_COUNTER), 1000u);
}

TEST_F(MsrStoreListTest, AVmxCapabilityReadsWhatL1WasOffered) {
  l1_.cpu.msrs()[Index(Msr::IA32_VMX_BASIC)] = 0xDEAD;
  EXPECT_EQ(Stored(Msr::IA32_VMX_BASIC), l1_.state.offered.basic);
  EXPECT_EQ(Stored(Msr::IA32_VMX_TRUE_ENTRY_CTLS), l1_.state.offered.true_entry_ctls);
}

TEST_F(MsrStoreListTest, AVmxCapabilityOfWhatIsNotOfferedDoesNotExist) {
  l1_.state.offered.procbased_ctls2 = 0;
  l1_.state.offered.ept_vpid_cap = 0;
  EXPECT_TRUE(Refuses(Readable(Index(Msr::IA32_VMX_PROCBASED_CTLS2))));
  EXPECT_TRUE(Refuses(Readable(Index(Msr::IA32_VMX_EPT_VPID_CAP))));
}

TEST_F(MsrStoreListTest, AnMtrrReadsL1sSetting) {
  l1_.state.mtrr.default_type = 0xC06;
  l1_.cpu.msrs()[Index(Msr::IA32_MTRR_DEF_TYPE)] = 0;
  EXPECT_EQ(Stored(Msr::IA32_MTRR_DEF_TYPE), 0xC06u);
  EXPECT_EQ(Stored(Msr::IA32_MTRRCAP), kMtrrCap);
}

TEST_F(MsrStoreListTest, FeatureControlIsLockedWithVmxEnabled) {
  EXPECT_EQ(Stored(Msr::IA32_FEATURE_CONTROL),
            FeatureControl::kLock | FeatureControl::kEnableVmxOutsideSmx);
}

TEST_F(MsrStoreListTest, AnEntryThatNoMemoryBacksFails) {
  const MsrList list = l1_.PutMsrList(0x20FF0, {{kLstar, 0, 0}, {kCstar, 0, 0}});
  l1_.memory.RemovePage(0x21000);
  EXPECT_EQ(Store(list), 2u);
  EXPECT_EQ(l1_.memory.Peek<MsrListEntry>(0x20FF0).data, 0x11u);
}

TEST_F(MsrStoreListTest, AListMayCrossPagesAndEndWhereMemoryEnds) {
  constexpr uint64_t kAddress = FakeVcpu::kMemorySize - 258 * sizeof(MsrListEntry);
  MsrList list = l1_.PutMsrList(kAddress, std::vector<MsrListEntry>(258, {kLstar, 0, 0}));
  EXPECT_EQ(Store(list), 0u);
  EXPECT_EQ(l1_.memory.Peek<MsrListEntry>(kAddress).data, 0x11u);
  EXPECT_EQ(l1_.memory.Peek<MsrListEntry>(FakeVcpu::kMemorySize - 16).data, 0x11u);
  ++list.count;
  EXPECT_EQ(Store(list), 259u);
}

TEST_F(MsrStoreListTest, AStoreNeverStopsTheOtherCpus) {
  EXPECT_EQ(Store({{Index(Msr::IA32_MTRR_DEF_TYPE), 0, 0}}), 0u);
  EXPECT_EQ(l1_.trace.Count(TraceKind::kQuiesceBegin), 0);
}

}  // namespace
}  // namespace nvmx
