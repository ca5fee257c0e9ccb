// SPDX-License-Identifier: Apache-2.0
#include "core/nested/entry_segments.h"

#include "core/nested/entry_conditions.h"
#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"

namespace nvmx {
namespace {

using enum SegmentRegister;

constexpr SegmentRegister kCodeAndData[] = {kEs, kCs, kSs, kDs, kFs, kGs};
constexpr SegmentRegister kData[] = {kEs, kDs, kFs, kGs};

// Encodings of neighbouring segment registers are 2 apart.
constexpr VmcsField FieldOf(SegmentRegister name, VmcsField of_es) {
  return static_cast<VmcsField>(static_cast<uint32_t>(of_es) + 2 * static_cast<uint32_t>(name));
}
static_assert(FieldOf(kTr, VmcsField::kGuestEsSelector) == VmcsField::kGuestTrSelector);
static_assert(FieldOf(kTr, VmcsField::kGuestEsBase) == VmcsField::kGuestTrBase);
static_assert(FieldOf(kTr, VmcsField::kGuestEsLimit) == VmcsField::kGuestTrLimit);
static_assert(FieldOf(kTr, VmcsField::kGuestEsAccessRights) == VmcsField::kGuestTrAccessRights);

bool HasType(const GuestSegment& s, uint32_t bits) { return (s.rights.type() & bits) == bits; }

bool IsUnrestricted(const VmcsImage& v) { return HasSecondary(v, Secondary::kUnrestrictedGuest); }

// Type 3: what real mode makes of CS.
bool IsAccessedWritableExpandUpData(const GuestSegment& s) {
  return s.rights.type() == (AccessRights::kTypeWritable | AccessRights::kTypeAccessed);
}

bool IsAccessedAndReadable(const GuestSegment& s) {
  if (!HasType(s, AccessRights::kTypeAccessed)) return false;
  return !s.is_code() || HasType(s, AccessRights::kTypeReadable);
}

bool DplPermitsRpl(const GuestSegment& s) {
  return HasType(s, AccessRights::kTypeCode | AccessRights::kTypeConforming) ||
         s.rights.dpl() >= s.rpl();
}

bool EachUsableDataSegment(const VmcsImage& v, SegmentRule rule) {
  if (IsVirtual8086(v)) return true;
  for (SegmentRegister name : kData) {
    const GuestSegment s = ReadSegment(v, name);
    if (!s.rights.unusable() && !rule(s)) return false;
  }
  return true;
}

}  // namespace

GuestSegment ReadSegment(const VmcsImage& v, SegmentRegister name) {
  return {
      name, static_cast<uint16_t>(v.Read(FieldOf(name, VmcsField::kGuestEsSelector))),
      v.Read(FieldOf(name, VmcsField::kGuestEsBase)),
      static_cast<uint32_t>(v.Read(FieldOf(name, VmcsField::kGuestEsLimit))),
      AccessRights{static_cast<uint32_t>(v.Read(FieldOf(name, VmcsField::kGuestEsAccessRights)))}};
}

bool GranularityFitsLimit(const GuestSegment& s) {
  constexpr uint32_t kLow = 0x00000FFF;
  constexpr uint32_t kHigh = 0xFFF00000;
  if ((s.limit & kLow) != kLow && s.rights.g()) return false;
  return (s.limit & kHigh) == 0 || s.rights.g();
}

bool RightsAreOfVirtual8086(const GuestSegment& s) {
  return s.rights.value == (AccessRights::kTypeWritable | AccessRights::kTypeAccessed |
                            AccessRights::kS | AccessRights::kDpl | AccessRights::kP);
}

bool EachInVirtual8086(const VmcsImage& v, SegmentRule rule) {
  if (!IsVirtual8086(v)) return true;
  for (SegmentRegister name : kCodeAndData) {
    if (!rule(ReadSegment(v, name))) return false;
  }
  return true;
}

bool EachInProtectedMode(const VmcsImage& v, SegmentRule rule) {
  if (IsVirtual8086(v)) return true;
  for (SegmentRegister name : kCodeAndData) {
    const GuestSegment s = ReadSegment(v, name);
    if ((name == kCs || !s.rights.unusable()) && !rule(s)) return false;
  }
  return true;
}

bool CsIsAccessedCode(const VmcsImage& v) {
  const GuestSegment cs = ReadSegment(v, kCs);
  if (IsVirtual8086(v) || (IsUnrestricted(v) && IsAccessedWritableExpandUpData(cs))) return true;
  return HasType(cs, AccessRights::kTypeCode | AccessRights::kTypeAccessed);
}

bool SsIsAccessedWritableData(const VmcsImage& v) {
  const GuestSegment ss = ReadSegment(v, kSs);
  if (IsVirtual8086(v) || ss.rights.unusable()) return true;
  return !ss.is_code() && HasType(ss, AccessRights::kTypeWritable | AccessRights::kTypeAccessed);
}

bool DataSegmentsAreAccessedAndReadable(const VmcsImage& v) {
  return EachUsableDataSegment(v, &IsAccessedAndReadable);
}

bool CsDplFitsSs(const VmcsImage& v) {
  if (IsVirtual8086(v)) return true;
  const GuestSegment cs = ReadSegment(v, kCs);
  if (!cs.is_code()) return cs.rights.dpl() == 0;
  const unsigned of_ss = ReadSegment(v, kSs).rights.dpl();
  return HasType(cs, AccessRights::kTypeConforming) ? cs.rights.dpl() <= of_ss
                                                    : cs.rights.dpl() == of_ss;
}

bool SsDplIsItsRpl(const VmcsImage& v) {
  const GuestSegment ss = ReadSegment(v, kSs);
  return IsVirtual8086(v) || IsUnrestricted(v) || ss.rights.dpl() == ss.rpl();
}

bool SsDplIs0IfItMustBe(const VmcsImage& v) {
  if (IsVirtual8086(v)) return true;
  const bool must_be_0 =
      !ReadSegment(v, kCs).is_code() || (v.Get<VmcsField::kGuestCr0>() & Cr0::kPe) == 0;
  return !must_be_0 || ReadSegment(v, kSs).rights.dpl() == 0;
}

bool SsRplIsThatOfCs(const VmcsImage& v) {
  return IsVirtual8086(v) || IsUnrestricted(v) ||
         ReadSegment(v, kSs).rpl() == ReadSegment(v, kCs).rpl();
}

bool DataSegmentDplsPermitRpls(const VmcsImage& v) {
  return IsUnrestricted(v) || EachUsableDataSegment(v, &DplPermitsRpl);
}

bool StackAndDataBasesFitIn32Bits(const VmcsImage& v) {
  for (SegmentRegister name : {kSs, kDs, kEs}) {
    const GuestSegment s = ReadSegment(v, name);
    if (!s.rights.unusable() && !FitsIn32Bits(s.base)) return false;
  }
  return true;
}

}  // namespace nvmx
