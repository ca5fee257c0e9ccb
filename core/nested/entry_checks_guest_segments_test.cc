// SPDX-License-Identifier: Apache-2.0
//
// Every NVMX_GUEST_SEGMENT_RULE of entry_rules.def: what breaks it fails the entry with reason 33
// and the rule's qualification, and its neighbours are accepted.
#include "core/nested/entry_checks.h"
#include "core/testing/entry_rule_cases.h"
#include "core/testing/matchers.h"
#include "core/vmx/controls.h"
#include "core/x86/segment.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using S = EntrySubject;

constexpr VmcsField kCs = VmcsField::kGuestCsAccessRights;
constexpr VmcsField kSs = VmcsField::kGuestSsAccessRights;
constexpr VmcsField kTr = VmcsField::kGuestTrAccessRights;
constexpr VmcsField kLdtr = VmcsField::kGuestLdtrAccessRights;
constexpr uint64_t kHole = uint64_t{1} << 47;
constexpr uint64_t kAboveHole = 0xFFFF'8000'0000'0000;
constexpr uint32_t kUnusable = AccessRights::kUnusable;
constexpr uint32_t kLdt = AccessRights::kTypeLdt | AccessRights::kP;

// The access rights of DS, ES, FS and GS; of these and SS; of these, SS and CS.
const std::vector<VmcsField> kDataRights = {
    VmcsField::kGuestDsAccessRights, VmcsField::kGuestEsAccessRights,
    VmcsField::kGuestFsAccessRights, VmcsField::kGuestGsAccessRights};
std::vector<VmcsField> WithSs() {
  std::vector<VmcsField> fields = kDataRights;
  fields.push_back(kSs);
  return fields;
}
std::vector<VmcsField> WithSsAndCs() {
  std::vector<VmcsField> fields = WithSs();
  fields.push_back(kCs);
  return fields;
}

// The change of one field, for each of the fields.
EntryChanges Each(
    const std::vector<VmcsField>& fields, std::string what,
    std::function<uint64_t(uint64_t)> change, std::function<void(S&)> before = [](S&) {}) {
  EntryChanges changes;
  for (VmcsField field : fields) {
    changes.push_back({Name(field) + (": " + what), [=](S& s) {
                         before(s);
                         s.v.Write(field, change(s.v.Read(field)));
                       }});
  }
  return changes;
}
EntryChanges EachSet(const std::vector<VmcsField>& fields, uint64_t value) {
  return Each(fields, std::to_string(value), [=](uint64_t) { return value; });
}
EntryChanges EachFlipped(const std::vector<VmcsField>& fields, uint64_t bits) {
  return Each(fields, "with other bits " + std::to_string(bits),
              [=](uint64_t old) { return old ^ bits; });
}
EntryChanges Join(const std::vector<EntryChanges>& parts) {
  EntryChanges all;
  for (const EntryChanges& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}
EntryChange Ldtr(std::string what, uint64_t rights, uint64_t limit = 0xFFFF) {
  return {std::move(what), [=](S& s) {
            s.v.Set<kLdtr>(rights);
            s.v.Set<VmcsField::kGuestLdtrLimit>(limit);
          }};
}
// A usable LDTR that the entry accepts, but for the field.
template <VmcsField F>
EntryChange UsableLdtrWith(std::string what, uint64_t value) {
  return {std::move(what), [=](S& s) {
            s.v.Set<kLdtr>(kLdt);
            s.v.Set<F>(value);
          }};
}
EntryChange Dpl(std::string what, VmcsField field, uint64_t rights) {
  return {std::move(what), [=](S& s) { s.v.Write(field, rights); }};
}

// The change, of an unrestricted guest.
EntryChange Unrestricted(EntryChange change) {
  return {change.what + ", unrestricted guest", [change](S& s) {
            BeUnrestricted(s);
            change.apply(s);
          }};
}

struct GuestTrIsInTheGdt {
  static EntryChanges Breaking() { return {Setting<VmcsField::kGuestTrSelector>("TI is 1", 0x44)}; }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kGuestTrSelector>("RPL is 3", 0x43)};
  }
};

