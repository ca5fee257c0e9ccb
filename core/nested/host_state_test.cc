// SPDX-License-Identifier: Apache-2.0
//
// L1 as an exit leaves it, where that is not plainly VMCS12's host state; and the VMX aborts of
// loading it. SDM Vol. 3C, 28.5 "Loading Host State", 28.7 "VMX Aborts".
#include "core/nested/host_state.h"

#include "core/nested/pdptes.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/msr.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

class HostStateTest : public testing::Test {
 protected:
  // L1 is a 32-bit hypervisor with PAE paging, and so is L2.
  void Be32Bit() {
    v_.Set<VmcsField::kVmExitControls>(
        v_.Get<VmcsField::kVmExitControls>() &
        ~(VmExit::kHostAddressSpaceSize | VmExit::kLoadIa32Efer | VmExit::kSaveIa32Efer));
    v_.Set<VmcsField::kVmEntryControls>(v_.Get<VmcsField::kVmEntryControls>() &
                                        ~(VmEntry::kIa32eModeGuest | VmEntry::kLoadIa32Efer));
    v_.Set<VmcsField::kGuestCsAccessRights>(0xC09B);
    v_.Set<VmcsField::kGuestCr3>(kTable);
    v_.Set<VmcsField::kHostCr3>(kTable);
    L1().Set<VmcsField::kGuestIa32Efer>(Efer::kNxe);
    L1().Set<VmcsField::kGuestCsAccessRights>(0xC09B);
    l1_.memory.Poke(kTable, kPdptes);
  }
  void UseEpt01() {
    L1().Set<VmcsField::kPrimaryProcessorBasedControls>(
        L1().Get<VmcsField::kPrimaryProcessorBasedControls>() |
        PrimaryProcessorBased::kActivateSecondaryControls);
    L1().Set<VmcsField::kSecondaryProcessorBasedControls>(Secondary::kEnableEpt);
  }
  void RunL2() { l1_.RunL2(v_); }
  void Exit() {
    l1_.Exit(ExitReason::kCpuid);
    EXPECT_EQ(l1_.vmcs.Current(), VmcsRole::kVmcs01);
  }
  void ExpectAbort(uint32_t indicator) {
    EXPECT_EQ(l1_.memory.Peek<uint32_t>(FakeVcpu::kVmcs12Region + 4), indicator);
    EXPECT_EQ(l1_.state.in_vmx_abort, indicator == 0 ? 0u : 1u);
    EXPECT_EQ(
        L1().Get<VmcsField::kGuestActivityState>(),
        static_cast<uint64_t>(indicator == 0 ? ActivityState::kActive : ActivityState::kShutdown));
  }
  VmcsImage& L1() { return l1_.vmcs.vmcs01(); }
  VmcsImage& L2() { return l1_.vmcs.vmcs02(); }

  static constexpr uint64_t kTable = 0x30000;
  static constexpr Pdptes kPdptes = {0x40001, 0x41001, 0x42001, 0x43001};
  FakeVcpu l1_;
  VmcsImage v_ = ValidVmcs12(l1_.state.offered);
};

TEST_F(HostStateTest, BitsOfCr0ThatNoExitLoadsStayAsL2LeftThem) {
  RunL2();
  L2().Set<VmcsField::kGuestCr0>(L2().Get<VmcsField::kGuestCr0>() | Cr0::kCd | Cr0::kNw | Cr0::kTs);
  Exit();
  EXPECT_EQ(L1().Get<VmcsField::kGuestCr0>(), v_.Get<VmcsField::kHostCr0>() | Cr0::kCd | Cr0::kNw);
}

TEST_F(HostStateTest, BitsOfCr0ThatNoEntryLoadsStayAsL1LeftThem) {
  L1().Set<VmcsField::kGuestCr0>(L1().Get<VmcsField::kGuestCr0>() | Cr0::kCd);
  v_.Set<VmcsField::kGuestCr0>(v_.Get<VmcsField::kGuestCr0>() | Cr0::kNw);
  RunL2();
  EXPECT_EQ(L2().Get<VmcsField::kGuestCr0>() & (Cr0::kCd | Cr0::kNw), Cr0::kCd);
  Exit();
  EXPECT_EQ(L1().Get<VmcsField::kGuestCr0>() & (Cr0::kCd | Cr0::kNw), Cr0::kCd);
}

