// SPDX-License-Identifier: Apache-2.0
//
// Exceptions: the bitmap, what VM exits report of them and of the events whose delivery they met,
// double and triple faults. SDM Vol. 3A, 6.15; Vol. 3C, 26.2, 28.2.2 to 28.2.4.
#include "backends/sim/machine/testing/native_fixture.h"

namespace nvmx::sim {
namespace {

using Kind = lhv::InstructionKind;

constexpr uint32_t Bit(Vector vector) { return uint32_t{1} << static_cast<unsigned>(vector); }

class ExceptionTest : public NativeTest {
 protected:
  static constexpr uint64_t kUnmapped = 0x4000'0000;

  void RunL2With(uint32_t bitmap) {
    EnterVmx();
    LoadVmcs();
    Write(VmcsField::kExceptionBitmap, bitmap);
    Launch();
  }
  uint32_t Interruption() const {
    return static_cast<uint32_t>(Read(VmcsField::kVmExitInterruptionInformation));
  }
  uint32_t Vectoring() const {
    return static_cast<uint32_t>(Read(VmcsField::kIdtVectoringInformation));
  }
  static uint32_t Hardware(Vector vector) {
    return InterruptionInformation::HardwareException(vector).value();
  }
  // The gate of the vector, in the IDT of L2, is not present.
  void BreakGate(Vector vector) {
    Put<uint64_t>(kWindow + lhv::kL2IdtOffset + 16 * static_cast<uint64_t>(vector), 0);
  }
};

TEST_F(ExceptionTest, ABitOfTheBitmapMakesAnExit) {
  RunL2With(Bit(Vector::kInvalidOpcode));
  Execute(Kind::kUd2);
  ExpectExit(ExitReason::kExceptionOrNmi);
  EXPECT_EQ(Interruption(), Hardware(Vector::kInvalidOpcode));
  EXPECT_EQ(Vectoring(), 0u);
  EXPECT_EQ(Read(VmcsField::kGuestRip), kL2Rip);
  EXPECT_NE(Read(VmcsField::kGuestRflags) & Rflags::kRf, 0u);
}

// SDM Vol. 1, 3.3.7.1 "Canonical Addressing": overrides of ES, CS, SS and DS do nothing.
TEST_F(ExceptionTest, AnAddressByRspThatIsNotCanonicalIsAStackFault) {
  constexpr uint64_t kHole = uint64_t{1} << 47;
  RunL2With(Bit(Vector::kStackFault) | Bit(Vector::kGeneralProtection));
  r().rsp = kHole;
  Execute({.kind = Kind::kSgdt,
           .operand = {.kind = lhv::Operand::Kind::kMemory,
                       .shape = lhv::Operand::Shape::kRspDisplacement,
                       .segment = SegmentRegister::kDs,
                       .offset = kHole}});
  ExpectExit(ExitReason::kExceptionOrNmi);
  EXPECT_EQ(Interruption(), Hardware(Vector::kStackFault));
}

TEST_F(ExceptionTest, AnotherBitDoesNot) {
  RunL2With(~Bit(Vector::kInvalidOpcode) & ~Bit(Vector::kPageFault));
  Execute(Kind::kUd2);
  ExpectFault(Vector::kInvalidOpcode, lhv::kL2HandlerBase);
}

TEST_F(ExceptionTest, ADivideError) {
  Execute(Kind::kDivideByZero);
  ExpectFault(Vector::kDivideError);
}

TEST_F(ExceptionTest, APageFaultThatExitsLeavesCr2Alone) {
  RunL2With(Bit(Vector::kPageFault));
  Execute(lhv::Instruction{.kind = Kind::kReadMemory, .width = 4, .first = kUnmapped});
  ExpectExit(ExitReason::kExceptionOrNmi);
  EXPECT_EQ(Read(VmcsField::kExitQualification), kUnmapped);
  EXPECT_EQ(state().cr2, 0u);
}

// --- Software interrupts and exceptions

TEST_F(ExceptionTest, ASoftwareInterruptReturnsBehindItself) {
  const lhv::InstructionEnd end = Execute(Kind::kInt, 0x30);
  EXPECT_TRUE(end.completed);
  EXPECT_TRUE(end.diverted);
  EXPECT_EQ(cpu_.Rip(), lhv::HandlerAddress(lhv::kL1HandlerBase, 0x30));
  Execute(Kind::kIret);
  EXPECT_EQ(cpu_.Rip(), lhv::kL1CodeBase + lhv::kInstructionBytes);
}

TEST_F(ExceptionTest, ABreakpointExitsAtItself) {
  RunL2With(Bit(Vector::kBreakpoint));
  Execute(Kind::kInt3);
  ExpectExit(ExitReason::kExceptionOrNmi);
  EXPECT_EQ(Interruption(), 0x80000603u);
  EXPECT_EQ(Read(VmcsField::kVmExitInstructionLength), lhv::kInstructionBytes);
  EXPECT_EQ(Read(VmcsField::kGuestRip), kL2Rip);
}

// SDM Vol. 3B, 18.3.1.1 "Instruction-Breakpoint Exception Condition": the instruction clears RF as
// it begins.
TEST_F(ExceptionTest, ASoftwareInterruptPushesNoResumeFlag) {
  RunL2With(0);
  state().switched.rflags |= Rflags::kRf;
  Execute(Kind::kInt, 0x30);
  constexpr uint64_t kRflagsInFrame = kWindow + lhv::kL2StackTop - 24;
  EXPECT_EQ(Get<uint64_t>(kRflagsInFrame) & Rflags::kRf, 0u);
}

// SDM Vol. 2B, "PUSHF/PUSHFD/PUSHFQ": what makes the frame of an IRET.
TEST_F(ExceptionTest, AFrameForIretHasNoResumeFlag) {
  RunL2With(0);
  state().switched.rflags |= Rflags::kRf;
  Execute(Kind::kIret, kL2Rip + lhv::kInstructionBytes);
  constexpr uint64_t kRflagsInFrame = kWindow + lhv::kL2StackTop - 24;
  EXPECT_EQ(Get<uint64_t>(kRflagsInFrame) & Rflags::kRf, 0u);
}

TEST_F(ExceptionTest, ABreakpointThatExitsSavesNoResumeFlag) {
  RunL2With(Bit(Vector::kBreakpoint));
  state().switched.rflags |= Rflags::kRf;
  Execute(Kind::kInt3);
  EXPECT_EQ(Read(VmcsField::kGuestRflags) & Rflags::kRf, 0u);
}

TEST_F(ExceptionTest, Int1IsAPrivilegedSoftwareException) {
  RunL2With(Bit(Vector::kDebug));
  Execute(Kind::kInt1);
  ExpectExit(ExitReason::kExceptionOrNmi);
  EXPECT_EQ(Interruption(), 0x80000501u);
  EXPECT_EQ(Read(VmcsField::kExitQualification), 0u);
}

TEST_F(ExceptionTest, ASoftwareInterruptOfAVectorInTheBitmapDoesNotExit) {
  RunL2With(Bit(Vector::kBreakpoint));
  EXPECT_TRUE(Execute(Kind::kInt, 3).completed);
  EXPECT_TRUE(cpu_.in_non_root());
}

// --- Faults during delivery

TEST_F(ExceptionTest, AFaultDuringDeliveryReportsTheEventThatWasDelivered) {
  RunL2With(Bit(Vector::kSegmentNotPresent) | Bit(Vector::kGeneralProtection));
  BreakGate(Vector::kInvalidOpcode);
  Execute(Kind::kUd2);
  ExpectExit(ExitReason::kExceptionOrNmi);
  EXPECT_EQ(Vectoring(), Hardware(Vector::kInvalidOpcode));
}

TEST_F(ExceptionTest, AFaultInASoftwareInterruptReportsItsLength) {
  RunL2With(Bit(Vector::kSegmentNotPresent) | Bit(Vector::kGeneralProtection));
  Put<uint64_t>(kWindow + lhv::kL2IdtOffset + 16 * 0x30, 0);
  Execute(Kind::kInt, 0x30);
  ExpectExit(ExitReason::kExceptionOrNmi);
  EXPECT_EQ(Vectoring(), 0x80000430u);
  EXPECT_EQ(Read(VmcsField::kVmExitInstructionLength), lhv::kInstructionBytes);
}

TEST_F(ExceptionTest, TwoContributoryExceptionsAreADoubleFault) {
  RunL2With(0);
  BreakGate(Vector::kDivideError);
  Execute(Kind::kDivideByZero);
  ExpectFault(Vector::kDoubleFault, lhv::kL2HandlerBase);
  EXPECT_EQ(cpu_.TopFrame(8).error_code, 0u);
}

TEST_F(ExceptionTest, ABenignExceptionAndAnotherAreNone) {
  RunL2With(0);
  BreakGate(Vector::kInvalidOpcode);
  Execute(Kind::kUd2);
  ExpectFault(Vector::kGeneralProtection, lhv::kL2HandlerBase);
}

TEST_F(ExceptionTest, ADoubleFaultThatExitsReportsNoVectoring) {
  RunL2With(Bit(Vector::kDoubleFault));
  BreakGate(Vector::kDivideError);
  Execute(Kind::kDivideByZero);
  ExpectExit(ExitReason::kExceptionOrNmi);
  EXPECT_EQ(Interruption(), Hardware(Vector::kDoubleFault));
  EXPECT_EQ(Vectoring(), 0u);
}

TEST_F(ExceptionTest, AnExceptionInADoubleFaultIsATripleFault) {
  RunL2With(0);
  r().idtr_limit = 0;
  Execute(Kind::kDivideByZero);
  ExpectExit(ExitReason::kTripleFault);
  EXPECT_EQ(Vectoring(), 0u);
}

TEST_F(ExceptionTest, ATripleFaultWithoutAHypervisorIsShutdown) {
  r().idtr_limit = 0;
  Execute(Kind::kDivideByZero);
  EXPECT_EQ(state().activity_state, static_cast<uint64_t>(ActivityState::kShutdown));
}

TEST_F(ExceptionTest, AnInjectedEventWhoseDeliveryFaultsIsReported) {
  EnterVmx();
  LoadVmcs();
  Write(VmcsField::kExceptionBitmap, Bit(Vector::kGeneralProtection));
  Write(VmcsField::kGuestIdtrLimit, 0);
  Or(VmcsField::kGuestRflags, Rflags::kIf);
  Write(VmcsField::kVmEntryInterruptionInformation,
        InterruptionInformation::ExternalInterrupt(0x21).value());
  Execute(Kind::kVmlaunch);
  ExpectExit(ExitReason::kExceptionOrNmi);
  EXPECT_EQ(Vectoring(), InterruptionInformation::ExternalInterrupt(0x21).value());
  EXPECT_EQ(Read(VmcsField::kVmExitInterruptionErrorCode), 0x21u * 8 + 3);
}

// --- General detect. SDM Vol. 3B, 18.3.1.3.

TEST_F(ExceptionTest, GeneralDetectIsAFaultThatTurnsItselfOff) {
  r().dr7 |= Dr7::kGd;
  Execute(lhv::Instruction{.kind = Kind::kMovFromDr, .width = 0});
  ExpectFault(Vector::kDebug);
  EXPECT_NE(state().dr6 & Dr6::kBd, 0u);
  EXPECT_EQ(r().dr7 & Dr7::kGd, 0u);
  EXPECT_EQ(cpu_.TopFrame(1).rip, lhv::kL1CodeBase);
}

}  // namespace
}  // namespace nvmx::sim
