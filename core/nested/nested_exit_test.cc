// SPDX-License-Identifier: Apache-2.0
//
// VM exits from L2 to L1. SDM Vol. 3C, chapter 28 "VM Exits".
#include "core/nested/nested_exit.h"

#include "core/nested/pdptes.h"
#include "core/nested/vmcs12.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/matchers.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/rflags.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint32_t kLstar = Index(Msr::IA32_LSTAR);
constexpr uint32_t kCstar = Index(Msr::IA32_CSTAR);
constexpr uint32_t kAbsent = 0x12345;

class NestedExitTest : public testing::Test {
 protected:
  NestedExitTest() { l1_.cpu.msrs() = {{kLstar, 0x11}, {kCstar, 0x22}}; }
  void RunL2() { l1_.RunL2(v_); }
  void Lists(const std::vector<MsrListEntry>& store, const std::vector<MsrListEntry>& load) {
    v_.Set<VmcsField::kVmExitMsrStoreAddress>(
        l1_.PutMsrList(FakeVcpu::kExitStoreList, store).address.value);
    v_.Set<VmcsField::kVmExitMsrStoreCount>(store.size());
    v_.Set<VmcsField::kVmExitMsrLoadAddress>(
        l1_.PutMsrList(FakeVcpu::kExitLoadList, load).address.value);
    v_.Set<VmcsField::kVmExitMsrLoadCount>(load.size());
  }
  void ClearExitControls(uint32_t controls) {
    v_.Set<VmcsField::kVmExitControls>(v_.Get<VmcsField::kVmExitControls>() & ~controls);
  }
  void Exit(ExitReason reason = ExitReason::kCpuid, uint64_t qualification = 0) {
    l1_.Exit(reason, qualification);
    EXPECT_EQ(l1_.vmcs.Current(), VmcsRole::kVmcs01);
    EXPECT_EQ(l1_.state.operation, VmxOperation::kRoot);
  }
  // The guest-state fields that every exit saves as VMCS02 holds them.
  bool IsSaved(VmcsField field) const {
    constexpr FieldSet kNotSaved = {VmcsField::kVmcsLinkPointer, VmcsField::kGuestSmbase,
                                    VmcsField::kPmlIndex, VmcsField::kGuestIa32PerfGlobalCtrl,
                                    VmcsField::kVmxPreemptionTimerValue};
    return Type(field) == FieldType::kGuestState && Exists(field, l1_.state.offered) &&
           !kNotSaved.Has(field) && !IsPdpteField(field);
  }
  VmcsImage& Vmcs12() { return l1_.state.vmcs12; }
  VmcsImage& L1() { return l1_.vmcs.vmcs01(); }
  VmcsImage& L2() { return l1_.vmcs.vmcs02(); }

  FakeVcpu l1_;
  VmcsImage v_ = ValidVmcs12(l1_.state.offered);
};

TEST_F(NestedExitTest, TheGuestStateAtTheExitIsInVmcs12) {
  RunL2();
  VmcsImage left = L2();
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (IsSaved(row.field)) left.Write(row.field, L2().Read(row.field) ^ 0x1010);
  }
  left.Set<VmcsField::kGuestInterruptibilityState>(Interruptibility::kBlockingBySti);
  L2() = left;
  Exit();
  CompleteVmcs12(l1_.vcpu());
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (!IsSaved(row.field)) continue;
    EXPECT_EQ(Vmcs12().Read(row.field), left.Read(row.field)) << row.name;
  }
}

TEST_F(NestedExitTest, TheVmcsLinkPointerIsNotSaved) {
  RunL2();
  L2().Set<VmcsField::kVmcsLinkPointer>(0x5000);
  Exit();
  EXPECT_EQ(Vmcs12().Get<VmcsField::kVmcsLinkPointer>(), ~uint64_t{0});
}

