// SPDX-License-Identifier: Apache-2.0
//
// Blocking by NMI: who sets it, who ends it, and what the VMCS shows of it. SDM Vol. 3C, 25.4.2
// "Guest Non-Register State", 26.3 (IRET), 27.7.1 "Interruptibility State", 28.2 and 28.5.5; SDM
// Vol. 3A, 6.7.1 "Handling Multiple NMIs".
#include "backends/sim/machine/nmi_latch.h"
#include "backends/sim/machine/testing/processor_fixture.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/interruption_info.h"

namespace nvmx::sim {
namespace {

using lhv::InstructionKind;

constexpr uint32_t kNeither = 0;
constexpr uint32_t kExiting = PinBased::kNmiExiting;
constexpr uint32_t kVirtual = PinBased::kNmiExiting | PinBased::kVirtualNmis;
constexpr uint32_t kBit = Interruptibility::kBlockingByNmi;

class ProcessorNmi : public ProcessorTest {
 protected:
  void SetPin(uint32_t bits) { Write(VmcsField::kPinBasedControls, PinBased::kDefault1 | bits); }
  void SetBlockingInVmcs(bool blocked) {
    Write(VmcsField::kGuestInterruptibilityState, blocked ? kBit : 0);
  }
  void Inject(InterruptionInformation event) {
    Write(VmcsField::kVmEntryInterruptionInformation, event.value());
  }
  bool SavedBlocking() const { return (Read(VmcsField::kGuestInterruptibilityState) & kBit) != 0; }
  void OpenWindow() {
    SetPin(kVirtual);
    Add(VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kNmiWindowExiting);
  }
};

TEST_F(ProcessorNmi, EntryWithoutVirtualNmisTakesPhysicalBlockingFromTheVmcs) {
  for (uint32_t pin : {kNeither, kExiting}) {
    for (bool in_vmcs : {false, true}) {
      for (uint64_t in_root : {0, 1}) {
        SetPin(pin);
        SetBlockingInVmcs(in_vmcs);
        state().nmi_blocked = in_root;
        cpu_.EnterGuest();
        EXPECT_EQ(state().nmi_blocked, in_vmcs ? 1u : 0u);
        EXPECT_EQ(state().virtual_nmi_blocked, 0u);
        EXPECT_EQ(cpu_.CanTakeNmi(), !in_vmcs);
      }
    }
  }
}

TEST_F(ProcessorNmi, EntryWithVirtualNmisUnblocksPhysicalOnesAndTakesVirtualBlockingFromTheVmcs) {
  SetPin(kVirtual);
  for (bool in_vmcs : {false, true}) {
    for (uint64_t in_root : {0, 1}) {
      SetBlockingInVmcs(in_vmcs);
      state().nmi_blocked = in_root;
      cpu_.EnterGuest();
      EXPECT_EQ(state().nmi_blocked, 0u);
      EXPECT_EQ(state().virtual_nmi_blocked, in_vmcs ? 1u : 0u);
      EXPECT_TRUE(cpu_.CanTakeNmi()) << "virtual blocking does not hold back a physical NMI";
    }
  }
}

TEST_F(ProcessorNmi, IretEndsPhysicalBlockingIfNmisDoNotExit) {
  SetPin(kNeither);
  SetBlockingInVmcs(true);
  cpu_.EnterGuest();
  Execute(InstructionKind::kIret, kGuestRip + 8);
  EXPECT_EQ(state().nmi_blocked, 0u);
}

TEST_F(ProcessorNmi, IretDoesNothingToBlockingIfNmisExitAndThereAreNoVirtualOnes) {
  SetPin(kExiting);
  SetBlockingInVmcs(true);
  cpu_.EnterGuest();
  Execute(InstructionKind::kIret, kGuestRip + 8);
  EXPECT_EQ(state().nmi_blocked, 1u);
}

TEST_F(ProcessorNmi, IretEndsVirtualBlocking) {
  SetPin(kVirtual);
  SetBlockingInVmcs(true);
  cpu_.EnterGuest();
  Execute(InstructionKind::kIret, kGuestRip + 8);
  EXPECT_EQ(state().virtual_nmi_blocked, 0u);
}

TEST_F(ProcessorNmi, AnIretThatFailsEndsBlockingAllTheSame) {
  SetPin(kVirtual);
  SetBlockingInVmcs(true);
  Write(VmcsField::kExceptionBitmap,
        uint32_t{1} << static_cast<unsigned>(Vector::kGeneralProtection));
  cpu_.EnterGuest();
  Execute(InstructionKind::kIret);  // no frame to return to: CS would be null
  ASSERT_EQ(Read(VmcsField::kExitReason), static_cast<uint64_t>(ExitReason::kExceptionOrNmi));
  EXPECT_FALSE(SavedBlocking());
  const InterruptionInformation information(
      static_cast<uint32_t>(Read(VmcsField::kVmExitInterruptionInformation)));
  EXPECT_TRUE(information.IsHardwareException(Vector::kGeneralProtection));
  EXPECT_TRUE(information.nmi_unblocking());
}

TEST_F(ProcessorNmi, AnNmiExitBlocksRootOnlyAfterItHasSavedTheBlockingThatWas) {
  SetPin(kExiting);
  cpu_.EnterGuest();
  TakeNmi();
  EXPECT_EQ(root_.exits, 1);
  EXPECT_EQ(Read(VmcsField::kExitReason), static_cast<uint64_t>(ExitReason::kExceptionOrNmi));
  EXPECT_EQ(Read(VmcsField::kVmExitInterruptionInformation), 0x80000202u);
  EXPECT_FALSE(SavedBlocking());
  EXPECT_EQ(state().nmi_blocked, 1u);
  EXPECT_FALSE(cpu_.CanTakeNmi());
}

TEST_F(ProcessorNmi, AnNmiExitSavesVirtualBlockingAndBlocksRoot) {
  SetPin(kVirtual);
  SetBlockingInVmcs(true);
  cpu_.EnterGuest();
  TakeNmi();
  EXPECT_TRUE(SavedBlocking());
  EXPECT_EQ(state().nmi_blocked, 1u);
}

TEST_F(ProcessorNmi, AnyOtherExitLeavesRootAsBlockedAsTheGuestWas) {
  for (uint32_t pin : {kNeither, kExiting, kVirtual}) {
    for (bool in_vmcs : {false, true}) {
      SetPin(pin);
      SetBlockingInVmcs(in_vmcs);
      state().nmi_blocked = 1;
      cpu_.EnterGuest();
      ExitByVmcall();
      const bool physically = in_vmcs && pin != kVirtual;
      EXPECT_EQ(state().nmi_blocked, physically ? 1u : 0u) << pin << in_vmcs;
      EXPECT_EQ(SavedBlocking(), in_vmcs);
    }
  }
}

TEST_F(ProcessorNmi, AnInjectedNmiBlocksVirtualNmis) {
  SetPin(kVirtual);
  Inject(InterruptionInformation::Nmi());
  cpu_.EnterGuest();
  EXPECT_EQ(state().virtual_nmi_blocked, 1u);
  EXPECT_EQ(state().nmi_blocked, 0u);
  EXPECT_EQ(cpu_.Rip(), lhv::HandlerAddress(lhv::kL1HandlerBase, 2));
}

TEST_F(ProcessorNmi, AnInjectedNmiBlocksNothingWithoutVirtualNmis) {
  for (uint32_t pin : {kNeither, kExiting}) {
    SetPin(pin);
    Inject(InterruptionInformation::Nmi());
    cpu_.EnterGuest();
    EXPECT_EQ(state().nmi_blocked, 0u);
    EXPECT_EQ(state().virtual_nmi_blocked, 0u);
  }
}

TEST_F(ProcessorNmi, AnInjectedInterruptBlocksNoNmi) {
  SetPin(kVirtual);
  Inject(InterruptionInformation::ExternalInterrupt(0x21));
  cpu_.EnterGuest();
  EXPECT_EQ(state().virtual_nmi_blocked, 0u);
}

TEST_F(ProcessorNmi, AnNmiThatDoesNotExitIsDeliveredAndBlocksTheNext) {
  SetPin(kNeither);
  cpu_.EnterGuest();
  TakeNmi();
  EXPECT_EQ(root_.exits, 0);
  EXPECT_EQ(cpu_.Rip(), lhv::HandlerAddress(lhv::kL1HandlerBase, 2));
  EXPECT_EQ(cpu_.TopFrame(0).rip, kGuestRip);
  EXPECT_FALSE(cpu_.CanTakeNmi());
  Execute(InstructionKind::kIret);
  EXPECT_EQ(cpu_.Rip(), kGuestRip);
  EXPECT_TRUE(cpu_.CanTakeNmi());
}

TEST_F(ProcessorNmi, BlockingByMovSsHoldsAnNmiBackForOneInstruction) {
  SetPin(kVirtual);
  Write(VmcsField::kGuestInterruptibilityState, Interruptibility::kBlockingByMovSs);
  cpu_.EnterGuest();
  EXPECT_FALSE(cpu_.CanTakeNmi());
  Execute(InstructionKind::kNop);
  EXPECT_TRUE(cpu_.CanTakeNmi());
}

TEST_F(ProcessorNmi, AProcessorThatWaitsForASipiTakesNoNmi) {
  SetPin(kVirtual);
  Write(VmcsField::kGuestActivityState, static_cast<uint64_t>(ActivityState::kWaitForSipi));
  cpu_.EnterGuest();
  ASSERT_TRUE(cpu_.in_guest());
  EXPECT_FALSE(cpu_.CanTakeNmi());
}

TEST_F(ProcessorNmi, AnNmiExitOutOfHltSavesHlt) {
  SetPin(kExiting);
  cpu_.EnterGuest();
  Execute(InstructionKind::kHlt);
  ASSERT_FALSE(cpu_.IsActive());
  TakeNmi();
  EXPECT_EQ(Read(VmcsField::kGuestActivityState), static_cast<uint64_t>(ActivityState::kHlt));
  EXPECT_EQ(Read(VmcsField::kGuestRip), kGuestRip + 8);
}

TEST_F(ProcessorNmi, ADeliveredNmiEndsHlt) {
  SetPin(kNeither);
  cpu_.EnterGuest();
  Execute(InstructionKind::kHlt);
  TakeNmi();
  EXPECT_TRUE(cpu_.IsActive());
}

TEST_F(ProcessorNmi, TheWindowIsOpenWhileNothingBlocks) {
  OpenWindow();
  cpu_.EnterGuest();
  EXPECT_TRUE(NmiWindowIsOpen());
  cpu_.Take(BoundaryEvent::kNmiWindow, {});
  EXPECT_EQ(Read(VmcsField::kExitReason), static_cast<uint64_t>(ExitReason::kNmiWindow));
  EXPECT_EQ(state().nmi_blocked, 0u);
}

TEST_F(ProcessorNmi, TheWindowIsClosedWithoutItsControl) {
  SetPin(kVirtual);
  cpu_.EnterGuest();
  EXPECT_FALSE(NmiWindowIsOpen());
}

TEST_F(ProcessorNmi, TheWindowIsClosedByEachKindOfBlocking) {
  OpenWindow();
  for (uint32_t blocking :
       {kBit, Interruptibility::kBlockingBySti, Interruptibility::kBlockingByMovSs}) {
    Write(VmcsField::kGuestInterruptibilityState, blocking);
    cpu_.EnterGuest();
    EXPECT_FALSE(NmiWindowIsOpen()) << blocking;
  }
}

TEST_F(ProcessorNmi, TheWindowOpensWithTheIretThatEndsVirtualBlocking) {
  OpenWindow();
  SetBlockingInVmcs(true);
  cpu_.EnterGuest();
  Execute(InstructionKind::kNop);
  EXPECT_FALSE(NmiWindowIsOpen());
  Execute(InstructionKind::kIret, kGuestRip + 16);
  EXPECT_TRUE(NmiWindowIsOpen());
}

TEST_F(ProcessorNmi, AnInjectedNmiClosesTheWindowUntilItsIret) {
  OpenWindow();
  Inject(InterruptionInformation::Nmi());
  cpu_.EnterGuest();
  EXPECT_FALSE(NmiWindowIsOpen());
  Execute(InstructionKind::kIret);
  EXPECT_TRUE(NmiWindowIsOpen());
}

TEST_F(ProcessorNmi, TheWindowEndsHltAndShutdownButNotWaitForSipi) {
  OpenWindow();
  const struct {
    ActivityState state;
    bool opens;
  } kCases[] = {{ActivityState::kHlt, true},
                {ActivityState::kShutdown, true},
                {ActivityState::kWaitForSipi, false}};
  for (const auto& c : kCases) {
    Write(VmcsField::kGuestActivityState, static_cast<uint64_t>(c.state));
    cpu_.EnterGuest();
    EXPECT_EQ(NmiWindowIsOpen(), c.opens) << Name(c.state);
  }
}

TEST(NmiLatch, HoldsOneNmiAndItsFirstSender) {
  NmiLatch latch;
  EXPECT_FALSE(latch.full());
  EXPECT_TRUE(latch.Put(NmiSource::kQuiesce));
  EXPECT_FALSE(latch.Put(NmiSource::kGuest));
  EXPECT_EQ(latch.source(), NmiSource::kQuiesce);
  EXPECT_EQ(latch.Take(), NmiSource::kQuiesce);
  EXPECT_FALSE(latch.full());
  EXPECT_EQ(latch.Take(), NmiSource::kNone);
}

}  // namespace
}  // namespace nvmx::sim
