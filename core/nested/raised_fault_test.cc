// SPDX-License-Identifier: Apache-2.0
//
// Faults that L0 raises: whether L1 intercepts them, and how they combine with the event that was
// being delivered. SDM Vol. 3A, table 6-5 "Conditions for Generating a Double Fault"; Vol.
// 3C, 25.6.3 "Exception Bitmap".
#include "core/nested/event_injection.h"
#include "core/testing/event_injection_fixture.h"
#include "core/x86/rflags.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

TEST_F(EventInjectionTest, AFaultThatL1DoesNotInterceptIsInjectedWithRf) {
  RunL2();
  Raise(Vector::kGeneralProtection);
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_EQ(Injection(), 0x80000B0Du);
  EXPECT_NE(L2().Get<VmcsField::kGuestRflags>() & Rflags::kRf, 0u);
}

TEST_F(EventInjectionTest, AFaultThatL1InterceptsIsAnExit) {
  Intercept(Vector::kGeneralProtection);
  RunL2();
  Raise(Vector::kGeneralProtection, 0x18);
  ExpectExit(0, 0x80000B0D);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kVmExitInterruptionErrorCode>(), 0x18u);
  EXPECT_NE(Vmcs12().Get<VmcsField::kGuestRflags>() & Rflags::kRf, 0u);
}

TEST_F(EventInjectionTest, InRealModeAFaultHasNoErrorCode) {
  RunL2();
  L2().Set<VmcsField::kGuestCr0>(0);
  Raise(Vector::kGeneralProtection);
  EXPECT_EQ(Injection(), 0x8000030Du);
}

TEST_F(EventInjectionTest, APageFaultIsInjectedWithCr2) {
  RunL2();
  Raise(Vector::kPageFault, 2, 0x1234);
  EXPECT_EQ(Injection(), 0x80000B0Eu);
  EXPECT_EQ(L2().Get<VmcsField::kVmEntryExceptionErrorCode>(), 2u);
  EXPECT_EQ(l1_.state.cr2, 0x1234u);
}

TEST_F(EventInjectionTest, APageFaultExitHasTheAddressAsQualificationAndLeavesCr2) {
  Intercept(Vector::kPageFault);
  RunL2();
  l1_.state.cr2 = 0x99;
  Raise(Vector::kPageFault, 2, 0x1234);
  ExpectExit(0, 0x80000B0E);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kExitQualification>(), 0x1234u);
  EXPECT_EQ(l1_.state.cr2, 0x99u);
}

// SDM Vol. 3C, 25.6.3 "Exception Bitmap": with mask and match the bit can mean its opposite.
TEST_F(EventInjectionTest, ThePageFaultErrorCodeDecidesWithTheBit) {
  v_.Set<VmcsField::kPageFaultErrorCodeMask>(2);
  v_.Set<VmcsField::kPageFaultErrorCodeMatch>(2);
  struct Case {
    bool bit;
    uint32_t error_code;
    bool exits;
  };
  for (const Case& c :
       {Case{true, 2, true}, Case{true, 0, false}, Case{false, 2, false}, Case{false, 0, true}}) {
    v_.Set<VmcsField::kExceptionBitmap>(c.bit ? 1 << 14 : 0);
    RunL2();
    Raise(Vector::kPageFault, c.error_code);
    EXPECT_EQ(!l1_.L2Runs(), c.exits) << c.bit << c.error_code;
  }
}

TEST_F(EventInjectionTest, AFaultThatInterruptsABenignEventShowsIt) {
  Intercept(Vector::kGeneralProtection);
  RunL2();
  Vectoring(0x80000403, 0, 2);
  Raise(Vector::kGeneralProtection);
  ExpectExit(0, 0x80000B0D);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kIdtVectoringInformation>(), 0x80000403u);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kVmExitInstructionLength>(), 2u);
}

TEST_F(EventInjectionTest, AFaultOfAnIretThatHadUnblockedNmisSaysSo) {
  Intercept(Vector::kGeneralProtection);
  RunL2();
  ExitWas(ExitReason::kEptViolation, kIretUnblocked);
  Raise(Vector::kGeneralProtection);
  ExpectExit(0, 0x80000B0D | kIretUnblocked);
}

// SDM Vol. 3A, table 6-5 "Conditions for Generating a Double Fault".
TEST_F(EventInjectionTest, FaultsCombine) {
  struct Case {
    Vector first, second;
    uint32_t injected;
  };
  for (const Case& c : {Case{Vector::kGeneralProtection, Vector::kStackFault, 0x80000B08},
                        Case{Vector::kDivideError, Vector::kGeneralProtection, 0x80000B08},
                        Case{Vector::kPageFault, Vector::kGeneralProtection, 0x80000B08},
                        Case{Vector::kPageFault, Vector::kPageFault, 0x80000B08},
                        Case{Vector::kGeneralProtection, Vector::kPageFault, 0x80000B0E},
                        Case{Vector::kDebug, Vector::kGeneralProtection, 0x80000B0D},
                        Case{Vector::kGeneralProtection, Vector::kInvalidOpcode, 0x80000306}}) {
    RunL2();
    Vectoring(InterruptionInformation::HardwareException(c.first).value());
    Raise(c.second, 5);
    EXPECT_EQ(Injection(), c.injected) << Name(c.first) << Name(c.second);
    EXPECT_EQ(L2().Get<VmcsField::kVmEntryExceptionErrorCode>(),
              c.injected == 0x80000B08 ? 0u : 5u);
  }
}

TEST_F(EventInjectionTest, AnExternalInterruptThatMeetsAFaultIsNoDoubleFault) {
  RunL2();
  Vectoring(0x8000000D);
  Raise(Vector::kGeneralProtection);
  EXPECT_EQ(Injection(), 0x80000B0Du);
}

TEST_F(EventInjectionTest, ADoubleFaultExitTellsNothingOfTheFirst) {
  Intercept(Vector::kDoubleFault);
  RunL2();
  Vectoring(0x80000B0D, 8);
  Raise(Vector::kGeneralProtection);
  ExpectExit(0, 0x80000B08);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kIdtVectoringInformation>(), 0u);
}

TEST_F(EventInjectionTest, AFaultDuringADoubleFaultIsATripleFault) {
  RunL2();
  Vectoring(0x80000B08);
  Raise(Vector::kPageFault);
  ExpectExit(2, 0);
}

TEST_F(EventInjectionTest, ATripleFaultOfL1ShutsItDown) {
  L1().Set<VmcsField::kIdtVectoringInformation>(0x80000B08);
  Raise(Vector::kGeneralProtection);
  EXPECT_EQ(L1().Get<VmcsField::kGuestActivityState>(),
            static_cast<uint64_t>(ActivityState::kShutdown));
}

}  // namespace
}  // namespace nvmx
