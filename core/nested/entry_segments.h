// SPDX-License-Identifier: Apache-2.0
//
// What VM entry demands of the guest's segment registers.
// Source: SDM Vol. 3C, 27.3.1.2 "Checks on Guest Segment Registers".
#ifndef NVMX_CORE_NESTED_ENTRY_SEGMENTS_H_
#define NVMX_CORE_NESTED_ENTRY_SEGMENTS_H_

#include <cstdint>

#include "core/vmx/vmcs_image.h"
#include "core/x86/rflags.h"
#include "core/x86/segment.h"

namespace nvmx {

// A segment register as the guest-state area holds it.
struct GuestSegment {
  SegmentRegister name;
  uint16_t selector;
  uint64_t base;
  uint32_t limit;
  AccessRights rights;

  constexpr unsigned rpl() const { return selector & Selector::kRpl; }
  constexpr bool is_in_ldt() const { return (selector & Selector::kTi) != 0; }
  constexpr bool is_code() const { return (rights.type() & AccessRights::kTypeCode) != 0; }
};
GuestSegment ReadSegment(const VmcsImage& v, SegmentRegister name);
inline GuestSegment ReadTr(const VmcsImage& v) { return ReadSegment(v, SegmentRegister::kTr); }
inline GuestSegment ReadLdtr(const VmcsImage& v) { return ReadSegment(v, SegmentRegister::kLdtr); }

// True if the guest is to be in virtual-8086 mode.
inline bool IsVirtual8086(const VmcsImage& v) {
  return (v.Get<VmcsField::kGuestRflags>() & Rflags::kVm) != 0;
}

// --- For one register, whatever its use ---

inline bool IsCodeOrDataSegment(const GuestSegment& s) { return s.rights.s(); }
inline bool IsSystemSegment(const GuestSegment& s) { return !s.rights.s(); }
inline bool IsPresent(const GuestSegment& s) { return s.rights.present(); }
// The bit that makes a register unusable is defined; TR has a rule of its own about it.
inline bool HasNoReservedRights(const GuestSegment& s) {
  return (s.rights.value & AccessRights::kReserved) == 0;
}
// The limit in bytes is one that a descriptor with this G bit can express.
bool GranularityFitsLimit(const GuestSegment& s);

// --- For ES, CS, SS, DS, FS and GS ---

// True if the rule holds for each of them in virtual-8086 mode; in other modes true.
using SegmentRule = bool (*)(const GuestSegment&);
bool EachInVirtual8086(const VmcsImage& v, SegmentRule rule);
inline bool BaseIs16TimesSelector(const GuestSegment& s) {
  return s.base == uint64_t{s.selector} << 4;
}
inline bool LimitIs64KBytes(const GuestSegment& s) { return s.limit == 0xFFFF; }
// Present writable data of ring 3.
bool RightsAreOfVirtual8086(const GuestSegment& s);

// True if the rule holds for CS and for each usable one of the others outside virtual-8086 mode;
// in it true.
bool EachInProtectedMode(const VmcsImage& v, SegmentRule rule);

// True outside virtual-8086 mode if ...
// ... CS is accessed code, or, for an unrestricted guest, accessed writable expand-up data.
bool CsIsAccessedCode(const VmcsImage& v);
// ... SS is unusable or accessed writable data.
bool SsIsAccessedWritableData(const VmcsImage& v);
// ... each of DS, ES, FS and GS is unusable, accessed data, or accessed readable code.
bool DataSegmentsAreAccessedAndReadable(const VmcsImage& v);
// ... the privilege of CS is that of SS, or above it if CS is conforming; 0 if CS is data.
bool CsDplFitsSs(const VmcsImage& v);
// ... the privilege of SS is its RPL, or the guest is unrestricted.
bool SsDplIsItsRpl(const VmcsImage& v);
// ... the privilege of SS is 0, or CS is code and CR0.PE is 1.
bool SsDplIs0IfItMustBe(const VmcsImage& v);
// ... the RPL of SS is that of CS, or the guest is unrestricted.
bool SsRplIsThatOfCs(const VmcsImage& v);
// ... each of DS, ES, FS and GS is unusable, conforming code, or not above its RPL, or the guest is
// unrestricted.
bool DataSegmentDplsPermitRpls(const VmcsImage& v);

// True if bits 63:32 of the base of each usable one of SS, DS and ES are 0.
bool StackAndDataBasesFitIn32Bits(const VmcsImage& v);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_ENTRY_SEGMENTS_H_
