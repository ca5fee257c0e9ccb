// SPDX-License-Identifier: Apache-2.0
//
// What becomes of an access of L2 or of L1 that EPT01 does not allow. SDM Vol. 3C, 29.3.3
// "EPT-Induced VM Exits".
#include "core/testing/memory_exits_fixture.h"
#include "core/x86/rflags.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

// --- With EPT in VMCS12 ---

TEST_F(MemoryExitsTest, AForbiddenAccessRaisesGeneralProtectionInL2) {
  embedder_.Unmap(kL1);
  ept12_.Map(kL2, kL1);
  RunL2();
  const uint64_t rip = Vmcs02().Get<VmcsField::kGuestRip>();
  Violation(kL2 + 0x10, kR);
  ASSERT_TRUE(l1_.L2Runs());
  EXPECT_EQ(Injected().value(), kGp0);
  EXPECT_EQ(Vmcs02().Get<VmcsField::kVmEntryExceptionErrorCode>(), 0u);
  EXPECT_EQ(Vmcs02().Get<VmcsField::kGuestRip>(), rip);
  EXPECT_EQ(Find(kL2), std::nullopt);
  EXPECT_THAT(embedder_.asked(), testing::ElementsAre(kL1 + 0x10));
}

TEST_F(MemoryExitsTest, AWriteOfWhatEpt01GivesForReadingIsForbidden) {
  embedder_.Map(kL1, {.address = PhysicalAddress{kL1}, .readable = true});
  ept12_.Map(kL2, kL1);
  RunL2();
  ASSERT_TRUE(Access(kL2, kR));
  EXPECT_TRUE(embedder_.asked().empty());
  Violation(kL2, kW);
  EXPECT_EQ(Injected().value(), kGp0);
}

TEST_F(MemoryExitsTest, AnAccessForWhichTheEmbedderChangesEpt01IsRepeated) {
  embedder_.Unmap(kL1);
  embedder_.AnswerAccesses(ForbiddenAccess::kRepeated);
  ept12_.Map(kL2, kL1);
  RunL2();
  const uint64_t rip = Vmcs02().Get<VmcsField::kGuestRip>();
  Violation(kL2, kR);
  ASSERT_TRUE(l1_.L2Runs());
  EXPECT_FALSE(Injected().valid());
  EXPECT_EQ(Vmcs02().Get<VmcsField::kGuestRip>(), rip);
}

TEST_F(MemoryExitsTest, BehindAnAccessThatTheEmbedderPerformsNothingIsRepeated) {
  embedder_.Unmap(kL1);
  embedder_.AnswerAccesses(ForbiddenAccess::kPerformed, 5);
  ept12_.Map(kL2, kL1);
  RunL2();
  const uint64_t rip = Vmcs02().Get<VmcsField::kGuestRip>();
  Vmcs02().Set<VmcsField::kVmExitInstructionLength>(3);
  Violation(kL2, kW);
  ASSERT_TRUE(l1_.L2Runs());
  EXPECT_FALSE(Injected().valid());
  EXPECT_EQ(Vmcs02().Get<VmcsField::kGuestRip>(), rip + 5);
  EXPECT_EQ(Vmcs02().Get<VmcsField::kGuestRflags>() & Rflags::kRf, 0u);
}

TEST_F(MemoryExitsTest, L1sViolationComesBeforeTheEmbedder) {
  embedder_.Unmap(kL1);
  ept12_.Map(kL2, kL1, kR);
  RunL2();
  Violation(kL2, kW);
  ExpectViolation(kW | kToFinal | kR << kRightsShift);
  EXPECT_TRUE(embedder_.asked().empty());
}

TEST_F(MemoryExitsTest, AForbiddenAccessOfAnInterceptedKindIsAnExitOfL1) {
  embedder_.Unmap(kL1);
  ept12_.Map(kL2, kL1);
  v_.Set<VmcsField::kExceptionBitmap>(1 << static_cast<unsigned>(Vector::kGeneralProtection));
  RunL2();
  Violation(kL2, kR);
  ASSERT_FALSE(l1_.L2Runs());
  EXPECT_EQ(Vmcs12().Get<VmcsField::kExitReason>(), 0u);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kVmExitInterruptionInformation>(), kGp0);
}

