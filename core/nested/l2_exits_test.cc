// SPDX-License-Identifier: Apache-2.0
//
// Exits of L2 that L1 did not ask for: L0 does what is to be done, and L2 goes on.
#include "core/nested/l2_exits.h"

#include "core/nested/embedder.h"
#include "core/nested/hypervisor.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/hole_embedder.h"
#include "core/testing/serving_embedder.h"
#include "core/vmx/bitmaps.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruption_info.h"
#include "core/vmx/qualifications.h"
#include "core/x86/control_registers.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using enum GeneralRegister;
using enum VmcsField;

constexpr uint64_t kBitmap = 0x30000;
constexpr uint64_t kLength = 3;

class L2ExitsTest : public testing::Test {
 protected:
  void UseMsrBitmap() {
    v_.Set<kPrimaryProcessorBasedControls>(v_.Get<kPrimaryProcessorBasedControls>() |
                                           PrimaryProcessorBased::kUseMsrBitmaps);
    v_.Set<kMsrBitmapAddress>(kBitmap);
  }
  void Run() {
    l1_.RunL2(v_);
    rip_ = L2().Get<kGuestRip>();
    L2().Set<kVmExitInstructionLength>(kLength);
  }
  VmcsImage& L2() { return l1_.vmcs.vmcs02(); }
  VmcsImage& Vmcs12() { return l1_.state.vmcs12; }
  InterruptionInformation Injected() {
    return InterruptionInformation(L2().Get<kVmEntryInterruptionInformation>());
  }
  void ExpectL2GoesOnBehind() {
    EXPECT_TRUE(l1_.L2Runs());
    EXPECT_EQ(L2().Get<kGuestRip>(), rip_ + kLength);
    EXPECT_FALSE(Injected().valid());
  }
  void ExpectL2Gets(Vector vector) {
    EXPECT_TRUE(l1_.L2Runs());
    EXPECT_EQ(L2().Get<kGuestRip>(), rip_);
    EXPECT_TRUE(Injected().IsHardwareException(vector));
  }
  void ExpectL1Gets(ExitReason reason) {
    EXPECT_FALSE(l1_.L2Runs());
    EXPECT_EQ(Vmcs12().Get<kExitReason>(), static_cast<uint32_t>(reason));
  }

  FakeVcpu l1_;
  VmcsImage v_ = ValidVmcs12(l1_.state.offered);
  uint64_t rip_ = 0;
};

// --- MSRs ---

TEST_F(L2ExitsTest, AnMsrThatOnlyL0InterceptsIsReadByL0) {
  UseMsrBitmap();
  Run();
  l1_.Register(kRcx) = Index(Msr::IA32_FEATURE_CONTROL);
  l1_.Exit(ExitReason::kRdmsr);
  EXPECT_EQ(l1_.Register(kRax), 5u);
  EXPECT_EQ(l1_.Register(kRdx), 0u);
  ExpectL2GoesOnBehind();
}

TEST_F(L2ExitsTest, AnMsrThatOnlyL0InterceptsIsWrittenByL0) {
  UseMsrBitmap();
  Run();
  l1_.OthersAnswerQuiesce();
  l1_.Register(kRcx) = Index(Msr::IA32_MTRR_DEF_TYPE);
  l1_.Register(kRax) = 0x806;
  l1_.Register(kRdx) = 0;
  l1_.Exit(ExitReason::kWrmsr);
  EXPECT_EQ(l1_.state.mtrr.default_type, 0x806u);
  ExpectL2GoesOnBehind();
}

TEST_F(L2ExitsTest, AnAccessThatRaisesGeneralProtectionRaisesItInL2) {
  UseMsrBitmap();
  Run();
  l1_.Register(kRcx) = Index(Msr::IA32_VMX_BASIC);
  l1_.Exit(ExitReason::kWrmsr);
  ExpectL2Gets(Vector::kGeneralProtection);
}

TEST_F(L2ExitsTest, ThatFaultIsL1sIfItIntercepts) {
  UseMsrBitmap();
  v_.Set<kExceptionBitmap>(1u << 13);
  Run();
  l1_.Register(kRcx) = Index(Msr::IA32_VMX_BASIC);
  l1_.Exit(ExitReason::kWrmsr);
  ExpectL1Gets(ExitReason::kExceptionOrNmi);
}

