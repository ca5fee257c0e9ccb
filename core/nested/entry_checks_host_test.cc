// SPDX-License-Identifier: Apache-2.0
//
// Every NVMX_HOST_RULE of entry_rules.def: what breaks it is refused with VMfailValid 8 by that
// rule, and its neighbours are accepted.
#include "core/nested/entry_checks.h"
#include "core/testing/entry_rule_cases.h"
#include "core/testing/matchers.h"
#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using S = EntrySubject;

struct HostCr0 {
  static EntryChanges Breaking() {
    return {Flipping<VmcsField::kHostCr0>("PE is 0", Cr0::kPe),
            Flipping<VmcsField::kHostCr0>("NE is 0", Cr0::kNe),
            Flipping<VmcsField::kHostCr0>("PG is 0", Cr0::kPg),
            Flipping<VmcsField::kHostCr0>("bit 32 is 1", uint64_t{1} << 32),
            Flipping<VmcsField::kHostCr0>("bit 63 is 1", uint64_t{1} << 63)};
  }
  static EntryChanges Accepted() {
    return {Flipping<VmcsField::kHostCr0>("WP is 0", Cr0::kWp),
            Flipping<VmcsField::kHostCr0>("TS is 1", Cr0::kTs)};
  }
};

struct HostCr4 {
  static EntryChanges Breaking() {
    return {Flipping<VmcsField::kHostCr4>("VMXE is 0", Cr4::kVmxe),
            Flipping<VmcsField::kHostCr4>("LA57 is 1, the CPU has it not", Cr4::kLa57),
            Flipping<VmcsField::kHostCr4>("bit 63 is 1", uint64_t{1} << 63)};
  }
  static EntryChanges Accepted() {
    return {Flipping<VmcsField::kHostCr4>("OSFXSR is 0", Cr4::kOsfxsr),
            Flipping<VmcsField::kHostCr4>("PGE is 1", Cr4::kPge)};
  }
};

struct HostCr3Width {
  static EntryChanges Breaking() {
    return {Setting<VmcsField::kHostCr3>("bit 39 of 39", uint64_t{1} << 39),
            Setting<VmcsField::kHostCr3>("bit 63", uint64_t{1} << 63)};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kHostCr3>("bits 38:0", (uint64_t{1} << 39) - 1),
            Setting<VmcsField::kHostCr3>("0", 0)};
  }
};

struct HostPat {
  static EntryChanges Breaking() {
    return {Setting<VmcsField::kHostIa32Pat>("type 2 in entry 0", 0x02),
            Setting<VmcsField::kHostIa32Pat>("type 3 in entry 7", uint64_t{3} << 56),
            Setting<VmcsField::kHostIa32Pat>("type 8 in entry 1", 0x0800)};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kHostIa32Pat>("types 7, 6, 5, 4, 1 and 0", 0x0000'0007'0605'0401),
            {"type 2, but IA32_PAT is not loaded", [](S& s) {
               s.v.Set<VmcsField::kHostIa32Pat>(2);
               s.ClearBits(VmcsField::kVmExitControls, VmExit::kLoadIa32Pat);
             }}};
  }
};

struct HostPerfGlobalCtrl {
  static constexpr uint64_t kFourCounters = 0x7'0000'000F;
  static EntryChange Loading(std::string what, uint64_t value) {
    return {std::move(what), [=](S& s) {
              s.e.perf_global_ctrl_reserved = ~kFourCounters;
              s.SetBits(VmcsField::kVmExitControls, VmExit::kLoadIa32PerfGlobalCtrl);
              s.v.Set<VmcsField::kHostIa32PerfGlobalCtrl>(value);
            }};
  }
  static EntryChanges Breaking() {
    return {Loading("a counter too many", 0x10), Loading("bit 63", uint64_t{1} << 63)};
  }
  static EntryChanges Accepted() {
    return {Loading("every counter", kFourCounters), Loading("0", 0),
            Setting<VmcsField::kHostIa32PerfGlobalCtrl>("not loaded", ~uint64_t{0})};
  }
};

