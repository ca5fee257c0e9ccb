// SPDX-License-Identifier: Apache-2.0
//
// Every NVMX_GUEST_REGISTER_RULE of entry_rules.def: what breaks it fails the entry with reason 33
// and the rule's qualification, and its neighbours are accepted.
#include "core/nested/entry_checks.h"
#include "core/testing/entry_rule_cases.h"
#include "core/testing/matchers.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/msr.h"
#include "core/x86/rflags.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using S = EntrySubject;

// Clears CR0.PG and these bits too, on a CPU that does not require them.
void StopPaging(S& s, uint64_t others = 0) {
  s.offered.cr0_fixed0 &= ~(Cr0::kPg | others);
  s.ClearBits(VmcsField::kGuestCr0, Cr0::kPg | others);
}

constexpr uint64_t kHole = uint64_t{1} << 47;
constexpr uint64_t kAboveHole = 0xFFFF'8000'0000'0000;

struct GuestCr0 {
  static EntryChanges Breaking() {
    return {Flipping<VmcsField::kGuestCr0>("PE is 0", Cr0::kPe),
            Flipping<VmcsField::kGuestCr0>("NE is 0", Cr0::kNe),
            Flipping<VmcsField::kGuestCr0>("PG is 0", Cr0::kPg),
            Flipping<VmcsField::kGuestCr0>("bit 32 is 1", uint64_t{1} << 32),
            {"NE is 0 in an unrestricted guest", [](S& s) {
               BeUnrestricted(s);
               s.ClearBits(VmcsField::kGuestCr0, Cr0::kNe);
             }}};
  }
  static EntryChanges Accepted() {
    return {Flipping<VmcsField::kGuestCr0>("WP is 1", Cr0::kWp),
            Flipping<VmcsField::kGuestCr0>("MP is 0", Cr0::kMp),
            {"PG is 0 in an unrestricted guest",
             [](S& s) {
               LeaveIa32eMode(s);
               BeUnrestricted(s);
               s.ClearBits(VmcsField::kGuestCr0, Cr0::kPg);
             }},
            {"PG and PE are 0 in an unrestricted guest", [](S& s) {
               LeaveIa32eMode(s);
               BeUnrestricted(s);
               s.ClearBits(VmcsField::kGuestCr0, Cr0::kPg | Cr0::kPe);
             }}};
  }
};

struct GuestPagingNeedsProtection {
  static EntryChanges Breaking() {
    return {{"PG without PE on a CPU that does not require PE", [](S& s) {
               s.offered.cr0_fixed0 &= ~Cr0::kPe;
               s.ClearBits(VmcsField::kGuestCr0, Cr0::kPe);
             }}};
  }
  static EntryChanges Accepted() {
    return {{"neither PG nor PE",
             [](S& s) {
               LeaveIa32eMode(s);
               StopPaging(s, Cr0::kPe);
             }},
            {"PE without PG", [](S& s) {
               LeaveIa32eMode(s);
               StopPaging(s);
             }}};
  }
};

struct GuestCr4 {
  static EntryChanges Breaking() {
    return {Flipping<VmcsField::kGuestCr4>("VMXE is 0", Cr4::kVmxe),
            Flipping<VmcsField::kGuestCr4>("LA57 is 1, the CPU has it not", Cr4::kLa57)};
  }
  static EntryChanges Accepted() { return {Flipping<VmcsField::kGuestCr4>("PGE is 1", Cr4::kPge)}; }
};

struct GuestDebugctl {
  static EntryChanges Breaking() {
    return {Setting<VmcsField::kGuestIa32Debugctl>("reserved bit 3", 1u << 3),
            Setting<VmcsField::kGuestIa32Debugctl>("reserved bit 16", 1u << 16),
            Setting<VmcsField::kGuestIa32Debugctl>("reserved bit 63", uint64_t{1} << 63)};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kGuestIa32Debugctl>("LBR and BTF", DebugCtl::kLbr | DebugCtl::kBtf),
            {"reserved bits, but IA32_DEBUGCTL is not loaded", [](S& s) {
               s.v.Set<VmcsField::kGuestIa32Debugctl>(~uint64_t{0});
               s.ClearBits(VmcsField::kVmEntryControls, VmEntry::kLoadDebugControls);
             }}};
  }
};

