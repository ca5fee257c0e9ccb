// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/testing/vm_entry_fixture.h"

namespace nvmx::sim {
namespace {

using F = EntryFixture;

const EntryCase kCases[] = {
    // --- SDM Vol. 3C, 27.2.2 "Checks on Host Control Registers, MSRs, and SSP".
    {"host CR0: fixed bits", [](F& f) { f.Clear(VmcsField::kHostCr0, Cr0::kPg); },
     [](F& f) { f.Or(VmcsField::kHostCr0, Cr0::kWp); }},
    {"host CR0: fixed bits",
     [](F& f) {
       f.UseUnrestrictedGuest();
       f.Clear(VmcsField::kHostCr0, Cr0::kPg);
     },
     [](F& f) { f.MakeRealModeGuest(); }},
    {"host CR0: fixed bits", [](F& f) { f.Or(VmcsField::kHostCr0, uint64_t{1} << 32); },
     [](F& f) { f.Or(VmcsField::kHostCr0, Cr0::kCd); }},
    {"host CR4: fixed bits", [](F& f) { f.Clear(VmcsField::kHostCr4, Cr4::kVmxe); },
     [](F& f) { f.Or(VmcsField::kHostCr4, Cr4::kPge); }},
    {"host CR4: fixed bits", [](F& f) { f.Or(VmcsField::kHostCr4, Cr4::kPks); },
     [](F& f) { f.Or(VmcsField::kHostCr4, Cr4::kPcide); }},
    {"host CR4.CET without CR0.WP", [](F& f) { f.Or(VmcsField::kHostCr4, Cr4::kCet); },
     [](F& f) {
       f.Or(VmcsField::kHostCr4, Cr4::kCet);
       f.Or(VmcsField::kHostCr0, Cr0::kWp);
     }},
    {"host CR3", [](F& f) { f.Set(VmcsField::kHostCr3, F::kBeyondWidth); },
     [](F& f) { f.Set(VmcsField::kHostCr3, F::kBeyondWidth - 1); }},
    {"host IA32_SYSENTER_ESP",
     [](F& f) { f.Set(VmcsField::kHostIa32SysenterEsp, F::kNotCanonical); },
     [](F& f) { f.Set(VmcsField::kHostIa32SysenterEsp, ~uint64_t{0} << 47); }},
    {"host IA32_SYSENTER_EIP",
     [](F& f) { f.Set(VmcsField::kHostIa32SysenterEip, uint64_t{1} << 47); },
     [](F& f) { f.Set(VmcsField::kHostIa32SysenterEip, (uint64_t{1} << 47) - 1); }},
    {"host IA32_PERF_GLOBAL_CTRL",
     [](F& f) {
       f.Exit(VmExit::kLoadIa32PerfGlobalCtrl);
       f.Set(VmcsField::kHostIa32PerfGlobalCtrl, uint64_t{1} << 4);
     },
     [](F& f) { f.Set(VmcsField::kHostIa32PerfGlobalCtrl, uint64_t{1} << 4); }},
    {"host IA32_PERF_GLOBAL_CTRL",
     [](F& f) {
       f.Exit(VmExit::kLoadIa32PerfGlobalCtrl);
       f.Set(VmcsField::kHostIa32PerfGlobalCtrl, uint64_t{1} << 35);
     },
     [](F& f) {
       f.Exit(VmExit::kLoadIa32PerfGlobalCtrl);
       f.Set(VmcsField::kHostIa32PerfGlobalCtrl, 0x7'0000'000F);
     }},
    {"host IA32_PAT",
     [](F& f) {
       f.Exit(VmExit::kLoadIa32Pat);
       f.Set(VmcsField::kHostIa32Pat, 2);
     },
     [](F& f) { f.Set(VmcsField::kHostIa32Pat, 2); }},
    {"host IA32_EFER: reserved bits",
     [](F& f) {
       f.Exit(VmExit::kLoadIa32Efer);
       f.Or(VmcsField::kHostIa32Efer, 2);
     },
     [](F& f) {
       f.Exit(VmExit::kLoadIa32Efer);
       f.Or(VmcsField::kHostIa32Efer, Efer::kSce | Efer::kNxe);
     }},
    {"host IA32_EFER: LMA and LME against the host address-space size",
     [](F& f) {
       f.Exit(VmExit::kLoadIa32Efer);
       f.Clear(VmcsField::kHostIa32Efer, Efer::kLme);
     },
     [](F& f) { f.Clear(VmcsField::kHostIa32Efer, Efer::kLme); }},
    {"host IA32_EFER: LMA and LME against the host address-space size",
     [](F& f) {
       f.Make32BitHost();
       f.Exit(VmExit::kLoadIa32Efer);
       f.Set(VmcsField::kHostIa32Efer, Efer::kLme);
     },
     [](F& f) {
       f.Make32BitHost();
       f.Exit(VmExit::kLoadIa32Efer);
       f.Set(VmcsField::kHostIa32Efer, 0);
     }},

    // --- SDM Vol. 3C, 27.2.3 "Checks on Host Segment and Descriptor-Table Registers".
    {"host selectors: RPL and TI", [](F& f) { f.Set(VmcsField::kHostGsSelector, 0xC); },
     [](F& f) { f.Set(VmcsField::kHostGsSelector, 0); }},
    {"host selectors: RPL and TI", [](F& f) { f.Set(VmcsField::kHostTrSelector, 0x1B); },
     [](F& f) { f.Set(VmcsField::kHostTrSelector, 0x18); }},
    {"host CS and TR selectors: null", [](F& f) { f.Set(VmcsField::kHostCsSelector, 0); },
     [](F& f) { f.Set(VmcsField::kHostEsSelector, 0); }},
    {"host CS and TR selectors: null", [](F& f) { f.Set(VmcsField::kHostTrSelector, 0); },
     [](F& f) { f.Set(VmcsField::kHostFsSelector, 0); }},
    {"host SS selector: null in a 32-bit host",
     [](F& f) {
       f.Make32BitHost();
       f.Set(VmcsField::kHostSsSelector, 0);
     },
     [](F& f) { f.Set(VmcsField::kHostSsSelector, 0); }},
    {"host bases: canonical", [](F& f) { f.Set(VmcsField::kHostFsBase, F::kNotCanonical); },
     [](F& f) { f.Set(VmcsField::kHostFsBase, ~uint64_t{0}); }},
    {"host bases: canonical", [](F& f) { f.Set(VmcsField::kHostIdtrBase, F::kNotCanonical); },
     [](F& f) { f.Set(VmcsField::kHostIdtrBase, 0x1234); }},
    {"host bases: canonical", [](F& f) { f.Set(VmcsField::kHostTrBase, F::kNotCanonical); },
     [](F& f) {
       f.capabilities.linear_address_width = 57;
       f.Set(VmcsField::kHostTrBase, uint64_t{1} << 50);
     }},

    // --- SDM Vol. 3C, 27.2.4 "Checks Related to Address-Space Size".
    {"a 64-bit host or guest outside IA-32e mode", [](F& f) { f.long_mode = false; },
     [](F& f) { f.Make32BitHost(); }},
    {"a 64-bit host or guest outside IA-32e mode",
     [](F& f) {
       f.Make32BitHost();
       f.Entry(VmEntry::kIa32eModeGuest);
     },
     [](F& f) { f.Make32BitHost(); }},
    {"a 32-bit host in IA-32e mode",
     [](F& f) {
       f.Make32BitHost();
       f.long_mode = true;
     },
     [](F& f) { f.Make32BitGuest(); }},
    {"host CR4.PCIDE in a 32-bit host",
     [](F& f) {
       f.Make32BitHost();
       f.Or(VmcsField::kHostCr4, Cr4::kPcide);
     },
     [](F& f) { f.Or(VmcsField::kHostCr4, Cr4::kPcide); }},
    {"host RIP: bits 63:32 in a 32-bit host",
     [](F& f) {
       f.Make32BitHost();
       f.Set(VmcsField::kHostRip, uint64_t{1} << 32);
     },
     [](F& f) { f.Set(VmcsField::kHostRip, uint64_t{1} << 32); }},
    {"host CR4.PAE in a 64-bit host", [](F& f) { f.Clear(VmcsField::kHostCr4, Cr4::kPae); },
     [](F& f) {
       f.Make32BitHost();
       f.Clear(VmcsField::kHostCr4, Cr4::kPae);
     }},
    {"host RIP: canonical in a 64-bit host",
     [](F& f) { f.Set(VmcsField::kHostRip, uint64_t{1} << 47); },
     [](F& f) { f.Set(VmcsField::kHostRip, (uint64_t{1} << 47) - 1); }},
};

class HostRule : public testing::TestWithParam<EntryCase> {};
TEST_P(HostRule, IsVmfail8AndItsNeighbourPasses) { ExpectCase(GetParam(), InvalidHostState); }
INSTANTIATE_TEST_SUITE_P(Rules, HostRule, testing::ValuesIn(kCases));

TEST(HostRules, EachHasACase) { ExpectEveryRuleHasACase({HostStateRules()}, kCases); }

TEST(HostRules, ComeAfterTheControls) {
  EntryFixture f;
  f.Set(VmcsField::kHostTrSelector, 0);
  f.Set(VmcsField::kCr3TargetCount, 5);
  EXPECT_EQ(f.Check(), InvalidControls(0));
}

}  // namespace
}  // namespace nvmx::sim
