// SPDX-License-Identifier: Apache-2.0
//
// PDPTEs of an L2 with PAE paging, with and without EPT of L1's, and of an L1 that is a 32-bit host
// with PAE paging. SDM Vol. 3A, 5.4.1 "PDPTE Registers"; Vol. 3C, 27.3.1.6, 28.3.1, 28.5.4.
#include "core/nested/pdptes.h"

#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr Pdptes kValid = {0x30001, 0x31019, 0, 0x33E01};
constexpr unsigned kWidth = 39;

TEST(PdptesTest, PaePagingIsPagingWithPaeOutsideIa32eMode) {
  EXPECT_TRUE(UsesPaePaging(Cr0::kPg, Cr4::kPae, false));
  EXPECT_FALSE(UsesPaePaging(0, Cr4::kPae, false));
  EXPECT_FALSE(UsesPaePaging(Cr0::kPg, 0, false));
  EXPECT_FALSE(UsesPaePaging(Cr0::kPg, Cr4::kPae, true));
}

TEST(PdptesTest, ReservedBitsCountInEntriesThatArePresent) {
  EXPECT_TRUE(AreValidPdptes(kValid, kWidth));
  for (size_t n = 0; n < kValid.size(); ++n) {
    for (unsigned bit : {1u, 2u, 5u, 6u, 7u, 8u, kWidth, 51u, 63u}) {
      Pdptes pdptes = kValid;
      pdptes[n] = 1 | uint64_t{1} << bit;
      EXPECT_FALSE(AreValidPdptes(pdptes, kWidth)) << bit;
      pdptes[n] &= ~Pdpte::kPresent;
      EXPECT_TRUE(AreValidPdptes(pdptes, kWidth)) << bit;
    }
    Pdptes pdptes = kValid;
    pdptes[n] = 1 | uint64_t{1} << (kWidth - 1) | 0xE18;
    EXPECT_TRUE(AreValidPdptes(pdptes, kWidth));
  }
}

class PdptesOfL2Test : public testing::Test {
 protected:
  static constexpr uint64_t kTable = 0x30020;

  PdptesOfL2Test() {
    v_.Set<VmcsField::kVmEntryControls>(v_.Get<VmcsField::kVmEntryControls>() &
                                        ~VmEntry::kIa32eModeGuest);
    v_.Set<VmcsField::kGuestIa32Efer>(0);
    v_.Set<VmcsField::kGuestCsAccessRights>(0xC09B);
    v_.Set<VmcsField::kGuestCr3>(kTable | 0x18);
  }
  void UseEpt() {
    v_.Set<VmcsField::kPrimaryProcessorBasedControls>(
        v_.Get<VmcsField::kPrimaryProcessorBasedControls>() |
        PrimaryProcessorBased::kActivateSecondaryControls);
    v_.Set<VmcsField::kSecondaryProcessorBasedControls>(
        v_.Get<VmcsField::kSecondaryProcessorBasedControls>() | Secondary::kEnableEpt);
  }
  void PutFields(const Pdptes& pdptes) {
    v_.Set<VmcsField::kGuestPdpte0>(pdptes[0]);
    v_.Set<VmcsField::kGuestPdpte1>(pdptes[1]);
    v_.Set<VmcsField::kGuestPdpte2>(pdptes[2]);
    v_.Set<VmcsField::kGuestPdpte3>(pdptes[3]);
  }
  std::optional<Pdptes> OfVmcs12() {
    l1_.MakeCurrentVmcs12(v_);
    return PdptesOfVmcs12(l1_.vcpu());
  }

  FakeVcpu l1_;
  VmcsImage v_ = ValidVmcs12(l1_.state.offered);
};

TEST_F(PdptesOfL2Test, WithEptTheyAreTheFieldsOfVmcs12) {
  UseEpt();
  PutFields(kValid);
  l1_.memory.Poke(kTable, Pdptes{1, 2, 3, 4});
  EXPECT_EQ(OfVmcs12(), kValid);
}

TEST_F(PdptesOfL2Test, WithoutEptTheyAreWhereCr3Points) {
  PutFields({1, 2, 3, 4});
  l1_.memory.Poke(kTable, kValid);
  EXPECT_EQ(OfVmcs12(), kValid);
}

