// SPDX-License-Identifier: Apache-2.0
//
// The rules that the VM-entry and the VM-exit MSR-load list share. SDM Vol. 3C, 27.4 and 28.6
// "Loading MSRs".
#include <string>

#include "core/nested/msr_lists.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/memory_type.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint32_t kLstar = Index(Msr::IA32_LSTAR);
constexpr uint32_t kCstar = Index(Msr::IA32_CSTAR);
constexpr uint32_t kStar = Index(Msr::IA32_STAR);
constexpr uint32_t kAbsent = 0x12345;
constexpr uint32_t kReadOnly = Index(Msr::IA32_ARCH_CAPABILITIES);

enum class LoadList { kEntry, kExit };

class MsrLoadListTest : public testing::TestWithParam<LoadList> {
 protected:
  MsrLoadListTest() {
    l1_.RunL2();
    l1_.cpu.msrs() = {{kLstar, 0}, {kCstar, 0}, {kStar, 0}, {kReadOnly, 7}};
    l1_.cpu.read_only_msrs() = {kReadOnly};
    if (GetParam() == LoadList::kExit) l1_.vmcs.MakeCurrent(VmcsRole::kVmcs01);
  }

  FailedMsrListEntry Load(const MsrList& list) {
    return GetParam() == LoadList::kEntry ? LoadMsrsOnEntry(l1_.vcpu(), list)
                                          : LoadMsrsOnExit(l1_.vcpu(), list);
  }
  FailedMsrListEntry Load(const std::vector<MsrListEntry>& entries) {
    return Load(l1_.PutMsrList(FakeVcpu::kEntryLoadList, entries));
  }
  // Whether a list with this one entry is refused.
  bool Refuses(uint32_t index, uint64_t data) { return Load({{index, 0, data}}) == 1; }
  // Makes an MSR that WRMSR accepts, so that only a rule of the list can refuse it.
  uint32_t Writable(uint32_t msr) {
    l1_.cpu.msrs()[msr] = 0;
    return msr;
  }
  uint64_t Value(uint32_t msr) { return l1_.cpu.msrs().at(msr); }
  VmcsImage& Image() { return l1_.vmcs.current_image(); }

  FakeVcpu l1_;
};

TEST_P(MsrLoadListTest, AnEmptyListDoesNothing) {
  EXPECT_EQ(Load(MsrList{GuestPhysicalAddress{~uint64_t{0}}, 0}), 0u);
}

TEST_P(MsrLoadListTest, EveryEntryIsLoaded) {
  EXPECT_EQ(Load({{kLstar, 0, 0x1111}, {kCstar, 0, ~uint64_t{0}}}), 0u);
  EXPECT_EQ(Value(kLstar), 0x1111u);
  EXPECT_EQ(Value(kCstar), ~uint64_t{0});
}

TEST_P(MsrLoadListTest, AReservedBitFailsTheEntry) {
  for (unsigned bit = 0; bit < 32; ++bit) {
    EXPECT_EQ(Load({{kLstar, 1u << bit, 5}}), 1u) << "bit " << 32 + bit;
  }
  EXPECT_EQ(Value(kLstar), 0u);
  EXPECT_FALSE(Refuses(kLstar, 5));
}

TEST_P(MsrLoadListTest, FsAndGsBaseAreRefusedAndKernelGsBaseIsNot) {
  const uint64_t fs_base = Image().Get<VmcsField::kGuestFsBase>();
  const uint64_t gs_base = Image().Get<VmcsField::kGuestGsBase>();
  EXPECT_TRUE(Refuses(Index(Msr::IA32_FS_BASE), 0x5000));
  EXPECT_TRUE(Refuses(Index(Msr::IA32_GS_BASE), 0x5000));
  EXPECT_EQ(Image().Get<VmcsField::kGuestFsBase>(), fs_base);
  EXPECT_EQ(Image().Get<VmcsField::kGuestGsBase>(), gs_base);
  EXPECT_FALSE(Refuses(Writable(Index(Msr::IA32_KERNEL_GS_BASE)), 0x5000));
}

TEST_P(MsrLoadListTest, TheX2ApicRangeIsRefusedAndItsNeighboursAreNot) {
  for (uint32_t msr = 0x800; msr <= 0x8FF; ++msr) EXPECT_TRUE(Refuses(Writable(msr), 0)) << msr;
  EXPECT_FALSE(Refuses(Writable(0x7FF), 0));
  EXPECT_FALSE(Refuses(Writable(0x900), 0));
  // Bits 31:8 decide, not the low half alone.
  EXPECT_FALSE(Refuses(Writable(0x10800), 0));
}

