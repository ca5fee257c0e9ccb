// SPDX-License-Identifier: Apache-2.0
//
// L1's and L2's values of an MSR across an entry and an exit, for the three kinds of MSR.
#include "core/nested/msr_kinds.h"
#include "core/nested/nested_entry.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/matchers.h"
#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/memory_type.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint32_t kEfer = Index(Msr::IA32_EFER);
constexpr uint32_t kPat = Index(Msr::IA32_PAT);
constexpr uint32_t kLstar = Index(Msr::IA32_LSTAR);
constexpr uint32_t kBase0 = Index(MtrrPhysBase(0));
constexpr uint64_t kLongMode = Efer::kLme | Efer::kLma;
constexpr uint64_t kPatAllWp = 0x0505'0505'0505'0505;
constexpr uint64_t kPatAllWt = 0x0404'0404'0404'0404;

class SwitchedMsrTest : public testing::Test {
 protected:
  SwitchedMsrTest() { l1_.cpu.msrs() = {{kLstar, 0x10}}; }

  void EntryList(const std::vector<MsrListEntry>& entries) {
    const MsrList list = l1_.PutMsrList(FakeVcpu::kEntryLoadList, entries);
    v_.Set<VmcsField::kVmEntryMsrLoadAddress>(list.address.value);
    v_.Set<VmcsField::kVmEntryMsrLoadCount>(list.count);
  }
  void StoreList(const std::vector<MsrListEntry>& entries) {
    const MsrList list = l1_.PutMsrList(FakeVcpu::kExitStoreList, entries);
    v_.Set<VmcsField::kVmExitMsrStoreAddress>(list.address.value);
    v_.Set<VmcsField::kVmExitMsrStoreCount>(list.count);
  }
  void ExitList(const std::vector<MsrListEntry>& entries) {
    const MsrList list = l1_.PutMsrList(FakeVcpu::kExitLoadList, entries);
    v_.Set<VmcsField::kVmExitMsrLoadAddress>(list.address.value);
    v_.Set<VmcsField::kVmExitMsrLoadCount>(list.count);
  }
  void ClearExitControls(uint32_t controls) {
    v_.Set<VmcsField::kVmExitControls>(v_.Get<VmcsField::kVmExitControls>() & ~controls);
  }
  void ClearEntryControls(uint32_t controls) {
    v_.Set<VmcsField::kVmEntryControls>(v_.Get<VmcsField::kVmEntryControls>() & ~controls);
  }
  void LeaveL2() {
    l1_.Exit(ExitReason::kVmcall);
    ASSERT_FALSE(l1_.L2Runs());
  }
  uint64_t L1(VmcsField field) { return l1_.vmcs.vmcs01().Read(field); }
  uint64_t L2(VmcsField field) { return l1_.vmcs.vmcs02().Read(field); }

  FakeVcpu l1_;
  VmcsImage v_ = ValidVmcs12(l1_.state.offered);
};

TEST_F(SwitchedMsrTest, AnEntryLoadGoesToL2AndLeavesL1s) {
  EntryList({{kEfer, 0, kLongMode | Efer::kNxe}, {kPat, 0, kPatAllWp}});
  const uint64_t efer = L1(VmcsField::kGuestIa32Efer);
  l1_.RunL2(v_);
  EXPECT_EQ(L2(VmcsField::kGuestIa32Efer), kLongMode | Efer::kNxe);
  EXPECT_EQ(L2(VmcsField::kGuestIa32Pat), kPatAllWp);
  EXPECT_EQ(L1(VmcsField::kGuestIa32Efer), efer);
  EXPECT_EQ(L1(VmcsField::kGuestIa32Pat), kPatReset);
}

TEST_F(SwitchedMsrTest, AnExitStoreReadsL2sValue) {
  StoreList({{kEfer, 0, 0}, {kPat, 0, 0}, {Index(Msr::IA32_SYSENTER_EIP), 0, 0}});
  l1_.RunL2(v_);
  l1_.vmcs.vmcs02().Set<VmcsField::kGuestIa32Efer>(kLongMode);
  l1_.vmcs.vmcs02().Set<VmcsField::kGuestIa32Pat>(kPatAllWt);
  l1_.vmcs.vmcs02().Set<VmcsField::kGuestIa32SysenterEip>(0x7777);
  LeaveL2();
  const auto stored = [&](int n) {
    return l1_.memory.Peek<MsrListEntry>(FakeVcpu::kExitStoreList + 16 * n).data;
  };
  EXPECT_EQ(stored(0), kLongMode);
  EXPECT_EQ(stored(1), kPatAllWt);
  EXPECT_EQ(stored(2), 0x7777u);
}