struct HostSysenterCanonical {
  static EntryChanges Breaking() {
    return {Setting<VmcsField::kHostIa32SysenterEsp>("ESP in the hole", uint64_t{1} << 47),
            Setting<VmcsField::kHostIa32SysenterEip>("EIP in the hole", 0xFFFF'7FFF'FFFF'FFFF)};
  }
  static EntryChanges Accepted() {
    return {
        Setting<VmcsField::kHostIa32SysenterEsp>("ESP above the hole", 0xFFFF'8000'0000'0000),
        Setting<VmcsField::kHostIa32SysenterEip>("EIP below the hole", (uint64_t{1} << 47) - 1)};
  }
};

struct HostEferReservedBits {
  static EntryChanges Breaking() {
    return {Flipping<VmcsField::kHostIa32Efer>("reserved bit 1", 2),
            Flipping<VmcsField::kHostIa32Efer>("reserved bit 63", uint64_t{1} << 63)};
  }
  static EntryChanges Accepted() {
    return {Flipping<VmcsField::kHostIa32Efer>("SCE is 1", Efer::kSce),
            Flipping<VmcsField::kHostIa32Efer>("NXE is 0", Efer::kNxe),
            {"reserved bits, but IA32_EFER is not loaded", [](S& s) {
               s.v.Set<VmcsField::kHostIa32Efer>(~uint64_t{0});
               s.ClearBits(VmcsField::kVmExitControls, VmExit::kLoadIa32Efer);
             }}};
  }
};

struct HostEferMode {
  static EntryChanges Breaking() {
    return {Flipping<VmcsField::kHostIa32Efer>("LMA is 0", Efer::kLma),
            Flipping<VmcsField::kHostIa32Efer>("LME is 0", Efer::kLme),
            {"LMA and LME are 1, host-address-space size is 0", [](S& s) {
               BeUnder32BitL1(s);
               s.SetBits(VmcsField::kVmExitControls, VmExit::kLoadIa32Efer);
             }}};
  }
  static EntryChanges Accepted() {
    return {{"LMA and LME are 0, but IA32_EFER is not loaded", [](S& s) {
               s.v.Set<VmcsField::kHostIa32Efer>(0);
               s.ClearBits(VmcsField::kVmExitControls, VmExit::kLoadIa32Efer);
             }}};
  }
};

struct HostSelectors {
  static constexpr VmcsField kSelectors[] = {VmcsField::kHostEsSelector, VmcsField::kHostCsSelector,
                                             VmcsField::kHostSsSelector, VmcsField::kHostDsSelector,
                                             VmcsField::kHostFsSelector, VmcsField::kHostGsSelector,
                                             VmcsField::kHostTrSelector};
  static EntryChanges Each(uint64_t bit) {
    EntryChanges changes;
    for (VmcsField field : kSelectors) {
      changes.push_back({std::string(Name(field)) + " with bit " + std::to_string(bit),
                         [=](S& s) { s.SetBits(field, uint64_t{1} << bit); }});
    }
    return changes;
  }
  static EntryChanges Breaking() {
    EntryChanges changes;
    for (uint64_t bit : {0, 1, 2}) {
      for (const EntryChange& change : Each(bit)) changes.push_back(change);
    }
    return changes;
  }
  static EntryChanges Accepted() { return Each(15); }
};

struct HostCsAndTrNotNull {
  static EntryChanges Breaking() {
    return {Setting<VmcsField::kHostCsSelector>("CS is 0", 0),
            Setting<VmcsField::kHostTrSelector>("TR is 0", 0)};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kHostSsSelector>("SS is 0", 0),
            Setting<VmcsField::kHostDsSelector>("DS is 0", 0),
            Setting<VmcsField::kHostTrSelector>("TR is 8", 8)};
  }
};

struct HostSsNotNull {
  static EntryChanges Breaking() {
    return {{"SS is 0, host-address-space size is 0", [](S& s) {
               BeUnder32BitL1(s);
               s.v.Set<VmcsField::kHostSsSelector>(0);
             }}};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kHostSsSelector>("SS is 0, host-address-space size is 1", 0)};
  }
};

struct HostBasesCanonical {
  static constexpr VmcsField kBases[] = {VmcsField::kHostFsBase, VmcsField::kHostGsBase,
                                         VmcsField::kHostGdtrBase, VmcsField::kHostIdtrBase,
                                         VmcsField::kHostTrBase};
  static EntryChanges Each(uint64_t base) {
    EntryChanges changes;
    for (VmcsField field : kBases) {
      changes.push_back({Name(field), [=](S& s) { s.v.Write(field, base); }});
    }
    return changes;
  }
  static EntryChanges Breaking() { return Each(uint64_t{1} << 47); }
  static EntryChanges Accepted() { return Each(0xFFFF'8000'0000'0000); }
};

struct HostAddressSpaceSizeIsThatOfL1 {
  static EntryChanges Breaking() {
    return {{"0 under a 64-bit L1",
             [](S& s) {
               LeaveIa32eMode(s);
               s.ClearBits(VmcsField::kVmExitControls,
                           VmExit::kHostAddressSpaceSize | VmExit::kLoadIa32Efer);
             }},
            {"1 under a 32-bit L1", [](S& s) { s.e.l1_in_ia32e_mode = false; }}};
  }
  static EntryChanges Accepted() {
    return {{"0 under a 32-bit L1", BeUnder32BitL1},
            {"1 under a 64-bit L1, IA32_EFER is not loaded",
             [](S& s) { s.ClearBits(VmcsField::kVmExitControls, VmExit::kLoadIa32Efer); }}};
  }
};

struct Ia32eModeGuestNeeds64BitHost {
  static EntryChanges Breaking() {
    return {{"a 64-bit guest under a 32-bit L1", [](S& s) {
               BeUnder32BitL1(s);
               s.SetBits(VmcsField::kVmEntryControls, VmEntry::kIa32eModeGuest);
             }}};
  }
  static EntryChanges Accepted() {
    return {{"a 32-bit guest under a 64-bit L1", LeaveIa32eMode},
            {"a 32-bit guest under a 32-bit L1", BeUnder32BitL1}};
  }
};

struct HostCr4Pae {
  static EntryChanges Breaking() { return {Flipping<VmcsField::kHostCr4>("PAE is 0", Cr4::kPae)}; }
  static EntryChanges Accepted() {
    return {{"PAE is 0 under a 32-bit L1", [](S& s) {
               BeUnder32BitL1(s);
               s.ClearBits(VmcsField::kHostCr4, Cr4::kPae);
             }}};
  }
};

struct HostCr4Pcide {
  static EntryChanges Breaking() {
    return {{"PCIDE is 1 under a 32-bit L1", [](S& s) {
               BeUnder32BitL1(s);
               s.SetBits(VmcsField::kHostCr4, Cr4::kPcide);
             }}};
  }
  static EntryChanges Accepted() {
    return {Flipping<VmcsField::kHostCr4>("PCIDE is 1", Cr4::kPcide)};
  }
};

struct HostRip {
  static EntryChange Under32BitL1(std::string what, uint64_t rip) {
    return {std::move(what), [=](S& s) {
              BeUnder32BitL1(s);
              s.v.Set<VmcsField::kHostRip>(rip);
            }};
  }
  static EntryChanges Breaking() {
    return {Setting<VmcsField::kHostRip>("the first address of the hole", uint64_t{1} << 47),
            Setting<VmcsField::kHostRip>("the last address of the hole", 0xFFFF'7FFF'FFFF'FFFF),
            Under32BitL1("bit 32", uint64_t{1} << 32),
            Under32BitL1("canonical, but too wide", 0xFFFF'8000'0000'0000)};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kHostRip>("below the hole", (uint64_t{1} << 47) - 1),
            Setting<VmcsField::kHostRip>("above the hole", 0xFFFF'8000'0000'0000),
            Under32BitL1("the last of 32 bits", 0xFFFF'FFFF)};
  }
};

std::vector<EntryRuleCase> Cases() {
  return {
#define NVMX_HOST_RULE(name, condition, source) \
  {#name, 0, source, name::Breaking(), name::Accepted()},
#include "core/nested/entry_rules.def"
  };
}

class HostRuleTest : public testing::TestWithParam<EntryRuleCase> {};

TEST_P(HostRuleTest, WhatBreaksTheRuleIsVmfailValid8) {
  ForEachChange(GetParam().breaking, [](const S& s) {
    EXPECT_THAT(CheckControlsAndHostState(s.v, s.offered, s.e),
                RefusedBy(VmInstructionError::kVmEntryWithInvalidHostStateFields, GetParam().rule));
  });
}

TEST_P(HostRuleTest, TheNeighbourIsAccepted) {
  ForEachChange(GetParam().accepted, [](const S& s) {
    EXPECT_EQ(CheckControlsAndHostState(s.v, s.offered, s.e), std::nullopt);
  });
}

TEST_P(HostRuleTest, TheRuleCitesTheManual) {
  EXPECT_EQ(GetParam().source.substr(0, 16), "SDM Vol. 3C, 27.");
}

INSTANTIATE_TEST_SUITE_P(EntryRules, HostRuleTest, testing::ValuesIn(Cases()), RuleName);

}  // namespace
}  // namespace nvmx
