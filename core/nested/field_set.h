// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_FIELD_SET_H_
#define NVMX_CORE_NESTED_FIELD_SET_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "core/vmx/vmcs_field.h"

namespace nvmx {

// A set of VMCS fields: one bit for each slot.
class FieldSet {
 public:
  constexpr FieldSet() = default;
  constexpr FieldSet(std::initializer_list<VmcsField> fields) {
    for (VmcsField field : fields) Add(field);
  }
  static constexpr FieldSet All() {
    FieldSet all;
    for (const VmcsFieldInformation& row : kVmcsFields) all.Add(row.field);
    return all;
  }

  constexpr bool Has(VmcsField field) const { return (Word(field) & Bit(field)) != 0; }
  constexpr void Add(VmcsField field) { Word(field) |= Bit(field); }
  constexpr void Remove(VmcsField field) { Word(field) &= ~Bit(field); }

  constexpr bool IsEmpty() const { return *this == FieldSet(); }
  constexpr bool Intersects(const FieldSet& other) const { return !(*this & other).IsEmpty(); }

  constexpr FieldSet& operator|=(const FieldSet& other) {
    for (size_t n = 0; n < kWords; ++n) words_[n] |= other.words_[n];
    return *this;
  }
  constexpr FieldSet& operator&=(const FieldSet& other) {
    for (size_t n = 0; n < kWords; ++n) words_[n] &= other.words_[n];
    return *this;
  }
  // Without the fields of the other.
  constexpr FieldSet& operator-=(const FieldSet& other) {
    for (size_t n = 0; n < kWords; ++n) words_[n] &= ~other.words_[n];
    return *this;
  }
  friend constexpr FieldSet operator|(FieldSet a, const FieldSet& b) { return a |= b; }
  friend constexpr FieldSet operator&(FieldSet a, const FieldSet& b) { return a &= b; }
  friend constexpr FieldSet operator-(FieldSet a, const FieldSet& b) { return a -= b; }
  friend constexpr bool operator==(const FieldSet&, const FieldSet&) = default;

  // Calls visit(slot) for the slot of each, in their order.
  template <typename Visit>
  constexpr void ForEachSlot(Visit visit) const {
    for (size_t n = 0; n < kWords; ++n) {
      for (uint64_t rest = words_[n]; rest != 0; rest &= rest - 1) {
        visit(n * kBits + static_cast<size_t>(std::countr_zero(rest)));
      }
    }
  }
  // Calls visit(field) for each, in the order of the slots.
  template <typename Visit>
  constexpr void ForEach(Visit visit) const {
    ForEachSlot([&](size_t slot) { visit(FieldAt(slot)); });
  }

 private:
  static constexpr size_t kBits = 64;
  static constexpr size_t kWords = (kVmcsFieldCount + kBits - 1) / kBits;

  static constexpr uint64_t Bit(VmcsField field) { return uint64_t{1} << Slot(field) % kBits; }
  constexpr uint64_t& Word(VmcsField field) { return words_[Slot(field) / kBits]; }
  constexpr uint64_t Word(VmcsField field) const { return words_[Slot(field) / kBits]; }

  std::array<uint64_t, kWords> words_ = {};
};
static_assert(std::is_trivially_copyable_v<FieldSet>);
static_assert(std::has_unique_object_representations_v<FieldSet>);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_FIELD_SET_H_
