// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/testing/vm_entry_fixture.h"

namespace nvmx::sim {
namespace {

using F = EntryFixture;

constexpr uint64_t kUnusable = 0x10000;

void RealModeCs(F& f) {
  f.MakeRealModeGuest();
  f.Set(VmcsField::kGuestCsAccessRights, 0x93);
  f.Set(VmcsField::kGuestCsLimit, 0xFFFF);
}
// CS and SS with this DPL and RPL.
void SetCpl(F& f, uint64_t cpl) {
  for (VmcsField selector : {VmcsField::kGuestCsSelector, VmcsField::kGuestSsSelector}) {
    f.Or(selector, cpl);
  }
  for (VmcsField rights : {VmcsField::kGuestCsAccessRights, VmcsField::kGuestSsAccessRights}) {
    f.Or(rights, cpl << 5);
  }
}

const EntryCase kCases[] = {
    // --- SDM Vol. 3C, 27.3.1.2 "Checks on Guest Segment Registers".
    {"guest TR selector: TI", [](F& f) { f.Or(VmcsField::kGuestTrSelector, 4); },
     [](F& f) { f.Or(VmcsField::kGuestTrSelector, 3); }},
    {"guest LDTR selector: TI",
     [](F& f) {
       f.UseLdtr();
       f.Or(VmcsField::kGuestLdtrSelector, 4);
     },
     [](F& f) { f.Or(VmcsField::kGuestLdtrSelector, 4); }},
    {"guest SS selector: RPL",
     [](F& f) {
       f.Or(VmcsField::kGuestSsSelector, 3);
       f.Or(VmcsField::kGuestSsAccessRights, 0x60);
     },
     [](F& f) { SetCpl(f, 3); }},
    {"guest SS selector: RPL", [](F& f) { f.Or(VmcsField::kGuestSsSelector, 1); },
     [](F& f) {
       f.UseUnrestrictedGuest();
       f.Or(VmcsField::kGuestSsSelector, 1);
     }},
    {"guest segment bases in virtual-8086 mode",
     [](F& f) {
       f.MakeVirtual8086Guest();
       f.Set(VmcsField::kGuestDsBase, 0x10010);
     },
     [](F& f) { f.MakeVirtual8086Guest(); }},
    {"guest TR, FS and GS bases: canonical",
     [](F& f) { f.Set(VmcsField::kGuestTrBase, F::kNotCanonical); },
     [](F& f) { f.Set(VmcsField::kGuestTrBase, ~uint64_t{0} << 47); }},
    {"guest TR, FS and GS bases: canonical",
     [](F& f) {
       f.Set(VmcsField::kGuestFsBase, F::kNotCanonical);
       f.Set(VmcsField::kGuestFsAccessRights, kUnusable);
     },
     [](F& f) { f.Set(VmcsField::kGuestFsBase, uint64_t{1} << 40); }},
    {"guest TR, FS and GS bases: canonical",
     [](F& f) { f.Set(VmcsField::kGuestGsBase, uint64_t{1} << 47); },
     [](F& f) { f.Set(VmcsField::kGuestGsBase, (uint64_t{1} << 47) - 1); }},
    {"guest LDTR base: canonical",
     [](F& f) {
       f.UseLdtr();
       f.Set(VmcsField::kGuestLdtrBase, F::kNotCanonical);
     },
     [](F& f) { f.Set(VmcsField::kGuestLdtrBase, F::kNotCanonical); }},
    {"guest CS base: bits 63:32", [](F& f) { f.Set(VmcsField::kGuestCsBase, uint64_t{1} << 32); },
     [](F& f) { f.Set(VmcsField::kGuestCsBase, 0xFFFFFFFF); }},
    {"guest SS, DS and ES bases: bits 63:32",
     [](F& f) { f.Set(VmcsField::kGuestEsBase, uint64_t{1} << 32); },
     [](F& f) {
       f.Set(VmcsField::kGuestEsBase, uint64_t{1} << 32);
       f.Or(VmcsField::kGuestEsAccessRights, kUnusable);
     }},
    {"guest segment limits in virtual-8086 mode",
     [](F& f) {
       f.MakeVirtual8086Guest();
       f.Set(VmcsField::kGuestGsLimit, 0xFFFFF);
     },
     [](F& f) { f.Set(VmcsField::kGuestGsLimit, 0xFFFFFFFF); }},
    {"guest access rights in virtual-8086 mode",
     [](F& f) {
       f.MakeVirtual8086Guest();
       f.Set(VmcsField::kGuestCsAccessRights, 0xFB);
     },
     [](F& f) { f.MakeVirtual8086Guest(); }},
    {"guest access rights in virtual-8086 mode",
     [](F& f) {
       f.MakeVirtual8086Guest();
       f.Or(VmcsField::kGuestFsAccessRights, kUnusable);
     },
     [](F& f) { f.Or(VmcsField::kGuestFsAccessRights, kUnusable); }},
    {"guest CS access rights: type", [](F& f) { f.Set(VmcsField::kGuestCsAccessRights, 0xA09A); },
     [](F& f) { f.Set(VmcsField::kGuestCsAccessRights, 0xA099); }},
    {"guest CS access rights: type", [](F& f) { f.Set(VmcsField::kGuestCsAccessRights, 0xA093); },
     [](F& f) {
       f.UseUnrestrictedGuest();
       f.Set(VmcsField::kGuestCsAccessRights, 0xA093);
     }},
    {"guest SS access rights: type", [](F& f) { f.Set(VmcsField::kGuestSsAccessRights, 0xC091); },
     [](F& f) { f.Set(VmcsField::kGuestSsAccessRights, 0xC097); }},
    {"guest SS access rights: type", [](F& f) { f.Set(VmcsField::kGuestSsAccessRights, 0xC09B); },
     [](F& f) { f.Set(VmcsField::kGuestSsAccessRights, 0xC09B | kUnusable); }},
    {"guest DS, ES, FS and GS access rights: type",
     [](F& f) { f.Set(VmcsField::kGuestDsAccessRights, 0xC092); },
     [](F& f) { f.Set(VmcsField::kGuestDsAccessRights, 0xC091); }},
    {"guest DS, ES, FS and GS access rights: type",
     [](F& f) { f.Set(VmcsField::kGuestGsAccessRights, 0xC099); },
     [](F& f) { f.Set(VmcsField::kGuestGsAccessRights, 0xC09B); }},
    {"guest segment access rights: S", [](F& f) { f.Set(VmcsField::kGuestEsAccessRights, 0xC083); },
     [](F& f) { f.Set(VmcsField::kGuestEsAccessRights, 0xC083 | kUnusable); }},
    {"guest segment access rights: S",
     [](F& f) { f.Set(VmcsField::kGuestCsAccessRights, 0xA08B | kUnusable); },
     [](F& f) { f.Set(VmcsField::kGuestCsAccessRights, 0xA09B | kUnusable); }},
    {"guest CS access rights: DPL", [](F& f) { f.Set(VmcsField::kGuestCsAccessRights, 0xA0FB); },
     [](F& f) { SetCpl(f, 3); }},
    {"guest CS access rights: DPL", [](F& f) { f.Set(VmcsField::kGuestCsAccessRights, 0xA0FF); },
     [](F& f) {
       SetCpl(f, 3);
       f.Set(VmcsField::kGuestCsAccessRights, 0xA09F);
     }},
    {"guest CS access rights: DPL",
     [](F& f) {
       f.UseUnrestrictedGuest();
       f.Set(VmcsField::kGuestCsAccessRights, 0xA0B3);
     },
     [](F& f) {
       f.UseUnrestrictedGuest();
       f.Set(VmcsField::kGuestCsAccessRights, 0xA093);
     }},
    {"guest SS access rights: DPL",
     [](F& f) {
       f.Or(VmcsField::kGuestCsAccessRights, 0x60);
       f.Or(VmcsField::kGuestSsAccessRights, 0x60);
     },
     [](F& f) {
       f.UseUnrestrictedGuest();
       f.Or(VmcsField::kGuestCsAccessRights, 0x60);
       f.Or(VmcsField::kGuestSsAccessRights, 0x60);
     }},
    {"guest SS access rights: DPL",
     [](F& f) {
       RealModeCs(f);
       f.Or(VmcsField::kGuestSsAccessRights, 0x60);
     },
     RealModeCs},
    {"guest SS access rights: DPL",
     [](F& f) {
       f.MakeRealModeGuest();
       f.Or(VmcsField::kGuestCsAccessRights, 0x60);
       f.Or(VmcsField::kGuestSsAccessRights, 0x60);
     },
     [](F& f) { f.MakeRealModeGuest(); }},
    {"guest DS, ES, FS and GS access rights: DPL",
     [](F& f) { f.Or(VmcsField::kGuestFsSelector, 3); },
     [](F& f) {
       f.Or(VmcsField::kGuestFsSelector, 3);
       f.Or(VmcsField::kGuestFsAccessRights, 0x60);
     }},
    {"guest DS, ES, FS and GS access rights: DPL",
     [](F& f) {
       f.Or(VmcsField::kGuestFsSelector, 3);
       f.Set(VmcsField::kGuestFsAccessRights, 0xC09B);
     },
     [](F& f) {
       f.Or(VmcsField::kGuestFsSelector, 3);
       f.Set(VmcsField::kGuestFsAccessRights, 0xC09F);
     }},
    {"guest DS, ES, FS and GS access rights: DPL",
     [](F& f) { f.Or(VmcsField::kGuestDsSelector, 1); },
     [](F& f) {
       f.UseUnrestrictedGuest();
       f.Or(VmcsField::kGuestDsSelector, 1);
     }},
    {"guest segment access rights: P", [](F& f) { f.Clear(VmcsField::kGuestCsAccessRights, 0x80); },
     [](F& f) {
       f.Clear(VmcsField::kGuestDsAccessRights, 0x80);
       f.Or(VmcsField::kGuestDsAccessRights, kUnusable);
     }},
    {"guest segment access rights: reserved bits",
     [](F& f) { f.Or(VmcsField::kGuestSsAccessRights, 0x100); },
     [](F& f) { f.Or(VmcsField::kGuestSsAccessRights, 0x1000); }},
    {"guest segment access rights: reserved bits",
     [](F& f) { f.Or(VmcsField::kGuestCsAccessRights, 0x20000); },
     [](F& f) { f.Or(VmcsField::kGuestGsAccessRights, 0x20000 | kUnusable); }},
    {"guest CS access rights: D/B with L in IA-32e mode",
     [](F& f) { f.Or(VmcsField::kGuestCsAccessRights, 0x4000); },
     [](F& f) {
       f.Make32BitGuest();
       f.Set(VmcsField::kGuestCsAccessRights, 0xE09B);
     }},
    {"guest segment access rights: G against the limit",
     [](F& f) { f.Set(VmcsField::kGuestDsLimit, 0xFFFFFFFE); },
     [](F& f) { f.Set(VmcsField::kGuestDsLimit, 0xFFF); }},
    {"guest segment access rights: G against the limit",
     [](F& f) { f.Clear(VmcsField::kGuestCsAccessRights, 0x8000); },
     [](F& f) {
       f.Clear(VmcsField::kGuestCsAccessRights, 0x8000);
       f.Set(VmcsField::kGuestCsLimit, 0xFFFFE);
     }},
    {"guest TR access rights: type", [](F& f) { f.Set(VmcsField::kGuestTrAccessRights, 0x89); },
     [](F& f) {
       f.Make32BitGuest();
       f.Set(VmcsField::kGuestTrAccessRights, 0x83);
     }},
    {"guest TR access rights: type", [](F& f) { f.Set(VmcsField::kGuestTrAccessRights, 0x83); },
     [](F& f) { f.Set(VmcsField::kGuestTrAccessRights, 0x8B); }},
    {"guest TR access rights: S", [](F& f) { f.Or(VmcsField::kGuestTrAccessRights, 0x10); },
     [](F& f) { f.Or(VmcsField::kGuestTrAccessRights, 0x60); }},
    {"guest TR access rights: P", [](F& f) { f.Clear(VmcsField::kGuestTrAccessRights, 0x80); },
     [](F& f) { f.Or(VmcsField::kGuestTrAccessRights, 0x80); }},
    {"guest TR access rights: reserved bits",
     [](F& f) { f.Or(VmcsField::kGuestTrAccessRights, 0x800); },
     [](F& f) { f.Or(VmcsField::kGuestTrAccessRights, 0x1000); }},
    {"guest TR access rights: G against the limit",
     [](F& f) { f.Or(VmcsField::kGuestTrAccessRights, 0x8000); },
     [](F& f) {
       f.Or(VmcsField::kGuestTrAccessRights, 0x8000);
       f.Set(VmcsField::kGuestTrLimit, 0xFFF);
     }},
    {"guest TR access rights: unusable",
     [](F& f) { f.Or(VmcsField::kGuestTrAccessRights, kUnusable); },
     [](F& f) { f.Or(VmcsField::kGuestSsAccessRights, kUnusable); }},
    {"guest LDTR access rights: type",
     [](F& f) {
       f.UseLdtr();
       f.Set(VmcsField::kGuestLdtrAccessRights, 0x8B);
     },
     [](F& f) { f.UseLdtr(); }},
    {"guest LDTR access rights: S",
     [](F& f) {
       f.UseLdtr();
       f.Or(VmcsField::kGuestLdtrAccessRights, 0x10);
     },
     [](F& f) { f.Or(VmcsField::kGuestLdtrAccessRights, 0x10); }},
    {"guest LDTR access rights: P",
     [](F& f) {
       f.UseLdtr();
       f.Clear(VmcsField::kGuestLdtrAccessRights, 0x80);
     },
     [](F& f) { f.UseLdtr(); }},
    {"guest LDTR access rights: reserved bits",
     [](F& f) {
       f.UseLdtr();
       f.Or(VmcsField::kGuestLdtrAccessRights, 0x40000);
     },
     [](F& f) { f.Or(VmcsField::kGuestLdtrAccessRights, 0x40000); }},
    {"guest LDTR access rights: G against the limit",
     [](F& f) {
       f.UseLdtr();
       f.Set(VmcsField::kGuestLdtrLimit, 0x100000);
     },
     [](F& f) {
       f.UseLdtr();
       f.Set(VmcsField::kGuestLdtrLimit, 0xFFFFE);
     }},

    // --- SDM Vol. 3C, 27.3.1.3 "Checks on Guest Descriptor-Table Registers".
    {"guest GDTR and IDTR bases: canonical",
     [](F& f) { f.Set(VmcsField::kGuestGdtrBase, F::kNotCanonical); },
     [](F& f) { f.Set(VmcsField::kGuestGdtrBase, ~uint64_t{0} << 47); }},
    {"guest GDTR and IDTR bases: canonical",
     [](F& f) { f.Set(VmcsField::kGuestIdtrBase, F::kNotCanonical); },
     [](F& f) { f.Set(VmcsField::kGuestIdtrBase, 0x1000); }},
    {"guest GDTR and IDTR limits: bits 31:16",
     [](F& f) { f.Set(VmcsField::kGuestGdtrLimit, 0x10000); },
     [](F& f) { f.Set(VmcsField::kGuestGdtrLimit, 0xFFFF); }},
    {"guest GDTR and IDTR limits: bits 31:16",
     [](F& f) { f.Set(VmcsField::kGuestIdtrLimit, 0x10000); },
     [](F& f) { f.Set(VmcsField::kGuestIdtrLimit, 0xFFFF); }},

    // --- SDM Vol. 3C, 27.3.1.4 "Checks on Guest RIP, RFLAGS, and SSP".
    {"guest RIP: bits 63:32 outside 64-bit mode",
     [](F& f) {
       f.Set(VmcsField::kGuestCsAccessRights, 0xC09B);
       f.Set(VmcsField::kGuestRip, uint64_t{1} << 32);
     },
     [](F& f) { f.Set(VmcsField::kGuestRip, uint64_t{1} << 32); }},
    {"guest RIP: bits beyond the linear-address width",
     [](F& f) { f.Set(VmcsField::kGuestRip, uint64_t{1} << 48); },
     [](F& f) { f.Set(VmcsField::kGuestRip, uint64_t{1} << 47); }},
    {"guest RIP: bits beyond the linear-address width",
     [](F& f) { f.Set(VmcsField::kGuestRip, uint64_t{0x7FFF} << 48); },
     [](F& f) { f.Set(VmcsField::kGuestRip, uint64_t{0xFFFF} << 48); }},
    {"guest RFLAGS: reserved bits", [](F& f) { f.Clear(VmcsField::kGuestRflags, Rflags::kFixed1); },
     [](F& f) { f.Or(VmcsField::kGuestRflags, 0x3D7ED7); }},
    {"guest RFLAGS: reserved bits", [](F& f) { f.Or(VmcsField::kGuestRflags, 1 << 15); },
     [](F& f) { f.Or(VmcsField::kGuestRflags, Rflags::kId); }},
    {"guest RFLAGS: reserved bits", [](F& f) { f.Or(VmcsField::kGuestRflags, uint64_t{1} << 63); },
     [](F& f) { f.Or(VmcsField::kGuestRflags, Rflags::kNt); }},
    {"guest RFLAGS.VM in IA-32e mode or without CR0.PE",
     [](F& f) {
       f.MakeVirtual8086Guest();
       f.Or(VmcsField::kGuestCr4, Cr4::kPae);
       f.Entry(VmEntry::kIa32eModeGuest);
     },
     [](F& f) { f.MakeVirtual8086Guest(); }},
    {"guest RFLAGS.VM in IA-32e mode or without CR0.PE",
     [](F& f) {
       f.MakeVirtual8086Guest();
       f.UseUnrestrictedGuest();
       f.Clear(VmcsField::kGuestCr0, Cr0::kPe | Cr0::kPg);
     },
     [](F& f) {
       f.MakeVirtual8086Guest();
       f.UseUnrestrictedGuest();
     }},
    {"guest RFLAGS.IF with an injected external interrupt",
     [](F& f) { f.Inject(InterruptionType::kExternalInterrupt, 0x21); },
     [](F& f) { f.InjectInterrupt(); }},
};

class SegmentRule : public testing::TestWithParam<EntryCase> {};
TEST_P(SegmentRule, IsAnEntryFailureAndItsNeighbourPasses) {
  ExpectCase(GetParam(), InvalidGuestState);
}
INSTANTIATE_TEST_SUITE_P(Rules, SegmentRule, testing::ValuesIn(kCases));

TEST(SegmentRules, EachHasACase) { ExpectEveryRuleHasACase({GuestSegmentRules()}, kCases); }

}  // namespace
}  // namespace nvmx::sim