TEST_F(SwitchedMsrTest, AnExitLoadGoesToL1AfterTheHostState) {
  ExitList({{kEfer, 0, kLongMode}, {kPat, 0, kPatAllWt}, {Index(Msr::IA32_DEBUGCTL), 0, 1}});
  l1_.RunL2(v_);
  const uint64_t efer2 = L2(VmcsField::kGuestIa32Efer);
  LeaveL2();
  EXPECT_EQ(L1(VmcsField::kGuestIa32Efer), kLongMode);
  EXPECT_EQ(L1(VmcsField::kGuestIa32Pat), kPatAllWt);
  EXPECT_EQ(L1(VmcsField::kGuestIa32Debugctl), 1u);
  EXPECT_EQ(L2(VmcsField::kGuestIa32Efer), efer2);
}

TEST_F(SwitchedMsrTest, OnlyInTheEntryListASharedMsrStaysAsL2LeftIt) {
  EntryList({{kLstar, 0, 0x20}});
  l1_.RunL2(v_);
  EXPECT_EQ(l1_.cpu.msrs()[kLstar], 0x20u);
  l1_.cpu.msrs()[kLstar] = 0x30;  // L2 writes it
  LeaveL2();
  EXPECT_EQ(l1_.cpu.msrs()[kLstar], 0x30u);
}

TEST_F(SwitchedMsrTest, OnlyInTheEntryListAnEmulatedMsrStays) {
  EntryList({{kBase0, 0, 0x100006}});
  l1_.RunL2(v_);
  LeaveL2();
  EXPECT_EQ(l1_.state.mtrr.Read(kBase0), 0x100006u);
}

TEST_F(SwitchedMsrTest, OnlyInTheEntryListEferIsTheHostFieldIfLoadedOnExit) {
  EntryList({{kEfer, 0, kLongMode | Efer::kSce}});
  l1_.RunL2(v_);
  LeaveL2();
  EXPECT_EQ(L1(VmcsField::kGuestIa32Efer), v_.Get<VmcsField::kHostIa32Efer>());
}

TEST_F(SwitchedMsrTest, OnlyInTheEntryListEferStaysAsL2LeftItIfNotLoadedOnExit) {
  EntryList({{kEfer, 0, kLongMode | Efer::kSce | Efer::kNxe}});
  ClearExitControls(VmExit::kLoadIa32Efer);
  l1_.RunL2(v_);
  l1_.vmcs.vmcs02().Set<VmcsField::kGuestIa32Efer>(kLongMode | Efer::kSce);
  LeaveL2();
  EXPECT_EQ(L1(VmcsField::kGuestIa32Efer), kLongMode | Efer::kSce);
}

TEST_F(SwitchedMsrTest, OnlyInTheEntryListPatFollowsTheExitControl) {
  EntryList({{kPat, 0, kPatAllWp}});
  l1_.RunL2(v_);
  LeaveL2();
  EXPECT_EQ(L1(VmcsField::kGuestIa32Pat), v_.Get<VmcsField::kHostIa32Pat>());
}

TEST_F(SwitchedMsrTest, OnlyInTheEntryListPatStaysAsL2LeftItIfNotLoadedOnExit) {
  EntryList({{kPat, 0, kPatAllWp}});
  ClearExitControls(VmExit::kLoadIa32Pat);
  l1_.RunL2(v_);
  LeaveL2();
  EXPECT_EQ(L1(VmcsField::kGuestIa32Pat), kPatAllWp);
}

TEST_F(SwitchedMsrTest, WithoutTheEntryControlsL2StartsWithL1sValues) {
  ClearEntryControls(VmEntry::kLoadIa32Efer | VmEntry::kLoadIa32Pat | VmEntry::kLoadDebugControls);
  l1_.vmcs.vmcs01().Set<VmcsField::kGuestIa32Pat>(kPatAllWt);
  l1_.vmcs.vmcs01().Set<VmcsField::kGuestIa32Debugctl>(2);
  l1_.vmcs.vmcs01().Set<VmcsField::kGuestDr7>(0x455);
  l1_.RunL2(v_);
  EXPECT_EQ(L2(VmcsField::kGuestIa32Efer), L1(VmcsField::kGuestIa32Efer));
  EXPECT_EQ(L2(VmcsField::kGuestIa32Pat), kPatAllWt);
  EXPECT_EQ(L2(VmcsField::kGuestIa32Debugctl), 2u);
  EXPECT_EQ(L2(VmcsField::kGuestDr7), 0x455u);
}

