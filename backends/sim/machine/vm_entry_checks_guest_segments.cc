// SPDX-License-Identifier: Apache-2.0
//
// SDM Vol. 3C, 27.3.1.2 "Checks on Guest Segment Registers", 27.3.1.3 "Checks on Guest
// Descriptor-Table Registers", 27.3.1.4 "Checks on Guest RIP, RFLAGS, and SSP".
#include "backends/sim/machine/vm_entry_checks.h"
#include "core/x86/control_registers.h"
#include "core/x86/rflags.h"

namespace nvmx::sim {
namespace {

using enum SegmentRegister;
constexpr SegmentRegister kCodeAndData[] = {kCs, kSs, kDs, kEs, kFs, kGs};
constexpr SegmentRegister kDataButSs[] = {kDs, kEs, kFs, kGs};

bool IsVirtual8086(const EntryInput& in) {
  return (in.Get<VmcsField::kGuestRflags>() & Rflags::kVm) != 0;
}
bool IsUnrestricted(const EntryInput& in) { return in.Secondary(Secondary::kUnrestrictedGuest); }
bool IsLongMode(const EntryInput& in) { return in.Entry(VmEntry::kIa32eModeGuest); }

// Whether `holds` of each of the registers that are usable, in a guest that is not in virtual-8086
// mode. CS counts as usable always.
template <size_t N>
bool AllUsable(const EntryInput& in, const SegmentRegister (&registers)[N],
               bool (*holds)(const EntrySegment&)) {
  if (IsVirtual8086(in)) return true;
  for (SegmentRegister name : registers) {
    const EntrySegment segment = in.Segment(name);
    if (name != kCs && segment.rights.unusable()) continue;
    if (!holds(segment)) return false;
  }
  return true;
}
template <size_t N>
bool AllVirtual8086(const EntryInput& in, const SegmentRegister (&registers)[N],
                    bool (*holds)(const EntrySegment&)) {
  if (!IsVirtual8086(in)) return true;
  for (SegmentRegister name : registers) {
    if (!holds(in.Segment(name))) return false;
  }
  return true;
}

bool IsPresent(const EntrySegment& s) { return s.rights.present(); }
bool IsCodeOrData(const EntrySegment& s) { return s.rights.s(); }
bool HasNoReservedRights(const EntrySegment& s) {
  return (s.rights.value & AccessRights::kReserved) == 0;
}
bool IsGranularityRight(const EntrySegment& s) {
  constexpr uint32_t kLow = 0xFFF;
  constexpr uint32_t kHigh = 0xFFF00000;
  if ((s.limit & kLow) != kLow && s.rights.g()) return false;
  return (s.limit & kHigh) == 0 || s.rights.g();
}
bool IsBase32Bit(const EntrySegment& s) { return s.base >> 32 == 0; }

constexpr uint32_t kDataReadWriteAccessed =
    AccessRights::kTypeWritable | AccessRights::kTypeAccessed;

bool IsCsTypeRight(const EntryInput& in) {
  const uint32_t type = in.Segment(kCs).rights.type();
  if (IsUnrestricted(in) && type == kDataReadWriteAccessed) return true;
  constexpr uint32_t kAccessedCode = AccessRights::kTypeCode | AccessRights::kTypeAccessed;
  return (type & kAccessedCode) == kAccessedCode;
}

bool IsCsDplRight(const EntryInput& in) {
  const AccessRights cs = in.Segment(kCs).rights;
  const AccessRights ss = in.Segment(kSs).rights;
  if ((cs.type() & AccessRights::kTypeCode) == 0) return cs.dpl() == 0;
  return (cs.type() & AccessRights::kTypeConforming) != 0 ? cs.dpl() <= ss.dpl()
                                                          : cs.dpl() == ss.dpl();
}

bool IsSsDplRight(const EntryInput& in) {
  const EntrySegment ss = in.Segment(kSs);
  if (!IsUnrestricted(in) && ss.rights.dpl() != (ss.selector & Selector::kRpl)) return false;
  const bool real_mode = (in.Get<VmcsField::kGuestCr0>() & Cr0::kPe) == 0;
  const bool cs_is_data = in.Segment(kCs).rights.type() == kDataReadWriteAccessed;
  return (!real_mode && !cs_is_data) || ss.rights.dpl() == 0;
}

bool IsTrTypeRight(const EntryInput& in) {
  const uint32_t type = in.Segment(kTr).rights.type();
  return type == AccessRights::kTypeBusyTss ||
         (!IsLongMode(in) && type == AccessRights::kTypeBusyTss16);
}

bool IsLdtrUnusable(const EntryInput& in) { return in.Segment(kLdtr).rights.unusable(); }

constexpr EntryRule kSegmentRules[] = {
    // Selectors.
    {"guest TR selector: TI",
     [](const EntryInput& in) { return (in.Segment(kTr).selector & Selector::kTi) == 0; }},
    {"guest LDTR selector: TI",
     [](const EntryInput& in) {
       return IsLdtrUnusable(in) || (in.Segment(kLdtr).selector & Selector::kTi) == 0;
     }},
    {"guest SS selector: RPL",
     [](const EntryInput& in) {
       return IsVirtual8086(in) || IsUnrestricted(in) ||
              ((in.Segment(kSs).selector ^ in.Segment(kCs).selector) & Selector::kRpl) == 0;
     }},
    // Bases.
    {"guest segment bases in virtual-8086 mode",
     [](const EntryInput& in) {
       return AllVirtual8086(in, kCodeAndData, [](const EntrySegment& s) {
         return s.base == static_cast<uint64_t>(s.selector) << 4;
       });
     }},
    {"guest TR, FS and GS bases: canonical",
     [](const EntryInput& in) {
       return in.IsCanonical(in.Segment(kTr).base) && in.IsCanonical(in.Segment(kFs).base) &&
              in.IsCanonical(in.Segment(kGs).base);
     }},
    {"guest LDTR base: canonical",
     [](const EntryInput& in) {
       return IsLdtrUnusable(in) || in.IsCanonical(in.Segment(kLdtr).base);
     }},
    {"guest CS base: bits 63:32",
     [](const EntryInput& in) { return IsBase32Bit(in.Segment(kCs)); }},
    {"guest SS, DS and ES bases: bits 63:32",
     [](const EntryInput& in) {
       for (SegmentRegister name : {kSs, kDs, kEs}) {
         const EntrySegment segment = in.Segment(name);
         if (!segment.rights.unusable() && !IsBase32Bit(segment)) return false;
       }
       return true;
     }},
    // Limits.
    {"guest segment limits in virtual-8086 mode",
     [](const EntryInput& in) {
       return AllVirtual8086(in, kCodeAndData,
                             [](const EntrySegment& s) { return s.limit == 0xFFFF; });
     }},
    // Access rights.
    {"guest access rights in virtual-8086 mode",
     [](const EntryInput& in) {
       // Present, DPL 3, read/write accessed expand-up data.
       constexpr uint32_t kRights =
           AccessRights::kP | AccessRights::kDpl | AccessRights::kS | kDataReadWriteAccessed;
       return AllVirtual8086(in, kCodeAndData,
                             [](const EntrySegment& s) { return s.rights.value == kRights; });
     }},
    {"guest CS access rights: type",
     [](const EntryInput& in) { return IsVirtual8086(in) || IsCsTypeRight(in); }},
    {"guest SS access rights: type",
     [](const EntryInput& in) {
       constexpr SegmentRegister kOnlySs[] = {kSs};
       return AllUsable(in, kOnlySs, [](const EntrySegment& s) {
         return (s.rights.type() & ~AccessRights::kTypeExpandDown) == kDataReadWriteAccessed;
       });
     }},
    {"guest DS, ES, FS and GS access rights: type",
     [](const EntryInput& in) {
       return AllUsable(in, kDataButSs, [](const EntrySegment& s) {
         const uint32_t type = s.rights.type();
         return (type & AccessRights::kTypeAccessed) != 0 &&
                ((type & AccessRights::kTypeCode) == 0 ||
                 (type & AccessRights::kTypeReadable) != 0);
       });
     }},
    {"guest segment access rights: S",
     [](const EntryInput& in) { return AllUsable(in, kCodeAndData, IsCodeOrData); }},
    {"guest CS access rights: DPL",
     [](const EntryInput& in) { return IsVirtual8086(in) || IsCsDplRight(in); }},
    {"guest SS access rights: DPL",
     [](const EntryInput& in) { return IsVirtual8086(in) || IsSsDplRight(in); }},
    {"guest DS, ES, FS and GS access rights: DPL",
     [](const EntryInput& in) {
       return IsUnrestricted(in) || AllUsable(in, kDataButSs, [](const EntrySegment& s) {
                constexpr uint32_t kConformingCode =
                    AccessRights::kTypeCode | AccessRights::kTypeConforming;
                const bool conforming = (s.rights.type() & kConformingCode) == kConformingCode;
                return conforming ||
                       s.rights.dpl() >= static_cast<unsigned>(s.selector & Selector::kRpl);
              });
     }},
    {"guest segment access rights: P",
     [](const EntryInput& in) { return AllUsable(in, kCodeAndData, IsPresent); }},
    {"guest segment access rights: reserved bits",
     [](const EntryInput& in) { return AllUsable(in, kCodeAndData, HasNoReservedRights); }},
    {"guest CS access rights: D/B with L in IA-32e mode",
     [](const EntryInput& in) {
       const AccessRights cs = in.Segment(kCs).rights;
       return IsVirtual8086(in) || !IsLongMode(in) || !cs.l() || !cs.db();
     }},
    {"guest segment access rights: G against the limit",
     [](const EntryInput& in) { return AllUsable(in, kCodeAndData, IsGranularityRight); }},
    {"guest TR access rights: type", IsTrTypeRight},
    {"guest TR access rights: S", [](const EntryInput& in) { return !in.Segment(kTr).rights.s(); }},
    {"guest TR access rights: P",
     [](const EntryInput& in) { return in.Segment(kTr).rights.present(); }},
    {"guest TR access rights: reserved bits",
     [](const EntryInput& in) { return HasNoReservedRights(in.Segment(kTr)); }},
    {"guest TR access rights: G against the limit",
     [](const EntryInput& in) { return IsGranularityRight(in.Segment(kTr)); }},
    {"guest TR access rights: unusable",
     [](const EntryInput& in) { return !in.Segment(kTr).rights.unusable(); }},
    {"guest LDTR access rights: type",
     [](const EntryInput& in) {
       return IsLdtrUnusable(in) || in.Segment(kLdtr).rights.type() == AccessRights::kTypeLdt;
     }},
    {"guest LDTR access rights: S",
     [](const EntryInput& in) { return IsLdtrUnusable(in) || !in.Segment(kLdtr).rights.s(); }},
    {"guest LDTR access rights: P",
     [](const EntryInput& in) { return IsLdtrUnusable(in) || in.Segment(kLdtr).rights.present(); }},
    {"guest LDTR access rights: reserved bits",
     [](const EntryInput& in) {
       return IsLdtrUnusable(in) || HasNoReservedRights(in.Segment(kLdtr));
     }},
    {"guest LDTR access rights: G against the limit",
     [](const EntryInput& in) {
       return IsLdtrUnusable(in) || IsGranularityRight(in.Segment(kLdtr));
     }},

    {"guest GDTR and IDTR bases: canonical",
     [](const EntryInput& in) {
       return in.IsCanonical(in.Get<VmcsField::kGuestGdtrBase>()) &&
              in.IsCanonical(in.Get<VmcsField::kGuestIdtrBase>());
     }},
    {"guest GDTR and IDTR limits: bits 31:16",
     [](const EntryInput& in) {
       return in.Get<VmcsField::kGuestGdtrLimit>() >> 16 == 0 &&
              in.Get<VmcsField::kGuestIdtrLimit>() >> 16 == 0;
     }},

    {"guest RIP: bits 63:32 outside 64-bit mode",
     [](const EntryInput& in) {
       return (IsLongMode(in) && in.Segment(kCs).rights.l()) ||
              in.Get<VmcsField::kGuestRip>() >> 32 == 0;
     }},
    // The bits above the linear-address width only: the address behind the last canonical one of
    // the lower half passes, as the guest's RIP can be there.
    {"guest RIP: bits beyond the linear-address width",
     [](const EntryInput& in) {
       const auto width = static_cast<unsigned>(in.capabilities.linear_address_width);
       const uint64_t upper = in.Get<VmcsField::kGuestRip>() >> width;
       return !IsLongMode(in) || !in.Segment(kCs).rights.l() || upper == 0 ||
              upper == ~uint64_t{0} >> width;
     }},
    {"guest RFLAGS: reserved bits",
     [](const EntryInput& in) {
       const uint64_t rflags = in.Get<VmcsField::kGuestRflags>();
       return (rflags & Rflags::kReservedMustBe0) == 0 && (rflags & Rflags::kFixed1) != 0;
     }},
    {"guest RFLAGS.VM in IA-32e mode or without CR0.PE",
     [](const EntryInput& in) {
       return !IsVirtual8086(in) ||
              (!IsLongMode(in) && (in.Get<VmcsField::kGuestCr0>() & Cr0::kPe) != 0);
     }},
    {"guest RFLAGS.IF with an injected external interrupt",
     [](const EntryInput& in) {
       return !in.Injected().valid() ||
              in.Injected().type() != InterruptionType::kExternalInterrupt ||
              (in.Get<VmcsField::kGuestRflags>() & Rflags::kIf) != 0;
     }},
};

}  // namespace

EntryRules GuestSegmentRules() { return {kSegmentRules, FirstBroken<kSegmentRules>}; }

}  // namespace nvmx::sim