TEST_F(HostStateTest, WhatL1ReadsFromCr0AndCr4FollowsThem) {
  RunL2();
  Exit();
  EXPECT_EQ(L1().Get<VmcsField::kCr0ReadShadow>(), L1().Get<VmcsField::kGuestCr0>());
  EXPECT_EQ(L1().Get<VmcsField::kCr4ReadShadow>(), L1().Get<VmcsField::kGuestCr4>());
}

TEST_F(HostStateTest, PerfGlobalCtrlIsLoadedIfL1AskedForIt) {
  l1_.cpu.SetCpuid(0xA, 0, {0x0830'0402, 0, 0, 0x603});
  l1_.cpu.msrs()[Index(Msr::IA32_PERF_GLOBAL_CTRL)] = 1;
  v_.Set<VmcsField::kHostIa32PerfGlobalCtrl>(3);
  RunL2();
  Exit();
  EXPECT_EQ(l1_.cpu.msrs()[Index(Msr::IA32_PERF_GLOBAL_CTRL)], 1u);
  v_.Set<VmcsField::kVmExitControls>(v_.Get<VmcsField::kVmExitControls>() |
                                     VmExit::kLoadIa32PerfGlobalCtrl);
  RunL2();
  Exit();
  EXPECT_EQ(l1_.cpu.msrs()[Index(Msr::IA32_PERF_GLOBAL_CTRL)], 3u);
}

TEST_F(HostStateTest, A32BitL1ContinuesIn32BitMode) {
  Be32Bit();
  v_.Set<VmcsField::kHostCr4>(v_.Get<VmcsField::kHostCr4>());
  RunL2();
  Exit();
  ExpectAbort(0);
  EXPECT_EQ(L1().Get<VmcsField::kGuestCsAccessRights>(), 0xC09Bu);
  EXPECT_EQ(L1().Get<VmcsField::kGuestIa32Efer>(), Efer::kNxe);
  EXPECT_EQ(L1().Get<VmcsField::kVmEntryControls>() & VmEntry::kIa32eModeGuest, 0u);
}

TEST_F(HostStateTest, HostPdptesAreLoadedFromWhereHostCr3Points) {
  Be32Bit();
  UseEpt01();
  RunL2();
  l1_.memory.Poke(kTable, Pdptes{0x50001, 0, 0, 0});
  Exit();
  ExpectAbort(0);
  EXPECT_EQ(L1().Get<VmcsField::kGuestPdpte0>(), 0x50001u);
  EXPECT_EQ(L1().Get<VmcsField::kGuestPdpte1>(), 0u);
}

TEST_F(HostStateTest, HostPdptesWithReservedBitsAreVmxAbort2) {
  Be32Bit();
  RunL2();
  l1_.memory.Poke(kTable, Pdptes{0x40001, 0x41001 | 0x80, 0, 0});
  Exit();
  ExpectAbort(2);
}

TEST_F(HostStateTest, A32BitHostWithoutPaeHasNoPdptes) {
  Be32Bit();
  v_.Set<VmcsField::kHostCr4>(v_.Get<VmcsField::kHostCr4>() & ~Cr4::kPae);
  RunL2();
  l1_.memory.Poke(kTable, Pdptes{~0ull, ~0ull, ~0ull, ~0ull});
  Exit();
  ExpectAbort(0);
}

TEST_F(HostStateTest, AnL2ThatWentToIa32eModeUnderA32BitHostIsVmxAbort6) {
  Be32Bit();
  RunL2();
  L2().Set<VmcsField::kGuestIa32Efer>(Efer::kLme | Efer::kLma);
  Exit();
  ExpectAbort(6);
}

}  // namespace
}  // namespace nvmx