TEST_F(SwitchedMsrTest, WithoutLoadEferLmeAndLmaFollowTheModeOfTheGuest) {
  ClearEntryControls(VmEntry::kLoadIa32Efer | VmEntry::kIa32eModeGuest);
  v_.Set<VmcsField::kGuestCsAccessRights>(0xC09B);
  l1_.RunL2(v_);
  EXPECT_EQ(L2(VmcsField::kGuestIa32Efer), L1(VmcsField::kGuestIa32Efer) & ~kLongMode);
}

// SDM Vol. 3C, 27.3.2.1 "Loading Guest Control Registers, Debug Registers, and MSRs".
TEST_F(SwitchedMsrTest, WithoutLoadEferLmeStaysIfL2HasNoPaging) {
  ClearEntryControls(VmEntry::kLoadIa32Efer | VmEntry::kIa32eModeGuest);
  v_.Set<VmcsField::kPrimaryProcessorBasedControls>(
      v_.Get<VmcsField::kPrimaryProcessorBasedControls>() |
      PrimaryProcessorBased::kActivateSecondaryControls);
  v_.Set<VmcsField::kSecondaryProcessorBasedControls>(Secondary::kEnableEpt |
                                                      Secondary::kUnrestrictedGuest);
  v_.Set<VmcsField::kEptPointer>(0x3000 | 0x1E);
  v_.Set<VmcsField::kGuestCr0>(v_.Get<VmcsField::kGuestCr0>() & ~uint64_t{Cr0::kPg});
  v_.Set<VmcsField::kGuestCsAccessRights>(0xC09B);
  l1_.RunL2(v_);
  EXPECT_EQ(L2(VmcsField::kGuestIa32Efer), L1(VmcsField::kGuestIa32Efer) & ~Efer::kLma);
}

TEST_F(SwitchedMsrTest, SysenterMsrsComeFromTheHostFieldsAndDebugctlIsCleared) {
  l1_.RunL2(v_);
  l1_.vmcs.vmcs02().Set<VmcsField::kGuestIa32Debugctl>(1);
  LeaveL2();
  EXPECT_EQ(L1(VmcsField::kGuestIa32SysenterCs), v_.Get<VmcsField::kHostIa32SysenterCs>());
  EXPECT_EQ(L1(VmcsField::kGuestIa32SysenterEsp), v_.Get<VmcsField::kHostIa32SysenterEsp>());
  EXPECT_EQ(L1(VmcsField::kGuestIa32SysenterEip), v_.Get<VmcsField::kHostIa32SysenterEip>());
  EXPECT_EQ(L1(VmcsField::kGuestIa32Debugctl), 0u);
}

TEST(MsrKindTest, ASwitchedMsrLivesInAGuestStateField) {
  EXPECT_EQ(SwitchedMsrField(kEfer), VmcsField::kGuestIa32Efer);
  EXPECT_EQ(SwitchedMsrField(kPat), VmcsField::kGuestIa32Pat);
  EXPECT_EQ(SwitchedMsrField(0x174), VmcsField::kGuestIa32SysenterCs);
  EXPECT_EQ(SwitchedMsrField(0x175), VmcsField::kGuestIa32SysenterEsp);
  EXPECT_EQ(SwitchedMsrField(0x176), VmcsField::kGuestIa32SysenterEip);
  EXPECT_EQ(SwitchedMsrField(0x1D9), VmcsField::kGuestIa32Debugctl);
  EXPECT_EQ(SwitchedMsrField(0xC0000100), VmcsField::kGuestFsBase);
  EXPECT_EQ(SwitchedMsrField(0xC0000101), VmcsField::kGuestGsBase);
  EXPECT_EQ(SwitchedMsrField(0xC0000102), std::nullopt);
  EXPECT_EQ(KindOfMsr(kEfer), MsrKind::kSwitched);
}

TEST(MsrKindTest, WhatL0EmulatesIsNotSharedAndItsNeighboursAre) {
  const std::pair<uint32_t, uint32_t> kRanges[] = {
      {0x10, 0x10},   {0x3A, 0x3A},   {0x79, 0x79},   {0xFE, 0xFE},   {0x200, 0x213},
      {0x250, 0x250}, {0x258, 0x259}, {0x268, 0x26F}, {0x2FF, 0x2FF}, {0x480, 0x493}};
  for (const auto& [first, last] : kRanges) {
    for (uint32_t msr = first; msr <= last; ++msr) {
      EXPECT_EQ(KindOfMsr(msr), MsrKind::kEmulated) << std::hex << msr;
    }
    EXPECT_EQ(KindOfMsr(first - 1), MsrKind::kShared) << std::hex << first - 1;
    EXPECT_EQ(KindOfMsr(last + 1), MsrKind::kShared) << std::hex << last + 1;
  }
  EXPECT_EQ(KindOfMsr(kLstar), MsrKind::kShared);
}

}  // namespace
}  // namespace nvmx