TEST_F(NestedExitTest, EferIsSavedIfL1AskedForIt) {
  RunL2();
  L2().Set<VmcsField::kGuestIa32Efer>(Efer::kNxe);
  Exit();
  EXPECT_EQ(Vmcs12().Get<VmcsField::kGuestIa32Efer>(), Efer::kNxe);
}

TEST_F(NestedExitTest, WhatL1DidNotAskToSaveKeepsItsValueInVmcs12) {
  ClearExitControls(VmExit::kSaveIa32Efer | VmExit::kSaveIa32Pat | VmExit::kSaveDebugControls);
  RunL2();
  L2().Set<VmcsField::kGuestIa32Efer>(Efer::kNxe);
  L2().Set<VmcsField::kGuestIa32Pat>(0);
  L2().Set<VmcsField::kGuestIa32Debugctl>(1);
  L2().Set<VmcsField::kGuestDr7>(0x499);
  Exit();
  for (VmcsField field : {VmcsField::kGuestIa32Efer, VmcsField::kGuestIa32Pat,
                          VmcsField::kGuestIa32Debugctl, VmcsField::kGuestDr7}) {
    EXPECT_EQ(Vmcs12().Read(field), v_.Read(field)) << Name(field);
  }
}

TEST_F(NestedExitTest, TheExitInformationIsInVmcs12ButForTheInstructionError) {
  RunL2();
  Vmcs12().Set<VmcsField::kVmInstructionError>(5);
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (row.policy == Vmcs02Policy::kExitInformation && Exists(row.field, l1_.state.offered)) {
      L2().Write(row.field, 0x100 + Slot(row.field));
    }
  }
  Exit(ExitReason::kHlt, 0xABC);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kExitReason>(), 12u);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kExitQualification>(), 0xABCu);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kVmInstructionError>(), 5u);
  for (VmcsField field :
       {VmcsField::kVmExitInterruptionErrorCode, VmcsField::kIdtVectoringInformation,
        VmcsField::kIdtVectoringErrorCode, VmcsField::kVmExitInstructionLength,
        VmcsField::kVmExitInstructionInformation, VmcsField::kGuestLinearAddress}) {
    EXPECT_EQ(Vmcs12().Read(field), 0x100 + Slot(field)) << Name(field);
  }
}

// SDM Vol. 3C, 25.9.4 "Information for VM Exits Due to Instruction Execution": only SMIs write
// them.
TEST_F(NestedExitTest, WhatSmisTellOfIoKeepsTheValuesThatL1Wrote) {
  for (VmcsField field :
       {VmcsField::kIoRcx, VmcsField::kIoRsi, VmcsField::kIoRdi, VmcsField::kIoRip}) {
    v_.Write(field, 0x1234);
    RunL2();
    Exit(ExitReason::kIoInstruction);
    EXPECT_EQ(Vmcs12().Read(field), 0x1234u) << Name(field);
    RunL2();
    l1_.NmiExit();
    EXPECT_EQ(Vmcs12().Read(field), 0x1234u) << Name(field);
  }
}

TEST_F(NestedExitTest, WhatAnExitThatL0MakesDoesNotTellIs0) {
  RunL2();
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (row.policy == Vmcs02Policy::kExitInformation) Vmcs12().Write(row.field, 0x77);
  }
  ReflectMadeExit(l1_.vcpu(), {.reason = ExitReason::kTripleFault});
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (row.policy != Vmcs02Policy::kExitInformation) continue;
    if (!Exists(row.field, l1_.state.offered)) continue;
    const bool is_reason = row.field == VmcsField::kExitReason;
    const bool is_error = row.field == VmcsField::kVmInstructionError;
    EXPECT_EQ(Vmcs12().Read(row.field), is_reason ? 2u : is_error ? 0x77u : 0u) << row.name;
  }
}