struct GuestLdtrIsInTheGdt {
  static EntryChanges Breaking() {
    return {UsableLdtrWith<VmcsField::kGuestLdtrSelector>("TI is 1", 0x4C)};
  }
  static EntryChanges Accepted() {
    return {UsableLdtrWith<VmcsField::kGuestLdtrSelector>("TI is 0", 0x48),
            Setting<VmcsField::kGuestLdtrSelector>("TI is 1, unusable", 0x4C)};
  }
};

struct GuestSsRpl {
  static EntryChanges Breaking() {
    return {Setting<VmcsField::kGuestSsSelector>("RPL of SS is 3, of CS 0", 0x33),
            Setting<VmcsField::kGuestCsSelector>("RPL of CS is 1, of SS 0", 0x39)};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kGuestSsSelector>("TI of SS is 1", 0x34),
            {"they differ in virtual-8086 mode", EnterVirtual8086Mode},
            Unrestricted(Setting<VmcsField::kGuestSsSelector>("RPL of SS is 3, of CS 0", 0x33))};
  }
};

// What the guest must be like in virtual-8086 mode, one field at a time.
template <VmcsField... Fields>
struct Virtual8086Rule {
  static EntryChanges EachIncremented() {
    return Each(
        {Fields...}, "one more", [](uint64_t old) { return old + 1; }, EnterVirtual8086Mode);
  }
  static EntryChanges Breaking() { return EachIncremented(); }
  static EntryChanges Accepted() { return {{"virtual-8086 mode", EnterVirtual8086Mode}}; }
};
struct GuestVirtual8086Bases
    : Virtual8086Rule<VmcsField::kGuestEsBase, VmcsField::kGuestCsBase, VmcsField::kGuestSsBase,
                      VmcsField::kGuestDsBase, VmcsField::kGuestFsBase, VmcsField::kGuestGsBase> {
  static EntryChanges Accepted() {
    return {{"virtual-8086 mode", EnterVirtual8086Mode},
            Setting<VmcsField::kGuestDsBase>("any base in 64-bit mode", 0x123)};
  }
};
struct GuestVirtual8086Limits
    : Virtual8086Rule<VmcsField::kGuestEsLimit, VmcsField::kGuestCsLimit, VmcsField::kGuestSsLimit,
                      VmcsField::kGuestDsLimit, VmcsField::kGuestFsLimit,
                      VmcsField::kGuestGsLimit> {};
struct GuestVirtual8086AccessRights
    : Virtual8086Rule<VmcsField::kGuestEsAccessRights, VmcsField::kGuestCsAccessRights,
                      VmcsField::kGuestSsAccessRights, VmcsField::kGuestDsAccessRights,
                      VmcsField::kGuestFsAccessRights, VmcsField::kGuestGsAccessRights> {
  static EntryChanges Breaking() {
    EntryChanges changes = EachIncremented();
    changes.push_back({"SS is unusable", [](S& s) {
                         EnterVirtual8086Mode(s);
                         s.SetBits(kSs, kUnusable);
                       }});
    return changes;
  }
};

struct GuestTrFsGsBasesCanonical {
  static std::vector<VmcsField> Bases() {
    return {VmcsField::kGuestTrBase, VmcsField::kGuestFsBase, VmcsField::kGuestGsBase};
  }
  static EntryChanges Breaking() { return EachSet(Bases(), kHole); }
  static EntryChanges Accepted() { return EachSet(Bases(), kAboveHole); }
};

struct GuestLdtrBaseCanonical {
  static EntryChanges Breaking() {
    return {UsableLdtrWith<VmcsField::kGuestLdtrBase>("in the hole", kHole)};
  }
  static EntryChanges Accepted() {
    return {UsableLdtrWith<VmcsField::kGuestLdtrBase>("above the hole", kAboveHole),
            Setting<VmcsField::kGuestLdtrBase>("in the hole, unusable", kHole)};
  }
};

struct GuestCsBaseWidth {
  static EntryChanges Breaking() {
    return {Setting<VmcsField::kGuestCsBase>("bit 32", uint64_t{1} << 32),
            Setting<VmcsField::kGuestCsBase>("canonical, above the hole", kAboveHole)};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kGuestCsBase>("bits 31:0", 0xFFFFFFFF)};
  }
};

