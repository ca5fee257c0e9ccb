// SPDX-License-Identifier: Apache-2.0
//
// VM exits without L0: what they save and load, and VMX aborts. SDM Vol. 3C, chapter 28 "VM Exits".
#include "backends/sim/machine/testing/native_fixture.h"
#include "core/vmx/msr_list.h"

namespace nvmx::sim {
namespace {

class VmExitTest : public NativeTest {
 protected:
  void Start() {
    EnterVmx();
    LoadVmcs();
  }
  void UseList(VmcsField address, VmcsField count, const MsrListEntry& entry) {
    Put(kList, entry);
    Write(address, kList);
    Write(count, 1);
  }
  void ExpectAbort(VmxAbort indicator) {
    EXPECT_EQ(Get<uint32_t>(kVmcs + kVmxAbortIndicatorOffset), static_cast<uint32_t>(indicator));
    EXPECT_FALSE(cpu_.IsActive());
    for (const Signals& signals : {Signals{.init = true}, Signals{.sipi = uint8_t{1}},
                                   Signals{.nmi = true}, Signals{.interrupt = uint8_t{0x80}}}) {
      EXPECT_EQ(cpu_.NextEvent(signals), BoundaryEvent::kNone) << "nothing but RESET ends it";
    }
  }
  // A 32-bit L1 with PAE paging, which has a 32-bit L2.
  void Make32BitHost(uint64_t host_pdpt) {
    Clear(VmcsField::kVmExitControls, VmExit::kHostAddressSpaceSize);
    Clear(VmcsField::kVmEntryControls, VmEntry::kIa32eModeGuest);
    Clear(VmcsField::kGuestCr4, Cr4::kPae);
    Write(VmcsField::kGuestCsAccessRights, 0xC09B);
    Write(VmcsField::kHostCr3, host_pdpt);
    Write(VmcsField::kHostIa32Efer, 0);
    // As 32-bit software that the processor runs now.
    r().efer = 0;
    r().cs.access_rights = 0xC09B;
    r().cr4 &= ~Cr4::kPae;
    r().cr0 &= ~Cr0::kPg;
  }
};

// --- Host state. 28.5 "Loading Host State".

TEST_F(VmExitTest, TheGuestProgramGoesOnAtTheHostRip) {
  RunL2();
  const lhv::InstructionEnd end = Execute(Kind::kVmcall);
  EXPECT_FALSE(end.completed);
  EXPECT_TRUE(end.diverted);
  EXPECT_EQ(cpu_.level(), 1u);
  EXPECT_EQ(cpu_.Rip(), kHostRip);
  EXPECT_EQ(r().rsp, kWindow + lhv::kL1StackTop);
}

TEST_F(VmExitTest, HostSegmentsAreFlat) {
  Start();
  Write(VmcsField::kHostDsSelector, 0);
  Write(VmcsField::kHostFsSelector, 0x10);
  Write(VmcsField::kHostFsBase, 0x1234);
  Write(VmcsField::kHostGsSelector, 0);
  Write(VmcsField::kHostGsBase, 0x5678);
  Launch();
  ExitByVmcall();
  EXPECT_EQ(r().cs.access_rights, 0xA09Bu);
  EXPECT_EQ(r().cs.limit, 0xFFFFFFFFu);
  EXPECT_EQ(r().ss.access_rights, 0xC093u);
  EXPECT_NE(r().ds.access_rights & AccessRights::kUnusable, 0u);
  EXPECT_EQ(r().fs.base, 0x1234u);
  EXPECT_EQ(r().gs.base, 0x5678u);
  EXPECT_NE(r().gs.access_rights & AccessRights::kUnusable, 0u);
  EXPECT_EQ(r().tr.access_rights, 0x8Bu);
  EXPECT_EQ(r().tr.limit, 0x67u);
  EXPECT_EQ(r().ldtr.selector, 0u);
  EXPECT_NE(r().ldtr.access_rights & AccessRights::kUnusable, 0u);
  EXPECT_EQ(r().gdtr_limit, 0xFFFFu);
  EXPECT_EQ(r().idtr_limit, 0xFFFFu);
}

TEST_F(VmExitTest, Cr0KeepsWhatTheGuestMadeOfCaching) {
  Start();
  Or(VmcsField::kHostCr0, Cr0::kCd | Cr0::kWp);
  Launch();
  r().cr0 |= Cr0::kNw;
  ExitByVmcall();
  EXPECT_EQ(r().cr0 & (Cr0::kCd | Cr0::kNw | Cr0::kWp), Cr0::kNw | Cr0::kWp);
}

TEST_F(VmExitTest, MsrsAreLoadedIfTheControlsSaySo) {
  Start();
  Write(VmcsField::kHostIa32Pat, 4);
  Write(VmcsField::kHostIa32PerfGlobalCtrl, 3);
  Write(VmcsField::kHostIa32Efer, Efer::kLme | Efer::kLma | Efer::kNxe);
  Launch();
  r().pat = 5;
  r().perf_global_ctrl = 1;
  ExitByVmcall();
  EXPECT_EQ(r().pat, 5u) << "what the guest left";
  EXPECT_EQ(r().perf_global_ctrl, 1u);
  EXPECT_EQ(r().efer, Efer::kLme | Efer::kLma);
  Or(VmcsField::kVmExitControls,
     VmExit::kLoadIa32Pat | VmExit::kLoadIa32PerfGlobalCtrl | VmExit::kLoadIa32Efer);
  Execute(Kind::kVmresume);
  ExitByVmcall();
  EXPECT_EQ(r().pat, 4u);
  EXPECT_EQ(r().perf_global_ctrl, 3u);
  EXPECT_EQ(r().efer, Efer::kLme | Efer::kLma | Efer::kNxe);
}

TEST_F(VmExitTest, DebugStateIsThatOfReset) {
  RunL2();
  r().dr7 = 0x4FF;
  r().debugctl = 1;
  r().pending_debug_exceptions = PendingDebugExceptions::kB0;
  ExitByVmcall();
  EXPECT_EQ(r().dr7, Dr7::kInit);
  EXPECT_EQ(r().debugctl, 0u);
  EXPECT_EQ(r().pending_debug_exceptions, 0u);
}

TEST_F(VmExitTest, A32BitHostWithPaePagingHasItsPdptes) {
  Start();
  for (uint64_t i = 0; i < 4; ++i) Put<uint64_t>(kData + 8 * i, 0x1000 * i);
  Make32BitHost(kData);
  Launch();
  cpu_.Take(BoundaryEvent::kInit, {.init = true});
  ExpectExit(ExitReason::kInitSignal);
  EXPECT_EQ(r().pdptes, (std::array<uint64_t, 4>{0, 0x1000, 0x2000, 0x3000}));
  EXPECT_EQ(r().cs.access_rights, 0xC09Bu);
  EXPECT_EQ(r().efer, 0u);
}

// --- Saved state. 28.3 "Saving Guest State".

TEST_F(VmExitTest, ControlsDecideAboutDebugStateMsrsAndTheTimer) {
  Start();
  Or(VmcsField::kPinBasedControls, PinBased::kActivateVmxPreemptionTimer);
  Write(VmcsField::kVmxPreemptionTimerValue, 100);
  Clear(VmcsField::kVmExitControls, VmExit::kSaveDebugControls);
  Launch();
  r().dr7 = 0x4FF;
  r().pat = 5;
  state().preemption_timer = 60;
  ExitByVmcall();
  EXPECT_EQ(Read(VmcsField::kGuestDr7), Dr7::kInit);
  EXPECT_EQ(Read(VmcsField::kGuestIa32Pat), kPatReset);
  EXPECT_EQ(Read(VmcsField::kVmxPreemptionTimerValue), 100u);
  Or(VmcsField::kVmExitControls, VmExit::kSaveDebugControls | VmExit::kSaveIa32Pat |
                                     VmExit::kSaveIa32Efer | VmExit::kSaveVmxPreemptionTimerValue);
  Execute(Kind::kVmresume);
  r().dr7 = 0x4FF;
  r().pat = 5;
  r().efer |= Efer::kNxe;
  state().preemption_timer = 60;
  ExitByVmcall();
  EXPECT_EQ(Read(VmcsField::kGuestDr7), 0x4FFu);
  EXPECT_EQ(Read(VmcsField::kGuestIa32Pat), 5u);
  EXPECT_EQ(Read(VmcsField::kGuestIa32Efer), Efer::kLme | Efer::kLma | Efer::kNxe);
  EXPECT_EQ(Read(VmcsField::kVmxPreemptionTimerValue), 60u);
}

TEST_F(VmExitTest, TheIa32eModeControlFollowsTheGuest) {
  Start();
  UseSecondary(Secondary::kEnableEpt | Secondary::kUnrestrictedGuest);
  Write(VmcsField::kEptPointer, EntryFixture::kEptp);
  Launch();
  r().efer &= ~Efer::kLma;
  cpu_.Take(BoundaryEvent::kInit, {.init = true});
  EXPECT_EQ(Read(VmcsField::kVmEntryControls) & VmEntry::kIa32eModeGuest, 0u);
}

TEST_F(VmExitTest, PendingDebugExceptionsAreSavedOnlyWhereTheyStayPending) {
  const struct {
    BoundaryEvent event;
    bool mov_ss;
    bool saved;
  } kCases[] = {{BoundaryEvent::kInit, false, true},
                {BoundaryEvent::kMonitorTrap, false, true},
                {BoundaryEvent::kTprBelowThreshold, false, true},
                {BoundaryEvent::kPreemptionTimer, false, false},
                {BoundaryEvent::kPreemptionTimer, true, true}};
  for (const auto& c : kCases) {
    if (state().operation == Operation::kOff) EnterVmx();
    LoadVmcs();
    Launch();
    r().pending_debug_exceptions = PendingDebugExceptions::kB1;
    state().blocking_by_mov_ss = c.mov_ss;
    cpu_.Take(c.event, {.init = true});
    EXPECT_EQ(Read(VmcsField::kGuestPendingDebugExceptions),
              c.saved ? PendingDebugExceptions::kB1 : 0);
  }
}

TEST_F(VmExitTest, AnInstructionThatExitsSavesRfClear) {
  RunL2();
  r().rflags |= Rflags::kRf;
  ExitByVmcall();
  EXPECT_EQ(Read(VmcsField::kGuestRflags) & Rflags::kRf, 0u);
}

TEST_F(VmExitTest, AnEventThatExitsSavesRfAsItWas) {
  RunL2();
  r().rflags |= Rflags::kRf;
  cpu_.Take(BoundaryEvent::kInit, {.init = true});
  EXPECT_NE(Read(VmcsField::kGuestRflags) & Rflags::kRf, 0u);
}

TEST_F(VmExitTest, AFaultThatExitsSavesRfSet) {
  Start();
  Write(VmcsField::kExceptionBitmap, 1 << 6);
  Launch();
  Execute(Kind::kUd2);
  ExpectExit(ExitReason::kExceptionOrNmi);
  EXPECT_NE(Read(VmcsField::kGuestRflags) & Rflags::kRf, 0u);
}

TEST_F(VmExitTest, AnEptMisconfigurationSavesRfSet) {
  Start();
  UseSecondary(Secondary::kEnableEpt);
  Write(VmcsField::kEptPointer, EntryFixture::kEptp);
  Launch();
  Execute(Kind::kNop);
  ExpectExit(ExitReason::kEptMisconfiguration);
  EXPECT_NE(Read(VmcsField::kGuestRflags) & Rflags::kRf, 0u);
}

TEST_F(VmExitTest, TheStoredTscIsWithoutTheOffset) {
  Start();
  Or(VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kUseTscOffsetting);
  Write(VmcsField::kTscOffset, 0x10000);
  state().tsc = 0x77;
  UseList(VmcsField::kVmExitMsrStoreAddress, VmcsField::kVmExitMsrStoreCount,
          {.index = Index(Msr::IA32_TIME_STAMP_COUNTER)});
  Launch();
  ExitByVmcall();
  EXPECT_EQ(Get<MsrListEntry>(kList).data, 0x77u);
}

TEST_F(VmExitTest, TheNumberOfAFailedInstructionOutlivesEntriesAndExits) {
  Start();
  Execute(Kind::kVmresume);
  Launch();
  ExitByVmcall();
  EXPECT_EQ(Read(VmcsField::kVmInstructionError),
            static_cast<uint64_t>(VmInstructionError::kVmresumeWithNonLaunchedVmcs));
}

// --- VMX aborts. 28.7 "VMX Aborts".

TEST_F(VmExitTest, AnMsrThatCannotBeStoredAborts) {
  Start();
  UseList(VmcsField::kVmExitMsrStoreAddress, VmcsField::kVmExitMsrStoreCount, {.index = 0xDEAD});
  Launch();
  Execute(Kind::kVmcall);
  ExpectAbort(VmxAbort::kSavingGuestMsrs);
}

TEST_F(VmExitTest, AnMsrThatCannotBeLoadedAborts) {
  Start();
  UseList(VmcsField::kVmExitMsrLoadAddress, VmcsField::kVmExitMsrLoadCount, {.index = 0xDEAD});
  Launch();
  Execute(Kind::kVmcall);
  ExpectAbort(VmxAbort::kLoadingHostMsrs);
}

TEST_F(VmExitTest, HostPdptesThatAreNotValidAbort) {
  Start();
  for (uint64_t i = 0; i < 4; ++i) Put<uint64_t>(kData + 8 * i, 3);
  Make32BitHost(kData);
  Launch();
  cpu_.Take(BoundaryEvent::kInit, {.init = true});
  ExpectAbort(VmxAbort::kHostPdptes);
}

TEST_F(VmExitTest, A32BitHostOfAGuestThatWentToIa32eModeAborts) {
  Start();
  for (uint64_t i = 0; i < 4; ++i) Put<uint64_t>(kData + 8 * i, 0);
  Make32BitHost(kData);
  Launch();
  r().efer = Efer::kLme | Efer::kLma;
  cpu_.Take(BoundaryEvent::kInit, {.init = true});
  ExpectAbort(VmxAbort::kHostAddressSpaceSize);
}

TEST_F(VmExitTest, AFailedEntryCanAbortToo) {
  Start();
  Clear(VmcsField::kGuestCr4, Cr4::kVmxe);
  UseList(VmcsField::kVmExitMsrLoadAddress, VmcsField::kVmExitMsrLoadCount, {.index = 0xDEAD});
  Execute(Kind::kVmlaunch);
  ExpectAbort(VmxAbort::kLoadingHostMsrs);
}

}  // namespace
}  // namespace nvmx::sim