TEST_F(PdptesOfL2Test, WhereNoMemoryAnswersTheyAreAllOnes) {
  v_.Set<VmcsField::kGuestCr3>(FakeVcpu::kMemorySize);
  EXPECT_EQ(OfVmcs12(), (Pdptes{~0ull, ~0ull, ~0ull, ~0ull}));
}

TEST_F(PdptesOfL2Test, AnotherPagingModeHasNone) {
  v_.Set<VmcsField::kGuestCr4>(v_.Get<VmcsField::kGuestCr4>() & ~Cr4::kPae);
  EXPECT_EQ(OfVmcs12(), std::nullopt);
}

TEST_F(PdptesOfL2Test, InvalidOnesAreAnEntryFailureWithQualification2) {
  l1_.memory.Poke(kTable, Pdptes{1, 1 | 0x20, 1, 1});
  l1_.MakeCurrentVmcs12(v_);
  l1_.Exit(ExitReason::kVmlaunch);
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(l1_.state.vmcs12.Get<VmcsField::kExitReason>(), 0x80000021u);
  EXPECT_EQ(l1_.state.vmcs12.Get<VmcsField::kExitQualification>(), 2u);
}

TEST_F(PdptesOfL2Test, ValidOnesEnter) {
  l1_.memory.Poke(kTable, kValid);
  l1_.RunL2(v_);
  EXPECT_TRUE(l1_.L2Runs());
}

// VMCS02 with an EPT of L0's own: the processor takes them from there.
TEST_F(PdptesOfL2Test, AVmcsWithEptHoldsThemAndOneWithoutDoesNot) {
  VmcsImage& vmcs01 = l1_.vmcs.vmcs01();
  l1_.memory.Poke(FakeVcpu::kPml4, Pdptes{1, 2, 3, 4});
  WritePdpteFields(l1_.vcpu(), kValid);
  EXPECT_EQ(vmcs01.Get<VmcsField::kGuestPdpte0>(), 0u);
  EXPECT_EQ(PdptesOfGuest(l1_.vcpu()), (Pdptes{1, 2, 3, 4}));
  vmcs01.Set<VmcsField::kPrimaryProcessorBasedControls>(
      vmcs01.Get<VmcsField::kPrimaryProcessorBasedControls>() |
      PrimaryProcessorBased::kActivateSecondaryControls);
  vmcs01.Set<VmcsField::kSecondaryProcessorBasedControls>(Secondary::kEnableEpt);
  WritePdpteFields(l1_.vcpu(), kValid);
  EXPECT_EQ(PdptesOfGuest(l1_.vcpu()), kValid);
}

TEST_F(PdptesOfL2Test, AnExitSavesThemWithEptAndPaePaging) {
  UseEpt();
  PutFields(kValid);
  l1_.MakeCurrentVmcs12(v_);
  VmcsImage& l2 = l1_.vmcs.vmcs02();
  VmcsImage& vmcs12 = l1_.state.vmcs12;
  l1_.vmcs.MakeCurrent(VmcsRole::kVmcs02);
  vmcs12.Set<VmcsField::kGuestCr0>(Cr0::kPe | Cr0::kPg);
  vmcs12.Set<VmcsField::kGuestCr4>(Cr4::kPae);
  const uint32_t entry = vmcs12.Get<VmcsField::kVmEntryControls>() & ~VmEntry::kIa32eModeGuest;
  vmcs12.Set<VmcsField::kVmEntryControls>(entry);
  l2.Set<VmcsField::kGuestPdpte1>(0x55001);
  SavePdptesToVmcs12(l1_.vcpu());
  EXPECT_EQ(vmcs12.Get<VmcsField::kGuestPdpte1>(), 0x55001u);
  l2.Set<VmcsField::kGuestPdpte1>(0x66001);
  vmcs12.Set<VmcsField::kVmEntryControls>(entry | VmEntry::kIa32eModeGuest);
  SavePdptesToVmcs12(l1_.vcpu());
  EXPECT_EQ(vmcs12.Get<VmcsField::kGuestPdpte1>(), 0x55001u);
  vmcs12.Set<VmcsField::kVmEntryControls>(entry);
  vmcs12.Set<VmcsField::kSecondaryProcessorBasedControls>(0);
  SavePdptesToVmcs12(l1_.vcpu());
  EXPECT_EQ(vmcs12.Get<VmcsField::kGuestPdpte1>(), 0x55001u);
}

}  // namespace
}  // namespace nvmx