struct GuestSsDsEsBaseWidth {
  static std::vector<VmcsField> Bases() {
    return {VmcsField::kGuestSsBase, VmcsField::kGuestDsBase, VmcsField::kGuestEsBase};
  }
  static EntryChanges Breaking() { return EachSet(Bases(), uint64_t{1} << 32); }
  static EntryChanges Accepted() {
    return Join({EachSet(Bases(), 0xFFFFFFFF),
                 Each(
                     Bases(), "bit 32, unusable", [](uint64_t) { return uint64_t{1} << 32; },
                     [](S& s) {
                       for (VmcsField rights : WithSs()) s.SetBits(rights, kUnusable);
                     })});
  }
};

struct GuestCsType {
  static EntryChanges Breaking() {
    EntryChanges changes =
        Join({EachSet({kCs}, 0xA093), EachSet({kCs}, 0xA098), EachSet({kCs}, 0xA09A),
              EachSet({kCs}, 0xA09E), EachSet({kCs}, 0xA097)});
    for (uint32_t rights : {0xA091, 0xA092, 0xA097, 0xA09A}) {
      changes.push_back(Unrestricted(Setting<kCs>(std::to_string(rights), rights)));
    }
    return changes;
  }
  static EntryChanges Accepted() {
    return Join({EachSet({kCs}, 0xA099),
                 EachSet({kCs}, 0xA09B),
                 EachSet({kCs}, 0xA09D),
                 EachSet({kCs}, 0xA09F),
                 {Unrestricted(Setting<kCs>("accessed writable expand-up data", 0xA093))}});
  }
};

struct GuestSsType {
  static EntryChanges Breaking() {
    return Join({EachSet({kSs}, 0xC091), EachSet({kSs}, 0xC092), EachSet({kSs}, 0xC095),
                 EachSet({kSs}, 0xC09B), EachSet({kSs}, 0xC09F)});
  }
  static EntryChanges Accepted() {
    return Join(
        {EachSet({kSs}, 0xC093), EachSet({kSs}, 0xC097), EachSet({kSs}, kUnusable | 0xC09B)});
  }
};

struct GuestDataSegmentTypes {
  static EntryChanges Breaking() {
    return Join({EachSet(kDataRights, 0xC092), EachSet(kDataRights, 0xC09A),
                 EachSet(kDataRights, 0xC099), EachSet(kDataRights, 0xC09D)});
  }
  static EntryChanges Accepted() {
    return Join({EachSet(kDataRights, 0xC091), EachSet(kDataRights, 0xC095),
                 EachSet(kDataRights, 0xC09B), EachSet(kDataRights, 0xC09F),
                 EachSet(kDataRights, kUnusable)});
  }
};

// Rules about CS and each usable one of the others.
template <uint64_t Bits>
struct RightsRule {
  static EntryChanges Breaking() { return EachFlipped(WithSsAndCs(), Bits); }
  static EntryChanges Accepted() { return EachFlipped(WithSs(), Bits | kUnusable); }
};
struct GuestSegmentsAreCodeOrData : RightsRule<AccessRights::kS> {};
struct GuestSegmentsPresent : RightsRule<AccessRights::kP> {};

struct GuestCsDpl {
  static EntryChanges Breaking() {
    return {Dpl("ring 3 over SS in ring 0", kCs, 0xA0FB),
            Dpl("conforming, ring 1 over SS in ring 0", kCs, 0xA0BF),
            Unrestricted(Dpl("data, ring 3", kCs, 0xA0F3))};
  }
  static EntryChange InRing3(std::string what, uint64_t cs) {
    return {std::move(what), [cs](S& s) {
              s.v.Set<VmcsField::kGuestCsSelector>(0x3B);
              s.v.Set<VmcsField::kGuestSsSelector>(0x33);
              for (VmcsField rights : WithSs()) s.v.Write(rights, 0xC0F3);
              s.v.Set<kCs>(cs);
            }};
  }
  static EntryChanges Accepted() {
    return {InRing3("ring 3 as SS", 0xA0FB), InRing3("conforming, ring 0, SS in ring 3", 0xA09F),
            InRing3("conforming, ring 3 as SS", 0xA0FF),
            Unrestricted(Dpl("data, ring 0", kCs, 0xA093))};
  }
};

