// SPDX-License-Identifier: Apache-2.0
//
// CR0 and CR4 of L1: what it reads, and what its writes do outside VMX operation and in it.
// SDM Vol. 2B, "MOV—Move to/from Control Registers"; Vol. 3C, 24.8 "Restrictions on VMX Operation".
#include "core/nested/l1_control_registers.h"

#include "core/nested/vmcs01.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/matchers.h"
#include "core/vmx/controls.h"
#include "core/vmx/qualifications.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using enum GeneralRegister;
using enum VmcsField;
using Type = ControlRegisterAccess::Type;

const VmxOutcome kDone = VmxOutcome::Succeed();
const VmxOutcome kGeneralProtection = VmxOutcome::Fault(Vector::kGeneralProtection);
constexpr uint64_t kLongMode = Efer::kLme | Efer::kLma;

class L1ControlRegistersTest : public testing::Test {
 protected:
  VmxOutcome Access(Type type, unsigned control_register, uint16_t source = 0) {
    return l1_.Execute(
        ExitReason::kControlRegisterAccesses,
        {.displacement =
             ControlRegisterAccess::Make(type, control_register, kRbx, source).value()});
  }
  VmxOutcome MovTo(unsigned control_register, uint64_t value) {
    l1_.Register(kRbx) = value;
    return Access(Type::kMovTo, control_register);
  }
  uint64_t Cr0Of1() { return ReadL1Cr0(l1_.vcpu()); }
  uint64_t Cr4Of1() { return ReadL1Cr4(l1_.vcpu()); }
  VmcsImage& Vmcs01() { return l1_.vmcs.vmcs01(); }
  bool IsIa32eModeGuest() {
    return (Vmcs01().Get<kVmEntryControls>() & VmEntry::kIa32eModeGuest) != 0;
  }
  // 32-bit protected mode, with or without paging.
  void BeIn32BitMode(bool paging) {
    Vmcs01().Set<kGuestCsAccessRights>(0xC09B);
    Vmcs01().Set<kGuestIa32Efer>(0);
    Vmcs01().Set<kVmEntryControls>(Vmcs01().Get<kVmEntryControls>() & ~VmEntry::kIa32eModeGuest);
    WriteL1Cr0(l1_.vcpu(), paging ? Cr0Of1() : Cr0Of1() & ~Cr0::kPg);
  }

  FakeVcpu l1_;
};

// --- What L1 reads ---

TEST_F(L1ControlRegistersTest, TheProcessorKeepsWhatItNeedsAndL1ReadsWhatItWrote) {
  BeIn32BitMode(/*paging=*/false);
  EXPECT_EQ(MovTo(0, Cr0::kPe | Cr0::kEt), kDone);
  EXPECT_EQ(Vmcs01().Get<kGuestCr0>(), Cr0::kPe | Cr0::kEt | Cr0::kNe);
  EXPECT_EQ(Vmcs01().Get<kCr0ReadShadow>() & Vmcs01().Get<kCr0GuestHostMask>(), Cr0::kPe);
  EXPECT_EQ(Cr0Of1(), Cr0::kPe | Cr0::kEt);
}

TEST_F(L1ControlRegistersTest, VmxeIsL1sOutsideVmxOperation) {
  EXPECT_EQ(MovTo(4, Cr4::kPae), kDone);
  EXPECT_EQ(Cr4Of1(), Cr4::kPae);
  EXPECT_EQ(Vmcs01().Get<kGuestCr4>(), Cr4::kPae | Cr4::kVmxe);
  EXPECT_EQ(MovTo(4, Cr4::kPae | Cr4::kVmxe), kDone);
  EXPECT_EQ(Cr4Of1(), Cr4::kPae | Cr4::kVmxe);
}

TEST_F(L1ControlRegistersTest, OnlyBitsOfL0sExit) {
  EXPECT_EQ(Vmcs01().Get<kCr0GuestHostMask>(), Cr0::kPe | Cr0::kNe | Cr0::kPg);
  EXPECT_EQ(Vmcs01().Get<kCr4GuestHostMask>(), ~l1_.state.offered.cr4_fixed1 | Cr4::kVmxe);
}