// SDM Vol. 3C, 28.3.4 "Saving Non-Register State".
TEST_F(NestedExitTest, AnExitThatL0MakesSavesPendingDebugExceptionsAsTheProcessorDoes) {
  struct Case {
    ExitReason reason;
    uint64_t interruptibility;
    ActivityState activity;
    uint64_t saved;
  };
  constexpr uint64_t kPending = PendingDebugExceptions::kEnabledBreakpoint;
  constexpr Case kCases[] = {
      {ExitReason::kExceptionOrNmi, 0, ActivityState::kActive, 0},
      {ExitReason::kExceptionOrNmi, Interruptibility::kBlockingByMovSs, ActivityState::kActive,
       kPending},
      {ExitReason::kInitSignal, 0, ActivityState::kActive, kPending},
      {ExitReason::kInitSignal, 0, ActivityState::kHlt, kPending},
      {ExitReason::kInitSignal, 0, ActivityState::kShutdown, 0},
  };
  for (const Case& c : kCases) {
    RunL2();
    Vmcs& vmcs = l1_.vcpu().ports.vmcs;
    vmcs.Write(VmcsField::kGuestPendingDebugExceptions, kPending);
    vmcs.Write(VmcsField::kGuestInterruptibilityState, c.interruptibility);
    vmcs.Write(VmcsField::kGuestActivityState, static_cast<uint64_t>(c.activity));
    ReflectMadeExit(l1_.vcpu(), {.reason = c.reason});
    EXPECT_EQ(Vmcs12().Get<VmcsField::kGuestPendingDebugExceptions>(), c.saved)
        << static_cast<int>(c.reason) << " " << c.interruptibility;
  }
}

TEST_F(NestedExitTest, TheValidBitOfTheInjectionFieldIsCleared) {
  const uint32_t event = InterruptionInformation::HardwareException(Vector::kInvalidOpcode).value();
  v_.Set<VmcsField::kVmEntryInterruptionInformation>(event);
  RunL2();
  Exit();
  EXPECT_EQ(Vmcs12().Get<VmcsField::kVmEntryInterruptionInformation>(),
            event & ~InterruptionInformation::kValid);
}

TEST_F(NestedExitTest, TheIa32eModeGuestControlFollowsTheModeThatL2Left) {
  RunL2();
  L2().Set<VmcsField::kVmEntryControls>(L2().Get<VmcsField::kVmEntryControls>() &
                                        ~VmEntry::kIa32eModeGuest);
  Exit();
  EXPECT_EQ(Vmcs12().Get<VmcsField::kVmEntryControls>(),
            v_.Get<VmcsField::kVmEntryControls>() & ~VmEntry::kIa32eModeGuest);
}

TEST_F(NestedExitTest, L1ContinuesWithItsHostRegisters) {
  RunL2();
  Exit();
  EXPECT_EQ(L1().Get<VmcsField::kGuestCr0>(), v_.Get<VmcsField::kHostCr0>());
  EXPECT_EQ(L1().Get<VmcsField::kGuestCr3>(), v_.Get<VmcsField::kHostCr3>());
  EXPECT_EQ(L1().Get<VmcsField::kGuestCr4>(), v_.Get<VmcsField::kHostCr4>());
  EXPECT_EQ(L1().Get<VmcsField::kGuestRip>(), v_.Get<VmcsField::kHostRip>());
  EXPECT_EQ(L1().Get<VmcsField::kGuestRsp>(), v_.Get<VmcsField::kHostRsp>());
  EXPECT_EQ(L1().Get<VmcsField::kGuestRflags>(), Rflags::kFixed1);
  EXPECT_EQ(L1().Get<VmcsField::kGuestDr7>(), Dr7::kInit);
  EXPECT_EQ(L1().Get<VmcsField::kGuestIa32Pat>(), v_.Get<VmcsField::kHostIa32Pat>());
  EXPECT_EQ(L1().Get<VmcsField::kGuestIa32Efer>(), v_.Get<VmcsField::kHostIa32Efer>());
  EXPECT_NE(L1().Get<VmcsField::kVmEntryControls>() & VmEntry::kIa32eModeGuest, 0u);
}