struct GuestSsDpl {
  // CS is conforming, so its own rule lets SS have any DPL.
  static EntryChange ConformingCs(std::string what, uint64_t rpl, uint64_t ss) {
    return {std::move(what), [=](S& s) {
              s.v.Set<kCs>(0xA09F);
              s.SetBits(VmcsField::kGuestCsSelector, rpl);
              s.SetBits(VmcsField::kGuestSsSelector, rpl);
              for (VmcsField rights : WithSs()) s.v.Write(rights, 0xC0F3);
              s.v.Set<kSs>(ss);
            }};
  }
  static EntryChanges Breaking() {
    return {ConformingCs("DPL 3, RPL 0", 0, 0xC0F3), ConformingCs("DPL 0, RPL 3", 3, 0xC093),
            ConformingCs("DPL 3, RPL 0, unusable", 0, kUnusable | 0xC0F3)};
  }
  static EntryChanges Accepted() {
    return {ConformingCs("DPL 3, RPL 3", 3, 0xC0F3), ConformingCs("DPL 0, RPL 0", 0, 0xC093),
            Unrestricted(ConformingCs("DPL 3, RPL 0", 0, 0xC0F3))};
  }
};

struct GuestSsDplInRealMode {
  static EntryChange InRealMode(std::string what, uint64_t ss) {
    return Unrestricted({std::move(what), [=](S& s) {
                           LeaveIa32eMode(s);
                           s.ClearBits(VmcsField::kGuestCr0, 1 | uint64_t{1} << 31);
                           s.v.Set<kCs>(0xC09F);
                           s.v.Set<kSs>(ss);
                         }});
  }
  static EntryChange WithDataInCs(std::string what, uint64_t ss) {
    return Unrestricted({std::move(what), [=](S& s) {
                           s.v.Set<kCs>(0xA093);
                           s.v.Set<kSs>(ss);
                         }});
  }
  static EntryChanges Breaking() {
    return {InRealMode("DPL 3, CR0.PE is 0", 0xC0F3), WithDataInCs("DPL 3, CS is data", 0xC0F3)};
  }
  static EntryChanges Accepted() {
    return {InRealMode("DPL 0, CR0.PE is 0", 0xC093), WithDataInCs("DPL 0, CS is data", 0xC093),
            Unrestricted(GuestSsDpl::ConformingCs("DPL 3, code in CS", 3, 0xC0F3))};
  }
};

struct GuestDataSegmentDpls {
  static EntryChange WithRpl3(std::string what, uint64_t rights) {
    return {
        std::move(what), [=](S& s) {
          for (VmcsField selector : {VmcsField::kGuestDsSelector, VmcsField::kGuestEsSelector,
                                     VmcsField::kGuestFsSelector, VmcsField::kGuestGsSelector}) {
            s.SetBits(selector, 3);
          }
          for (VmcsField field : kDataRights) s.v.Write(field, rights);
        }};
  }
  static EntryChanges Breaking() {
    EntryChanges changes = Join({Each({VmcsField::kGuestDsSelector, VmcsField::kGuestEsSelector,
                                       VmcsField::kGuestFsSelector, VmcsField::kGuestGsSelector},
                                      "RPL 1 over DPL 0", [](uint64_t old) { return old | 1; })});
    changes.push_back(WithRpl3("data, DPL 2", 0xC0D3));
    changes.push_back(WithRpl3("nonconforming code, DPL 2", 0xC0DB));
    return changes;
  }
  static EntryChanges Accepted() {
    return {WithRpl3("data, DPL 3", 0xC0F3), WithRpl3("conforming code, DPL 0", 0xC09F),
            WithRpl3("unusable", kUnusable | 0xC093),
            Unrestricted(WithRpl3("data, DPL 0", 0xC093))};
  }
};