TEST_P(MsrLoadListTest, SmmMonitorCtlIsRefused) {
  EXPECT_TRUE(Refuses(Writable(Index(Msr::IA32_SMM_MONITOR_CTL)), 0));
  EXPECT_FALSE(Refuses(Writable(Index(Msr::IA32_SMM_MONITOR_CTL) + 1), 0));
}

TEST_P(MsrLoadListTest, TheMicrocodeRegistersAreRefused) {
  EXPECT_TRUE(Refuses(Writable(Index(Msr::IA32_BIOS_UPDT_TRIG)), 0));
  EXPECT_TRUE(Refuses(Writable(Index(Msr::IA32_BIOS_SIGN_ID)), 0));
  EXPECT_FALSE(Refuses(Writable(Index(Msr::IA32_BIOS_UPDT_TRIG) + 1), 0));
}

TEST_P(MsrLoadListTest, AnMsrThatFaultsOrIsReadOnlyIsRefused) {
  EXPECT_TRUE(Refuses(kAbsent, 0));
  EXPECT_TRUE(Refuses(kReadOnly, 0));
  EXPECT_EQ(Value(kReadOnly), 7u);
}

TEST_P(MsrLoadListTest, VmxCapabilitiesAndMtrrcapAreReadOnly) {
  for (uint32_t msr = Index(Msr::IA32_VMX_BASIC); msr <= Index(Msr::IA32_VMX_EXIT_CTLS2); ++msr) {
    EXPECT_TRUE(Refuses(Writable(msr), 0)) << msr;
  }
  EXPECT_TRUE(Refuses(Writable(Index(Msr::IA32_MTRRCAP)), kMtrrCap));
  EXPECT_TRUE(Refuses(Writable(Index(Msr::IA32_FEATURE_CONTROL)), 5));
}

TEST_P(MsrLoadListTest, AFailureLeavesEarlierEntriesLoadedAndLaterOnesNot) {
  constexpr MsrListEntry kGood[] = {{kLstar, 0, 1}, {kCstar, 0, 2}, {kStar, 0, 3}};
  for (uint32_t bad = 0; bad < 3; ++bad) {
    std::vector<MsrListEntry> entries(std::begin(kGood), std::end(kGood));
    entries[bad].index = kAbsent;
    for (const MsrListEntry& entry : kGood) l1_.cpu.msrs()[entry.index] = 0;
    EXPECT_EQ(Load(entries), bad + 1);
    for (uint32_t n = 0; n < 3; ++n) {
      EXPECT_EQ(Value(kGood[n].index), n < bad ? kGood[n].data : 0u) << bad << " " << n;
    }
  }
}

TEST_P(MsrLoadListTest, OfDuplicatesTheLastWins) {
  EXPECT_EQ(Load({{kLstar, 0, 1}, {kCstar, 0, 2}, {kLstar, 0, 3}}), 0u);
  EXPECT_EQ(Value(kLstar), 3u);
}

TEST_P(MsrLoadListTest, EferCannotChangeLmeWhilePagingIsOn) {
  const uint64_t efer = Image().Get<VmcsField::kGuestIa32Efer>();
  EXPECT_TRUE(Refuses(Index(Msr::IA32_EFER), efer & ~Efer::kLme));
  EXPECT_EQ(Image().Get<VmcsField::kGuestIa32Efer>(), efer);
  Image().Set<VmcsField::kGuestCr0>(Image().Get<VmcsField::kGuestCr0>() & ~Cr0::kPg);
  EXPECT_FALSE(Refuses(Index(Msr::IA32_EFER), efer & ~Efer::kLme));
  EXPECT_EQ(Image().Get<VmcsField::kGuestIa32Efer>(), efer & ~Efer::kLme);
}

TEST_P(MsrLoadListTest, EferIgnoresLmaAndRefusesReservedBits) {
  const uint64_t efer = Image().Get<VmcsField::kGuestIa32Efer>();
  EXPECT_FALSE(Refuses(Index(Msr::IA32_EFER), efer & ~Efer::kLma));
  EXPECT_EQ(Image().Get<VmcsField::kGuestIa32Efer>(), efer);
  EXPECT_TRUE(Refuses(Index(Msr::IA32_EFER), efer | 0x200));
  EXPECT_FALSE(Refuses(Index(Msr::IA32_EFER), efer ^ Efer::kNxe));
  EXPECT_EQ(Image().Get<VmcsField::kGuestIa32Efer>(), efer ^ Efer::kNxe);
}

