// SPDX-License-Identifier: Apache-2.0
//
// The MSR bitmaps of VMCS01 and VMCS02. SDM Vol. 3C, 25.6.9 "MSR-Bitmap Address".
#include "core/nested/msr_bitmap.h"

#include "core/nested/nested_entry.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/matchers.h"
#include "core/vmx/bitmaps.h"
#include "core/vmx/controls.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint64_t kPage = 0x30000;

TEST(MsrBitmapBitTest, TheFourQuartersOfThePage) {
  EXPECT_EQ(MsrBitmapBit(0x10, false), 0x10u);
  EXPECT_EQ(MsrBitmapBit(0x1FFF, false), 0x1FFFu);
  EXPECT_EQ(MsrBitmapBit(0xC0000080, false), 0x2080u);
  EXPECT_EQ(MsrBitmapBit(0x10, true), 0x4010u);
  EXPECT_EQ(MsrBitmapBit(0xC0001FFF, true), 0x7FFFu);
  EXPECT_EQ(MsrBitmapBit(0x2000, false), std::nullopt);
  EXPECT_EQ(MsrBitmapBit(0xBFFFFFFF, true), std::nullopt);
  EXPECT_EQ(MsrBitmapBit(0xC0002000, false), std::nullopt);
}

class MsrBitmapTest : public testing::Test {
 protected:
  MsrBitmapTest() {
    v_.Set<VmcsField::kPrimaryProcessorBasedControls>(
        v_.Get<VmcsField::kPrimaryProcessorBasedControls>() |
        PrimaryProcessorBased::kUseMsrBitmaps);
    v_.Set<VmcsField::kMsrBitmapAddress>(kPage);
  }
  bool Bit(size_t page, uint32_t msr, bool write) const {
    const uint32_t bit = *MsrBitmapBit(msr, write);
    return (l1_.host_pages[page].words[bit / 64] >> bit % 64 & 1) != 0;
  }
  bool Bit01(Msr msr, bool write) const { return Bit(kMsrBitmap01Page, Index(msr), write); }
  bool Bit02(Msr msr, bool write) const { return Bit(kMsrBitmapPage, Index(msr), write); }
  // L1's bitmap intercepts this access.
  void Intercept(Msr msr, bool write) {
    const uint32_t bit = *MsrBitmapBit(Index(msr), write);
    const auto old = l1_.memory.Peek<uint8_t>(kPage + bit / 8);
    l1_.memory.Poke(kPage + bit / 8, static_cast<uint8_t>(old | 1u << bit % 8));
  }
  bool Uses(const VmcsImage& vmcs) const {
    return (vmcs.Get<VmcsField::kPrimaryProcessorBasedControls>() &
            PrimaryProcessorBased::kUseMsrBitmaps) != 0;
  }

  FakeVcpu l1_;
  VmcsImage v_ = ValidVmcs12(l1_.state.offered);
};

TEST_F(MsrBitmapTest, OfL1OnlyWhatL0HasToSeeExits) {
  EXPECT_TRUE(Uses(l1_.vmcs.vmcs01()));
  EXPECT_EQ(l1_.vmcs.vmcs01().Get<VmcsField::kMsrBitmapAddress>(),
            FakeVcpu::kHostPages.value + kMsrBitmap01Page * kPageSize);
  for (bool write : {false, true}) {
    for (Msr msr : {Msr::IA32_FEATURE_CONTROL, Msr::IA32_MTRR_PHYSBASE0, Msr::IA32_MTRR_DEF_TYPE,
                    Msr::IA32_VMX_BASIC, Msr::IA32_VMX_EXIT_CTLS2, Msr::IA32_RTIT_CTL,
                    Msr::IA32_APIC_BASE, Msr::IA32_BIOS_UPDT_TRIG}) {
      EXPECT_TRUE(Bit01(msr, write)) << Index(msr);
    }
    for (Msr msr : {Msr::IA32_TIME_STAMP_COUNTER, Msr::IA32_EFER, Msr::IA32_PAT, Msr::IA32_LSTAR,
                    Msr::IA32_SYSENTER_CS, Msr::IA32_X2APIC_ICR, Msr::IA32_DEBUGCTL}) {
      EXPECT_FALSE(Bit01(msr, write)) << Index(msr);
    }
  }
}

