// SPDX-License-Identifier: Apache-2.0
//
// VMCLEAR, VMPTRLD, VMPTRST, and the VMCS12 region. SDM Vol. 3C, 31.3 "VMX Instructions"; 25.11.3
// "Initializing a VMCS".
#include <cstddef>
#include <cstring>

#include "core/nested/vmcs12_region.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/matchers.h"
#include "core/vmx/controls.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint64_t kRegion = FakeVcpu::kVmcs12Region;
constexpr uint64_t kOtherRegion = 0x30000;
constexpr uint64_t kMemoryEnd = FakeVcpu::kMemorySize;
constexpr uint64_t kTooWide = kRegion | uint64_t{1} << 39;

VmcsImage ImageWithRip(uint64_t rip) {
  VmcsImage image;
  image.Set<VmcsField::kGuestRip>(rip);
  return image;
}

class VmcsPointerTest : public testing::Test {
 protected:
  VmcsPointerTest() {
    l1_.EnterVmxRoot();
    l1_.memory.Poke(kRegion, Vmcs12Region{kVmcs12Revision, 0, 0, ImageWithRip(0x111)});
    l1_.memory.Poke(kOtherRegion, Vmcs12Region{kVmcs12Revision, 0, 1, ImageWithRip(0x222)});
  }
  VmxOutcome Vmclear(uint64_t region) {
    return l1_.ExecuteWithPointer(ExitReason::kVmclear, region);
  }
  VmxOutcome Vmptrld(uint64_t region) {
    return l1_.ExecuteWithPointer(ExitReason::kVmptrld, region);
  }
  Vmcs12Region Region(uint64_t address) { return l1_.memory.Peek<Vmcs12Region>(address); }
  uint64_t Rip() const { return l1_.state.vmcs12.Get<VmcsField::kGuestRip>(); }
  static VmxOutcome FailValid(VmInstructionError error) { return VmxOutcome::FailValid(error); }

  FakeVcpu l1_;
};

TEST_F(VmcsPointerTest, VmptrldMakesTheRegionCurrent) {
  EXPECT_EQ(Vmptrld(kRegion), VmxOutcome::Succeed());
  EXPECT_EQ(l1_.state.current_vmcs, kRegion);
  EXPECT_EQ(Rip(), 0x111u);
  EXPECT_EQ(l1_.state.vmcs12_launched, 0u);
  EXPECT_EQ(Vmptrld(kOtherRegion), VmxOutcome::Succeed());
  EXPECT_EQ(Rip(), 0x222u);
  EXPECT_EQ(l1_.state.vmcs12_launched, 1u);
}

TEST_F(VmcsPointerTest, VmptrldKeepsTheDataOfTheVmcsBefore) {
  ASSERT_EQ(Vmptrld(kRegion), VmxOutcome::Succeed());
  l1_.state.vmcs12.Set<VmcsField::kGuestRip>(0x333);
  l1_.state.vmcs12_launched = 1;
  ASSERT_EQ(Vmptrld(kOtherRegion), VmxOutcome::Succeed());
  ASSERT_EQ(Vmptrld(kRegion), VmxOutcome::Succeed());
  EXPECT_EQ(Rip(), 0x333u);
  EXPECT_EQ(l1_.state.vmcs12_launched, 1u);
}

TEST_F(VmcsPointerTest, VmptrldOfTheCurrentVmcsChangesNothing) {
  ASSERT_EQ(Vmptrld(kRegion), VmxOutcome::Succeed());
  l1_.state.vmcs12.Set<VmcsField::kGuestRip>(0x333);
  EXPECT_EQ(Vmptrld(kRegion), VmxOutcome::Succeed());
  EXPECT_EQ(Rip(), 0x333u);
  EXPECT_EQ(Region(kRegion).fields.Get<VmcsField::kGuestRip>(), 0x111u);
}

TEST_F(VmcsPointerTest, VmptrldOfAnInvalidAddressIsVmfail9) {
  EXPECT_EQ(Vmptrld(kRegion + 8), VmxOutcome::FailInvalid());
  ASSERT_EQ(Vmptrld(kRegion), VmxOutcome::Succeed());
  const VmxOutcome refused = FailValid(VmInstructionError::kVmptrldWithInvalidPhysicalAddress);
  EXPECT_EQ(Vmptrld(kRegion + 8), refused);
  EXPECT_EQ(Vmptrld(kTooWide), refused);
  EXPECT_EQ(Vmptrld(~uint64_t{0}), refused);
  EXPECT_EQ(l1_.state.current_vmcs, kRegion);
}

TEST_F(VmcsPointerTest, VmptrldOfTheVmxonRegionIsVmfail10) {
  EXPECT_EQ(Vmptrld(FakeVcpu::kVmxonRegion), VmxOutcome::FailInvalid());
  ASSERT_EQ(Vmptrld(kRegion), VmxOutcome::Succeed());
  EXPECT_EQ(Vmptrld(FakeVcpu::kVmxonRegion),
            FailValid(VmInstructionError::kVmptrldWithVmxonPointer));
}

