// SPDX-License-Identifier: Apache-2.0
//
// What becomes of an event whose delivery an exit interrupted, of instructions that L0 performs and
// of faults that L0 raises. SDM Vol. 3C, 26.5.2, 27.6, 28.1, 28.2.
#include "core/nested/event_injection.h"

#include "core/nested/guest_nmi.h"
#include "core/nested/hypervisor.h"
#include "core/nested/vmx_instructions.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/control_registers.h"
#include "core/x86/msr.h"
#include "core/x86/rflags.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint32_t kNmi = 0x80000202;
constexpr uint32_t kNmiAsException = 0x80000302;
constexpr uint32_t kBlocked = Interruptibility::kBlockingByNmi;
constexpr uint64_t kIretUnblocked = 1 << 12;

class EventInjectionTest : public testing::Test {
 protected:
  void UsePin(uint32_t nmi_controls) {
    constexpr uint32_t kBoth = PinBased::kNmiExiting | PinBased::kVirtualNmis;
    v_.Set<VmcsField::kPinBasedControls>((v_.Get<VmcsField::kPinBasedControls>() & ~kBoth) |
                                         nmi_controls);
  }
  void RunL2() { l1_.RunL2(v_); }
  // EPT12 maps nothing, so that EPT violations are L1's.
  void UseEmptyEpt12() {
    v_.Set<VmcsField::kPrimaryProcessorBasedControls>(
        v_.Get<VmcsField::kPrimaryProcessorBasedControls>() |
        PrimaryProcessorBased::kActivateSecondaryControls);
    v_.Set<VmcsField::kSecondaryProcessorBasedControls>(Secondary::kEnableEpt);
    v_.Set<VmcsField::kEptPointer>(0x40000 | 3 << 3 | 6);
  }
  // VMCS02 describes an exit during delivery of the event.
  void Vectoring(uint32_t information, uint32_t error_code = 0, uint32_t length = 0) {
    L2().Set<VmcsField::kIdtVectoringInformation>(information);
    L2().Set<VmcsField::kIdtVectoringErrorCode>(error_code);
    L2().Set<VmcsField::kVmExitInstructionLength>(length);
  }
  void ExitWas(ExitReason reason, uint64_t qualification = 0) {
    L2().Set<VmcsField::kExitReason>(static_cast<uint64_t>(reason));
    L2().Set<VmcsField::kExitQualification>(qualification);
  }
  void Reinject() { ReinjectVectoredEvent(l1_.vcpu()); }
  void Raise(Vector vector, uint32_t error_code = 0, uint64_t linear = 0) {
    RaiseFault(l1_.vcpu(), VmxOutcome::Fault(vector, error_code), linear);
  }
  void Intercept(Vector vector) {
    v_.Set<VmcsField::kExceptionBitmap>(uint64_t{1} << static_cast<unsigned>(vector));
  }
  uint32_t Injection() { return L2().Get<VmcsField::kVmEntryInterruptionInformation>(); }
  uint32_t Blocking() { return L2().Get<VmcsField::kGuestInterruptibilityState>(); }
  VmcsImage& L1() { return l1_.vmcs.vmcs01(); }
  VmcsImage& L2() { return l1_.vmcs.vmcs02(); }
  VmcsImage& Vmcs12() { return l1_.state.vmcs12; }
  void ExpectExit(uint32_t reason, uint32_t event) {
    EXPECT_FALSE(l1_.L2Runs());
    EXPECT_EQ(Vmcs12().Get<VmcsField::kExitReason>(), reason);
    EXPECT_EQ(Vmcs12().Get<VmcsField::kVmExitInterruptionInformation>(), event);
  }

  FakeVcpu l1_;
  VmcsImage v_ = ValidVmcs12(l1_.state.offered);
};

// --- ReinjectVectoredEvent ---

