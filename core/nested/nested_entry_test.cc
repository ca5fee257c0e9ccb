// SPDX-License-Identifier: Apache-2.0
//
// VMLAUNCH and VMRESUME: VMfail, entry failures, and what a successful entry makes of the three
// VMCSs. SDM Vol. 3C, chapter 27 "VM Entries".
#include "core/nested/nested_entry.h"

#include "core/nested/entry_rules.h"
#include "core/nested/vmcs12_region.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/matchers.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/rflags.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint32_t kLstar = Index(Msr::IA32_LSTAR);
constexpr uint32_t kCstar = Index(Msr::IA32_CSTAR);
constexpr uint32_t kStar = Index(Msr::IA32_STAR);
constexpr uint32_t kAbsent = 0x12345;

class NestedEntryTest : public testing::Test {
 protected:
  NestedEntryTest() {
    l1_.MakeCurrentVmcs12(ValidVmcs12(l1_.state.offered));
    l1_.cpu.msrs() = {{kLstar, 0}, {kCstar, 0}, {kStar, 0}};
  }
  VmcsImage& Vmcs12() { return l1_.state.vmcs12; }
  VmcsImage& Vmcs01() { return l1_.vmcs.vmcs01(); }
  VmcsImage& Vmcs02() { return l1_.vmcs.vmcs02(); }
  EntryOutcome Launch() { return EnterL2(l1_.vcpu(), /*launch=*/true); }
  EntryOutcome Resume() { return EnterL2(l1_.vcpu(), /*launch=*/false); }
  static EntryOutcome Fails(VmInstructionError error) {
    return EntryOutcome::Fail(VmxOutcome::FailValid(error));
  }
  void EntryList(const std::vector<MsrListEntry>& entries) {
    const MsrList list = l1_.PutMsrList(FakeVcpu::kEntryLoadList, entries);
    Vmcs12().Set<VmcsField::kVmEntryMsrLoadAddress>(list.address.value);
    Vmcs12().Set<VmcsField::kVmEntryMsrLoadCount>(list.count);
  }
  void ExitLists(const std::vector<MsrListEntry>& store, const std::vector<MsrListEntry>& load) {
    Vmcs12().Set<VmcsField::kVmExitMsrStoreAddress>(
        l1_.PutMsrList(FakeVcpu::kExitStoreList, store).address.value);
    Vmcs12().Set<VmcsField::kVmExitMsrStoreCount>(store.size());
    Vmcs12().Set<VmcsField::kVmExitMsrLoadAddress>(
        l1_.PutMsrList(FakeVcpu::kExitLoadList, load).address.value);
    Vmcs12().Set<VmcsField::kVmExitMsrLoadCount>(load.size());
  }
  void ExpectNothingChanged(const VcpuState& before, const VmcsImage& vmcs01) {
    EXPECT_EQ(__builtin_memcmp(&before, &l1_.state, sizeof before), 0);
    EXPECT_EQ(Vmcs01(), vmcs01);
    EXPECT_EQ(l1_.vmcs.Current(), VmcsRole::kVmcs01);
  }

  FakeVcpu l1_;
};

TEST_F(NestedEntryTest, SuccessMakesVmcs02CurrentAndTheVmcsLaunched) {
  EXPECT_THAT(Launch(), Enters());
  EXPECT_EQ(l1_.vmcs.Current(), VmcsRole::kVmcs02);
  EXPECT_EQ(l1_.state.operation, VmxOperation::kNonRoot);
  EXPECT_EQ(l1_.state.vmcs12_launched, 1u);
  EXPECT_THAT(l1_.trace.events(), testing::ElementsAre(TraceEvent{TraceKind::kNestedEntry,
                                                                  FakeVcpu::kVmcs12Region, 0}));
}

TEST_F(NestedEntryTest, TheTraceTellsWhichRuleIsBroken) {
  const auto told = [](EntryRuleNumber rule) {
    return testing::Contains(TraceEvent{TraceKind::kEntryRefused, static_cast<uint64_t>(rule), 0});
  };
  Vmcs12().Set<VmcsField::kHostCr3>(~uint64_t{0});
  EXPECT_TRUE(Launch().is_fail());
  EXPECT_THAT(l1_.trace.events(), told(EntryRuleNumber::kHostCr3Width));
  EXPECT_THAT(l1_.trace.events(), testing::Not(told(EntryRuleNumber::kGuestRflagsReservedBits)));
  Vmcs12().Set<VmcsField::kHostCr3>(0);
  Vmcs12().Set<VmcsField::kGuestRflags>(0);
  EXPECT_TRUE(Launch().is_entry_failure());
  EXPECT_THAT(l1_.trace.events(), told(EntryRuleNumber::kGuestRflagsReservedBits));
  EXPECT_STREQ(RuleOf(EntryRuleNumber::kHostCr3Width).name, "HostCr3Width");
}

