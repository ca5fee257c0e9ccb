// SPDX-License-Identifier: Apache-2.0
//
// Every NVMX_GUEST_RULE of entry_rules.def: what breaks it fails the entry with reason 33 and the
// rule's qualification, and its neighbours are accepted.
#include "core/nested/entry_checks.h"
#include "core/testing/entry_rule_cases.h"
#include "core/testing/matchers.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using S = EntrySubject;

template <VmcsField F>
EntryChange Setting(std::string what, uint64_t value) {
  return {std::move(what), [value](S& s) { s.v.Set<F>(value); }};
}
template <VmcsField F>
EntryChange Flipping(std::string what, uint64_t bits) {
  return {std::move(what), [bits](S& s) { s.v.Set<F>(s.v.Get<F>() ^ bits); }};
}

struct GuestCr0 {
  static EntryChanges Breaking() {
    return {Flipping<VmcsField::kGuestCr0>("PE is 0", Cr0::kPe),
            Flipping<VmcsField::kGuestCr0>("NE is 0", Cr0::kNe),
            Flipping<VmcsField::kGuestCr0>("PG is 0", Cr0::kPg),
            Flipping<VmcsField::kGuestCr0>("bit 32 is 1", uint64_t{1} << 32)};
  }
  static EntryChanges Accepted() {
    return {Flipping<VmcsField::kGuestCr0>("WP is 1", Cr0::kWp),
            Flipping<VmcsField::kGuestCr0>("MP is 0", Cr0::kMp)};
  }
};

struct GuestCr4 {
  static EntryChanges Breaking() {
    return {Flipping<VmcsField::kGuestCr4>("VMXE is 0", Cr4::kVmxe),
            Flipping<VmcsField::kGuestCr4>("LA57 is 1, the CPU has it not", Cr4::kLa57)};
  }
  static EntryChanges Accepted() { return {Flipping<VmcsField::kGuestCr4>("PGE is 1", Cr4::kPge)}; }
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
               s.ClearBits(VmcsField::kVmEntryControls, VmEntry::kIa32eModeGuest);
               s.ClearBits(VmcsField::kGuestIa32Efer, Efer::kLme | Efer::kLma);
               s.ClearBits(VmcsField::kGuestCr4, Cr4::kPae);
               s.v.Set<VmcsField::kGuestCsAccessRights>(0xC09B);
             }}};
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