TEST_F(EventInjectionTest, WithoutAnInterruptedEventNothingIsInjected) {
  RunL2();
  L2().Set<VmcsField::kIdtVectoringInformation>(0x30D);
  Reinject();
  EXPECT_EQ(Injection(), 0u);
}

TEST_F(EventInjectionTest, AnInterruptedExceptionIsInjectedWithItsErrorCode) {
  RunL2();
  Vectoring(0x80000B0E, 7);
  Reinject();
  EXPECT_EQ(Injection(), 0x80000B0Eu);
  EXPECT_EQ(L2().Get<VmcsField::kVmEntryExceptionErrorCode>(), 7u);
}

TEST_F(EventInjectionTest, AnInterruptedSoftwareEventIsInjectedWithItsLength) {
  for (InterruptionType type :
       {InterruptionType::kSoftwareInterrupt, InterruptionType::kPrivilegedSoftwareException,
        InterruptionType::kSoftwareException}) {
    RunL2();
    const InterruptionInformation event = InterruptionInformation::Make(type, 3);
    Vectoring(event.value(), 0, 2);
    Reinject();
    EXPECT_EQ(Injection(), event.value());
    EXPECT_EQ(L2().Get<VmcsField::kVmEntryInstructionLength>(), 2u);
  }
}

TEST_F(EventInjectionTest, TheUndefinedBit12IsNotInjected) {
  RunL2();
  Vectoring(0x80000021 | kIretUnblocked);
  Reinject();
  EXPECT_EQ(Injection(), 0x80000021u);
}

TEST_F(EventInjectionTest, AnInterruptedNmiIsUnblockedFirst) {
  RunL2();
  L2().Set<VmcsField::kGuestInterruptibilityState>(kBlocked | Interruptibility::kBlockingBySti);
  Vectoring(kNmi);
  Reinject();
  EXPECT_EQ(Injection(), kNmi);
  EXPECT_EQ(Blocking(), 0u) << "some processors inject no NMI into blocking by STI";
}

// SDM Vol. 3C, 27.3.1.5: VM entry refuses TF with such blocking and nothing pending.
TEST_F(EventInjectionTest, ADebugExceptionThatWasInterruptedInAShadowStaysEnterable) {
  constexpr uint64_t kDebug = 0x80000301;
  for (const uint32_t shadow :
       {Interruptibility::kBlockingBySti, Interruptibility::kBlockingByMovSs}) {
    RunL2();
    Vectoring(kDebug);
    L2().Set<VmcsField::kGuestInterruptibilityState>(shadow);
    L2().Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | Rflags::kTf);
    Reinject();
    EXPECT_EQ(Injection(), kDebug);
    EXPECT_EQ(L2().Get<VmcsField::kGuestPendingDebugExceptions>(), PendingDebugExceptions::kBs);
    EXPECT_EQ(Blocking(), shadow) << "L1 sees it if the delivery exits to L1";
  }
}

TEST_F(EventInjectionTest, WithoutShadowOrSingleStepNothingBecomesPending) {
  struct {
    uint32_t blocking;
    uint64_t rflags, debugctl;
  } const kCases[] = {{0, Rflags::kTf, 0},
                      {Interruptibility::kBlockingBySti, 0, 0},
                      {Interruptibility::kBlockingBySti, Rflags::kTf, DebugCtl::kBtf}};
  for (const auto& c : kCases) {
    RunL2();
    Vectoring(0x80000301);
    L2().Set<VmcsField::kGuestInterruptibilityState>(c.blocking);
    L2().Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | c.rflags);
    L2().Set<VmcsField::kGuestIa32Debugctl>(c.debugctl);
    Reinject();
    EXPECT_EQ(L2().Get<VmcsField::kGuestPendingDebugExceptions>(), 0u);
  }
}

