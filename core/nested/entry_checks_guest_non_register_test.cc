// SPDX-License-Identifier: Apache-2.0
//
// Every NVMX_GUEST_NON_REGISTER_RULE of entry_rules.def: what breaks it fails the entry with reason
// 33 and the rule's qualification, and its neighbours are accepted.
#include "core/nested/entry_checks.h"
#include "core/nested/vmcs12_region.h"
#include "core/testing/entry_rule_cases.h"
#include "core/testing/matchers.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/msr.h"
#include "core/x86/rflags.h"
#include "core/x86/segment.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using S = EntrySubject;

constexpr uint32_t kSti = Interruptibility::kBlockingBySti;
constexpr uint32_t kMovSs = Interruptibility::kBlockingByMovSs;
constexpr uint64_t kBs = PendingDebugExceptions::kBs;

EntryChange Blocked(std::string what, uint32_t interruptibility) {
  return Setting<VmcsField::kGuestInterruptibilityState>(std::move(what), interruptibility);
}

void Inject(S& s, InterruptionInformation event) {
  s.v.Set<VmcsField::kVmEntryInterruptionInformation>(event.value());
  s.v.Set<VmcsField::kVmEntryInstructionLength>(1);
}

// The event, injected in a state that L1 was offered.
EntryChange InState(ActivityState state, std::string what, InterruptionInformation event) {
  return {Name(state) + (", " + what), [=](S& s) {
            s.offered.misc |= VmxMisc::kActivityStateHlt | VmxMisc::kActivityStateShutdown |
                              VmxMisc::kActivityStateWaitForSipi;
            s.v.Set<VmcsField::kGuestActivityState>(static_cast<uint32_t>(state));
            Inject(s, event);
          }};
}
EntryChange InjectingWhile(std::string what, InterruptionInformation event,
                           uint32_t interruptibility) {
  return {std::move(what), [=](S& s) {
            Inject(s, event);
            s.v.Set<VmcsField::kGuestInterruptibilityState>(interruptibility);
          }};
}

struct GuestActivityState {
  static EntryChange NotOffered(std::string what, uint64_t misc, uint32_t state) {
    return {what + " is not offered", [=](S& s) {
              s.offered.misc &= ~misc;
              s.v.Set<VmcsField::kGuestActivityState>(state);
            }};
  }
  static EntryChanges Breaking() {
    return {NotOffered("shutdown", VmxMisc::kActivityStateShutdown, 2),
            NotOffered("wait-for-SIPI", VmxMisc::kActivityStateWaitForSipi, 3),
            NotOffered("HLT", VmxMisc::kActivityStateHlt, 1),
            Setting<VmcsField::kGuestActivityState>("4 does not exist", 4)};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kGuestActivityState>("active", 0),
            Setting<VmcsField::kGuestActivityState>("HLT", 1),
            Setting<VmcsField::kGuestActivityState>("shutdown", 2),
            Setting<VmcsField::kGuestActivityState>("wait-for-SIPI", 3)};
  }
};

struct GuestHltNeedsRing0 {
  static void SetRing(S& s, uint16_t ring) {
    s.SetBits(VmcsField::kGuestCsSelector, ring);
    s.SetBits(VmcsField::kGuestSsSelector, ring);
    for (VmcsField rights : {VmcsField::kGuestCsAccessRights, VmcsField::kGuestSsAccessRights,
                             VmcsField::kGuestDsAccessRights, VmcsField::kGuestEsAccessRights,
                             VmcsField::kGuestFsAccessRights, VmcsField::kGuestGsAccessRights}) {
      s.SetBits(rights, uint64_t{ring} << AccessRights::kDplShift);
    }
  }
  static EntryChanges Breaking() {
    EntryChanges changes;
    for (uint16_t ring : {1, 2, 3}) {
      changes.push_back({"HLT in ring " + std::to_string(ring), [ring](S& s) {
                           SetRing(s, ring);
                           s.v.Set<VmcsField::kGuestActivityState>(1);
                         }});
    }
    return changes;
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kGuestActivityState>("HLT in ring 0", 1),
            {"active in ring 3", [](S& s) { SetRing(s, 3); }}};
  }
};

