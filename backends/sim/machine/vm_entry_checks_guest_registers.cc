// SPDX-License-Identifier: Apache-2.0
//
// SDM Vol. 3C, 27.3.1.1 "Checks on Guest Control Registers, Debug Registers, and MSRs".
#include "backends/sim/machine/processor_features.h"
#include "backends/sim/machine/vm_entry_checks.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/memory_type.h"
#include "core/x86/msr.h"

namespace nvmx::sim {
namespace {

constexpr EntryRule kRules[] = {
    {"guest CR0: fixed bits",
     [](const EntryInput& in) {
       const uint64_t cr0 = in.Get<VmcsField::kGuestCr0>();
       const uint64_t free =
           Cr0::kNw | Cr0::kCd |
           (in.Secondary(Secondary::kUnrestrictedGuest) ? Cr0::kPe | Cr0::kPg : 0);
       return (in.capabilities.cr0_fixed0 & ~free & ~cr0) == 0 &&
              (cr0 & ~free & ~in.capabilities.cr0_fixed1) == 0;
     }},
    {"guest CR0.PG without CR0.PE",
     [](const EntryInput& in) {
       const uint64_t cr0 = in.Get<VmcsField::kGuestCr0>();
       return (cr0 & Cr0::kPg) == 0 || (cr0 & Cr0::kPe) != 0;
     }},
    {"guest CR4: fixed bits",
     [](const EntryInput& in) {
       const uint64_t cr4 = in.Get<VmcsField::kGuestCr4>();
       return (in.capabilities.cr4_fixed0 & ~cr4) == 0 && (cr4 & ~in.capabilities.cr4_fixed1) == 0;
     }},
    {"guest CR4.CET without CR0.WP",
     [](const EntryInput& in) {
       return (in.Get<VmcsField::kGuestCr4>() & Cr4::kCet) == 0 ||
              (in.Get<VmcsField::kGuestCr0>() & Cr0::kWp) != 0;
     }},
    {"guest IA32_DEBUGCTL",
     [](const EntryInput& in) {
       return !in.Entry(VmEntry::kLoadDebugControls) ||
              (in.Get<VmcsField::kGuestIa32Debugctl>() & ~DebugCtl::kArchitectural) == 0;
     }},
    {"IA-32e mode guest without CR0.PG or CR4.PAE",
     [](const EntryInput& in) {
       return !in.Entry(VmEntry::kIa32eModeGuest) ||
              ((in.Get<VmcsField::kGuestCr0>() & Cr0::kPg) != 0 &&
               (in.Get<VmcsField::kGuestCr4>() & Cr4::kPae) != 0);
     }},
    {"guest CR4.PCIDE outside IA-32e mode",
     [](const EntryInput& in) {
       return in.Entry(VmEntry::kIa32eModeGuest) ||
              (in.Get<VmcsField::kGuestCr4>() & Cr4::kPcide) == 0;
     }},
    {"guest CR3",
     [](const EntryInput& in) { return in.IsPhysical(in.Get<VmcsField::kGuestCr3>()); }},
    {"guest DR7: bits 63:32",
     [](const EntryInput& in) {
       return !in.Entry(VmEntry::kLoadDebugControls) || in.Get<VmcsField::kGuestDr7>() >> 32 == 0;
     }},
    {"guest IA32_SYSENTER_ESP",
     [](const EntryInput& in) {
       return in.IsCanonical(in.Get<VmcsField::kGuestIa32SysenterEsp>());
     }},
    {"guest IA32_SYSENTER_EIP",
     [](const EntryInput& in) {
       return in.IsCanonical(in.Get<VmcsField::kGuestIa32SysenterEip>());
     }},
    {"guest IA32_PERF_GLOBAL_CTRL",
     [](const EntryInput& in) {
       return !in.Entry(VmEntry::kLoadIa32PerfGlobalCtrl) ||
              (in.Get<VmcsField::kGuestIa32PerfGlobalCtrl>() &
               ~PerformanceCounters::kGlobalCtrlDefined) == 0;
     }},
    {"guest IA32_PAT",
     [](const EntryInput& in) {
       return !in.Entry(VmEntry::kLoadIa32Pat) || IsValidPat(in.Get<VmcsField::kGuestIa32Pat>());
     }},
    {"guest IA32_EFER: reserved bits",
     [](const EntryInput& in) {
       return !in.Entry(VmEntry::kLoadIa32Efer) ||
              (in.Get<VmcsField::kGuestIa32Efer>() & ~Efer::kDefined) == 0;
     }},
    {"guest IA32_EFER.LMA against IA-32e mode guest",
     [](const EntryInput& in) {
       const bool lma = (in.Get<VmcsField::kGuestIa32Efer>() & Efer::kLma) != 0;
       return !in.Entry(VmEntry::kLoadIa32Efer) || lma == in.Entry(VmEntry::kIa32eModeGuest);
     }},
    {"guest IA32_EFER.LME against LMA",
     [](const EntryInput& in) {
       const uint64_t efer = in.Get<VmcsField::kGuestIa32Efer>();
       const bool lma = (efer & Efer::kLma) != 0;
       const bool lme = (efer & Efer::kLme) != 0;
       return !in.Entry(VmEntry::kLoadIa32Efer) ||
              (in.Get<VmcsField::kGuestCr0>() & Cr0::kPg) == 0 || lma == lme;
     }},
};

}  // namespace

EntryRules GuestRegisterRules() { return {kRules, FirstBroken<kRules>}; }

}  // namespace nvmx::sim