struct Ia32eModeNeedsPagingAndPae {
  static EntryChanges Breaking() {
    return {Flipping<VmcsField::kGuestCr4>("PAE is 0", Cr4::kPae),
            {"PG is 0 on a CPU that does not require it", [](S& s) {
               s.offered.cr0_fixed0 &= ~Cr0::kPg;
               s.ClearBits(VmcsField::kGuestCr0, Cr0::kPg);
             }}};
  }
  static EntryChanges Accepted() {
    return {{"PAE is 0 outside IA-32e mode", [](S& s) {
               LeaveIa32eMode(s);
               s.ClearBits(VmcsField::kGuestCr4, Cr4::kPae);
             }}};
  }
};

struct GuestPcideNeedsIa32eMode {
  static EntryChanges Breaking() {
    return {{"PCIDE outside IA-32e mode", [](S& s) {
               LeaveIa32eMode(s);
               s.SetBits(VmcsField::kGuestCr4, Cr4::kPcide);
             }}};
  }
  static EntryChanges Accepted() {
    return {Flipping<VmcsField::kGuestCr4>("PCIDE in IA-32e mode", Cr4::kPcide),
            {"no PCIDE outside IA-32e mode", LeaveIa32eMode}};
  }
};

struct GuestCr3Width {
  static EntryChanges Breaking() {
    return {Setting<VmcsField::kGuestCr3>("bit 39 of 39", uint64_t{1} << 39),
            Setting<VmcsField::kGuestCr3>("bit 63", uint64_t{1} << 63)};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kGuestCr3>("bits 38:0", (uint64_t{1} << 39) - 1)};
  }
};

struct GuestDr7 {
  static EntryChanges Breaking() {
    return {Setting<VmcsField::kGuestDr7>("bit 32", uint64_t{1} << 32),
            Setting<VmcsField::kGuestDr7>("bit 63", uint64_t{1} << 63)};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kGuestDr7>("bits 31:0", 0xFFFFFFFF),
            {"bit 32, but DR7 is not loaded", [](S& s) {
               s.v.Set<VmcsField::kGuestDr7>(uint64_t{1} << 32);
               s.ClearBits(VmcsField::kVmEntryControls, VmEntry::kLoadDebugControls);
             }}};
  }
};

struct GuestSysenterCanonical {
  static EntryChanges Breaking() {
    return {Setting<VmcsField::kGuestIa32SysenterEsp>("ESP in the hole", kHole),
            Setting<VmcsField::kGuestIa32SysenterEip>("EIP in the hole", kAboveHole - 1)};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kGuestIa32SysenterEsp>("ESP above the hole", kAboveHole),
            Setting<VmcsField::kGuestIa32SysenterEip>("EIP below the hole", kHole - 1)};
  }
};

struct GuestPerfGlobalCtrl {
  static constexpr uint64_t kFourCounters = 0x7'0000'000F;
  static EntryChange Loading(std::string what, uint64_t value) {
    return {std::move(what), [=](S& s) {
              s.e.perf_global_ctrl_reserved = ~kFourCounters;
              s.SetBits(VmcsField::kVmEntryControls, VmEntry::kLoadIa32PerfGlobalCtrl);
              s.v.Set<VmcsField::kGuestIa32PerfGlobalCtrl>(value);
            }};
  }
  static EntryChanges Breaking() {
    return {Loading("a counter too many", 0x10), Loading("bit 63", uint64_t{1} << 63)};
  }
  static EntryChanges Accepted() {
    return {Loading("every counter", kFourCounters), Loading("0", 0),
            Setting<VmcsField::kGuestIa32PerfGlobalCtrl>("not loaded", ~uint64_t{0})};
  }
};

struct GuestPat {
  static EntryChanges Breaking() {
    return {Setting<VmcsField::kGuestIa32Pat>("type 2 in entry 0", 0x02),
            Setting<VmcsField::kGuestIa32Pat>("type 3 in entry 7", uint64_t{3} << 56)};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kGuestIa32Pat>("types 7, 6, 5, 4, 1 and 0", 0x0000'0007'0605'0401),
            {"type 2, but IA32_PAT is not loaded", [](S& s) {
               s.v.Set<VmcsField::kGuestIa32Pat>(2);
               s.ClearBits(VmcsField::kVmEntryControls, VmEntry::kLoadIa32Pat);
             }}};
  }
};