TEST_F(MemoryExitsTest, AForbiddenAccessWhileAFaultIsDeliveredIsADoubleFault) {
  embedder_.Unmap(kL1);
  ept12_.Map(kL2, kL1);
  RunL2();
  Vmcs02().Set<VmcsField::kIdtVectoringInformation>(kGp0);
  Violation(kL2, kR);
  EXPECT_TRUE(Injected().IsHardwareException(Vector::kDoubleFault));
}

// --- Without EPT in VMCS12 ---

TEST_F(MemoryExitsTest, WithoutEpt12AViolationIsOfEpt01) {
  v_ = ValidVmcs12(l1_.state.offered);
  l1_.RunL2(v_);
  l1_.vmcs.vmcs02().Set<VmcsField::kGuestPhysicalAddress>(kL1 + 4);
  l1_.Exit(ExitReason::kEptViolation, kR | kToFinal);
  ASSERT_TRUE(l1_.L2Runs());
  EXPECT_EQ(Injected().value(), kGp0);
  EXPECT_THAT(embedder_.asked(), testing::ElementsAre(kL1 + 4));
}

TEST_F(MemoryExitsTest, WithoutEpt12Vmcs02UsesEpt01) {
  constexpr uint64_t kEptp01 = 0x1'0000'001E;
  VmcsImage& vmcs01 = l1_.vmcs.vmcs01();
  vmcs01.Set<VmcsField::kPrimaryProcessorBasedControls>(
      vmcs01.Get<VmcsField::kPrimaryProcessorBasedControls>() |
      PrimaryProcessorBased::kActivateSecondaryControls);
  vmcs01.Set<VmcsField::kSecondaryProcessorBasedControls>(Secondary::kEnableEpt);
  vmcs01.Set<VmcsField::kEptPointer>(kEptp01);
  v_ = ValidVmcs12(l1_.state.offered);
  l1_.RunL2(v_);
  EXPECT_EQ(Eptp02(), kEptp01);
  EXPECT_NE(Vmcs02().Get<VmcsField::kSecondaryProcessorBasedControls>() & Secondary::kEnableEpt,
            0u);
}

TEST_F(MemoryExitsTest, AViolationOfL1IsForTheEmbedderOrRaisesGeneralProtection) {
  l1_.EnterVmxRoot();
  VmcsImage& vmcs01 = l1_.vmcs.vmcs01();
  vmcs01.Set<VmcsField::kGuestPhysicalAddress>(0x9008);
  l1_.Exit(ExitReason::kEptViolation, kW);
  EXPECT_THAT(embedder_.asked(), testing::ElementsAre(0x9008u));
  EXPECT_EQ(vmcs01.Get<VmcsField::kVmEntryInterruptionInformation>(), kGp0);
  embedder_.AnswerAccesses(ForbiddenAccess::kRepeated);
  const uint64_t rip = vmcs01.Get<VmcsField::kGuestRip>();
  l1_.Exit(ExitReason::kEptViolation, kW);
  EXPECT_EQ(vmcs01.Get<VmcsField::kVmEntryInterruptionInformation>() & 0x80000000, 0u);
  EXPECT_EQ(vmcs01.Get<VmcsField::kGuestRip>(), rip);
  embedder_.AnswerAccesses(ForbiddenAccess::kPerformed, 6);
  l1_.Exit(ExitReason::kEptViolation, kW);
  EXPECT_EQ(vmcs01.Get<VmcsField::kVmEntryInterruptionInformation>() & 0x80000000, 0u);
  EXPECT_EQ(vmcs01.Get<VmcsField::kGuestRip>(), rip + 6);
  EXPECT_EQ(vmcs01.Get<VmcsField::kGuestRflags>() & Rflags::kRf, 0u);
}

}  // namespace
}  // namespace nvmx