TEST_F(L2ExitsTest, WhatL1InterceptsIsL1s) {
  UseMsrBitmap();
  const uint32_t bit = *MsrBitmapBit(Index(Msr::IA32_FEATURE_CONTROL), /*write=*/false);
  l1_.memory.Poke(kBitmap + bit / 8, static_cast<uint8_t>(1u << bit % 8));
  Run();
  l1_.Register(kRcx) = Index(Msr::IA32_FEATURE_CONTROL);
  l1_.Exit(ExitReason::kRdmsr);
  ExpectL1Gets(ExitReason::kRdmsr);
}

TEST_F(L2ExitsTest, L2ReadsItsOwnTimeStampCounter) {
  UseMsrBitmap();
  l1_.TakeHostPages();
  v_.Set<kPrimaryProcessorBasedControls>(v_.Get<kPrimaryProcessorBasedControls>() |
                                         PrimaryProcessorBased::kUseTscOffsetting);
  v_.Set<kTscOffset>(0x1000);
  Run();
  l1_.clock.Set(0x234);
  l1_.Register(kRcx) = Index(Msr::IA32_TIME_STAMP_COUNTER);
  l1_.Exit(ExitReason::kRdmsr);
  EXPECT_EQ(l1_.Register(kRax), 0x1234u);
}

// --- What the embedder owns ---

TEST_F(L2ExitsTest, CpuidAndVmcallAreL1s) {
  Run();
  l1_.Exit(ExitReason::kCpuid);
  ExpectL1Gets(ExitReason::kCpuid);
  Run();
  l1_.Exit(ExitReason::kVmcall);
  ExpectL1Gets(ExitReason::kVmcall);
}

TEST_F(L2ExitsTest, ACpuidThatTheEmbedderAnswersIsNot) {
  const ServingEmbedder embedder;
  l1_.SetEmbedder(embedder);
  Run();
  l1_.Register(kRax) = ServingEmbedder::kLeaf;
  l1_.Exit(ExitReason::kCpuid);
  EXPECT_EQ(l1_.Register(kRbx), 0x4C32u);
  ExpectL2GoesOnBehind();
  l1_.Register(kRax) = 0;
  l1_.Exit(ExitReason::kCpuid);
  ExpectL1Gets(ExitReason::kCpuid);
}

TEST_F(L2ExitsTest, AVmcallThatTheEmbedderOwnsIsNot) {
  const ServingEmbedder embedder;
  l1_.SetEmbedder(embedder);
  Run();
  l1_.Register(kRax) = ServingEmbedder::kCall;
  l1_.Exit(ExitReason::kVmcall);
  ExpectL2GoesOnBehind();
  l1_.Register(kRax) = ServingEmbedder::kRefusedCall;
  l1_.Exit(ExitReason::kVmcall);
  ExpectL1Gets(ExitReason::kVmcall);
}

// --- Control registers ---

TEST_F(L2ExitsTest, ABitOfCr4ThatIsNotOfferedIsGeneralProtection) {
  Run();
  l1_.Register(kRbx) = v_.Get<kGuestCr4>() | Cr4::kSmxe;
  l1_.Exit(ExitReason::kControlRegisterAccesses,
           ControlRegisterAccess::Make(ControlRegisterAccess::Type::kMovTo, 4, kRbx).value());
  ExpectL2Gets(Vector::kGeneralProtection);
}

TEST_F(L2ExitsTest, ABitOfCr4ThatL1OwnsIsL1s) {
  v_.Set<kCr4GuestHostMask>(Cr4::kPge);
  Run();
  l1_.Register(kRbx) = v_.Get<kGuestCr4>() | Cr4::kSmxe | Cr4::kPge;
  l1_.Exit(ExitReason::kControlRegisterAccesses,
           ControlRegisterAccess::Make(ControlRegisterAccess::Type::kMovTo, 4, kRbx).value());
  ExpectL1Gets(ExitReason::kControlRegisterAccesses);
}

// --- I/O ---

TEST_F(L2ExitsTest, WithABitmapOutOfL1sReachEveryIoExitIsL1s) {
  const EmbedderWithHole embedder({.hole = kBitmap + 0x1000});
  l1_.SetEmbedder(embedder);
  v_.Set<kPrimaryProcessorBasedControls>(v_.Get<kPrimaryProcessorBasedControls>() |
                                         PrimaryProcessorBased::kUseIoBitmaps);
  v_.Set<kIoBitmapAAddress>(kBitmap);
  v_.Set<kIoBitmapBAddress>(kBitmap + 0x1000);
  Run();
  l1_.Exit(ExitReason::kIoInstruction, uint64_t{0x80} << 16);
  ExpectL1Gets(ExitReason::kIoInstruction);
}