struct GuestBlockingNeedsActiveState {
  static EntryChange While(ActivityState state, uint32_t interruptibility) {
    return {Name(state), [=](S& s) {
              s.offered.misc |= VmxMisc::kActivityStateShutdown;
              s.v.Set<VmcsField::kGuestActivityState>(static_cast<uint32_t>(state));
              s.v.Set<VmcsField::kGuestInterruptibilityState>(interruptibility);
            }};
  }
  static EntryChanges Breaking() {
    return {While(ActivityState::kHlt, kSti), While(ActivityState::kHlt, kMovSs),
            While(ActivityState::kShutdown, kSti), While(ActivityState::kShutdown, kMovSs)};
  }
  static EntryChanges Accepted() {
    return {While(ActivityState::kActive, kSti), While(ActivityState::kActive, kMovSs),
            While(ActivityState::kHlt, Interruptibility::kBlockingByNmi)};
  }
};

struct InjectionFitsActivity {
  using Info = InterruptionInformation;
  static constexpr Info kSoftwareInterrupt = Info::Make(InterruptionType::kSoftwareInterrupt, 0x80);
  static constexpr Info kIcebp = Info::Make(InterruptionType::kPrivilegedSoftwareException, 1);
  static EntryChanges Breaking() {
    using enum ActivityState;
    return {InState(kHlt, "#UD", Info::HardwareException(Vector::kInvalidOpcode)),
            InState(kHlt, "#GP", Info::HardwareException(Vector::kGeneralProtection)),
            InState(kHlt, "INT n", kSoftwareInterrupt),
            InState(kHlt, "INT1", kIcebp),
            InState(kShutdown, "external interrupt", Info::ExternalInterrupt(0x20)),
            InState(kShutdown, "#DB", Info::HardwareException(Vector::kDebug)),
            InState(kShutdown, "pending MTF VM exit", Info::MonitorTrapFlag()),
            InState(kWaitForSipi, "NMI", Info::Nmi()),
            InState(kWaitForSipi, "#MC", Info::HardwareException(Vector::kMachineCheck))};
  }
  static EntryChanges Accepted() {
    using enum ActivityState;
    return {InState(kHlt, "external interrupt", Info::ExternalInterrupt(0x20)),
            InState(kHlt, "NMI", Info::Nmi()),
            InState(kHlt, "#DB", Info::HardwareException(Vector::kDebug)),
            InState(kHlt, "#MC", Info::HardwareException(Vector::kMachineCheck)),
            InState(kHlt, "pending MTF VM exit", Info::MonitorTrapFlag()),
            InState(kShutdown, "NMI", Info::Nmi()),
            InState(kShutdown, "#MC", Info::HardwareException(Vector::kMachineCheck)),
            InState(kActive, "INT n", kSoftwareInterrupt),
            InState(kWaitForSipi, "no event", Info())};
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

struct GuestStiAndMovSs {
  static EntryChanges Breaking() { return {Blocked("both", kSti | kMovSs)}; }
  static EntryChanges Accepted() { return {Blocked("STI", kSti), Blocked("MOV SS", kMovSs)}; }
};

struct GuestStiNeedsIf {
  static void ClearIf(S& s, uint32_t interruptibility) {
    s.v.Set<VmcsField::kGuestInterruptibilityState>(interruptibility);
    s.ClearBits(VmcsField::kGuestRflags, Rflags::kIf);
  }
  static EntryChanges Breaking() {
    return {{"STI, IF is 0", [](S& s) { ClearIf(s, kSti); }}};
  }
  static EntryChanges Accepted() {
    return {Blocked("STI, IF is 1", kSti), {"MOV SS, IF is 0", [](S& s) { ClearIf(s, kMovSs); }}};
  }
};

struct InterruptInjectionWhileBlocked {
  static constexpr InterruptionInformation kInterrupt =
      InterruptionInformation::ExternalInterrupt(0x20);
  static EntryChanges Breaking() {
    return {InjectingWhile("STI", kInterrupt, kSti), InjectingWhile("MOV SS", kInterrupt, kMovSs)};
  }
  static EntryChanges Accepted() {
    return {
        InjectingWhile("not blocked", kInterrupt, 0),
        InjectingWhile("NMIs blocked", kInterrupt, Interruptibility::kBlockingByNmi),
        InjectingWhile("exception, MOV SS",
                       InterruptionInformation::HardwareException(Vector::kInvalidOpcode), kMovSs)};
  }
};

struct NmiInjectionWithMovSs {
  static EntryChanges Breaking() {
    return {InjectingWhile("MOV SS", InterruptionInformation::Nmi(), kMovSs)};
  }
  static EntryChanges Accepted() {
    return {InjectingWhile("not blocked", InterruptionInformation::Nmi(), 0),
            InjectingWhile("STI", InterruptionInformation::Nmi(), kSti)};
  }
};

struct GuestSmiBlocking {
  static EntryChanges Breaking() {
    return {Blocked("blocking by SMI outside SMM", Interruptibility::kBlockingBySmi)};
  }
  static EntryChanges Accepted() {
    return {Blocked("blocking by NMI", Interruptibility::kBlockingByNmi)};
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

struct GuestPendingDebugReservedBits {
  static EntryChanges Breaking() {
    EntryChanges changes;
    for (unsigned bit : {4, 10, 11, 13, 15, 16, 17, 63}) {
      changes.push_back(Setting<VmcsField::kGuestPendingDebugExceptions>(
          "bit " + std::to_string(bit), uint64_t{1} << bit));
    }
    return changes;
  }
  static EntryChanges Accepted() {
    return {
        Setting<VmcsField::kGuestPendingDebugExceptions>("B0-B3, breakpoint and BS", 0x500F)};
  }
};

struct GuestPendingSingleStep {
  // Bits of RFLAGS, of IA32_DEBUGCTL and of the pending debug exceptions.
  static void Step(S& s, uint64_t rflags, uint64_t debugctl, uint64_t pending) {
    s.SetBits(VmcsField::kGuestRflags, rflags);
    s.v.Set<VmcsField::kGuestIa32Debugctl>(debugctl);
    s.v.Set<VmcsField::kGuestPendingDebugExceptions>(pending);
  }
  static EntryChanges EachState(std::string what, uint64_t rflags, uint64_t debugctl,
                                uint64_t pending) {
    const auto step = [=](S& s) { Step(s, rflags, debugctl, pending); };
    return {{"STI, " + what,
             [=](S& s) {
               step(s);
               s.v.Set<VmcsField::kGuestInterruptibilityState>(kSti);
             }},
            {"MOV SS, " + what,
             [=](S& s) {
               step(s);
               s.v.Set<VmcsField::kGuestInterruptibilityState>(kMovSs);
             }},
            {"HLT, " + what, [=](S& s) {
               step(s);
               s.v.Set<VmcsField::kGuestActivityState>(1);
             }}};
  }
  static EntryChanges Join(std::vector<EntryChanges> parts) {
    EntryChanges all;
    for (EntryChanges& part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
  }
  static EntryChanges Breaking() {
    return Join({EachState("TF without BS", Rflags::kTf, 0, 0),
                 EachState("BS without TF", 0, 0, kBs),
                 EachState("BS with TF and BTF", Rflags::kTf, DebugCtl::kBtf, kBs)});
  }
  static EntryChanges Accepted() {
    return Join({EachState("TF with BS", Rflags::kTf, 0, kBs),
                 EachState("neither", 0, 0, 0),
                 EachState("TF and BTF without BS", Rflags::kTf, DebugCtl::kBtf, 0),
                 {{"active, not blocked, TF without BS", [](S& s) { Step(s, Rflags::kTf, 0, 0); }},
                  {"active, not blocked, BS without TF", [](S& s) { Step(s, 0, 0, kBs); }}}});
  }
};

// A region at that address, with those first four bytes.
EntryChange LinkedTo(std::string what, uint64_t address, uint32_t revision = kVmcs12Revision) {
  return {std::move(what), [=](S& s) {
            s.v.Set<VmcsField::kVmcsLinkPointer>(address);
            s.e.linked_revision = revision;
          }};
}
EntryChange WithShadowing(EntryChange change) {
  return {change.what + ", VMCS shadowing", [change](S& s) {
            UseSecondary(s, Secondary::kVmcsShadowing);
            change.apply(s);
          }};
}
constexpr uint32_t kShadowRevision = kVmcs12Revision | 0x80000000;

struct VmcsLinkPointer {
  static EntryChanges Breaking() {
    return {LinkedTo("not aligned", 0x1800), LinkedTo("only 32 ones", 0xFFFFFFFF),
            LinkedTo("beyond the width", uint64_t{1} << 39),
            LinkedTo("all ones but bit 0", ~uint64_t{1})};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kVmcsLinkPointer>("all ones", ~uint64_t{0}),
            LinkedTo("a region", 0x1000), LinkedTo("0", 0)};
  }
};

struct LinkedVmcs {
  static EntryChanges Breaking() {
    return {LinkedTo("another revision", 0x1000, kVmcs12Revision + 1),
            LinkedTo("a shadow VMCS without VMCS shadowing", 0x1000, kShadowRevision),
            WithShadowing(LinkedTo("no shadow VMCS", 0x1000)),
            WithShadowing(LinkedTo("another revision", 0x1000, kShadowRevision + 1))};
  }
  static EntryChanges Accepted() {
    return {LinkedTo("no shadow VMCS", 0x1000),
            WithShadowing(LinkedTo("a shadow VMCS", 0x1000, kShadowRevision)),
            WithShadowing(Setting<VmcsField::kVmcsLinkPointer>("none", ~uint64_t{0}))};
  }
};

struct LinkedVmcsIsNotCurrent {
  static EntryChange Current(std::string what, uint64_t current) {
    return {std::move(what), [=](S& s) {
              LinkedTo("", 0x1000).apply(s);
              s.e.current_vmcs = current;
            }};
  }
  static EntryChanges Breaking() { return {Current("the current VMCS", 0x1000)}; }
  static EntryChanges Accepted() { return {Current("another one", 0x2000)}; }
};

struct GuestPdptes {
  static EntryChange Valid(std::string what, bool valid) {
    return {std::move(what), [=](S& s) { s.e.pdptes_are_valid = valid; }};
  }
  static EntryChanges Breaking() { return {Valid("reserved bits are set", false)}; }
  static EntryChanges Accepted() { return {Valid("none is set", true)}; }
};

std::vector<EntryRuleCase> Cases() {
  return {
#define NVMX_GUEST_NON_REGISTER_RULE(name, qualification, condition, source) \
  {#name, qualification, source, name::Breaking(), name::Accepted()},
#include "core/nested/entry_rules.def"
  };
}

class GuestNonRegisterRuleTest : public testing::TestWithParam<EntryRuleCase> {};

TEST_P(GuestNonRegisterRuleTest, WhatBreaksTheRuleFailsTheEntryWithReason33) {
  ForEachChange(GetParam().breaking, [](const S& s) {
    EXPECT_EQ(CheckControlsAndHostState(s.v, s.offered, s.e), std::nullopt);
    EXPECT_THAT(CheckGuestState(s.v, s.offered, s.e),
                GuestStateRefusedBy(GetParam().qualification, GetParam().rule));
  });
}

TEST_P(GuestNonRegisterRuleTest, TheNeighbourIsAccepted) {
  ForEachChange(GetParam().accepted, [](const S& s) {
    EXPECT_EQ(CheckControlsAndHostState(s.v, s.offered, s.e), std::nullopt);
    EXPECT_EQ(CheckGuestState(s.v, s.offered, s.e), std::nullopt);
  });
}

TEST_P(GuestNonRegisterRuleTest, TheRuleCitesTheManual) {
  EXPECT_EQ(GetParam().source.substr(0, 20), "SDM Vol. 3C, 27.3.1.");
}

INSTANTIATE_TEST_SUITE_P(EntryRules, GuestNonRegisterRuleTest, testing::ValuesIn(Cases()),
                         RuleName);

// SDM Vol. 3C, 27.8 "VM-Entry Failures During or After Loading Guest State": the numbers, once, as
// numbers.
TEST(GuestRuleQualificationTest, Is0ButForPdptesAndTheLinkPointer) {
  for (const EntryRuleCase& c : Cases()) {
    const uint64_t expected = c.rule == "GuestPdptes" ? 2
                              : c.rule == "VmcsLinkPointer" || c.rule == "LinkedVmcs" ||
                                      c.rule == "LinkedVmcsIsNotCurrent"
                                  ? 4
                                  : 0;
    EXPECT_EQ(c.qualification, expected) << c.rule;
  }
}

}  // namespace
}  // namespace nvmx