TEST_F(MsrBitmapTest, OfL2WhatL1InterceptsExitsToo) {
  Intercept(Msr::IA32_LSTAR, /*write=*/true);
  Intercept(Msr::IA32_PAT, /*write=*/false);
  l1_.RunL2(v_);
  EXPECT_TRUE(Uses(l1_.vmcs.vmcs02()));
  EXPECT_EQ(l1_.vmcs.vmcs02().Get<VmcsField::kMsrBitmapAddress>(), FakeVcpu::kHostPages.value);
  EXPECT_TRUE(Bit02(Msr::IA32_LSTAR, true));
  EXPECT_FALSE(Bit02(Msr::IA32_LSTAR, false));
  EXPECT_TRUE(Bit02(Msr::IA32_PAT, false));
  EXPECT_FALSE(Bit02(Msr::IA32_PAT, true));
  EXPECT_TRUE(Bit02(Msr::IA32_MTRR_PHYSBASE0, true));
}

TEST_F(MsrBitmapTest, AWriteOfTheTscExitsIfL1sPreemptionTimerRuns) {
  l1_.RunL2(v_);
  EXPECT_FALSE(Bit02(Msr::IA32_TIME_STAMP_COUNTER, true));
  l1_.Exit(ExitReason::kVmcall);
  VmcsImage& vmcs12 = l1_.state.vmcs12;
  vmcs12.Set<VmcsField::kPinBasedControls>(vmcs12.Get<VmcsField::kPinBasedControls>() |
                                           PinBased::kActivateVmxPreemptionTimer);
  ASSERT_THAT(EnterL2(l1_.vcpu(), /*launch=*/false), Enters());
  EXPECT_TRUE(Bit02(Msr::IA32_TIME_STAMP_COUNTER, true));
  EXPECT_FALSE(Bit02(Msr::IA32_TIME_STAMP_COUNTER, false));
}

// L0 could not enter a guest that has set LME, and then PG, by itself.
TEST_F(MsrBitmapTest, AWriteOfEferExitsIfIa32eModeIsNotOffered) {
  l1_.RunL2(v_);
  l1_.state.offered.true_entry_ctls &= ~(uint64_t{VmEntry::kIa32eModeGuest} << 32);
  MergeMsrBitmap(l1_.vcpu());
  FillMsrBitmap01(l1_.vcpu());
  EXPECT_TRUE(Bit01(Msr::IA32_EFER, true));
  EXPECT_FALSE(Bit01(Msr::IA32_EFER, false));
  EXPECT_TRUE(Bit02(Msr::IA32_EFER, true));
  EXPECT_FALSE(Bit02(Msr::IA32_EFER, false));
}

TEST_F(MsrBitmapTest, TheBitmapIsReadWithEachEntry) {
  l1_.RunL2(v_);
  l1_.Exit(ExitReason::kVmcall);
  Intercept(Msr::IA32_LSTAR, /*write=*/true);
  ASSERT_THAT(EnterL2(l1_.vcpu(), /*launch=*/false), Enters());
  EXPECT_TRUE(Bit02(Msr::IA32_LSTAR, true));
}

TEST_F(MsrBitmapTest, WhereNoMemoryAnswersEverythingExits) {
  v_.Set<VmcsField::kMsrBitmapAddress>(FakeVcpu::kMemorySize);
  l1_.RunL2(v_);
  EXPECT_TRUE(Bit02(Msr::IA32_LSTAR, true));
  EXPECT_TRUE(Bit02(Msr::IA32_TIME_STAMP_COUNTER, false));
}

TEST_F(MsrBitmapTest, WithoutBitmapsInVmcs12EverythingExits) {
  l1_.RunL2(ValidVmcs12(l1_.state.offered));
  EXPECT_FALSE(Uses(l1_.vmcs.vmcs02()));
}

TEST_F(MsrBitmapTest, WithoutHostPagesEverythingExits) {
  l1_.TakeHostPages();
  l1_.RunL2(v_);
  EXPECT_FALSE(Uses(l1_.vmcs.vmcs02()));
}

}  // namespace
}  // namespace nvmx