// SDM Vol. 3C, 28.3.3, 28.3.4: what L1 sees of an L2 whose event was not delivered.
TEST_F(EventInjectionTest, ATripleFaultDuringAFaultOfL0sShowsRfAsItWas) {
  RunL2();
  Raise(Vector::kGeneralProtection);
  ASSERT_NE(L2().Get<VmcsField::kGuestRflags>() & Rflags::kRf, 0u);
  l1_.Exit(ExitReason::kTripleFault);
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(Vmcs12().Get<VmcsField::kGuestRflags>() & Rflags::kRf, 0u);
}

TEST_F(EventInjectionTest, ATripleFaultBehindAReinjectedFaultShowsNoRf) {
  RunL2();
  Vectoring(0x80000306);
  L2().Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | Rflags::kRf);
  Reinject();
  l1_.Exit(ExitReason::kTripleFault);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kGuestRflags>(), Rflags::kFixed1);
}

TEST_F(EventInjectionTest, ATripleFaultOfAnInstructionThatWasTakenUpAgainShowsNoRf) {
  RunL2();
  Vectoring(0);
  L2().Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | Rflags::kRf);
  Reinject();
  EXPECT_NE(L2().Get<VmcsField::kGuestRflags>() & Rflags::kRf, 0u);
  l1_.Exit(ExitReason::kTripleFault);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kGuestRflags>(), Rflags::kFixed1);
}

TEST_F(EventInjectionTest, ADoubleFaultExitTakesBackBlockingByStiToo) {
  UsePin(0);
  Intercept(Vector::kDoubleFault);
  RunL2();
  L2().Set<VmcsField::kGuestInterruptibilityState>(Interruptibility::kBlockingBySti);
  InjectNmi(l1_.vcpu());
  L2().Set<VmcsField::kVmExitInterruptionInformation>(0x80000B08);
  l1_.Exit(ExitReason::kExceptionOrNmi);
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(Vmcs12().Get<VmcsField::kGuestInterruptibilityState>(),
            Interruptibility::kBlockingBySti);
}

TEST_F(EventInjectionTest, ATripleFaultOfTheHandlerShowsItsOwnRf) {
  RunL2();
  Raise(Vector::kGeneralProtection);
  L2().Set<VmcsField::kGuestRip>(0x12345000);
  l1_.Exit(ExitReason::kTripleFault);
  EXPECT_NE(Vmcs12().Get<VmcsField::kGuestRflags>() & Rflags::kRf, 0u);
}

TEST_F(EventInjectionTest, AnNmiThatL0InjectsIntoBlockingByStiLeavesItIfItIsNotDelivered) {
  UsePin(0);
  for (const bool delivered : {false, true}) {
    RunL2();
    L2().Set<VmcsField::kGuestInterruptibilityState>(Interruptibility::kBlockingBySti);
    InjectNmi(l1_.vcpu());
    EXPECT_EQ(Blocking(), 0u);
    if (delivered) L2().Set<VmcsField::kGuestRip>(0x12345000);
    l1_.Exit(ExitReason::kTripleFault);
    EXPECT_EQ(Vmcs12().Get<VmcsField::kGuestInterruptibilityState>(),
              delivered ? 0u : Interruptibility::kBlockingBySti);
  }
}

TEST_F(EventInjectionTest, AnotherInterruptedEventLeavesBlockingAlone) {
  RunL2();
  L2().Set<VmcsField::kGuestInterruptibilityState>(kBlocked);
  Vectoring(0x80000021);
  Reinject();
  EXPECT_EQ(Blocking(), kBlocked);
}

TEST_F(EventInjectionTest, AnIretThatWillBeExecutedAgainFindsNmisBlockedAgain) {
  for (ExitReason reason : {ExitReason::kEptViolation, ExitReason::kPageModificationLogFull}) {
    for (uint32_t pin : {0u, PinBased::kNmiExiting | PinBased::kVirtualNmis}) {
      UsePin(pin);
      RunL2();
      Vectoring(0);
      ExitWas(reason);
      Reinject();
      EXPECT_EQ(Blocking(), 0u);
      ExitWas(reason, kIretUnblocked);
      Reinject();
      EXPECT_EQ(Blocking(), kBlocked);
    }
  }
}

