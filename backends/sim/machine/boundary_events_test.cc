// SPDX-License-Identifier: Apache-2.0
//
// What happens at an instruction boundary, and in which order. SDM Vol. 3A, 7.9 "Priority Among
// Concurrent Events"; Vol. 3C, 26.2, 26.4, 26.5, 27.7.
#include "backends/sim/machine/testing/native_fixture.h"

namespace nvmx::sim {
namespace {

using Primary = PrimaryProcessorBased;
using Kind = lhv::InstructionKind;

constexpr uint8_t kVector = 0x41;
constexpr Signals kEverything{.init = true, .nmi = true, .interrupt = kVector};

class BoundaryTest : public NativeTest {
 protected:
  void Start() {
    EnterVmx();
    LoadVmcs();
  }
  void UsePin(uint32_t bits) { Or(VmcsField::kPinBasedControls, bits); }
  void UsePrimary(uint32_t bits) { Or(VmcsField::kPrimaryProcessorBasedControls, bits); }
  BoundaryEvent Due(const Signals& signals = {}) const { return cpu_.NextEvent(signals); }
  void ExpectDue(BoundaryEvent event, const Signals& signals = {}) const {
    EXPECT_EQ(static_cast<int>(Due(signals)), static_cast<int>(event));
  }
  void Nop() { EXPECT_TRUE(Execute(Kind::kNop).completed); }
};

// --- The order

TEST_F(BoundaryTest, EachEventComesBeforeTheNext) {
  Start();
  constexpr uint64_t kVirtualApic = kWindow + 0x40000;
  UsePin(PinBased::kNmiExiting | PinBased::kVirtualNmis | PinBased::kActivateVmxPreemptionTimer |
         PinBased::kExternalInterruptExiting);
  UsePrimary(Primary::kUseTprShadow | Primary::kNmiWindowExiting |
             Primary::kInterruptWindowExiting | Primary::kMonitorTrapFlag);
  Write(VmcsField::kVirtualApicAddress, kVirtualApic);
  Or(VmcsField::kGuestRflags, Rflags::kIf | Rflags::kTf);
  Launch();
  state().preemption_timer = 1;
  Nop();
  state().preemption_timer = 0;
  state().tpr_below_pending = 1;
  ExpectDue(BoundaryEvent::kTprBelowThreshold, kEverything);
  state().tpr_below_pending = 0;
  ExpectDue(BoundaryEvent::kInit, kEverything);
  Signals signals = kEverything;
  signals.init = false;
  ExpectDue(BoundaryEvent::kMonitorTrap, signals);
  state().mtf_pending = 0;
  ExpectDue(BoundaryEvent::kDebugTrap, signals);
  r().pending_debug_exceptions = 0;
  ExpectDue(BoundaryEvent::kPreemptionTimer, signals);
  state().preemption_timer = 1;
  ExpectDue(BoundaryEvent::kNmiWindow, signals);
  Clear(VmcsField::kPrimaryProcessorBasedControls, Primary::kNmiWindowExiting);
  ExpectDue(BoundaryEvent::kNmi, signals);
  signals.nmi = false;
  ExpectDue(BoundaryEvent::kInterruptWindow, signals);
  Clear(VmcsField::kPrimaryProcessorBasedControls, Primary::kInterruptWindowExiting);
  ExpectDue(BoundaryEvent::kInterrupt, signals);
  signals.interrupt.reset();
  ExpectDue(BoundaryEvent::kNone, signals);
}

// --- Monitor trap flag. 26.5.2.

TEST_F(BoundaryTest, TheMonitorTrapFlagExitsBehindOneInstruction) {
  Start();
  UsePrimary(Primary::kMonitorTrapFlag);
  Launch();
  ExpectDue(BoundaryEvent::kNone);
  Nop();
  ExpectDue(BoundaryEvent::kMonitorTrap);
  cpu_.Take(BoundaryEvent::kMonitorTrap, {});
  ExpectExit(ExitReason::kMonitorTrapFlag);
  EXPECT_EQ(Read(VmcsField::kGuestRip), kL2Rip + lhv::kInstructionBytes);
}

TEST_F(BoundaryTest, BehindAnInjectedEventItExitsBeforeTheHandler) {
  Start();
  UsePrimary(Primary::kMonitorTrapFlag);
  Write(VmcsField::kVmEntryInterruptionInformation,
        InterruptionInformation::HardwareException(Vector::kInvalidOpcode).value());
  Launch();
  ExpectDue(BoundaryEvent::kMonitorTrap);
  cpu_.Take(BoundaryEvent::kMonitorTrap, {});
  EXPECT_EQ(Read(VmcsField::kGuestRip), lhv::HandlerAddress(lhv::kL2HandlerBase, 6));
}

TEST_F(BoundaryTest, BehindAFaultItExitsBeforeTheHandler) {
  Start();
  UsePrimary(Primary::kMonitorTrapFlag);
  Launch();
  Execute(Kind::kUd2);
  ExpectDue(BoundaryEvent::kMonitorTrap);
}

TEST_F(BoundaryTest, AMonitorTrapCanBeInjectedWithoutTheFlag) {
  Start();
  Write(VmcsField::kVmEntryInterruptionInformation,
        InterruptionInformation::MonitorTrapFlag().value());
  Launch();
  ExpectDue(BoundaryEvent::kMonitorTrap);
}

TEST_F(BoundaryTest, AVmExitForgetsAMonitorTrap) {
  Start();
  UsePrimary(Primary::kMonitorTrapFlag);
  Launch();
  Nop();
  cpu_.Take(BoundaryEvent::kInit, {.init = true});
  EXPECT_EQ(state().mtf_pending, 0u);
}

// --- Preemption timer. 26.5.1, 27.7.4.

TEST_F(BoundaryTest, ATimerOfZeroExpiresBeforeTheFirstInstruction) {
  Start();
  UsePin(PinBased::kActivateVmxPreemptionTimer);
  Write(VmcsField::kVmxPreemptionTimerValue, 0);
  Launch();
  ExpectDue(BoundaryEvent::kPreemptionTimer);
  cpu_.Take(BoundaryEvent::kPreemptionTimer, {});
  ExpectExit(ExitReason::kVmxPreemptionTimerExpired);
  EXPECT_EQ(Read(VmcsField::kGuestRip), kL2Rip);
}

TEST_F(BoundaryTest, TheTimerDoesNotRunWithoutItsControl) {
  Start();
  Write(VmcsField::kVmxPreemptionTimerValue, 0);
  Launch();
  ExpectDue(BoundaryEvent::kNone);
}

TEST_F(BoundaryTest, TheTimerWakesHltAndShutdownButNotWaitForSipi) {
  Start();
  UsePin(PinBased::kActivateVmxPreemptionTimer);
  Launch();
  for (ActivityState activity : {ActivityState::kHlt, ActivityState::kShutdown}) {
    state().activity_state = static_cast<uint64_t>(activity);
    ExpectDue(BoundaryEvent::kPreemptionTimer);
  }
  state().activity_state = static_cast<uint64_t>(ActivityState::kWaitForSipi);
  ExpectDue(BoundaryEvent::kNone);
}

// --- Debug traps. SDM Vol. 3B, 18.3.1.4.

TEST_F(BoundaryTest, SingleSteppingTrapsBehindAnInstruction) {
  r().rflags |= Rflags::kTf;
  Nop();
  ExpectDue(BoundaryEvent::kDebugTrap);
  cpu_.Take(BoundaryEvent::kDebugTrap, {});
  EXPECT_EQ(cpu_.Rip(), lhv::HandlerAddress(lhv::kL1HandlerBase, 1));
  EXPECT_EQ(cpu_.TopFrame(1).rip, lhv::kL1CodeBase + lhv::kInstructionBytes);
  EXPECT_NE(state().dr6 & Dr6::kBs, 0u);
  EXPECT_EQ(r().rflags & Rflags::kTf, 0u);
}

TEST_F(BoundaryTest, AnInstructionThatSetsTheTrapFlagDoesNotTrap) {
  Execute(Kind::kPopf, Rflags::kFixed1 | Rflags::kTf);
  ExpectDue(BoundaryEvent::kNone);
  Nop();
  ExpectDue(BoundaryEvent::kDebugTrap);
}

TEST_F(BoundaryTest, AnInstructionThatFaultsDoesNotTrap) {
  r().rflags |= Rflags::kTf;
  Execute(Kind::kUd2);
  ExpectDue(BoundaryEvent::kNone);
}

TEST_F(BoundaryTest, MovSsHoldsATrapBackForOneInstruction) {
  r().rflags |= Rflags::kTf;
  EXPECT_TRUE(Execute(Kind::kMovSs).completed);
  ExpectDue(BoundaryEvent::kNone, {.nmi = true, .interrupt = kVector});
  Nop();
  ExpectDue(BoundaryEvent::kDebugTrap);
}

TEST_F(BoundaryTest, ADebugTrapExitsWithItsBitOfTheExceptionBitmap) {
  Start();
  Write(VmcsField::kExceptionBitmap, 1u << static_cast<unsigned>(Vector::kDebug));
  Or(VmcsField::kGuestRflags, Rflags::kTf);
  Launch();
  Nop();
  cpu_.Take(BoundaryEvent::kDebugTrap, {});
  ExpectExit(ExitReason::kExceptionOrNmi);
  EXPECT_EQ(Read(VmcsField::kExitQualification), Dr6::kBs);
  EXPECT_EQ(Read(VmcsField::kGuestRip), kL2Rip + lhv::kInstructionBytes);
  EXPECT_EQ(Read(VmcsField::kGuestPendingDebugExceptions), 0u);
  EXPECT_EQ(state().dr6, Dr6::kInit) << "L1 sees to that";
}

TEST_F(BoundaryTest, PendingDebugExceptionsAreDeliveredAfterEntry) {
  Start();
  Or(VmcsField::kGuestRflags, Rflags::kTf);
  Write(VmcsField::kGuestPendingDebugExceptions, PendingDebugExceptions::kBs);
  Launch();
  ExpectDue(BoundaryEvent::kDebugTrap);
}

// --- External interrupts. 26.2, 26.4.

TEST_F(BoundaryTest, AnInterruptExitsWhateverTheFlagSays) {
  Start();
  UsePin(PinBased::kExternalInterruptExiting);
  Launch();
  ExpectDue(BoundaryEvent::kInterrupt, {.interrupt = kVector});
  EXPECT_FALSE(cpu_.AcknowledgesInterrupt());
  cpu_.Take(BoundaryEvent::kInterrupt, {.interrupt = kVector});
  ExpectExit(ExitReason::kExternalInterrupt);
  EXPECT_EQ(Read(VmcsField::kVmExitInterruptionInformation), 0u);
}

TEST_F(BoundaryTest, AnExitThatAcknowledgesReportsTheVector) {
  Start();
  UsePin(PinBased::kExternalInterruptExiting);
  Or(VmcsField::kVmExitControls, VmExit::kAcknowledgeInterruptOnExit);
  Launch();
  EXPECT_TRUE(cpu_.AcknowledgesInterrupt());
  cpu_.Take(BoundaryEvent::kInterrupt, {.interrupt = kVector});
  EXPECT_EQ(Read(VmcsField::kVmExitInterruptionInformation), 0x80000000u | kVector);
}

TEST_F(BoundaryTest, BlockingByStiAndMovSsHoldsTheExitBackToo) {
  Start();
  UsePin(PinBased::kExternalInterruptExiting);
  Launch();
  for (uint64_t* blocking : {&state().blocking_by_sti, &state().blocking_by_mov_ss}) {
    *blocking = 1;
    ExpectDue(BoundaryEvent::kNone, {.interrupt = kVector});
    *blocking = 0;
  }
}

TEST_F(BoundaryTest, TheTprHoldsBackItsClassAndThoseBelow) {
  r().rflags |= Rflags::kIf;
  Execute(lhv::Instruction{.kind = Kind::kMovToCr, .width = 8, .first = 4});
  ExpectDue(BoundaryEvent::kNone, {.interrupt = uint8_t{0x4F}});
  ExpectDue(BoundaryEvent::kInterrupt, {.interrupt = uint8_t{0x50}});
}

TEST_F(BoundaryTest, TheInterruptWindowOpensWithTheFlag) {
  Start();
  UsePrimary(Primary::kInterruptWindowExiting);
  Launch();
  ExpectDue(BoundaryEvent::kNone);
  Execute(Kind::kSti);
  ExpectDue(BoundaryEvent::kNone);
  Nop();
  ExpectDue(BoundaryEvent::kInterruptWindow);
  state().activity_state = static_cast<uint64_t>(ActivityState::kHlt);
  ExpectDue(BoundaryEvent::kInterruptWindow);
  state().activity_state = static_cast<uint64_t>(ActivityState::kShutdown);
  ExpectDue(BoundaryEvent::kNone);
}

// --- INIT and SIPI. SDM Vol. 3A, 9.4; Vol. 3C, 26.2, 24.8.

TEST_F(BoundaryTest, RootOperationBlocksInit) {
  ExpectDue(BoundaryEvent::kInit, {.init = true});
  EnterVmx();
  ExpectDue(BoundaryEvent::kNone, {.init = true});
  Execute(Kind::kVmxoff);
  ExpectDue(BoundaryEvent::kInit, {.init = true});
}

TEST_F(BoundaryTest, InitResetsAndASipiStarts) {
  r().cr0 |= Cr0::kCd;
  cpu_.Take(BoundaryEvent::kInit, {.init = true});
  EXPECT_TRUE(cpu_.WaitsForSipi());
  EXPECT_EQ(r().cr0, Cr0::kCd | Cr0::kEt);
  EXPECT_EQ(r().cr4, 0u);
  EXPECT_EQ(r().efer, 0u);
  ExpectDue(BoundaryEvent::kNone, kEverything);
  ExpectDue(BoundaryEvent::kSipi, {.sipi = uint8_t{8}});
  cpu_.Take(BoundaryEvent::kSipi, {.sipi = uint8_t{8}});
  EXPECT_TRUE(cpu_.IsActive());
  EXPECT_EQ(r().cs.base, 0x8000u);
  EXPECT_EQ(cpu_.Rip(), 0u);
}

TEST_F(BoundaryTest, InitAndSipiExitFromL2) {
  Start();
  Launch();
  cpu_.Take(BoundaryEvent::kInit, {.init = true});
  ExpectExit(ExitReason::kInitSignal);
  Write(VmcsField::kGuestActivityState, static_cast<uint64_t>(ActivityState::kWaitForSipi));
  Execute(Kind::kVmresume);
  cpu_.Take(BoundaryEvent::kSipi, {.sipi = uint8_t{9}});
  ExpectExit(ExitReason::kStartUpIpi);
  EXPECT_EQ(Read(VmcsField::kExitQualification), 9u);
}

// --- Time

// A processor whose clock runs: one tick of the VMX-preemption timer with each instruction.
class TimeTest : public NativeTest {
 protected:
  static constexpr uint64_t kTicks = 32;