TEST_F(NestedExitTest, L1ContinuesWithItsHostSegmentsAsTheManualFixesThem) {
  v_.Set<VmcsField::kHostDsSelector>(0);
  RunL2();
  Exit();
  EXPECT_EQ(L1().Get<VmcsField::kGuestCsSelector>(), 0x08);
  EXPECT_EQ(L1().Get<VmcsField::kGuestCsBase>(), 0u);
  EXPECT_EQ(L1().Get<VmcsField::kGuestCsLimit>(), 0xFFFFFFFFu);
  EXPECT_EQ(L1().Get<VmcsField::kGuestCsAccessRights>(), 0xA09Bu);
  EXPECT_EQ(L1().Get<VmcsField::kGuestSsSelector>(), 0x10);
  EXPECT_EQ(L1().Get<VmcsField::kGuestSsAccessRights>(), 0xC093u);
  EXPECT_EQ(L1().Get<VmcsField::kGuestEsAccessRights>(), 0xC093u);
  EXPECT_EQ(L1().Get<VmcsField::kGuestDsSelector>(), 0);
  EXPECT_NE(L1().Get<VmcsField::kGuestDsAccessRights>() & AccessRights::kUnusable, 0u);
  EXPECT_EQ(L1().Get<VmcsField::kGuestFsSelector>(), 0x18);
  EXPECT_EQ(L1().Get<VmcsField::kGuestFsBase>(), v_.Get<VmcsField::kHostFsBase>());
  EXPECT_EQ(L1().Get<VmcsField::kGuestGsSelector>(), 0x20);
  EXPECT_EQ(L1().Get<VmcsField::kGuestGsBase>(), v_.Get<VmcsField::kHostGsBase>());
  EXPECT_EQ(L1().Get<VmcsField::kGuestTrSelector>(), 0x28);
  EXPECT_EQ(L1().Get<VmcsField::kGuestTrBase>(), v_.Get<VmcsField::kHostTrBase>());
  EXPECT_EQ(L1().Get<VmcsField::kGuestTrLimit>(), 0x67u);
  EXPECT_EQ(L1().Get<VmcsField::kGuestTrAccessRights>(), 0x8Bu);
  EXPECT_EQ(L1().Get<VmcsField::kGuestLdtrSelector>(), 0);
  EXPECT_NE(L1().Get<VmcsField::kGuestLdtrAccessRights>() & AccessRights::kUnusable, 0u);
  EXPECT_EQ(L1().Get<VmcsField::kGuestGdtrBase>(), v_.Get<VmcsField::kHostGdtrBase>());
  EXPECT_EQ(L1().Get<VmcsField::kGuestGdtrLimit>(), 0xFFFFu);
  EXPECT_EQ(L1().Get<VmcsField::kGuestIdtrBase>(), v_.Get<VmcsField::kHostIdtrBase>());
  EXPECT_EQ(L1().Get<VmcsField::kGuestIdtrLimit>(), 0xFFFFu);
}

TEST_F(NestedExitTest, L1IsActiveAndNothingOfTheEntryIsPending) {
  L1().Set<VmcsField::kGuestActivityState>(static_cast<uint64_t>(ActivityState::kHlt));
  L1().Set<VmcsField::kGuestPendingDebugExceptions>(PendingDebugExceptions::kBs);
  L1().Set<VmcsField::kGuestInterruptibilityState>(Interruptibility::kBlockingBySti);
  RunL2();
  Exit();
  EXPECT_EQ(L1().Get<VmcsField::kGuestActivityState>(), 0u);
  EXPECT_EQ(L1().Get<VmcsField::kGuestPendingDebugExceptions>(), 0u);
  EXPECT_EQ(L1().Get<VmcsField::kGuestInterruptibilityState>(), 0u);
  EXPECT_EQ(L1().Get<VmcsField::kVmEntryInterruptionInformation>(), 0u);
}