TEST_F(NestedEntryTest, WithoutACurrentVmcsIsVmfailInvalid) {
  l1_.state.current_vmcs = kNoVmcs;
  EXPECT_EQ(Launch(), EntryOutcome::Fail(VmxOutcome::FailInvalid()));
  EXPECT_EQ(Resume(), EntryOutcome::Fail(VmxOutcome::FailInvalid()));
}

TEST_F(NestedEntryTest, TheLaunchStateFitsTheInstruction) {
  EXPECT_EQ(Resume(), Fails(VmInstructionError::kVmresumeWithNonLaunchedVmcs));
  l1_.state.vmcs12_launched = 1;
  EXPECT_EQ(Launch(), Fails(VmInstructionError::kVmlaunchWithNonClearVmcs));
  EXPECT_THAT(Resume(), Enters());
}

TEST_F(NestedEntryTest, BlockingByMovSsIsVmfail26BeforeTheLaunchStateIsLookedAt) {
  Vmcs01().Set<VmcsField::kGuestInterruptibilityState>(Interruptibility::kBlockingByMovSs);
  EXPECT_EQ(Launch(), Fails(VmInstructionError::kVmEntryWithEventsBlockedByMovSs));
  EXPECT_EQ(Resume(), Fails(VmInstructionError::kVmEntryWithEventsBlockedByMovSs));
  Vmcs01().Set<VmcsField::kGuestInterruptibilityState>(Interruptibility::kBlockingBySti |
                                                       Interruptibility::kBlockingByNmi);
  EXPECT_THAT(Launch(), Enters());
}

TEST_F(NestedEntryTest, TheLaunchStateComesBeforeTheControls) {
  Vmcs12().Set<VmcsField::kPinBasedControls>(0);
  EXPECT_EQ(Resume(), Fails(VmInstructionError::kVmresumeWithNonLaunchedVmcs));
}

TEST_F(NestedEntryTest, AVmfailLeavesEverythingAsItWas) {
  Vmcs12().Set<VmcsField::kHostCr0>(0);
  const VcpuState before = l1_.state;
  const VmcsImage vmcs01 = Vmcs01();
  EXPECT_THAT(Launch(),
              RefusedBy(VmInstructionError::kVmEntryWithInvalidHostStateFields, "HostCr0"));
  ExpectNothingChanged(before, vmcs01);
}

TEST_F(NestedEntryTest, L1SeesAVmfailInRflagsAndGoesOnBehindTheInstruction) {
  Vmcs12().Set<VmcsField::kPinBasedControls>(0);
  EXPECT_EQ(l1_.Execute(ExitReason::kVmlaunch),
            VmxOutcome::FailValid(VmInstructionError::kVmEntryWithInvalidControlFields));
  EXPECT_EQ(l1_.state.operation, VmxOperation::kRoot);
}

TEST_F(NestedEntryTest, L1DoesNotGoOnBehindAnInstructionThatEnters) {
  l1_.Exit(ExitReason::kVmlaunch);
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_EQ(Vmcs01().Get<VmcsField::kGuestRip>(), FakeVcpu::kRip);
}

// --- Entry failures: SDM Vol. 3C, 27.8 "VM-Entry Failures During or After Loading Guest State" ---

TEST_F(NestedEntryTest, InvalidGuestStateIsReason33WithBit31AndItsQualification) {
  Vmcs12().Set<VmcsField::kVmcsLinkPointer>(1);
  EXPECT_THAT(Launch(), GuestStateRefusedBy(4u, "VmcsLinkPointer"));
  EXPECT_EQ(Vmcs12().Get<VmcsField::kExitReason>(), 0x80000021u);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kExitQualification>(), 4u);
}

TEST_F(NestedEntryTest, AFailingListIsReason34WithBit31AndThePositionOfTheEntry) {
  EntryList({{kLstar, 0, 1}, {kAbsent, 0, 0}, {kCstar, 0, 3}});
  EXPECT_THAT(Launch(), FailsLoadingMsr(2u));
  EXPECT_EQ(Vmcs12().Get<VmcsField::kExitReason>(), 0x80000022u);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kExitQualification>(), 2u);
  EXPECT_EQ(l1_.cpu.msrs()[kLstar], 1u);
  EXPECT_EQ(l1_.cpu.msrs()[kCstar], 0u);
}

TEST_F(NestedEntryTest, GuestStateIsCheckedBeforeTheListIsLoaded) {
  EntryList({{kLstar, 0, 1}});
  Vmcs12().Set<VmcsField::kVmcsLinkPointer>(1);
  EXPECT_THAT(Launch(), GuestStateRefusedBy(4u, "VmcsLinkPointer"));
  EXPECT_EQ(l1_.cpu.msrs()[kLstar], 0u);
}