// --- In VMX operation ---

TEST_F(L1ControlRegistersTest, InVmxOperationTheFixedBitsAreGeneralProtection) {
  l1_.EnterVmxRoot();
  const uint64_t cr0 = Cr0Of1();
  for (uint64_t bit : {Cr0::kPe, Cr0::kNe, Cr0::kPg})
    EXPECT_EQ(MovTo(0, cr0 & ~bit), kGeneralProtection);
  EXPECT_EQ(MovTo(4, Cr4Of1() & ~Cr4::kVmxe), kGeneralProtection);
  EXPECT_EQ(Cr0Of1(), cr0);
  EXPECT_EQ(MovTo(0, cr0 ^ Cr0::kWp), kDone);
}

// --- CR0 ---

TEST_F(L1ControlRegistersTest, Cr0RefusesWhatItCannotHold) {
  const uint64_t cr0 = Cr0Of1();
  EXPECT_EQ(MovTo(0, cr0 | uint64_t{1} << 32), kGeneralProtection);
  EXPECT_EQ(MovTo(0, cr0 & ~Cr0::kPe), kGeneralProtection);
  EXPECT_EQ(MovTo(0, cr0 | Cr0::kNw), kGeneralProtection);
  EXPECT_EQ(MovTo(0, cr0 | Cr0::kNw | Cr0::kCd), kDone);
}

TEST_F(L1ControlRegistersTest, ReservedBitsOfCr0AreIgnoredAndEtIs1) {
  const uint64_t cr0 = Cr0Of1();
  EXPECT_EQ(MovTo(0, (cr0 | 0x40) & ~(Cr0::kEt | Cr0::kNe)), kDone);
  EXPECT_EQ(Cr0Of1(), cr0 & ~Cr0::kNe);
}

TEST_F(L1ControlRegistersTest, CdAndNwReachTheProcessor) {
  BeIn32BitMode(/*paging=*/false);
  EXPECT_EQ(MovTo(0, Cr0::kPe | Cr0::kEt | Cr0::kCd | Cr0::kNw), kDone);
  EXPECT_EQ(l1_.cpu.cache_control(), Cr0::kCd | Cr0::kNw);
  EXPECT_EQ(MovTo(0, Cr0::kPe | Cr0::kEt), kDone);
  EXPECT_EQ(l1_.cpu.cache_control(), 0u);
}

TEST_F(L1ControlRegistersTest, ARefusedWriteDoesNotReachTheProcessor) {
  EXPECT_EQ(MovTo(0, Cr0::kEt | Cr0::kCd), kGeneralProtection);
  EXPECT_EQ(l1_.cpu.cache_control(), 0u);
}

TEST_F(L1ControlRegistersTest, PagingCannotBeTurnedOffIn64BitMode) {
  EXPECT_EQ(MovTo(0, Cr0Of1() & ~Cr0::kPg), kGeneralProtection);
}

TEST_F(L1ControlRegistersTest, PagingTurnedOffEndsIa32eMode) {
  Vmcs01().Set<kGuestCsAccessRights>(0xC09B);
  EXPECT_EQ(MovTo(0, Cr0Of1() & ~Cr0::kPg), kDone);
  EXPECT_EQ(Vmcs01().Get<kGuestIa32Efer>() & kLongMode, Efer::kLme);
  EXPECT_FALSE(IsIa32eModeGuest());
}

TEST_F(L1ControlRegistersTest, PagingCannotBeTurnedOffWithPcide) {
  Vmcs01().Set<kGuestCsAccessRights>(0xC09B);
  WriteL1Cr4(l1_.vcpu(), Cr4Of1() | Cr4::kPcide);
  EXPECT_EQ(MovTo(0, Cr0Of1() & ~Cr0::kPg), kGeneralProtection);
}

