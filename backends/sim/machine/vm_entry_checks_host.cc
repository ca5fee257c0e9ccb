// SPDX-License-Identifier: Apache-2.0
//
// SDM Vol. 3C, 27.2.2 "Checks on Host Control Registers, MSRs, and SSP", 27.2.3 "Checks on Host
// Segment and Descriptor-Table Registers", 27.2.4 "Checks Related to Address-Space Size".
#include "backends/sim/machine/processor_features.h"
#include "backends/sim/machine/vm_entry_checks.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/memory_type.h"
#include "core/x86/msr.h"

namespace nvmx::sim {
namespace {

constexpr VmcsField kSelectors[] = {VmcsField::kHostEsSelector, VmcsField::kHostCsSelector,
                                    VmcsField::kHostSsSelector, VmcsField::kHostDsSelector,
                                    VmcsField::kHostFsSelector, VmcsField::kHostGsSelector,
                                    VmcsField::kHostTrSelector};
constexpr VmcsField kBases[] = {VmcsField::kHostFsBase, VmcsField::kHostGsBase,
                                VmcsField::kHostTrBase, VmcsField::kHostGdtrBase,
                                VmcsField::kHostIdtrBase};

bool Is64BitHost(const EntryInput& in) { return in.Exit(VmExit::kHostAddressSpaceSize); }

constexpr EntryRule kRules[] = {
    {"host CR0: fixed bits",
     [](const EntryInput& in) {
       const uint64_t cr0 = in.Get<VmcsField::kHostCr0>();
       return (in.capabilities.cr0_fixed0 & ~cr0) == 0 && (cr0 & ~in.capabilities.cr0_fixed1) == 0;
     }},
    {"host CR4: fixed bits",
     [](const EntryInput& in) {
       const uint64_t cr4 = in.Get<VmcsField::kHostCr4>();
       return (in.capabilities.cr4_fixed0 & ~cr4) == 0 && (cr4 & ~in.capabilities.cr4_fixed1) == 0;
     }},
    {"host CR4.CET without CR0.WP",
     [](const EntryInput& in) {
       return (in.Get<VmcsField::kHostCr4>() & Cr4::kCet) == 0 ||
              (in.Get<VmcsField::kHostCr0>() & Cr0::kWp) != 0;
     }},
    {"host CR3", [](const EntryInput& in) { return in.IsPhysical(in.Get<VmcsField::kHostCr3>()); }},
    {"host IA32_SYSENTER_ESP",
     [](const EntryInput& in) {
       return in.IsCanonical(in.Get<VmcsField::kHostIa32SysenterEsp>());
     }},
    {"host IA32_SYSENTER_EIP",
     [](const EntryInput& in) {
       return in.IsCanonical(in.Get<VmcsField::kHostIa32SysenterEip>());
     }},
    {"host IA32_PERF_GLOBAL_CTRL",
     [](const EntryInput& in) {
       return !in.Exit(VmExit::kLoadIa32PerfGlobalCtrl) ||
              (in.Get<VmcsField::kHostIa32PerfGlobalCtrl>() &
               ~PerformanceCounters::kGlobalCtrlDefined) == 0;
     }},
    {"host IA32_PAT",
     [](const EntryInput& in) {
       return !in.Exit(VmExit::kLoadIa32Pat) || IsValidPat(in.Get<VmcsField::kHostIa32Pat>());
     }},
    {"host IA32_EFER: reserved bits",
     [](const EntryInput& in) {
       return !in.Exit(VmExit::kLoadIa32Efer) ||
              (in.Get<VmcsField::kHostIa32Efer>() & ~Efer::kDefined) == 0;
     }},
    {"host IA32_EFER: LMA and LME against the host address-space size",
     [](const EntryInput& in) {
       const uint64_t wanted = Is64BitHost(in) ? Efer::kLma | Efer::kLme : 0;
       return !in.Exit(VmExit::kLoadIa32Efer) ||
              (in.Get<VmcsField::kHostIa32Efer>() & (Efer::kLma | Efer::kLme)) == wanted;
     }},

    {"host selectors: RPL and TI",
     [](const EntryInput& in) {
       for (VmcsField selector : kSelectors) {
         if ((in.vmcs.Read(selector) & (Selector::kRpl | Selector::kTi)) != 0) return false;
       }
       return true;
     }},
    {"host CS and TR selectors: null",
     [](const EntryInput& in) {
       return in.Get<VmcsField::kHostCsSelector>() != 0 &&
              in.Get<VmcsField::kHostTrSelector>() != 0;
     }},
    {"host SS selector: null in a 32-bit host",
     [](const EntryInput& in) {
       return Is64BitHost(in) || in.Get<VmcsField::kHostSsSelector>() != 0;
     }},
    {"host bases: canonical",
     [](const EntryInput& in) {
       for (VmcsField base : kBases) {
         if (!in.IsCanonical(in.vmcs.Read(base))) return false;
       }
       return true;
     }},

    // With these two a 32-bit host has no IA-32e mode guest, which is a rule of its own in the SDM.
    {"a 64-bit host or guest outside IA-32e mode",
     [](const EntryInput& in) {
       return in.long_mode || (!Is64BitHost(in) && !in.Entry(VmEntry::kIa32eModeGuest));
     }},
    {"a 32-bit host in IA-32e mode",
     [](const EntryInput& in) { return !in.long_mode || Is64BitHost(in); }},
    {"host CR4.PCIDE in a 32-bit host",
     [](const EntryInput& in) {
       return Is64BitHost(in) || (in.Get<VmcsField::kHostCr4>() & Cr4::kPcide) == 0;
     }},
    {"host RIP: bits 63:32 in a 32-bit host",
     [](const EntryInput& in) {
       return Is64BitHost(in) || in.Get<VmcsField::kHostRip>() >> 32 == 0;
     }},
    {"host CR4.PAE in a 64-bit host",
     [](const EntryInput& in) {
       return !Is64BitHost(in) || (in.Get<VmcsField::kHostCr4>() & Cr4::kPae) != 0;
     }},
    {"host RIP: canonical in a 64-bit host",
     [](const EntryInput& in) {
       return !Is64BitHost(in) || in.IsCanonical(in.Get<VmcsField::kHostRip>());
     }},
};

}  // namespace

EntryRules HostStateRules() { return {kRules, FirstBroken<kRules>}; }

}  // namespace nvmx::sim