TEST_P(MsrLoadListTest, PatTakesMemoryTypesOnly) {
  const uint64_t pat = Image().Get<VmcsField::kGuestIa32Pat>();
  EXPECT_TRUE(Refuses(Index(Msr::IA32_PAT), 0x02));
  EXPECT_TRUE(Refuses(Index(Msr::IA32_PAT), uint64_t{3} << 56));
  EXPECT_EQ(Image().Get<VmcsField::kGuestIa32Pat>(), pat);
  EXPECT_FALSE(Refuses(Index(Msr::IA32_PAT), 0x0007'0406'0007'0401));
  EXPECT_EQ(Image().Get<VmcsField::kGuestIa32Pat>(), 0x0007'0406'0007'0401u);
}

TEST_P(MsrLoadListTest, SysenterAddressesAreCanonical) {
  for (Msr msr : {Msr::IA32_SYSENTER_EIP, Msr::IA32_SYSENTER_ESP}) {
    EXPECT_TRUE(Refuses(Index(msr), uint64_t{1} << 47));
    EXPECT_FALSE(Refuses(Index(msr), (uint64_t{1} << 47) - 1));
    EXPECT_FALSE(Refuses(Index(msr), 0xFFFF'8000'0000'0000));
  }
  EXPECT_EQ(Image().Get<VmcsField::kGuestIa32SysenterEip>(), 0xFFFF'8000'0000'0000u);
}

TEST_P(MsrLoadListTest, DebugctlTakesDefinedBitsOnly) {
  EXPECT_TRUE(Refuses(Index(Msr::IA32_DEBUGCTL), 1u << 3));
  EXPECT_FALSE(Refuses(Index(Msr::IA32_DEBUGCTL), DebugCtl::kLbr));
  EXPECT_EQ(Image().Get<VmcsField::kGuestIa32Debugctl>(), DebugCtl::kLbr);
}

TEST_P(MsrLoadListTest, TheTimeStampCounterIsWrittenOnTheProcessor) {
  EXPECT_FALSE(Refuses(Writable(Index(Msr::IA32_TIME_STAMP_COUNTER)), 0x1234));
  EXPECT_EQ(Value(Index(Msr::IA32_TIME_STAMP_COUNTER)), 0x1234u);
}

TEST_P(MsrLoadListTest, AListMayCrossPages) {
  constexpr uint64_t kAddress = 0x20FF0;
  std::vector<MsrListEntry> entries(258, MsrListEntry{kLstar, 0, 1});
  entries[1] = {kCstar, 0, 2};
  entries[257] = {kStar, 0, 3};
  EXPECT_EQ(Load(l1_.PutMsrList(kAddress, entries)), 0u);
  EXPECT_EQ(Value(kCstar), 2u);
  EXPECT_EQ(Value(kStar), 3u);
}

TEST_P(MsrLoadListTest, AnEntryThatNoMemoryBacksFails) {
  constexpr uint64_t kAddress = 0x20FF0;
  const MsrList list = l1_.PutMsrList(kAddress, {{kLstar, 0, 1}, {kCstar, 0, 2}});
  l1_.memory.RemovePage(0x21000);
  EXPECT_EQ(Load(list), 2u);
  EXPECT_EQ(Value(kLstar), 1u);
  EXPECT_EQ(Value(kCstar), 0u);
}

TEST_P(MsrLoadListTest, AListMayEndWhereMemoryEndsButNotGoOn) {
  constexpr uint64_t kAddress = FakeVcpu::kMemorySize - 32;
  MsrList list = l1_.PutMsrList(kAddress, {{kLstar, 0, 1}, {kCstar, 0, 2}});
  EXPECT_EQ(Load(list), 0u);
  EXPECT_EQ(Value(kCstar), 2u);
  ++list.count;
  EXPECT_EQ(Load(list), 3u);
}

TEST_P(MsrLoadListTest, AListOf512EntriesIsLoadedToItsEnd) {
  std::vector<MsrListEntry> entries;
  for (uint64_t n = 1; n <= 512; ++n) entries.push_back({kLstar, 0, n});
  EXPECT_EQ(Load(entries), 0u);
  EXPECT_EQ(Value(kLstar), 512u);
  entries[511].reserved = 1;
  EXPECT_EQ(Load(entries), 512u);
  EXPECT_EQ(Value(kLstar), 511u);
}

INSTANTIATE_TEST_SUITE_P(Lists, MsrLoadListTest, testing::Values(LoadList::kEntry, LoadList::kExit),
                         [](const testing::TestParamInfo<LoadList>& info) {
                           return std::string(info.param == LoadList::kEntry ? "Entry" : "Exit");
                         });

}  // namespace
}  // namespace nvmx