TEST_F(L1ControlRegistersTest, PagingTurnedOnWithLmeBeginsIa32eMode) {
  BeIn32BitMode(/*paging=*/false);
  Vmcs01().Set<kGuestIa32Efer>(Efer::kLme);
  EXPECT_EQ(MovTo(0, Cr0Of1() | Cr0::kPg), kDone);
  EXPECT_EQ(Vmcs01().Get<kGuestIa32Efer>(), kLongMode);
  EXPECT_TRUE(IsIa32eModeGuest());
}

TEST_F(L1ControlRegistersTest, Ia32eModeNeedsPaeA32BitCsAndA32BitTss) {
  BeIn32BitMode(/*paging=*/false);
  Vmcs01().Set<kGuestIa32Efer>(Efer::kLme);
  const uint64_t cr0 = Cr0Of1() | Cr0::kPg;
  WriteL1Cr4(l1_.vcpu(), Cr4::kVmxe);
  EXPECT_EQ(MovTo(0, cr0), kGeneralProtection);
  WriteL1Cr4(l1_.vcpu(), Cr4::kVmxe | Cr4::kPae);
  Vmcs01().Set<kGuestCsAccessRights>(0xA09B);
  EXPECT_EQ(MovTo(0, cr0), kGeneralProtection);
  Vmcs01().Set<kGuestCsAccessRights>(0xC09B);
  Vmcs01().Set<kGuestTrAccessRights>(0x83);
  EXPECT_EQ(MovTo(0, cr0), kGeneralProtection);
  Vmcs01().Set<kGuestTrAccessRights>(0x8B);
  EXPECT_EQ(MovTo(0, cr0), kDone);
}

TEST_F(L1ControlRegistersTest, PaePagingLoadsItsPdptes) {
  BeIn32BitMode(/*paging=*/false);
  Vmcs01().Set<kGuestCr3>(0x5000);
  l1_.memory.Poke(0x5000, uint64_t{0x6003});
  EXPECT_EQ(MovTo(0, Cr0Of1() | Cr0::kPg), kGeneralProtection);
  l1_.memory.Poke(0x5000, uint64_t{0x6001});
  EXPECT_EQ(MovTo(0, Cr0Of1() | Cr0::kPg), kDone);
  EXPECT_FALSE(IsIa32eModeGuest());
}

TEST_F(L1ControlRegistersTest, ClearingPeIsAnUnrestrictedGuest) {
  BeIn32BitMode(/*paging=*/false);
  EXPECT_EQ(MovTo(0, Cr0::kEt), kDone);
  EXPECT_EQ(Vmcs01().Get<kGuestCr0>(), Cr0::kEt | Cr0::kNe);
}

TEST_F(L1ControlRegistersTest, LmswSetsPeAndCannotClearIt) {
  BeIn32BitMode(/*paging=*/false);
  ASSERT_EQ(MovTo(0, Cr0::kEt), kDone);
  EXPECT_EQ(Access(Type::kLmsw, 0, 0xF), kDone);
  EXPECT_EQ(Cr0Of1(), Cr0::kEt | Cr0::kPe | Cr0::kMp | Cr0::kEm | Cr0::kTs);
  EXPECT_EQ(Access(Type::kLmsw, 0, 0), kDone);
  EXPECT_EQ(Cr0Of1(), Cr0::kEt | Cr0::kPe);
}

TEST_F(L1ControlRegistersTest, CltsClearsTs) {
  WriteL1Cr0(l1_.vcpu(), Cr0Of1() | Cr0::kTs);
  EXPECT_EQ(Access(Type::kClts, 0), kDone);
  EXPECT_EQ(Cr0Of1() & Cr0::kTs, 0u);
}

// --- CR4 ---

TEST_F(L1ControlRegistersTest, BitsOfCr4ThatAreNotOfferedAreGeneralProtection) {
  EXPECT_EQ(MovTo(4, Cr4Of1() | Cr4::kSmxe), kGeneralProtection);
  EXPECT_EQ(MovTo(4, Cr4Of1() | uint64_t{1} << 63), kGeneralProtection);
}

TEST_F(L1ControlRegistersTest, InIa32eModePaeStays) { EXPECT_EQ(MovTo(4, 0), kGeneralProtection); }