struct GuestSegmentReservedRights {
  static EntryChanges Breaking() {
    return Join({EachFlipped(WithSsAndCs(), 1u << 8), EachFlipped(WithSsAndCs(), 1u << 11),
                 EachFlipped(WithSsAndCs(), 1u << 17), EachFlipped(WithSsAndCs(), 1u << 31)});
  }
  static EntryChanges Accepted() {
    return Join({EachFlipped(WithSsAndCs(), AccessRights::kAvl),
                 EachFlipped(WithSs(), AccessRights::kReserved | kUnusable)});
  }
};

struct GuestCsDefaultSize {
  static EntryChanges Breaking() { return EachSet({kCs}, 0xE09B); }
  static EntryChanges Accepted() {
    return {Setting<kCs>("D/B in compatibility mode", 0xC09B),
            {"L and D/B outside IA-32e mode", [](S& s) {
               LeaveIa32eMode(s);
               s.v.Set<kCs>(0xE09B);
             }}};
  }
};

struct GuestSegmentGranularity {
  static std::vector<VmcsField> Limits() {
    return {VmcsField::kGuestEsLimit, VmcsField::kGuestCsLimit, VmcsField::kGuestSsLimit,
            VmcsField::kGuestDsLimit, VmcsField::kGuestFsLimit, VmcsField::kGuestGsLimit};
  }
  static EntryChanges Breaking() {
    return Join({EachSet(Limits(), 0xFFFFFFFE), EachSet(Limits(), 0xFFFFF7FF),
                 EachFlipped(WithSsAndCs(), AccessRights::kG)});
  }
  static EntryChanges Accepted() {
    return Join({EachSet(Limits(), 0xFFF),
                 EachSet(Limits(), 0xFFFFF),
                 EachFlipped(WithSs(), AccessRights::kG | kUnusable),
                 {{"bytes: no G", [](S& s) {
                     for (VmcsField limit : Limits()) s.v.Write(limit, 0xFFFFE);
                     for (VmcsField rights : WithSsAndCs()) s.ClearBits(rights, AccessRights::kG);
                   }}}});
  }
};

struct GuestTrType {
  static EntryChanges Breaking() {
    EntryChanges changes = Join({EachSet({kTr}, 0x89), EachSet({kTr}, 0x83), EachSet({kTr}, 0x82)});
    changes.push_back({"available TSS outside IA-32e mode", [](S& s) {
                         LeaveIa32eMode(s);
                         s.v.Set<kTr>(0x89);
                       }});
    return changes;
  }
  static EntryChanges Accepted() {
    return {Setting<kTr>("busy TSS", 0x8B), {"busy 16-bit TSS outside IA-32e mode", [](S& s) {
                                               LeaveIa32eMode(s);
                                               s.v.Set<kTr>(0x83);
                                             }}};
  }
};

struct GuestTrIsSystemSegment {
  static EntryChanges Breaking() { return EachSet({kTr}, 0x9B); }
  static EntryChanges Accepted() { return EachSet({kTr}, 0x8B); }
};

struct GuestTrPresent {
  static EntryChanges Breaking() { return EachSet({kTr}, 0x0B); }
  static EntryChanges Accepted() { return EachSet({kTr}, 0xEB); }
};

struct GuestTrReservedRights {
  static EntryChanges Breaking() {
    return Join({EachSet({kTr}, 0x18B), EachSet({kTr}, 0x88B), EachSet({kTr}, 0x2008B),
                 EachSet({kTr}, 0x8000008B)});
  }
  static EntryChanges Accepted() { return EachSet({kTr}, 0x708B); }
};

struct GuestTrGranularity {
  static EntryChanges Breaking() {
    return {Setting<kTr>("limit 67H with G", 0x808B),
            Setting<VmcsField::kGuestTrLimit>("limit 100000H without G", 0x100000)};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kGuestTrLimit>("limit FFFFFH without G", 0xFFFFF),
            {"limit 1FFFFFH with G", [](S& s) {
               s.v.Set<kTr>(0x808B);
               s.v.Set<VmcsField::kGuestTrLimit>(0x1FFFFF);
             }}};
  }
};