TEST_F(VmcsPointerTest, VmptrldOfAWrongRevisionIsVmfail11) {
  const VmxOutcome refused =
      FailValid(VmInstructionError::kVmptrldWithIncorrectVmcsRevisionIdentifier);
  l1_.memory.Poke(kOtherRegion, kVmcs12Revision + 1);
  EXPECT_EQ(Vmptrld(kOtherRegion), VmxOutcome::FailInvalid());
  ASSERT_EQ(Vmptrld(kRegion), VmxOutcome::Succeed());
  EXPECT_EQ(Vmptrld(kOtherRegion), refused);
  // What no memory backs reads as ones.
  EXPECT_EQ(Vmptrld(kMemoryEnd), refused);
  EXPECT_EQ(l1_.state.current_vmcs, kRegion);
}

TEST_F(VmcsPointerTest, AShadowVmcsIsOneWhereVmcsShadowingIsOffered) {
  l1_.memory.Poke(kOtherRegion, kVmcs12Revision | 0x80000000);
  ASSERT_EQ(Vmptrld(kRegion), VmxOutcome::Succeed());
  EXPECT_EQ(l1_.state.vmcs12_is_shadow, 0u);
  EXPECT_EQ(Vmptrld(kOtherRegion), VmxOutcome::Succeed());
  EXPECT_EQ(l1_.state.vmcs12_is_shadow, 1u);
  EXPECT_EQ(Vmclear(kOtherRegion), VmxOutcome::Succeed());
  EXPECT_EQ(Region(kOtherRegion).revision, kVmcs12Revision | 0x80000000);
  l1_.state.offered.procbased_ctls2 &= ~(uint64_t{Secondary::kVmcsShadowing} << 32);
  ASSERT_EQ(Vmptrld(kRegion), VmxOutcome::Succeed());
  EXPECT_EQ(Vmptrld(kOtherRegion),
            FailValid(VmInstructionError::kVmptrldWithIncorrectVmcsRevisionIdentifier));
}

TEST_F(VmcsPointerTest, WhatL1HasWrittenIntoTheRegionStaysWithinTheFields) {
  Vmcs12Region region{kVmcs12Revision, 0, 0x100, {}};
  std::memset(static_cast<void*>(&region.fields), 0xFF, sizeof region.fields);
  l1_.memory.Poke(kRegion, region);
  ASSERT_EQ(Vmptrld(kRegion), VmxOutcome::Succeed());
  EXPECT_EQ(l1_.state.vmcs12.Read(VmcsField::kGuestEsSelector), 0xFFFFu);
  EXPECT_EQ(l1_.state.vmcs12.Read(VmcsField::kExceptionBitmap), 0xFFFFFFFFu);
  EXPECT_EQ(l1_.state.vmcs12_launched, 1u);
}

TEST_F(VmcsPointerTest, VmclearWritesTheCurrentVmcsBackAndLeavesNone) {
  ASSERT_EQ(Vmptrld(kRegion), VmxOutcome::Succeed());
  l1_.state.vmcs12.Set<VmcsField::kGuestRip>(0x333);
  l1_.state.vmcs12_launched = 1;
  EXPECT_EQ(Vmclear(kRegion), VmxOutcome::Succeed());
  EXPECT_EQ(l1_.state.current_vmcs, kNoVmcs);
  EXPECT_EQ(Region(kRegion).launched, 0u);
  EXPECT_EQ(Region(kRegion).fields.Get<VmcsField::kGuestRip>(), 0x333u);
}

TEST_F(VmcsPointerTest, VmclearOfAnotherVmcsClearsItsLaunchStateAndKeepsTheCurrentOne) {
  ASSERT_EQ(Vmptrld(kRegion), VmxOutcome::Succeed());
  EXPECT_EQ(Vmclear(kOtherRegion), VmxOutcome::Succeed());
  EXPECT_EQ(l1_.state.current_vmcs, kRegion);
  EXPECT_EQ(Region(kOtherRegion).launched, 0u);
  EXPECT_EQ(Region(kOtherRegion).fields.Get<VmcsField::kGuestRip>(), 0x222u);
  EXPECT_EQ(Region(kOtherRegion).revision, kVmcs12Revision);
}

TEST_F(VmcsPointerTest, VmclearWritesNeitherRevisionNorAbortIndicator) {
  l1_.memory.Poke(kRegion + 4, uint32_t{0xABCD});
  ASSERT_EQ(Vmptrld(kRegion), VmxOutcome::Succeed());
  ASSERT_EQ(Vmclear(kRegion), VmxOutcome::Succeed());
  EXPECT_EQ(Region(kRegion).revision, kVmcs12Revision);
  EXPECT_EQ(Region(kRegion).abort_indicator, 0xABCDu);
}