struct GuestEferReservedBits {
  static EntryChanges Breaking() {
    return {Flipping<VmcsField::kGuestIa32Efer>("bit 9", 0x200),
            Flipping<VmcsField::kGuestIa32Efer>("bit 63", uint64_t{1} << 63),
            {"LME, but IA-32e mode is not offered", [](S& s) {
               LeaveIa32eMode(s);
               s.SetBits(VmcsField::kGuestIa32Efer, Efer::kLme);
               StopPaging(s);
               s.offered.true_entry_ctls &= ~(uint64_t{VmEntry::kIa32eModeGuest} << 32);
             }}};
  }
  static EntryChanges Accepted() {
    return {Flipping<VmcsField::kGuestIa32Efer>("NXE is 1", Efer::kNxe),
            {"reserved bits, but IA32_EFER is not loaded", [](S& s) {
               s.v.Set<VmcsField::kGuestIa32Efer>(~uint64_t{0});
               s.ClearBits(VmcsField::kVmEntryControls, VmEntry::kLoadIa32Efer);
             }}};
  }
};

struct GuestEferLma {
  static EntryChanges Breaking() {
    return {Flipping<VmcsField::kGuestIa32Efer>("LMA is 0", Efer::kLma),
            {"LMA and LME are 1 outside IA-32e mode", [](S& s) {
               LeaveIa32eMode(s);
               s.SetBits(VmcsField::kGuestIa32Efer, Efer::kLme | Efer::kLma);
             }}};
  }
  static EntryChanges Accepted() {
    return {{"LMA is 0 outside IA-32e mode", LeaveIa32eMode},
            {"LMA is 0, but IA32_EFER is not loaded", [](S& s) {
               s.v.Set<VmcsField::kGuestIa32Efer>(0);
               s.ClearBits(VmcsField::kVmEntryControls, VmEntry::kLoadIa32Efer);
             }}};
  }
};

struct GuestEferLme {
  static EntryChanges Breaking() {
    return {Flipping<VmcsField::kGuestIa32Efer>("LMA without LME", Efer::kLme),
            {"LME without LMA", [](S& s) {
               LeaveIa32eMode(s);
               s.SetBits(VmcsField::kGuestIa32Efer, Efer::kLme);
             }}};
  }
  static EntryChanges Accepted() {
    return {{"LME without LMA and paging", [](S& s) {
               LeaveIa32eMode(s);
               s.SetBits(VmcsField::kGuestIa32Efer, Efer::kLme);
               StopPaging(s);
             }}};
  }
};

struct GuestDescriptorTableBases {
  static EntryChanges Breaking() {
    return {Setting<VmcsField::kGuestGdtrBase>("GDTR in the hole", kHole),
            Setting<VmcsField::kGuestIdtrBase>("IDTR in the hole", kHole)};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kGuestGdtrBase>("GDTR above the hole", kAboveHole),
            Setting<VmcsField::kGuestIdtrBase>("IDTR above the hole", kAboveHole)};
  }
};

struct GuestDescriptorTableLimits {
  static EntryChanges Breaking() {
    return {Setting<VmcsField::kGuestGdtrLimit>("GDTR 10000H", 0x10000),
            Setting<VmcsField::kGuestIdtrLimit>("IDTR 10000H", 0x10000)};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kGuestGdtrLimit>("GDTR FFFFH", 0xFFFF),
            Setting<VmcsField::kGuestIdtrLimit>("IDTR FFFFH", 0xFFFF)};
  }
};

struct GuestRip {
  static EntryChanges Breaking() {
    return {Setting<VmcsField::kGuestRip>("bit 48 of 48", uint64_t{1} << 48),
            Setting<VmcsField::kGuestRip>("bit 63 is 0, bit 62 is 1", ~uint64_t{0} >> 1),
            {"bit 32 outside IA-32e mode",
             [](S& s) {
               LeaveIa32eMode(s);
               s.v.Set<VmcsField::kGuestRip>(uint64_t{1} << 32);
             }},
            {"bit 32 in compatibility mode", [](S& s) {
               s.v.Set<VmcsField::kGuestCsAccessRights>(0xC09B);
               s.v.Set<VmcsField::kGuestRip>(uint64_t{1} << 32);
             }}};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kGuestRip>("above the hole", kAboveHole),
            Setting<VmcsField::kGuestRip>("in the hole, but bits 63:48 are equal", kHole),
            {"bits 31:0 outside IA-32e mode",
             [](S& s) {
               LeaveIa32eMode(s);
               s.v.Set<VmcsField::kGuestRip>(0xFFFFFFFF);
             }},
            {"bits 31:0 in compatibility mode", [](S& s) {
               s.v.Set<VmcsField::kGuestCsAccessRights>(0xC09B);
               s.v.Set<VmcsField::kGuestRip>(0xFFFFFFFF);
             }}};
  }
};