// The two ways to fail late have the same consequences.
class LateFailureTest : public NestedEntryTest, public testing::WithParamInterface<bool> {
 protected:
  void BreakEntry() {
    if (GetParam()) {
      EntryList({{kStar, 0, 5}, {kAbsent, 0, 0}});
    } else {
      Vmcs12().Set<VmcsField::kGuestActivityState>(7);
    }
  }
  void FailLate() {
    BreakEntry();
    EXPECT_TRUE(Launch().is_entry_failure());
    EXPECT_EQ(l1_.vmcs.Current(), VmcsRole::kVmcs01);
    EXPECT_EQ(l1_.state.operation, VmxOperation::kRoot);
  }
};

TEST_P(LateFailureTest, L1sHostStateIsLoaded) {
  FailLate();
  EXPECT_EQ(Vmcs01().Get<VmcsField::kGuestRip>(), Vmcs12().Get<VmcsField::kHostRip>());
  EXPECT_EQ(Vmcs01().Get<VmcsField::kGuestRsp>(), Vmcs12().Get<VmcsField::kHostRsp>());
  EXPECT_EQ(Vmcs01().Get<VmcsField::kGuestRflags>(), Rflags::kFixed1);
  EXPECT_EQ(Vmcs01().Get<VmcsField::kGuestCsSelector>(),
            Vmcs12().Get<VmcsField::kHostCsSelector>());
}

TEST_P(LateFailureTest, TheExitLoadListIsLoadedAndTheStoreListIsNotStored) {
  ExitLists({{kLstar, 0, 0x77}}, {{kCstar, 0, 0x88}});
  FailLate();
  EXPECT_EQ(l1_.cpu.msrs()[kCstar], 0x88u);
  EXPECT_EQ(l1_.memory.Peek<MsrListEntry>(FakeVcpu::kExitStoreList).data, 0x77u);
}

TEST_P(LateFailureTest, TheLaunchStateIsNotChanged) {
  FailLate();
  EXPECT_EQ(l1_.state.vmcs12_launched, 0u);
  l1_.state.vmcs12_launched = 1;
  EXPECT_TRUE(Resume().is_entry_failure());
  EXPECT_EQ(l1_.state.vmcs12_launched, 1u);
}

TEST_P(LateFailureTest, OnlyReasonAndQualificationOfVmcs12Change) {
  const InterruptionInformation event =
      InterruptionInformation::HardwareException(Vector::kInvalidOpcode);
  Vmcs12().Set<VmcsField::kVmEntryInterruptionInformation>(event.value());
  Vmcs12().Set<VmcsField::kVmExitInstructionLength>(9);
  BreakEntry();
  VmcsImage expected = Vmcs12();
  EXPECT_TRUE(Launch().is_entry_failure());
  expected.Set<VmcsField::kExitReason>(Vmcs12().Get<VmcsField::kExitReason>());
  expected.Set<VmcsField::kExitQualification>(Vmcs12().Get<VmcsField::kExitQualification>());
  EXPECT_EQ(Vmcs12(), expected);
}

TEST_P(LateFailureTest, BlockingByNmiIsAsItWasBefore) {
  for (uint32_t blocked : {uint32_t{0}, uint32_t{Interruptibility::kBlockingByNmi}}) {
    l1_.MakeCurrentVmcs12(ValidVmcs12(l1_.state.offered));
    Vmcs01().Set<VmcsField::kGuestInterruptibilityState>(blocked |
                                                         Interruptibility::kBlockingBySti);
    FailLate();
    EXPECT_EQ(Vmcs01().Get<VmcsField::kGuestInterruptibilityState>(), blocked);
  }
}

TEST_P(LateFailureTest, AFailingExitLoadListIsVmxAbort4) {
  ExitLists({}, {{kAbsent, 0, 0}});
  FailLate();
  EXPECT_EQ(l1_.memory.Peek<uint32_t>(FakeVcpu::kVmcs12Region + 4), 4u);
  EXPECT_EQ(l1_.state.in_vmx_abort, 1u);
}

INSTANTIATE_TEST_SUITE_P(Reasons, LateFailureTest, testing::Values(false, true),
                         [](const testing::TestParamInfo<bool>& info) {
                           return std::string(info.param ? "MsrLoading" : "GuestState");
                         });

// --- VMCS02 ---

TEST_F(NestedEntryTest, Vmcs02HasL2sState) {
  ASSERT_THAT(Launch(), Enters());
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (Type(row.field) != FieldType::kGuestState || !Exists(row.field, l1_.state.offered))
      continue;
    if (row.policy == Vmcs02Policy::kUnused) continue;
    EXPECT_EQ(Vmcs02().Read(row.field), Vmcs12().Read(row.field)) << row.name;
  }
}

