// SPDX-License-Identifier: Apache-2.0
//
// The fields of the VMCS, generated from vmcs_fields.def, and what is derived from an encoding.
// Source: SDM Vol. 3C, 25.11.2 "VMREAD, VMWRITE, and Encodings of VMCS Fields" (structure of an
// encoding); Vol. 3D, Appendix B "Field Encoding in VMCS".
#ifndef NVMX_CORE_VMX_VMCS_FIELD_H_
#define NVMX_CORE_VMX_VMCS_FIELD_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>

namespace nvmx {

// The value of an enumerator is the encoding of the field (the full field, not its high half).
enum class VmcsField : uint32_t {
#define NVMX_VMCS_FIELD(field, encoding, name, existence, policy) field = encoding,
#include "core/vmx/vmcs_fields.def"
#undef NVMX_VMCS_FIELD
};

inline constexpr size_t kVmcsFieldCount = 0
#define NVMX_VMCS_FIELD(field, encoding, name, existence, policy) +1
#include "core/vmx/vmcs_fields.def"
#undef NVMX_VMCS_FIELD
    ;

// Bits 14:13 of an encoding.
enum class FieldWidth : uint8_t { k16 = 0, k64 = 1, k32 = 2, kNatural = 3 };
// Bits 11:10 of an encoding.
enum class FieldType : uint8_t { kControl = 0, kReadOnlyData = 1, kGuestState = 2, kHostState = 3 };

// On which CPUs a field exists: those that support the 1-setting of the control that it is named
// after. capabilities.h evaluates it. kIfGuest... and kIfHost... stand for the controls that load,
// save or clear the register on VM entry or VM exit.
enum class FieldExistence : uint8_t {
  kAlways,
  kNotEnumerated,  // no capability MSR says so; such a field is treated as absent
  kIfVpid,
  kIfPostedInterrupts,
  kIfEptViolationVe,
  kIfHlat,
  kIfIpiVirtualization,
  kIfVirtualInterruptDelivery,
  kIfPml,
  kIfUinv,
  kIfMsrBitmaps,
  kIfTprShadow,
  kIfVirtualizeApicAccesses,
  kIfVmFunctions,
  kIfEptpSwitching,
  kIfEpt,
  kIfVmcsShadowing,
  kIfXsaves,
  kIfEnclsExiting,
  kIfSubPageWritePermissions,
  kIfTscScaling,
  kIfTertiaryControls,
  kIfEnclvExiting,
  kIfPasidTranslation,
  kIfPconfig,
  kIfSecondaryVmExitControls,
  kIfVirtualizeIa32SpecCtrl,
  kIfGuestPat,
  kIfGuestEfer,
  kIfGuestPerfGlobalCtrl,
  kIfGuestBndcfgs,
  kIfGuestRtitCtl,
  kIfGuestLbrCtl,
  kIfGuestPkrs,
  kIfGuestCet,
  kIfHostPat,
  kIfHostEfer,
  kIfHostPerfGlobalCtrl,
  kIfHostPkrs,
  kIfHostCet,
  kIfSecondaryControls,
  kIfPauseLoopExiting,
  kIfInstructionTimeout,
  kIfVmxPreemptionTimer,
  kIfCr3TargetValue0,
  kIfCr3TargetValue1,
  kIfCr3TargetValue2,
  kIfCr3TargetValue3,
};

// Where the value of the field in VMCS02 comes from.
enum class Vmcs02Policy : uint8_t {
  kCopy,              // VMCS12, unchanged
  kMerge,             // VMCS12 and L0's own needs
  kTranslateAddress,  // VMCS12, an address of L1's that L0 translates and checks
  kHostOwned,         // L0 alone; VMCS12's value is used by software, if at all
  kExitInformation,   // the CPU writes it on VM exit; L1's copy follows from the reflected exit
  kUnused,            // L0 does not use the feature in VMCS02
};

// Bits of an encoding.
struct FieldEncoding {
  static constexpr uint32_t kHigh = uint32_t{1} << 0;
  static constexpr unsigned kIndexShift = 1;
  static constexpr uint32_t kIndexMask = 0x1FF;
  static constexpr unsigned kTypeShift = 10;
  static constexpr uint32_t kTypeMask = 0x3;
  static constexpr unsigned kWidthShift = 13;
  static constexpr uint32_t kWidthMask = 0x3;
  static constexpr uint32_t kReserved = 0xFFFF8000 | uint32_t{1} << 12;
};

constexpr uint32_t Encoding(VmcsField field) { return static_cast<uint32_t>(field); }

// The parts of any encoding, whether or not a field has it.
constexpr bool IsHigh(uint32_t encoding) { return (encoding & FieldEncoding::kHigh) != 0; }
constexpr unsigned Index(uint32_t encoding) {
  return (encoding >> FieldEncoding::kIndexShift) & FieldEncoding::kIndexMask;
}
constexpr FieldType Type(uint32_t encoding) {
  return static_cast<FieldType>((encoding >> FieldEncoding::kTypeShift) & FieldEncoding::kTypeMask);
}
constexpr FieldWidth Width(uint32_t encoding) {
  return static_cast<FieldWidth>((encoding >> FieldEncoding::kWidthShift) &
                                 FieldEncoding::kWidthMask);
}
constexpr unsigned Index(VmcsField field) { return Index(Encoding(field)); }
constexpr FieldType Type(VmcsField field) { return Type(Encoding(field)); }
constexpr FieldWidth Width(VmcsField field) { return Width(Encoding(field)); }

// The bits that a field can hold. A natural-width field has 64: every CPU that nvmx runs on
// supports Intel 64 architecture.
constexpr uint64_t ValueMask(FieldWidth width) {
  switch (width) {
    case FieldWidth::k16:
      return 0xFFFF;
    case FieldWidth::k32:
      return 0xFFFFFFFF;
    case FieldWidth::k64:
    case FieldWidth::kNatural:
      break;
  }
  return ~uint64_t{0};
}
constexpr uint64_t ValueMask(VmcsField field) { return ValueMask(Width(field)); }

// The same by slot.
inline constexpr std::array<uint64_t, kVmcsFieldCount> kValueMasks = {
#define NVMX_VMCS_FIELD(field, encoding, name, existence, policy) ValueMask(VmcsField::field),
#include "core/vmx/vmcs_fields.def"
#undef NVMX_VMCS_FIELD
};

// The unsigned type as wide as the field.
template <VmcsField F>
using FieldValue =
    std::conditional_t<Width(F) == FieldWidth::k16, uint16_t,
                       std::conditional_t<Width(F) == FieldWidth::k32, uint32_t, uint64_t>>;

struct VmcsFieldInformation {
  VmcsField field;
  const char* name;
  FieldExistence existence;
  Vmcs02Policy policy;
};

// The rows of vmcs_fields.def. The position of a row is the slot of its field.
inline constexpr std::array<VmcsFieldInformation, kVmcsFieldCount> kVmcsFields = {{
#define NVMX_VMCS_FIELD(field, encoding, name, existence, policy) \
  {VmcsField::field, name, FieldExistence::existence, Vmcs02Policy::policy},
#include "core/vmx/vmcs_fields.def"
#undef NVMX_VMCS_FIELD
}};

namespace vmcs_field_internal {

// From width, type and the low bits of the index to the slot: 1 KByte, so that the lookup on the
// exit path is two masks and a load. 64 indices a group are enough for every field there is; that
// they are is asserted below.
inline constexpr unsigned kIndicesPerGroup = 64;
inline constexpr uint8_t kNoSlot = 0xFF;
static_assert(kVmcsFieldCount < kNoSlot);

constexpr size_t Position(uint32_t encoding) {
  const size_t group =
      static_cast<size_t>(Width(encoding)) * 4 + static_cast<size_t>(Type(encoding));
  return group * kIndicesPerGroup + Index(encoding);
}

constexpr std::array<uint8_t, 16 * kIndicesPerGroup> MakeSlots() {
  std::array<uint8_t, 16 * kIndicesPerGroup> slots{};
  for (uint8_t& slot : slots) slot = kNoSlot;
  for (size_t slot = 0; slot < kVmcsFieldCount; ++slot) {
    slots[Position(Encoding(kVmcsFields[slot].field))] = static_cast<uint8_t>(slot);
  }
  return slots;
}
inline constexpr auto kSlots = MakeSlots();

constexpr bool EveryIndexFits() {
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (Index(row.field) >= kIndicesPerGroup) return false;
  }
  return true;
}
static_assert(EveryIndexFits());

}  // namespace vmcs_field_internal

