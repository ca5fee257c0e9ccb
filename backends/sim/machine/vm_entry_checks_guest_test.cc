// SPDX-License-Identifier: Apache-2.0
//
// Registers and non-register state of the guest; its segments are in another file.
#include "backends/sim/machine/testing/vm_entry_fixture.h"

namespace nvmx::sim {
namespace {

using F = EntryFixture;
using Blocking = Interruptibility;
using Type = InterruptionType;
constexpr uint64_t kLinkPointer = InvalidGuestStateQualification::kVmcsLinkPointer;
constexpr uint64_t kPdptes = InvalidGuestStateQualification::kPdptes;
constexpr uint32_t kRevision = 0x1234;
constexpr uint32_t kShadow = 0x80000000;

void BlockByMovSs(F& f) { f.Block(Blocking::kBlockingByMovSs); }
void BlockBySti(F& f) {
  f.Block(Blocking::kBlockingBySti);
  f.Or(VmcsField::kGuestRflags, Rflags::kIf);
}
void UseVirtualNmis(F& f) { f.Pin(PinBased::kNmiExiting | PinBased::kVirtualNmis); }

const EntryCase kCases[] = {
    // --- SDM Vol. 3C, 27.3.1.1 "Checks on Guest Control Registers, Debug Registers, and MSRs".
    {"guest CR0: fixed bits", [](F& f) { f.Clear(VmcsField::kGuestCr0, Cr0::kNe); },
     [](F& f) { f.Or(VmcsField::kGuestCr0, Cr0::kNw | Cr0::kCd); }},
    {"guest CR0: fixed bits", [](F& f) { f.Or(VmcsField::kGuestCr0, uint64_t{1} << 32); },
     [](F& f) { f.Or(VmcsField::kGuestCr0, Cr0::kWp); }},
    {"guest CR0: fixed bits",
     [](F& f) {
       f.MakeLegacyPagedGuest();
       f.Clear(VmcsField::kGuestCr0, Cr0::kPg);
     },
     [](F& f) {
       f.UseUnrestrictedGuest();
       f.MakeLegacyPagedGuest();
       f.Clear(VmcsField::kGuestCr0, Cr0::kPg);
     }},
    {"guest CR0: fixed bits",
     [](F& f) {
       f.MakeRealModeGuest();
       f.Clear(VmcsField::kGuestCr0, Cr0::kNe);
     },
     [](F& f) { f.MakeRealModeGuest(); }},
    {"guest CR0.PG without CR0.PE",
     [](F& f) {
       f.MakeRealModeGuest();
       f.Or(VmcsField::kGuestCr0, Cr0::kPg);
     },
     [](F& f) {
       f.MakeRealModeGuest();
       f.Or(VmcsField::kGuestCr0, Cr0::kPg | Cr0::kPe);
     }},
    {"guest CR4: fixed bits", [](F& f) { f.Clear(VmcsField::kGuestCr4, Cr4::kVmxe); },
     [](F& f) { f.Or(VmcsField::kGuestCr4, Cr4::kPge); }},
    {"guest CR4: fixed bits", [](F& f) { f.Or(VmcsField::kGuestCr4, Cr4::kPks); },
     [](F& f) { f.Or(VmcsField::kGuestCr4, Cr4::kPcide); }},
    {"guest CR4.CET without CR0.WP", [](F& f) { f.Or(VmcsField::kGuestCr4, Cr4::kCet); },
     [](F& f) {
       f.Or(VmcsField::kGuestCr4, Cr4::kCet);
       f.Or(VmcsField::kGuestCr0, Cr0::kWp);
     }},
    {"guest IA32_DEBUGCTL", [](F& f) { f.Set(VmcsField::kGuestIa32Debugctl, uint64_t{1} << 3); },
     [](F& f) {
       f.Set(VmcsField::kGuestIa32Debugctl, uint64_t{1} << 3);
       f.Clear(VmcsField::kVmEntryControls, VmEntry::kLoadDebugControls);
     }},
    {"IA-32e mode guest without CR0.PG or CR4.PAE",
     [](F& f) { f.Clear(VmcsField::kGuestCr4, Cr4::kPae); },
     [](F& f) { f.MakeLegacyPagedGuest(); }},
    {"IA-32e mode guest without CR0.PG or CR4.PAE",
     [](F& f) {
       f.UseUnrestrictedGuest();
       f.Clear(VmcsField::kGuestCr0, Cr0::kPg);
     },
     [](F& f) { f.UseUnrestrictedGuest(); }},
    {"guest CR4.PCIDE outside IA-32e mode",
     [](F& f) {
       f.Make32BitGuest();
       f.Or(VmcsField::kGuestCr4, Cr4::kPcide);
     },
     [](F& f) { f.Or(VmcsField::kGuestCr4, Cr4::kPcide); }},
    {"guest CR3", [](F& f) { f.Set(VmcsField::kGuestCr3, F::kBeyondWidth); },
     [](F& f) { f.Set(VmcsField::kGuestCr3, F::kBeyondWidth - 1); }},
    {"guest DR7: bits 63:32", [](F& f) { f.Or(VmcsField::kGuestDr7, uint64_t{1} << 32); },
     [](F& f) {
       f.Or(VmcsField::kGuestDr7, uint64_t{1} << 32);
       f.Clear(VmcsField::kVmEntryControls, VmEntry::kLoadDebugControls);
     }},
    {"guest IA32_SYSENTER_ESP",
     [](F& f) { f.Set(VmcsField::kGuestIa32SysenterEsp, F::kNotCanonical); },
     [](F& f) { f.Set(VmcsField::kGuestIa32SysenterEsp, ~uint64_t{0}); }},
    {"guest IA32_SYSENTER_EIP",
     [](F& f) { f.Set(VmcsField::kGuestIa32SysenterEip, F::kNotCanonical); },
     [](F& f) { f.Set(VmcsField::kGuestIa32SysenterEip, 0x1234); }},
    {"guest IA32_PERF_GLOBAL_CTRL",
     [](F& f) {
       f.Entry(VmEntry::kLoadIa32PerfGlobalCtrl);
       f.Set(VmcsField::kGuestIa32PerfGlobalCtrl, uint64_t{1} << 31);
     },
     [](F& f) {
       f.Entry(VmEntry::kLoadIa32PerfGlobalCtrl);
       f.Set(VmcsField::kGuestIa32PerfGlobalCtrl, 0x7'0000'000F);
     }},
    {"guest IA32_PAT",
     [](F& f) {
       f.Entry(VmEntry::kLoadIa32Pat);
       f.Set(VmcsField::kGuestIa32Pat, 3);
     },
     [](F& f) {
       f.Entry(VmEntry::kLoadIa32Pat);
       f.Set(VmcsField::kGuestIa32Pat, 7);
     }},
    {"guest IA32_EFER: reserved bits",
     [](F& f) {
       f.Entry(VmEntry::kLoadIa32Efer);
       f.Or(VmcsField::kGuestIa32Efer, uint64_t{1} << 12);
     },
     [](F& f) { f.Or(VmcsField::kGuestIa32Efer, uint64_t{1} << 12); }},
    {"guest IA32_EFER.LMA against IA-32e mode guest",
     [](F& f) {
       f.Entry(VmEntry::kLoadIa32Efer);
       f.Set(VmcsField::kGuestIa32Efer, 0);
     },
     [](F& f) {
       f.Make32BitGuest();
       f.Entry(VmEntry::kLoadIa32Efer);
       f.Set(VmcsField::kGuestIa32Efer, 0);
     }},
    {"guest IA32_EFER.LME against LMA",
     [](F& f) {
       f.Make32BitGuest();
       f.Entry(VmEntry::kLoadIa32Efer);
       f.Set(VmcsField::kGuestIa32Efer, Efer::kLme);
     },
     [](F& f) {
       f.MakeRealModeGuest();
       f.Entry(VmEntry::kLoadIa32Efer);
       f.Set(VmcsField::kGuestIa32Efer, Efer::kLme);
     }},

    // --- SDM Vol. 3C, 27.3.1.5 "Checks on Guest Non-Register State".
    {"guest activity state", [](F& f) { f.Set(VmcsField::kGuestActivityState, 4); },
     [](F& f) { f.SetActivity(ActivityState::kWaitForSipi); }},
    {"guest activity state",
     [](F& f) {
       f.capabilities.misc &= ~VmxMisc::kActivityStateShutdown;
       f.SetActivity(ActivityState::kShutdown);
     },
     [](F& f) { f.SetActivity(ActivityState::kShutdown); }},
    {"guest activity state",
     [](F& f) {
       f.capabilities.misc &= ~VmxMisc::kActivityStateHlt;
       f.SetActivity(ActivityState::kHlt);
     },
     [](F& f) { f.SetActivity(ActivityState::kHlt); }},
    {"guest activity state HLT with SS.DPL above 0",
     [](F& f) {
       f.MakeVirtual8086Guest();
       f.SetActivity(ActivityState::kHlt);
     },
     [](F& f) {
       f.MakeVirtual8086Guest();
       f.SetActivity(ActivityState::kShutdown);
     }},
    {"guest activity state with blocking by STI or MOV SS",
     [](F& f) {
       BlockByMovSs(f);
       f.SetActivity(ActivityState::kHlt);
     },
     BlockByMovSs},
    {"guest activity state with blocking by STI or MOV SS",
     [](F& f) {
       BlockBySti(f);
       f.SetActivity(ActivityState::kShutdown);
     },
     BlockBySti},
    {"injected event in an activity state that holds it back",
     [](F& f) {
       f.SetActivity(ActivityState::kHlt);
       f.Inject(Type::kHardwareException, 6);
     },
     [](F& f) {
       f.SetActivity(ActivityState::kHlt);
       f.Inject(Type::kHardwareException, 1);
     }},
    {"injected event in an activity state that holds it back",
     [](F& f) {
       f.SetActivity(ActivityState::kHlt);
       f.Inject(Type::kSoftwareInterrupt, 0x80);
     },
     [](F& f) {
       f.SetActivity(ActivityState::kHlt);
       f.InjectInterrupt();
     }},
    {"injected event in an activity state that holds it back",
     [](F& f) {
       f.SetActivity(ActivityState::kShutdown);
       f.InjectInterrupt();
     },
     [](F& f) {
       f.SetActivity(ActivityState::kShutdown);
       f.InjectNmi();
     }},
    {"injected event in an activity state that holds it back",
     [](F& f) {
       f.SetActivity(ActivityState::kShutdown);
       f.Inject(Type::kOtherEvent, 0);
     },
     [](F& f) {
       f.SetActivity(ActivityState::kHlt);
       f.Inject(Type::kOtherEvent, 0);
     }},
    {"injected event in an activity state that holds it back",
     [](F& f) {
       f.SetActivity(ActivityState::kShutdown);
       f.Inject(Type::kHardwareException, 1);
     },
     [](F& f) {
       f.SetActivity(ActivityState::kShutdown);
       f.Inject(Type::kHardwareException, 18);
     }},
    {"injected event in an activity state that holds it back",
     [](F& f) {
       f.SetActivity(ActivityState::kWaitForSipi);
       f.InjectNmi();
     },
     [](F& f) {
       f.SetActivity(ActivityState::kHlt);
       f.InjectNmi();
     }},
    {"guest interruptibility state: reserved bits", [](F& f) { f.Block(1 << 5); },
     [](F& f) { f.Block(Blocking::kBlockingByNmi); }},
    {"guest interruptibility state: reserved bits",
     [](F& f) { f.Block(Blocking::kEnclaveInterruption); }, BlockByMovSs},
    {"blocking by STI and by MOV SS",
     [](F& f) {
       BlockBySti(f);
       BlockByMovSs(f);
     },
     BlockBySti},
    {"blocking by STI with interrupts masked", [](F& f) { f.Block(Blocking::kBlockingBySti); },
     BlockBySti},
    {"injected external interrupt with blocking by STI or MOV SS",
     [](F& f) {
       BlockBySti(f);
       f.InjectInterrupt();
     },
     [](F& f) {
       BlockBySti(f);
       f.InjectNmi();
     }},
    {"injected external interrupt with blocking by STI or MOV SS",
     [](F& f) {
       BlockByMovSs(f);
       f.InjectInterrupt();
     },
     [](F& f) {
       BlockByMovSs(f);
       f.Inject(Type::kHardwareException, 6);
     }},
    {"injected NMI with blocking by MOV SS",
     [](F& f) {
       BlockByMovSs(f);
       f.InjectNmi();
     },
     [](F& f) {
       BlockBySti(f);
       f.InjectNmi();
     }},
    {"blocking by SMI outside SMM", [](F& f) { f.Block(Blocking::kBlockingBySmi); },
     [](F& f) { f.Block(Blocking::kBlockingByNmi); }},
    {"injected NMI while virtual NMIs are blocked",
     [](F& f) {
       UseVirtualNmis(f);
       f.Block(Blocking::kBlockingByNmi);
       f.InjectNmi();
     },
     [](F& f) {
       f.Pin(PinBased::kNmiExiting);
       f.Block(Blocking::kBlockingByNmi);
       f.InjectNmi();
     }},
    {"pending debug exceptions: reserved bits",
     [](F& f) { f.Set(VmcsField::kGuestPendingDebugExceptions, 1 << 4); },
     [](F& f) { f.Set(VmcsField::kGuestPendingDebugExceptions, 0x500F); }},
    {"pending debug exceptions: reserved bits",
     [](F& f) { f.Set(VmcsField::kGuestPendingDebugExceptions, PendingDebugExceptions::kRtm); },
     [](F& f) { f.Set(VmcsField::kGuestPendingDebugExceptions, PendingDebugExceptions::kBs); }},
    {"pending debug exceptions: single step",
     [](F& f) {
       BlockByMovSs(f);
       f.Or(VmcsField::kGuestRflags, Rflags::kTf);
     },
     [](F& f) { f.Or(VmcsField::kGuestRflags, Rflags::kTf); }},
    {"pending debug exceptions: single step",
     [](F& f) {
       f.SetActivity(ActivityState::kHlt);
       f.Set(VmcsField::kGuestPendingDebugExceptions, PendingDebugExceptions::kBs);
     },
     [](F& f) {
       f.SetActivity(ActivityState::kHlt);
       f.Or(VmcsField::kGuestRflags, Rflags::kTf);
       f.Set(VmcsField::kGuestPendingDebugExceptions, PendingDebugExceptions::kBs);
     }},
    {"pending debug exceptions: single step",
     [](F& f) {
       BlockBySti(f);
       f.Or(VmcsField::kGuestRflags, Rflags::kTf);
       f.Or(VmcsField::kGuestIa32Debugctl, DebugCtl::kBtf);
       f.Set(VmcsField::kGuestPendingDebugExceptions, PendingDebugExceptions::kBs);
     },
     [](F& f) {
       BlockBySti(f);
       f.Or(VmcsField::kGuestRflags, Rflags::kTf);
       f.Or(VmcsField::kGuestIa32Debugctl, DebugCtl::kBtf);
     }},
    {"VMCS link pointer: address", [](F& f) { f.Link(F::kPage + 4, kRevision); },
     [](F& f) { f.Link(F::kPage, kRevision); }, kLinkPointer},
    {"VMCS link pointer: address", [](F& f) { f.Link(F::kBeyondWidth, kRevision); },
     [](F& f) { f.Link(F::kBeyondWidth - 0x1000, kRevision); }, kLinkPointer},
    {"VMCS link pointer: revision identifier and shadow-VMCS indicator",
     [](F& f) { f.Link(F::kPage, kRevision + 1); }, [](F& f) { f.Link(F::kPage, kRevision); },
     kLinkPointer},
    {"VMCS link pointer: revision identifier and shadow-VMCS indicator",
     [](F& f) { f.Link(F::kPage, kRevision | kShadow); },
     [](F& f) {
       f.Link(F::kPage, kRevision | kShadow);
       f.Secondary(Secondary::kVmcsShadowing);
     },
     kLinkPointer},
    {"VMCS link pointer: revision identifier and shadow-VMCS indicator",
     [](F& f) {
       f.Link(F::kPage, kRevision);
       f.Secondary(Secondary::kVmcsShadowing);
     },
     [](F& f) { f.Secondary(Secondary::kVmcsShadowing); }, kLinkPointer},
    {"VMCS link pointer: the current VMCS", [](F& f) { f.Link(F::kCurrentVmcs, kRevision); },
     [](F& f) { f.Link(F::kCurrentVmcs + 0x1000, kRevision); }, kLinkPointer},

    // --- SDM Vol. 3C, 27.3.1.6 "Checks on Guest Page-Directory-Pointer-Table Entries".
    {"guest PDPTEs",
     [](F& f) {
       f.Make32BitGuest();
       f.memory.PutValue<uint64_t>(F::kGuestCr3 + 24, 1 | 1 << 5);
     },
     [](F& f) {
       f.Make32BitGuest();
       f.memory.PutValue<uint64_t>(F::kGuestCr3 + 24, 1 << 5);
     },
     kPdptes},
    {"guest PDPTEs",
     [](F& f) {
       f.Make32BitGuest();
       f.Set(VmcsField::kGuestCr3, 0x66'0000);
     },
     [](F& f) {
       f.MakeLegacyPagedGuest();
       f.Set(VmcsField::kGuestCr3, 0x66'0000);
     },
     kPdptes},
    {"guest PDPTEs",
     [](F& f) {
       f.Make32BitGuest();
       f.UseEpt();
       f.Set(VmcsField::kGuestPdpte2, F::kBeyondWidth | 1);
     },
     [](F& f) {
       f.Make32BitGuest();
       f.Set(VmcsField::kGuestPdpte2, F::kBeyondWidth | 1);
     },
     kPdptes},
    {"guest PDPTEs",
     [](F& f) {
       f.Make32BitGuest();
       f.UseEpt();
       f.Set(VmcsField::kGuestPdpte0, 3);
     },
     [](F& f) {
       f.UseEpt();
       f.Set(VmcsField::kGuestPdpte0, 3);
     },
     kPdptes},
};

class GuestRule : public testing::TestWithParam<EntryCase> {};
TEST_P(GuestRule, IsAnEntryFailureAndItsNeighbourPasses) {
  ExpectCase(GetParam(), InvalidGuestState);
}
INSTANTIATE_TEST_SUITE_P(Rules, GuestRule, testing::ValuesIn(kCases));

TEST(GuestRules, EachHasACase) {
  ExpectEveryRuleHasACase({GuestRegisterRules(), GuestNonRegisterRules()}, kCases);
}

TEST(GuestRules, ComeAfterTheHostState) {
  EntryFixture f;
  f.Clear(VmcsField::kGuestCr4, Cr4::kVmxe);
  f.Set(VmcsField::kHostTrSelector, 0);
  EXPECT_EQ(f.Check(), InvalidHostState(0));
}

}  // namespace
}  // namespace nvmx::sim