TEST_F(EventInjectionTest, Bit12OfAnotherExitMeansNothing) {
  RunL2();
  ExitWas(ExitReason::kIoInstruction, kIretUnblocked);
  Reinject();
  EXPECT_EQ(Blocking(), 0u);
  ExitWas(ExitReason::kEptViolation, kIretUnblocked);
  Vectoring(0x80000021);
  Reinject();
  EXPECT_EQ(Blocking(), 0u);
}

TEST_F(EventInjectionTest, WhereIretEndsNoBlockingOfL1sVmcs02StaysUnblocked) {
  UsePin(PinBased::kNmiExiting);
  RunL2();
  ExitWas(ExitReason::kEptViolation, kIretUnblocked);
  Reinject();
  EXPECT_EQ(Blocking(), 0u);
}

// --- NMIs that L1 injects without virtual NMIs ---

TEST_F(EventInjectionTest, AnInjectedNmiThatCannotBlockIsInjectedAsAnException) {
  v_.Set<VmcsField::kVmEntryInterruptionInformation>(kNmi);
  v_.Set<VmcsField::kGuestActivityState>(static_cast<uint64_t>(ActivityState::kHlt));
  UsePin(PinBased::kNmiExiting);
  l1_.MakeCurrentVmcs12(v_);
  l1_.Exit(ExitReason::kVmlaunch);
  ASSERT_TRUE(l1_.L2Runs());
  EXPECT_EQ(Injection(), kNmiAsException);
  EXPECT_EQ(L2().Get<VmcsField::kGuestActivityState>(), 0u);
}

TEST_F(EventInjectionTest, WithVirtualNmisAnInjectedNmiIsInjectedAsOne) {
  v_.Set<VmcsField::kVmEntryInterruptionInformation>(kNmi);
  l1_.MakeCurrentVmcs12(v_);
  l1_.Exit(ExitReason::kVmlaunch);
  EXPECT_EQ(Injection(), kNmi);
}

TEST_F(EventInjectionTest, L1IsShownThatAnNmiWasInterrupted) {
  v_.Set<VmcsField::kVmEntryInterruptionInformation>(kNmi);
  UsePin(0);
  RunL2();
  Vectoring(kNmiAsException);
  l1_.Exit(ExitReason::kTaskSwitch);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kIdtVectoringInformation>(), kNmi);
}

TEST_F(EventInjectionTest, AnExceptionWithVector2ThatL1InjectedStaysOne) {
  v_.Set<VmcsField::kVmEntryInterruptionInformation>(kNmiAsException);
  UsePin(0);
  RunL2();
  Vectoring(kNmiAsException);
  l1_.Exit(ExitReason::kTaskSwitch);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kIdtVectoringInformation>(), kNmiAsException);
}

TEST_F(EventInjectionTest, UnblockingThatL1CannotKnowOfIsNotShown) {
  UseEmptyEpt12();
  UsePin(PinBased::kNmiExiting);
  RunL2();
  l1_.Exit(ExitReason::kEptViolation, kIretUnblocked | 1);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kExitQualification>(), 1u);
  UsePin(PinBased::kNmiExiting | PinBased::kVirtualNmis);
  RunL2();
  l1_.Exit(ExitReason::kEptViolation, kIretUnblocked | 1);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kExitQualification>(), kIretUnblocked | 1);
}

TEST_F(EventInjectionTest, NorIsThatOfAnExceptionThatL1Intercepts) {
  const auto fault_of_iret = [&] {
    RunL2();
    L2().Set<VmcsField::kVmExitInterruptionInformation>(0x80000B0D | kIretUnblocked);
    ExitWas(ExitReason::kExceptionOrNmi);
    HandleVmExit(l1_.vcpu(), RawExit::FromHardware(VmcsRole::kVmcs02));
  };
  Intercept(Vector::kGeneralProtection);
  UsePin(PinBased::kNmiExiting);
  fault_of_iret();
  ExpectExit(0, 0x80000B0D);
  UsePin(PinBased::kNmiExiting | PinBased::kVirtualNmis);
  fault_of_iret();
  ExpectExit(0, 0x80000B0D | kIretUnblocked);
}