// --- Memory ---

class L2MemoryExitsTest : public L2ExitsTest {
 protected:
  static constexpr uint64_t kPml4 = 0x40000;
  static constexpr uint64_t kEptp = kPml4 | 3 << 3 | 6;

  void UseEpt12() {
    v_.Set<kPrimaryProcessorBasedControls>(v_.Get<kPrimaryProcessorBasedControls>() |
                                           PrimaryProcessorBased::kActivateSecondaryControls);
    v_.Set<kSecondaryProcessorBasedControls>(Secondary::kEnableEpt);
    v_.Set<kEptPointer>(kEptp);
  }
  // EPT12 maps the first 2 MBytes of L2 to L1's.
  void Map() {
    l1_.memory.Poke(kPml4, uint64_t{0x41000 | 7});
    l1_.memory.Poke(0x41000, uint64_t{0x42000 | 7});
    l1_.memory.Poke(0x42000, uint64_t{0x80 | 6 << 3 | 7});
  }
  void Violate(uint64_t address, uint64_t access) {
    L2().Set<kGuestPhysicalAddress>(address);
    L2().Set<kGuestLinearAddress>(0x7777);
    l1_.Exit(ExitReason::kEptViolation, access | 0x180);
  }
};

TEST_F(L2MemoryExitsTest, WhatEpt12MapsIsFilledAndL2TriesAgain) {
  UseEpt12();
  Map();
  Run();
  Violate(0x5000, 1);
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_EQ(L2().Get<kGuestRip>(), rip_);
}

TEST_F(L2MemoryExitsTest, AnEventThatWasBeingDeliveredIsDeliveredAgain) {
  UseEpt12();
  Map();
  Run();
  L2().Set<kIdtVectoringInformation>(InterruptionInformation::ExternalInterrupt(0x21).value());
  Violate(0x5000, 2);
  EXPECT_EQ(Injected(), InterruptionInformation::ExternalInterrupt(0x21));
}

TEST_F(L2MemoryExitsTest, WhatEpt12DoesNotMapIsL1s) {
  UseEpt12();
  Run();
  Violate(0x5000, 1);
  ExpectL1Gets(ExitReason::kEptViolation);
  EXPECT_EQ(Vmcs12().Get<kExitQualification>(), 0x181u);
  EXPECT_EQ(Vmcs12().Get<kGuestPhysicalAddress>(), 0x5000u);
  EXPECT_EQ(Vmcs12().Get<kGuestLinearAddress>(), 0x7777u);
}

TEST_F(L2MemoryExitsTest, WithoutEpt12AForbiddenAccessIsGeneralProtection) {
  Run();
  Violate(0x5000, 1);
  ExpectL2Gets(Vector::kGeneralProtection);
}

// --- What nobody asked for ---

TEST_F(L2ExitsTest, AnExceptionThatNobodyAskedForIsL2sAllTheSame) {
  Run();
  L2().Set<kVmExitInterruptionInformation>(
      InterruptionInformation::HardwareException(Vector::kGeneralProtection).value());
  L2().Set<kVmExitInterruptionErrorCode>(0x18);
  L2().Set<kExitReason>(static_cast<uint64_t>(ExitReason::kExceptionOrNmi));
  HandleVmExit(l1_.vcpu(), RawExit::FromHardware(VmcsRole::kVmcs02));
  ExpectL2Gets(Vector::kGeneralProtection);
  EXPECT_EQ(L2().Get<kVmEntryExceptionErrorCode>(), 0x18u);
  EXPECT_EQ(l1_.trace.Count(TraceKind::kAssertionFailed), 1);
}

TEST_F(L2ExitsTest, AnExitThatNobodyAskedForIsReported) {
  Run();
  l1_.Exit(ExitReason::kRdrand);
  ExpectL2Gets(Vector::kInvalidOpcode);
  EXPECT_EQ(l1_.trace.Count(TraceKind::kAssertionFailed), 1);
}

}  // namespace
}  // namespace nvmx