TEST_F(NestedEntryTest, Vmcs02HasL1sControlsAndL0s) {
  Vmcs12().Set<VmcsField::kExceptionBitmap>(0x4000);
  Vmcs12().Set<VmcsField::kPageFaultErrorCodeMask>(0x1);
  Vmcs12().Set<VmcsField::kPageFaultErrorCodeMatch>(0x2);
  Vmcs12().Set<VmcsField::kCr0GuestHostMask>(0x10);
  Vmcs12().Set<VmcsField::kCr0ReadShadow>(0x20);
  const uint32_t pin = static_cast<uint32_t>(l1_.state.offered.PinBasedControls());
  Vmcs12().Set<VmcsField::kPinBasedControls>(pin);
  ASSERT_THAT(Launch(), Enters());
  for (VmcsField field : {VmcsField::kExceptionBitmap, VmcsField::kPageFaultErrorCodeMask,
                          VmcsField::kPageFaultErrorCodeMatch, VmcsField::kCr0GuestHostMask,
                          VmcsField::kCr0ReadShadow}) {
    EXPECT_EQ(Vmcs02().Read(field), Vmcs12().Read(field)) << Name(field);
  }
  EXPECT_EQ(Vmcs02().Get<VmcsField::kPinBasedControls>(),
            pin | PinBased::kNmiExiting | PinBased::kVirtualNmis);
}

TEST_F(NestedEntryTest, TheProcessorSeesNoneOfL1sLists) {
  EntryList({{kLstar, 0, 1}});
  ExitLists({{kLstar, 0, 1}}, {{kCstar, 0, 1}});
  ASSERT_THAT(Launch(), Enters());
  EXPECT_EQ(Vmcs02().Get<VmcsField::kVmEntryMsrLoadCount>(), 0u);
  EXPECT_EQ(Vmcs02().Get<VmcsField::kVmExitMsrStoreCount>(), 0u);
  EXPECT_EQ(Vmcs02().Get<VmcsField::kVmExitMsrLoadCount>(), 0u);
}

TEST_F(NestedEntryTest, L0SwitchesEferPatAndDebugRegistersWhateverL1AskedFor) {
  const Capabilities& offered = l1_.state.offered;
  Vmcs12().Set<VmcsField::kVmExitControls>(static_cast<uint32_t>(offered.VmExitControls()) |
                                           VmExit::kHostAddressSpaceSize);
  Vmcs12().Set<VmcsField::kVmEntryControls>(static_cast<uint32_t>(offered.VmEntryControls()) |
                                            VmEntry::kIa32eModeGuest);
  ASSERT_THAT(Launch(), Enters());
  constexpr uint32_t kExit = VmExit::kSaveDebugControls | VmExit::kSaveIa32Pat |
                             VmExit::kLoadIa32Pat | VmExit::kSaveIa32Efer | VmExit::kLoadIa32Efer |
                             VmExit::kHostAddressSpaceSize;
  constexpr uint32_t kEntry = VmEntry::kLoadDebugControls | VmEntry::kLoadIa32Pat |
                              VmEntry::kLoadIa32Efer | VmEntry::kIa32eModeGuest;
  EXPECT_EQ(Vmcs02().Get<VmcsField::kVmExitControls>() & kExit, kExit);
  EXPECT_EQ(Vmcs02().Get<VmcsField::kVmEntryControls>() & kEntry, kEntry);
}

TEST_F(NestedEntryTest, TheEventThatL1InjectsIsInVmcs02) {
  Vmcs12().Set<VmcsField::kVmEntryInterruptionInformation>(
      InterruptionInformation::HardwareException(Vector::kGeneralProtection).value());
  Vmcs12().Set<VmcsField::kVmEntryExceptionErrorCode>(0x18);
  Vmcs12().Set<VmcsField::kVmEntryInstructionLength>(3);
  ASSERT_THAT(Launch(), Enters());
  for (VmcsField field :
       {VmcsField::kVmEntryInterruptionInformation, VmcsField::kVmEntryExceptionErrorCode,
        VmcsField::kVmEntryInstructionLength}) {
    EXPECT_EQ(Vmcs02().Read(field), Vmcs12().Read(field)) << Name(field);
  }
}

TEST_F(NestedEntryTest, AnEventOfAnEntryThatFailedIsNotInjectedByTheNext) {
  Vmcs12().Set<VmcsField::kVmEntryInterruptionInformation>(
      InterruptionInformation::HardwareException(Vector::kInvalidOpcode).value());
  EntryList({{0xDEAD, 0, 0}});
  EXPECT_TRUE(Launch().is_entry_failure());
  Vmcs12().Set<VmcsField::kVmEntryInterruptionInformation>(0);
  EntryList({});
  ASSERT_THAT(Launch(), Enters());
  EXPECT_EQ(Vmcs02().Get<VmcsField::kVmEntryInterruptionInformation>(), 0u);
}

}  // namespace
}  // namespace nvmx