// The slot of a field: 0 to kVmcsFieldCount - 1, dense. One table lookup.
constexpr size_t Slot(VmcsField field) {
  return vmcs_field_internal::kSlots[vmcs_field_internal::Position(Encoding(field))];
}

// The slot of the field that VMREAD and VMWRITE address by `encoding`, or nothing if the table has
// no such field. The high half of a 64-bit field has the slot of the field; IsHigh tells them
// apart. Only bits 31:0 of the operand are seen here: bits 63:32 must be checked before they are
// dropped.
constexpr std::optional<size_t> SlotOf(uint32_t encoding) {
  if ((encoding & FieldEncoding::kReserved) != 0) return std::nullopt;
  if (IsHigh(encoding) && Width(encoding) != FieldWidth::k64) return std::nullopt;
  if (Index(encoding) >= vmcs_field_internal::kIndicesPerGroup) return std::nullopt;
  const uint8_t slot = vmcs_field_internal::kSlots[vmcs_field_internal::Position(encoding)];
  if (slot == vmcs_field_internal::kNoSlot) return std::nullopt;
  return slot;
}

// The field in a slot below kVmcsFieldCount.
constexpr VmcsField FieldAt(size_t slot) { return kVmcsFields[slot].field; }

// As SlotOf, but the field.
constexpr std::optional<VmcsField> FieldOf(uint32_t encoding) {
  const std::optional<size_t> slot = SlotOf(encoding);
  if (!slot) return std::nullopt;
  return FieldAt(*slot);
}

// The SDM name of the field.
constexpr const char* Name(VmcsField field) { return kVmcsFields[Slot(field)].name; }

constexpr FieldExistence Existence(VmcsField field) { return kVmcsFields[Slot(field)].existence; }

constexpr Vmcs02Policy Policy(VmcsField field) { return kVmcsFields[Slot(field)].policy; }

}  // namespace nvmx

#endif  // NVMX_CORE_VMX_VMCS_FIELD_H_