struct GuestEfer {
  static EntryChanges Breaking() {
    return {Flipping<VmcsField::kGuestIa32Efer>("LMA is 0", Efer::kLma),
            Flipping<VmcsField::kGuestIa32Efer>("LME is 0", Efer::kLme),
            Flipping<VmcsField::kGuestIa32Efer>("reserved bit 9", 0x200),
            {"LMA and LME are 1 outside IA-32e mode", [](S& s) {
               s.ClearBits(VmcsField::kVmEntryControls, VmEntry::kIa32eModeGuest);
               s.v.Set<VmcsField::kGuestCsAccessRights>(0xC09B);
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

struct GuestActivityState {
  static EntryChanges Breaking() {
    return {Setting<VmcsField::kGuestActivityState>("shutdown is not offered", 2),
            Setting<VmcsField::kGuestActivityState>("wait-for-SIPI is not offered", 3),
            Setting<VmcsField::kGuestActivityState>("4 does not exist", 4),
            {"HLT is not offered", [](S& s) {
               s.offered.misc &= ~VmxMisc::kActivityStateHlt;
               s.v.Set<VmcsField::kGuestActivityState>(1);
             }}};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kGuestActivityState>("active", 0),
            Setting<VmcsField::kGuestActivityState>("HLT", 1),
            {"shutdown, offered",
             [](S& s) {
               s.offered.misc |= VmxMisc::kActivityStateShutdown;
               s.v.Set<VmcsField::kGuestActivityState>(2);
             }},
            {"wait-for-SIPI, offered", [](S& s) {
               s.offered.misc |= VmxMisc::kActivityStateWaitForSipi;
               s.v.Set<VmcsField::kGuestActivityState>(3);
             }}};
  }
};

struct GuestInterruptibilityReservedBits {
  static EntryChanges Breaking() {
    return {Setting<VmcsField::kGuestInterruptibilityState>("bit 5", 1u << 5),
            Setting<VmcsField::kGuestInterruptibilityState>("bit 31", 1u << 31)};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kGuestInterruptibilityState>("none", 0),
            Setting<VmcsField::kGuestInterruptibilityState>("blocking by MOV SS",
                                                            Interruptibility::kBlockingByMovSs),
            Setting<VmcsField::kGuestInterruptibilityState>("blocking by NMI",
                                                            Interruptibility::kBlockingByNmi)};
  }
};

void InjectNmiWhileBlocked(S& s) {
  s.v.Set<VmcsField::kVmEntryInterruptionInformation>(InterruptionInformation::Nmi().value());
  s.v.Set<VmcsField::kGuestInterruptibilityState>(Interruptibility::kBlockingByNmi);
}

struct NmiInjectionWhileBlocked {
  static EntryChanges Breaking() {
    return {{"virtual NMIs, NMI injected, blocked", InjectNmiWhileBlocked}};
  }
  static EntryChanges Accepted() {
    return {{"without virtual NMIs",
             [](S& s) {
               InjectNmiWhileBlocked(s);
               s.ClearBits(VmcsField::kPinBasedControls, PinBased::kVirtualNmis);
             }},
            {"not blocked",
             [](S& s) {
               InjectNmiWhileBlocked(s);
               s.v.Set<VmcsField::kGuestInterruptibilityState>(0);
             }},
            {"another event", [](S& s) {
               InjectNmiWhileBlocked(s);
               s.v.Set<VmcsField::kVmEntryInterruptionInformation>(
                   InterruptionInformation::HardwareException(Vector::kInvalidOpcode).value());
             }}};
  }
};

struct VmcsLinkPointer {
  static EntryChanges Breaking() {
    return {Setting<VmcsField::kVmcsLinkPointer>("0", 0),
            Setting<VmcsField::kVmcsLinkPointer>("a region", 0x1000),
            Setting<VmcsField::kVmcsLinkPointer>("only 32 ones", 0xFFFFFFFF)};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kVmcsLinkPointer>("all ones", ~uint64_t{0})};
  }
};

std::vector<EntryRuleCase> Cases() {
  return {
#define NVMX_GUEST_RULE(name, qualification, condition, source) \
  {#name, qualification, source, name::Breaking(), name::Accepted()},
#include "core/nested/entry_rules.def"
  };
}

class GuestRuleTest : public testing::TestWithParam<EntryRuleCase> {};

TEST_P(GuestRuleTest, WhatBreaksTheRuleFailsTheEntryWithReason33) {
  ForEachChange(GetParam().breaking, [](const S& s) {
    EXPECT_EQ(CheckControlsAndHostState(s.v, s.offered), std::nullopt);
    EXPECT_THAT(CheckGuestState(s.v, s.offered),
                GuestStateRefusedBy(GetParam().qualification, GetParam().rule));
  });
}

TEST_P(GuestRuleTest, TheNeighbourIsAccepted) {
  ForEachChange(GetParam().accepted, [](const S& s) {
    EXPECT_EQ(CheckControlsAndHostState(s.v, s.offered), std::nullopt);
    EXPECT_EQ(CheckGuestState(s.v, s.offered), std::nullopt);
  });
}

TEST_P(GuestRuleTest, TheRuleCitesTheManual) {
  EXPECT_EQ(GetParam().source.substr(0, 16), "SDM Vol. 3C, 27.");
}

INSTANTIATE_TEST_SUITE_P(EntryRules, GuestRuleTest, testing::ValuesIn(Cases()), RuleName);

// SDM Vol. 3C, 27.8 "VM-Entry Failures During or After Loading Guest State": the numbers, once, as
// numbers.
TEST(GuestRuleQualificationTest, Is0ButForNmiInjectionAndTheLinkPointer) {
  for (const EntryRuleCase& c : Cases()) {
    const uint64_t expected = c.rule == "NmiInjectionWhileBlocked" ? 3
                              : c.rule == "VmcsLinkPointer"        ? 4
                                                                   : 0;
    EXPECT_EQ(c.qualification, expected) << c.rule;
  }
}

}  // namespace
}  // namespace nvmx
