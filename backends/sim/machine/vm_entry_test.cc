// SPDX-License-Identifier: Apache-2.0
//
// VMLAUNCH and VMRESUME without L0: how they fail, what they load. SDM Vol. 3C, chapter 27 "VM
// Entries".
#include <vector>

#include "backends/sim/machine/testing/native_fixture.h"
#include "core/vmx/msr_list.h"

namespace nvmx::sim {
namespace {

using enum VmInstructionError;

class VmEntryTest : public NativeTest {
 protected:
  void Start() {
    EnterVmx();
    LoadVmcs();
  }
  void ExpectEntryFailure(ExitReason reason, uint64_t qualification) {
    EXPECT_EQ(state().operation, Operation::kRoot);
    EXPECT_EQ(Read(VmcsField::kExitReason), ExitReasonValue::EntryFailure(reason).value);
    EXPECT_EQ(Read(VmcsField::kExitQualification), qualification);
    EXPECT_EQ(cpu_.Rip(), kHostRip);
    EXPECT_EQ(r().rflags, Rflags::kFixed1);
    EXPECT_EQ(state().vmcs[state().current_vmcs].launched, 0u);
  }
  void UseEntryList(const std::vector<MsrListEntry>& entries) {
    ASSERT_TRUE(memory_.Write(kList, std::as_bytes(std::span(entries))));
    Write(VmcsField::kVmEntryMsrLoadAddress, kList);
    Write(VmcsField::kVmEntryMsrLoadCount, entries.size());
  }
  // PAE paging, with PDPTEs in memory.
  void MakePaeGuest(uint64_t pdpt) {
    Clear(VmcsField::kVmEntryControls, VmEntry::kIa32eModeGuest);
    Write(VmcsField::kGuestCsAccessRights, 0xC09B);
    Write(VmcsField::kGuestCr3, pdpt);
  }
};

// --- Launch state and basic checks. 27.1 "Basic VM-Entry Checks".

TEST_F(VmEntryTest, WithoutACurrentVmcsIsVmfailInvalid) {
  EnterVmx();
  Execute(Kind::kVmlaunch);
  ExpectFailInvalid();
}

TEST_F(VmEntryTest, VmlaunchNeedsAClearVmcsAndVmresumeALaunchedOne) {
  Start();
  Execute(Kind::kVmresume);
  ExpectFail(kVmresumeWithNonLaunchedVmcs);
  Launch();
  ExitByVmcall();
  Execute(Kind::kVmlaunch);
  ExpectFail(kVmlaunchWithNonClearVmcs);
  Execute(Kind::kVmresume);
  EXPECT_TRUE(cpu_.in_non_root());
}

TEST_F(VmEntryTest, VmclearMakesItClearAgain) {
  RunL2();
  ExitByVmcall();
  LoadVmcs();
  Launch();
}

TEST_F(VmEntryTest, AnEvictedVmcsStaysLaunched) {
  RunL2();
  ExitByVmcall();
  for (uint64_t i = 0; i < 6; ++i) {
    Put<uint32_t>(kWindow + 0x40000 + i * 0x1000, kRevision);
    Execute(Kind::kVmptrld, kWindow + 0x40000 + i * 0x1000);
    ExpectSuccess();
  }
  Execute(Kind::kVmptrld, kVmcs);
  Execute(Kind::kVmresume);
  EXPECT_TRUE(cpu_.in_non_root());
}

TEST_F(VmEntryTest, BlockingByMovSsFailsBeforeTheLaunchStateIsLookedAt) {
  Start();
  state().blocking_by_mov_ss = 1;
  Execute(Kind::kVmresume);
  ExpectFail(kVmEntryWithEventsBlockedByMovSs);
  Execute(Kind::kVmresume);
  ExpectFail(kVmresumeWithNonLaunchedVmcs);
}

TEST_F(VmEntryTest, BadControlsAndBadHostStateFail) {
  Start();
  Write(VmcsField::kCr3TargetCount, 5);
  Execute(Kind::kVmlaunch);
  ExpectFail(kVmEntryWithInvalidControlFields);
  Write(VmcsField::kCr3TargetCount, 0);
  Write(VmcsField::kHostTrSelector, 0);
  Execute(Kind::kVmlaunch);
  ExpectFail(kVmEntryWithInvalidHostStateFields);
  EXPECT_EQ(state().vmcs[state().current_vmcs].launched, 0u);
}

TEST_F(VmEntryTest, TheModeOfL1Counts) {
  Start();
  Clear(VmcsField::kVmExitControls, VmExit::kHostAddressSpaceSize);
  Clear(VmcsField::kVmEntryControls, VmEntry::kIa32eModeGuest);
  Write(VmcsField::kGuestCsAccessRights, 0xC09B);
  Execute(Kind::kVmlaunch);
  ExpectFail(kVmEntryWithInvalidHostStateFields);
}

// --- Failures after the checks of controls. 27.8.

TEST_F(VmEntryTest, BadGuestStateIsAVmExit) {
  Start();
  Clear(VmcsField::kGuestCr4, Cr4::kVmxe);
  Execute(Kind::kVmlaunch);
  ExpectEntryFailure(ExitReason::kVmEntryFailureInvalidGuestState, 0);
}

TEST_F(VmEntryTest, ABadLinkPointerHasAQualification) {
  Start();
  Write(VmcsField::kVmcsLinkPointer, kVmcs);
  Execute(Kind::kVmlaunch);
  ExpectEntryFailure(ExitReason::kVmEntryFailureInvalidGuestState,
                     InvalidGuestStateQualification::kVmcsLinkPointer);
}

TEST_F(VmEntryTest, AFailureLeavesTheRestOfTheVmcsAlone) {
  Start();
  Write(VmcsField::kVmEntryInterruptionInformation, InterruptionInformation::Nmi().value());
  Write(VmcsField::kVmExitInterruptionInformation, 0x1234);
  Write(VmcsField::kGuestRsp, 0x4321);
  UseEntryList({{.index = 0xDEAD}});
  Execute(Kind::kVmlaunch);
  ExpectEntryFailure(ExitReason::kVmEntryFailureMsrLoading, 1);
  EXPECT_EQ(Read(VmcsField::kVmEntryInterruptionInformation),
            InterruptionInformation::Nmi().value());
  EXPECT_EQ(Read(VmcsField::kVmExitInterruptionInformation), 0x1234u);
  EXPECT_EQ(Read(VmcsField::kGuestRsp), 0x4321u);
}

TEST_F(VmEntryTest, AFailureProcessesTheExitLoadList) {
  Start();
  Clear(VmcsField::kGuestCr4, Cr4::kVmxe);
  const MsrListEntry entry{.index = Index(Msr::IA32_STAR), .data = 0x77};
  Put(kList, entry);
  Write(VmcsField::kVmExitMsrLoadAddress, kList);
  Write(VmcsField::kVmExitMsrLoadCount, 1);
  Execute(Kind::kVmlaunch);
  EXPECT_EQ(state().plain.star, 0x77u);
}

TEST_F(VmEntryTest, AFailureKeepsBlockingByNmi) {
  Start();
  state().nmi_blocked = 1;
  UseEntryList({{.index = 0xDEAD}});
  Execute(Kind::kVmlaunch);
  EXPECT_EQ(state().nmi_blocked, 1u);
}

TEST_F(VmEntryTest, AFailedMsrIsCountedFrom1AndThoseBeforeStay) {
  Start();
  UseEntryList({{.index = Index(Msr::IA32_STAR), .data = 5}, {.index = Index(Msr::IA32_FS_BASE)}});
  Execute(Kind::kVmlaunch);
  ExpectEntryFailure(ExitReason::kVmEntryFailureMsrLoading, 2);
  EXPECT_EQ(state().plain.star, 5u);
}

// --- What is loaded. 27.3.2 "Loading Guest State".

TEST_F(VmEntryTest, SucceedsForL1) {
  Start();
  const lhv::InstructionEnd end = Execute(Kind::kVmlaunch);
  EXPECT_TRUE(end.completed);
  EXPECT_TRUE(end.diverted);
  EXPECT_FALSE(end.carry || end.zero);
  EXPECT_EQ(cpu_.level(), 2u);
  EXPECT_EQ(cpu_.Rip(), kL2Rip);
}

TEST_F(VmEntryTest, Cr0KeepsCachingAndExtensionType) {
  Start();
  r().cr0 |= Cr0::kCd;
  Or(VmcsField::kGuestCr0, Cr0::kNw | Cr0::kWp);
  Clear(VmcsField::kGuestCr0, Cr0::kEt);
  Launch();
  EXPECT_EQ(r().cr0, Cr0::kPe | Cr0::kEt | Cr0::kNe | Cr0::kWp | Cr0::kCd | Cr0::kPg);
}

TEST_F(VmEntryTest, Dr7HasItsFixedBits) {
  Start();
  Write(VmcsField::kGuestDr7, 0xD001);
  Launch();
  EXPECT_EQ(r().dr7, 0x401u);
}

TEST_F(VmEntryTest, MsrsAreLoadedIfTheControlsSaySo) {
  Start();
  r().pat = 1;
  r().perf_global_ctrl = 1;
  r().debugctl = 1;
  r().efer |= Efer::kSce;
  Write(VmcsField::kGuestIa32Pat, 6);
  Write(VmcsField::kGuestIa32PerfGlobalCtrl, 7);
  Write(VmcsField::kGuestIa32Debugctl, 2);
  Write(VmcsField::kGuestIa32Efer, Efer::kLme | Efer::kLma | Efer::kNxe);
  Clear(VmcsField::kVmEntryControls, VmEntry::kLoadDebugControls);
  Launch();
  EXPECT_EQ(r().pat, 1u);
  EXPECT_EQ(r().perf_global_ctrl, 1u);
  EXPECT_EQ(r().debugctl, 1u);
  EXPECT_EQ(r().efer, Efer::kLme | Efer::kLma | Efer::kSce);
  ExitByVmcall();
  Or(VmcsField::kVmEntryControls, VmEntry::kLoadDebugControls | VmEntry::kLoadIa32Pat |
                                      VmEntry::kLoadIa32PerfGlobalCtrl | VmEntry::kLoadIa32Efer);
  Write(VmcsField::kGuestIa32Debugctl, 2);
  Execute(Kind::kVmresume);
  EXPECT_EQ(r().pat, 6u);
  EXPECT_EQ(r().perf_global_ctrl, 7u);
  EXPECT_EQ(r().debugctl, 2u);
  EXPECT_EQ(r().efer, Efer::kLme | Efer::kLma | Efer::kNxe);
}

// LME follows LMA only if there is paging.
TEST_F(VmEntryTest, WithoutPagingLmeStaysWhatItWas) {
  Start();
  UseSecondary(Secondary::kEnableEpt | Secondary::kUnrestrictedGuest);
  Write(VmcsField::kEptPointer, EntryFixture::kEptp);
  Clear(VmcsField::kVmEntryControls, VmEntry::kIa32eModeGuest);
  Clear(VmcsField::kGuestCr0, Cr0::kPg | Cr0::kPe);
  Write(VmcsField::kGuestCsAccessRights, 0x9B);
  Write(VmcsField::kGuestCsLimit, 0xFFFF);
  Launch();
  EXPECT_EQ(r().efer, Efer::kLme);
}

TEST_F(VmEntryTest, PdptesComeFromMemoryWithoutEpt) {
  Start();
  for (uint64_t i = 0; i < 4; ++i) Put<uint64_t>(kData + 8 * i, 0x1000 * i);
  MakePaeGuest(kData);
  Launch();
  EXPECT_EQ(r().pdptes, (std::array<uint64_t, 4>{0, 0x1000, 0x2000, 0x3000}));
}

TEST_F(VmEntryTest, PdptesThatAreNotValidFail) {
  Start();
  for (uint64_t i = 0; i < 4; ++i) Put<uint64_t>(kData + 8 * i, 1 | uint64_t{1} << 50);
  MakePaeGuest(kData);
  Execute(Kind::kVmlaunch);
  ExpectEntryFailure(ExitReason::kVmEntryFailureInvalidGuestState,
                     InvalidGuestStateQualification::kPdptes);
}

TEST_F(VmEntryTest, PdptesComeFromTheVmcsWithEptAndGoBack) {
  Start();
  UseSecondary(Secondary::kEnableEpt);
  Write(VmcsField::kEptPointer, EntryFixture::kEptp);
  MakePaeGuest(kData);
  Write(VmcsField::kGuestPdpte1, 0x5000);
  Launch();
  EXPECT_EQ(r().pdptes, (std::array<uint64_t, 4>{0, 0x5000, 0, 0}));
  r().pdptes[2] = 0x6000;
  // The exit, without an instruction that would have to be fetched through EPT.
  cpu_.Take(BoundaryEvent::kInit, {.init = true});
  ExpectExit(ExitReason::kInitSignal);
  EXPECT_EQ(Read(VmcsField::kGuestPdpte1), 0x5000u);
  EXPECT_EQ(Read(VmcsField::kGuestPdpte2), 0x6000u);
}

TEST_F(VmEntryTest, ThePreemptionTimerStartsFromItsField) {
  Start();
  Or(VmcsField::kPinBasedControls, PinBased::kActivateVmxPreemptionTimer);
  Write(VmcsField::kVmxPreemptionTimerValue, 100);
  Launch();
  EXPECT_EQ(state().preemption_timer, 100u);
}

TEST_F(VmEntryTest, EndsTheMonitoringOfAnAddress) {
  Start();
  state().monitor_armed = 1;
  Launch();
  EXPECT_EQ(state().monitor_armed, 0u);
}

TEST_F(VmEntryTest, AnInjectedEventFindsItsHandlerInL2) {
  Start();
  Write(VmcsField::kVmEntryInterruptionInformation, InterruptionInformation::Nmi().value());
  Launch();
  EXPECT_EQ(cpu_.Rip(), lhv::HandlerAddress(lhv::kL2HandlerBase, 2));
}

// 27.7.7 "VM Exits Induced by the TPR Threshold".
TEST_F(VmEntryTest, AThresholdAboveVtprWithApicAccessesVirtualizedExitsAtOnce) {
  Start();
  Or(VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kUseTprShadow);
  UseSecondary(Secondary::kVirtualizeApicAccesses);
  Write(VmcsField::kVirtualApicAddress, kData);
  Write(VmcsField::kTprThreshold, 3);
  Launch();
  EXPECT_EQ(cpu_.NextEvent({}), BoundaryEvent::kTprBelowThreshold);
}

}  // namespace
}  // namespace nvmx::sim