struct GuestTrUsable {
  static EntryChanges Breaking() { return EachSet({kTr}, kUnusable | 0x8B); }
  static EntryChanges Accepted() { return EachSet({kTr}, 0x8B); }
};

struct GuestLdtrType {
  static EntryChanges Breaking() { return {Ldtr("type 3", 0x83), Ldtr("type 0", 0x80)}; }
  static EntryChanges Accepted() {
    return {Ldtr("type 2", kLdt), Ldtr("type 3, unusable", kUnusable | 0x83)};
  }
};

struct GuestLdtrIsSystemSegment {
  static EntryChanges Breaking() { return {Ldtr("S is 1", 0x92)}; }
  static EntryChanges Accepted() {
    return {Ldtr("S is 0", kLdt), Ldtr("S is 1, unusable", kUnusable | 0x92)};
  }
};

struct GuestLdtrPresent {
  static EntryChanges Breaking() { return {Ldtr("P is 0", 0x02)}; }
  static EntryChanges Accepted() {
    return {Ldtr("P is 1", kLdt), Ldtr("P is 0, unusable", kUnusable | 0x02)};
  }
};

struct GuestLdtrReservedRights {
  static EntryChanges Breaking() {
    return {Ldtr("bit 8", kLdt | 1u << 8), Ldtr("bit 11", kLdt | 1u << 11),
            Ldtr("bit 17", kLdt | 1u << 17), Ldtr("bit 31", kLdt | 1u << 31)};
  }
  static EntryChanges Accepted() {
    return {Ldtr("AVL, L and D/B", kLdt | 0x7000),
            Ldtr("reserved bits, unusable", kUnusable | kLdt | AccessRights::kReserved)};
  }
};

struct GuestLdtrGranularity {
  static EntryChanges Breaking() {
    return {Ldtr("limit FFFEH with G", kLdt | AccessRights::kG, 0xFFFE),
            Ldtr("limit 100000H without G", kLdt, 0x100000)};
  }
  static EntryChanges Accepted() {
    return {Ldtr("limit FFFFFH with G", kLdt | AccessRights::kG, 0xFFFFF),
            Ldtr("limit FFFEH without G", kLdt, 0xFFFE),
            Ldtr("limit 100000H without G, unusable", kUnusable | kLdt, 0x100000)};
  }
};

std::vector<EntryRuleCase> Cases() {
  return {
#define NVMX_GUEST_SEGMENT_RULE(name, qualification, condition, source) \
  {#name, qualification, source, name::Breaking(), name::Accepted()},
#include "core/nested/entry_rules.def"
  };
}

class GuestSegmentRuleTest : public testing::TestWithParam<EntryRuleCase> {};

TEST_P(GuestSegmentRuleTest, WhatBreaksTheRuleFailsTheEntryWithReason33) {
  ForEachChange(GetParam().breaking, [](const S& s) {
    EXPECT_EQ(CheckControlsAndHostState(s.v, s.offered, s.e), std::nullopt);
    EXPECT_THAT(CheckGuestState(s.v, s.offered, s.e),
                GuestStateRefusedBy(GetParam().qualification, GetParam().rule));
  });
}

TEST_P(GuestSegmentRuleTest, TheNeighbourIsAccepted) {
  ForEachChange(GetParam().accepted, [](const S& s) {
    EXPECT_EQ(CheckControlsAndHostState(s.v, s.offered, s.e), std::nullopt);
    EXPECT_EQ(CheckGuestState(s.v, s.offered, s.e), std::nullopt);
  });
}

TEST_P(GuestSegmentRuleTest, TheRuleCitesTheManual) {
  EXPECT_EQ(GetParam().source.substr(0, 20), "SDM Vol. 3C, 27.3.1.");
}

INSTANTIATE_TEST_SUITE_P(EntryRules, GuestSegmentRuleTest, testing::ValuesIn(Cases()), RuleName);

// SDM Vol. 3C, 27.8 "VM-Entry Failures During or After Loading Guest State".
TEST(GuestSegmentRuleQualificationTest, Is0) {
  for (const EntryRuleCase& c : Cases()) EXPECT_EQ(c.qualification, 0u) << c.rule;
}

}  // namespace
}  // namespace nvmx