// --- RetireInstruction ---

TEST_F(EventInjectionTest, RetiringMovesRipAndEndsShadowsAndRf) {
  RunL2();
  L2().Set<VmcsField::kVmExitInstructionLength>(3);
  L2().Set<VmcsField::kGuestInterruptibilityState>(Interruptibility::kBlockingByMovSs | kBlocked);
  L2().Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | Rflags::kRf);
  RetireInstructionOfL2(l1_.vcpu());
  EXPECT_EQ(L2().Get<VmcsField::kGuestRip>(), v_.Get<VmcsField::kGuestRip>() + 3);
  EXPECT_EQ(Blocking(), kBlocked);
  EXPECT_EQ(L2().Get<VmcsField::kGuestRflags>(), Rflags::kFixed1);
  EXPECT_EQ(L2().Get<VmcsField::kGuestPendingDebugExceptions>(), 0u);
  EXPECT_EQ(Injection(), 0u);
}

TEST_F(EventInjectionTest, RipWrapsAroundOutside64BitMode) {
  RunL2();
  L2().Set<VmcsField::kVmExitInstructionLength>(2);
  L2().Set<VmcsField::kGuestRip>(0xFFFFFFFF);
  RetireInstructionOfL2(l1_.vcpu());
  EXPECT_EQ(L2().Get<VmcsField::kGuestRip>(), 0x100000001u);
  L2().Set<VmcsField::kGuestCsAccessRights>(0xC09B);
  L2().Set<VmcsField::kGuestRip>(0xFFFFFFFF);
  RetireInstructionOfL2(l1_.vcpu());
  EXPECT_EQ(L2().Get<VmcsField::kGuestRip>(), 1u);
}

TEST_F(EventInjectionTest, ASingleStepTrapsBehindARetiredInstruction) {
  RunL2();
  L2().Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | Rflags::kTf);
  L2().Set<VmcsField::kGuestIa32Debugctl>(DebugCtl::kBtf);
  RetireInstructionOfL2(l1_.vcpu());
  EXPECT_EQ(L2().Get<VmcsField::kGuestPendingDebugExceptions>(), 0u);
  L2().Set<VmcsField::kGuestIa32Debugctl>(0);
  RetireInstructionOfL2(l1_.vcpu());
  EXPECT_EQ(L2().Get<VmcsField::kGuestPendingDebugExceptions>(), PendingDebugExceptions::kBs);
}

TEST_F(EventInjectionTest, L1CanStepOverItsVmxInstructions) {
  l1_.EnterVmxRoot();
  L1().Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | Rflags::kTf);
  EXPECT_TRUE(l1_.Execute(ExitReason::kVmptrst, {.displacement = FakeVcpu::kOperand}).succeeded());
  EXPECT_EQ(L1().Get<VmcsField::kGuestPendingDebugExceptions>(), PendingDebugExceptions::kBs);
}

TEST_F(EventInjectionTest, TheMonitorTrapFlagExitsBehindARetiredInstructionBeforeTheTrap) {
  v_.Set<VmcsField::kPrimaryProcessorBasedControls>(
      v_.Get<VmcsField::kPrimaryProcessorBasedControls>() |
      PrimaryProcessorBased::kMonitorTrapFlag);
  RunL2();
  L2().Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | Rflags::kTf);
  RetireInstructionOfL2(l1_.vcpu());
  EXPECT_EQ(Injection(), InterruptionInformation::MonitorTrapFlag().value());
  EXPECT_EQ(L2().Get<VmcsField::kGuestPendingDebugExceptions>(), PendingDebugExceptions::kBs);
}

// --- RaiseFault ---

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