  static Capabilities WithRate() {
    Capabilities c = NativeCapabilities();
    c.misc |= 5;
    return c;
  }
  TimeTest() : NativeTest(WithRate()) {
    EnterVmx();
    LoadVmcs();
    Or(VmcsField::kPinBasedControls, PinBased::kActivateVmxPreemptionTimer);
    Write(VmcsField::kVmxPreemptionTimerValue, 3);
    timed_.state() = state();
    timed_.Execute({.kind = Kind::kVmlaunch});
  }

  Processor timed_{
      memory_, platform_, WithRate(), {.native = true, .ticks_per_instruction = kTicks}};
};

TEST_F(TimeTest, EachCompletedInstructionTakesItsTicks) {
  ASSERT_TRUE(timed_.in_non_root());
  EXPECT_EQ(timed_.ReadTsc(), kTicks) << "of VMLAUNCH";
  timed_.Execute({.kind = Kind::kNop});
  EXPECT_EQ(timed_.ReadTsc(), 2 * kTicks);
}

TEST_F(TimeTest, AnInstructionThatDoesNotCompleteTakesNone) {
  timed_.Execute({.kind = Kind::kUd2});
  timed_.Execute({.kind = Kind::kVmcall});
  EXPECT_EQ(timed_.ReadTsc(), kTicks);
}

TEST_F(TimeTest, TheTimerCountsInstructionsOfL2) {
  EXPECT_EQ(timed_.state().preemption_timer, 3u) << "not the VMLAUNCH";
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(timed_.NextEvent({}), BoundaryEvent::kNone);
    timed_.Execute({.kind = Kind::kNop});
  }
  EXPECT_EQ(timed_.NextEvent({}), BoundaryEvent::kPreemptionTimer);
}

TEST_F(TimeTest, TheTimerCountsOnWhereTheTscPassesItsEnd) {
  timed_.state().tsc = -1;
  timed_.Execute({.kind = Kind::kNop});
  EXPECT_EQ(timed_.ReadTsc(), kTicks - 1);
  EXPECT_EQ(timed_.state().preemption_timer, 2u);
}

TEST_F(TimeTest, TheExitSavesTheTimerIfItIsToldTo) {
  timed_.VmcsWrite(VmcsField::kVmExitControls, timed_.VmcsRead(VmcsField::kVmExitControls) |
                                                   VmExit::kSaveVmxPreemptionTimerValue);
  timed_.Execute({.kind = Kind::kNop});
  timed_.Execute({.kind = Kind::kVmcall});
  EXPECT_EQ(timed_.VmcsRead(VmcsField::kVmxPreemptionTimerValue), 2u);
}

TEST_F(TimeTest, AGuestThatRestsLetsTimePassToTheTimer) {
  EXPECT_FALSE(timed_.PassTimeToTimer()) << "it runs";
  timed_.Execute({.kind = Kind::kHlt});
  EXPECT_TRUE(timed_.PassTimeToTimer());
  EXPECT_EQ(timed_.NextEvent({}), BoundaryEvent::kPreemptionTimer);
  EXPECT_EQ(timed_.ReadTsc(), 4 * kTicks);
}

}  // namespace
}  // namespace nvmx::sim
