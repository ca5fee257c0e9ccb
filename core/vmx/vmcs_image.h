// SPDX-License-Identifier: Apache-2.0
//
// The contents of a VMCS as a value.
#ifndef NVMX_CORE_VMX_VMCS_IMAGE_H_
#define NVMX_CORE_VMX_VMCS_IMAGE_H_

#include <array>
#include <cstdint>
#include <type_traits>

#include "core/vmx/vmcs_field.h"

namespace nvmx {

// Bit 31 of the first four bytes of a VMCS region; the revision identifier is in bits 30:0.
// SDM Vol. 3C, 25.2 "Format of the VMCS Region".
inline constexpr uint32_t kShadowVmcsIndicator = uint32_t{1} << 31;

// One 64-bit word for each field of vmcs_fields.def, all 0 at first. Every word stays within the
// width of its field, so two images that hold the same values are the same bytes.
class VmcsImage {
 public:
  // The field in a type as wide as itself.
  template <VmcsField F>
  constexpr FieldValue<F> Get() const {
    return static_cast<FieldValue<F>>(words_[Slot(F)]);
  }

  // Stores the low bits of `value`, as many as the field has.
  template <VmcsField F>
  constexpr void Set(uint64_t value) {
    words_[Slot(F)] = value & ValueMask(F);
  }

  // The same for a field that is not known until run time; zero-extended to 64 bits.
  constexpr uint64_t Read(VmcsField field) const { return words_[Slot(field)]; }
  constexpr void Write(VmcsField field, uint64_t value) {
    words_[Slot(field)] = value & ValueMask(field);
  }

  // The same by slot.
  constexpr uint64_t ReadSlot(size_t slot) const { return words_[slot]; }
  constexpr void WriteSlot(size_t slot, uint64_t value) {
    words_[slot] = value & kValueMasks[slot];
  }

  friend constexpr bool operator==(const VmcsImage&, const VmcsImage&) = default;

 private:
  std::array<uint64_t, kVmcsFieldCount> words_ = {};
};

static_assert(std::is_trivially_copyable_v<VmcsImage>);
static_assert(std::has_unique_object_representations_v<VmcsImage>);

}  // namespace nvmx

#endif  // NVMX_CORE_VMX_VMCS_IMAGE_H_