TEST_F(VmcsPointerTest, VmclearOfAnInvalidAddressIsVmfail2) {
  EXPECT_EQ(Vmclear(kRegion + 1), VmxOutcome::FailInvalid());
  ASSERT_EQ(Vmptrld(kRegion), VmxOutcome::Succeed());
  const VmxOutcome refused = FailValid(VmInstructionError::kVmclearWithInvalidPhysicalAddress);
  EXPECT_EQ(Vmclear(kRegion + 1), refused);
  EXPECT_EQ(Vmclear(kTooWide), refused);
}

TEST_F(VmcsPointerTest, VmclearOfTheVmxonRegionIsVmfail3) {
  EXPECT_EQ(Vmclear(FakeVcpu::kVmxonRegion), VmxOutcome::FailInvalid());
  ASSERT_EQ(Vmptrld(kRegion), VmxOutcome::Succeed());
  EXPECT_EQ(Vmclear(FakeVcpu::kVmxonRegion),
            FailValid(VmInstructionError::kVmclearWithVmxonPointer));
}

TEST_F(VmcsPointerTest, VmptrstStoresTheCurrentVmcsPointerOrOnes) {
  const InstructionOperands operand{.displacement = FakeVcpu::kOperand};
  EXPECT_EQ(l1_.Execute(ExitReason::kVmptrst, operand), VmxOutcome::Succeed());
  EXPECT_EQ(l1_.memory.Peek<uint64_t>(FakeVcpu::kOperand), ~uint64_t{0});
  ASSERT_EQ(Vmptrld(kRegion), VmxOutcome::Succeed());
  EXPECT_EQ(l1_.Execute(ExitReason::kVmptrst, operand), VmxOutcome::Succeed());
  EXPECT_EQ(l1_.memory.Peek<uint64_t>(FakeVcpu::kOperand), kRegion);
}

TEST_F(VmcsPointerTest, AFaultOfTheOperandIsL1sAndHasNoEffect) {
  ASSERT_EQ(Vmptrld(kRegion), VmxOutcome::Succeed());
  const InstructionOperands unmapped{.displacement = kMemoryEnd};
  EXPECT_EQ(l1_.Execute(ExitReason::kVmptrld, unmapped), VmxOutcome::Fault(Vector::kPageFault, 0));
  EXPECT_EQ(l1_.Execute(ExitReason::kVmclear, unmapped), VmxOutcome::Fault(Vector::kPageFault, 0));
  EXPECT_EQ(l1_.Execute(ExitReason::kVmptrst, unmapped),
            VmxOutcome::Fault(Vector::kPageFault, PageFaultErrorCode::kWr));
  EXPECT_EQ(l1_.state.current_vmcs, kRegion);
}

TEST_F(VmcsPointerTest, TheRegionKeepsEveryField) {
  VmcsImage image;
  for (const VmcsFieldInformation& row : kVmcsFields) {
    image.Write(row.field, 0x0101'0101'0101'0101 * (Slot(row.field) + 1));
  }
  ASSERT_EQ(Vmptrld(kRegion), VmxOutcome::Succeed());
  l1_.state.vmcs12 = image;
  ASSERT_EQ(Vmclear(kRegion), VmxOutcome::Succeed());
  l1_.state.vmcs12 = VmcsImage();
  ASSERT_EQ(Vmptrld(kRegion), VmxOutcome::Succeed());
  EXPECT_EQ(l1_.state.vmcs12, image);
}

TEST_F(VmcsPointerTest, TheArchitecturalPartOfTheRegionIsItsFirst8Bytes) {
  EXPECT_EQ(offsetof(Vmcs12Region, revision), 0u);
  EXPECT_EQ(offsetof(Vmcs12Region, abort_indicator), kVmxAbortIndicatorOffset);
  ASSERT_EQ(Vmptrld(kRegion), VmxOutcome::Succeed());
  const Vmcs12Region before = Region(kRegion);
  WriteVmxAbortIndicator(l1_.vcpu(), VmxAbort::kLoadingHostMsrs);
  EXPECT_EQ(l1_.memory.Peek<uint32_t>(kRegion + 4), 4u);
  EXPECT_EQ(Region(kRegion).revision, before.revision);
  EXPECT_EQ(Region(kRegion).launched, before.launched);
  EXPECT_EQ(Region(kRegion).fields, before.fields);
}

TEST_F(VmcsPointerTest, WithoutACurrentVmcsThereIsNothingToWriteBack) {
  l1_.log.clear();
  WriteBackVmcs12(l1_.vcpu());
  EXPECT_TRUE(l1_.log.empty());
}

}  // namespace
}  // namespace nvmx