TEST_F(NestedExitTest, TheStoreListIsStoredBeforeTheLoadListIsLoaded) {
  Lists({{kLstar, 0, 0}}, {{kLstar, 0, 0x99}});
  RunL2();
  Exit();
  EXPECT_EQ(l1_.memory.Peek<MsrListEntry>(FakeVcpu::kExitStoreList).data, 0x11u);
  EXPECT_EQ(l1_.cpu.msrs()[kLstar], 0x99u);
}

TEST_F(NestedExitTest, TheObserverIsToldReasonAndQualification) {
  RunL2();
  Exit(ExitReason::kHlt, 0xABC);
  EXPECT_EQ(l1_.trace.events().back(), (TraceEvent{TraceKind::kNestedExit, 12, 0xABC}));
}

// --- SDM Vol. 3C, 28.7 "VMX Aborts" ---

TEST_F(NestedExitTest, AFailingStoreListIsVmxAbort1) {
  Lists({{kLstar, 0, 0}, {kAbsent, 0, 0}}, {{kCstar, 0, 0x99}});
  RunL2();
  Exit();
  EXPECT_EQ(l1_.memory.Peek<uint32_t>(FakeVcpu::kVmcs12Region + 4), 1u);
  EXPECT_EQ(l1_.state.in_vmx_abort, 1u);
  EXPECT_EQ(L1().Get<VmcsField::kGuestActivityState>(),
            static_cast<uint64_t>(ActivityState::kShutdown));
  EXPECT_EQ(l1_.memory.Peek<MsrListEntry>(FakeVcpu::kExitStoreList).data, 0x11u);
  EXPECT_EQ(l1_.cpu.msrs()[kCstar], 0x22u);
  EXPECT_EQ(l1_.trace.events().back(), (TraceEvent{TraceKind::kVmxAbort, 1, 0}));
}

TEST_F(NestedExitTest, AFailingLoadListIsVmxAbort4) {
  Lists({{kLstar, 0, 0}}, {{kCstar, 0, 0x99}, {kAbsent, 0, 0}});
  RunL2();
  Exit();
  EXPECT_EQ(l1_.memory.Peek<uint32_t>(FakeVcpu::kVmcs12Region + 4), 4u);
  EXPECT_EQ(l1_.state.in_vmx_abort, 1u);
  EXPECT_EQ(L1().Get<VmcsField::kGuestActivityState>(),
            static_cast<uint64_t>(ActivityState::kShutdown));
  EXPECT_EQ(l1_.cpu.msrs()[kCstar], 0x99u);
  EXPECT_EQ(l1_.trace.Count(TraceKind::kVmxAbort), 1);
}

TEST_F(NestedExitTest, WithoutAFailureThereIsNoAbort) {
  Lists({{kLstar, 0, 0}}, {{kCstar, 0, 0x99}});
  RunL2();
  Exit();
  EXPECT_EQ(l1_.memory.Peek<uint32_t>(FakeVcpu::kVmcs12Region + 4), 0u);
  EXPECT_EQ(l1_.state.in_vmx_abort, 0u);
}

TEST_F(NestedExitTest, ACpuInVmxAbortIsGivenNoNmiButAnswersAQuiesce) {
  Lists({}, {{kAbsent, 0, 0}});
  RunL2();
  Exit();
  l1_.NmiExit();
  EXPECT_EQ(l1_.own.guest_nmis_pending.Peek(), 1u);
  EXPECT_EQ(L1().Get<VmcsField::kVmEntryInterruptionInformation>(), 0u);
  EXPECT_EQ(L1().Get<VmcsField::kPrimaryProcessorBasedControls>() &
                PrimaryProcessorBased::kNmiWindowExiting,
            0u);
  EventLog log;
  FakeCpu other(1, log);
  l1_.system.quiesce.initiator.Store(other, 2);
  l1_.system.quiesce.resume_signal.Store(other, 1);
  l1_.NmiExit();
  EXPECT_EQ(l1_.system.quiesce.acknowledged.Peek(), 1u);
  EXPECT_EQ(l1_.own.guest_nmis_pending.Peek(), 1u);
}

}  // namespace
}  // namespace nvmx