TEST_F(L1ControlRegistersTest, PcideNeedsIa32eModeAndPcid0) {
  EXPECT_EQ(MovTo(4, Cr4::kPae | Cr4::kPcide), kDone);
  ASSERT_EQ(MovTo(4, Cr4::kPae), kDone);
  Vmcs01().Set<kGuestCr3>(FakeVcpu::kPml4 | 1);
  EXPECT_EQ(MovTo(4, Cr4::kPae | Cr4::kPcide), kGeneralProtection);
  Vmcs01().Set<kGuestCr3>(FakeVcpu::kPml4);
  BeIn32BitMode(/*paging=*/false);
  EXPECT_EQ(MovTo(4, Cr4::kPae | Cr4::kPcide), kGeneralProtection);
}

TEST_F(L1ControlRegistersTest, PaePagingTurnedOnByCr4LoadsItsPdptes) {
  BeIn32BitMode(/*paging=*/true);
  WriteL1Cr4(l1_.vcpu(), Cr4::kVmxe);
  Vmcs01().Set<kGuestCr3>(0x5000);
  l1_.memory.Poke(0x5000, uint64_t{0x6003});
  EXPECT_EQ(MovTo(4, Cr4::kPae), kGeneralProtection);
  l1_.memory.Poke(0x5000, uint64_t{0});
  EXPECT_EQ(MovTo(4, Cr4::kPae), kDone);
}

// --- CR3, where it exits ---

TEST_F(L1ControlRegistersTest, Cr3HasThePhysicalAddressWidth) {
  EXPECT_EQ(MovTo(3, uint64_t{1} << 39), kGeneralProtection);
  EXPECT_EQ(MovTo(3, 0x7000), kDone);
  EXPECT_EQ(Vmcs01().Get<kGuestCr3>(), 0x7000u);
  EXPECT_EQ(Access(Type::kMovFrom, 3), kDone);
  EXPECT_EQ(l1_.Register(kRbx), 0x7000u);
}

TEST_F(L1ControlRegistersTest, Cr3CanBeReadIntoRsp) {
  Vmcs01().Set<kGuestCr3>(0x7000);
  l1_.Execute(ExitReason::kControlRegisterAccesses,
              {.displacement = ControlRegisterAccess::Make(Type::kMovFrom, 3, kRsp, 0).value()});
  EXPECT_EQ(Vmcs01().Get<kGuestRsp>(), 0x7000u);
}

TEST_F(L1ControlRegistersTest, WithPaePagingCr3LoadsThePdptes) {
  BeIn32BitMode(/*paging=*/true);
  l1_.memory.Poke(0x5000, uint64_t{0x6003});
  EXPECT_EQ(MovTo(3, 0x5000), kGeneralProtection);
  l1_.memory.Poke(0x5000, uint64_t{0x6001});
  EXPECT_EQ(MovTo(3, 0x5000), kDone);
}

TEST_F(L1ControlRegistersTest, Bit63OfCr3IsNotKeptAndKeepsTranslations) {
  EXPECT_EQ(MovTo(3, uint64_t{1} << 63 | 0x7000), kGeneralProtection);
  WriteL1Cr4(l1_.vcpu(), Cr4Of1() | Cr4::kPcide);
  EXPECT_EQ(MovTo(3, uint64_t{1} << 63 | 0x7001), kDone);
  EXPECT_EQ(Vmcs01().Get<kGuestCr3>(), 0x7001u);
  EXPECT_TRUE(l1_.cpu.invalidations().empty());
  EXPECT_EQ(MovTo(3, 0x7001), kDone);
  EXPECT_EQ(l1_.cpu.invalidations().size(), 1u);
}

TEST_F(L1ControlRegistersTest, AChangeOfPagingDropsTranslations) {
  EXPECT_EQ(MovTo(4, Cr4Of1() | Cr4::kPge), kDone);
  EXPECT_EQ(l1_.cpu.invalidations().size(), 1u);
}

}  // namespace
}  // namespace nvmx