struct GuestRflagsReservedBits {
  static EntryChanges Breaking() {
    EntryChanges changes;
    for (unsigned bit : {1, 3, 5, 15, 22, 31, 32, 63}) {
      changes.push_back(
          Flipping<VmcsField::kGuestRflags>("bit " + std::to_string(bit), uint64_t{1} << bit));
    }
    return changes;
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kGuestRflags>("every flag but VM", 0x3D'7FD7),
            Setting<VmcsField::kGuestRflags>("none", 2)};
  }
};

struct GuestRflagsVm {
  static EntryChanges Breaking() {
    return {{"in IA-32e mode",
             [](S& s) {
               EnterVirtual8086Mode(s);
               s.SetBits(VmcsField::kVmEntryControls, VmEntry::kIa32eModeGuest);
               s.SetBits(VmcsField::kGuestIa32Efer, Efer::kLme | Efer::kLma);
             }},
            {"in real mode", [](S& s) {
               EnterVirtual8086Mode(s);
               StopPaging(s, Cr0::kPe);
             }}};
  }
  static EntryChanges Accepted() { return {{"in protected mode", EnterVirtual8086Mode}}; }
};

struct GuestRflagsIf {
  static void Inject(S& s, InterruptionInformation event) {
    s.v.Set<VmcsField::kVmEntryInterruptionInformation>(event.value());
    s.ClearBits(VmcsField::kGuestRflags, Rflags::kIf);
  }
  static EntryChanges Breaking() {
    return {{"external interrupt, IF is 0",
             [](S& s) { Inject(s, InterruptionInformation::ExternalInterrupt(0x20)); }}};
  }
  static EntryChanges Accepted() {
    return {{"external interrupt, IF is 1",
             [](S& s) {
               Inject(s, InterruptionInformation::ExternalInterrupt(0x20));
               s.SetBits(VmcsField::kGuestRflags, Rflags::kIf);
             }},
            {"NMI, IF is 0", [](S& s) { Inject(s, InterruptionInformation::Nmi()); }},
            {"no event, IF is 0", [](S& s) { Inject(s, InterruptionInformation()); }}};
  }
};

std::vector<EntryRuleCase> Cases() {
  return {
#define NVMX_GUEST_REGISTER_RULE(name, qualification, condition, source) \
  {#name, qualification, source, name::Breaking(), name::Accepted()},
#include "core/nested/entry_rules.def"
  };
}

class GuestRegisterRuleTest : public testing::TestWithParam<EntryRuleCase> {};

TEST_P(GuestRegisterRuleTest, WhatBreaksTheRuleFailsTheEntryWithReason33) {
  ForEachChange(GetParam().breaking, [](const S& s) {
    EXPECT_EQ(CheckControlsAndHostState(s.v, s.offered, s.e), std::nullopt);
    EXPECT_THAT(CheckGuestState(s.v, s.offered, s.e),
                GuestStateRefusedBy(GetParam().qualification, GetParam().rule));
  });
}

TEST_P(GuestRegisterRuleTest, TheNeighbourIsAccepted) {
  ForEachChange(GetParam().accepted, [](const S& s) {
    EXPECT_EQ(CheckControlsAndHostState(s.v, s.offered, s.e), std::nullopt);
    EXPECT_EQ(CheckGuestState(s.v, s.offered, s.e), std::nullopt);
  });
}

TEST_P(GuestRegisterRuleTest, TheRuleCitesTheManual) {
  EXPECT_EQ(GetParam().source.substr(0, 20), "SDM Vol. 3C, 27.3.1.");
}

INSTANTIATE_TEST_SUITE_P(EntryRules, GuestRegisterRuleTest, testing::ValuesIn(Cases()), RuleName);

// SDM Vol. 3C, 27.8 "VM-Entry Failures During or After Loading Guest State".
TEST(GuestRegisterRuleQualificationTest, Is0) {
  for (const EntryRuleCase& c : Cases()) EXPECT_EQ(c.qualification, 0u) << c.rule;
}

}  // namespace
}  // namespace nvmx
