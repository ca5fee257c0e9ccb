// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/ept01.h"

#include <array>

#include "core/vmx/ept.h"

namespace nvmx::metal {
namespace {

constexpr unsigned kLevels = 4;
constexpr uint64_t kFixedRangesEnd = 0x100000;

}  // namespace

bool HasOneMemoryType(const MtrrSettings& memory_types, uint64_t base, uint64_t size) {
  if (size <= kPageSize || (memory_types.default_type & MtrrDefType::kE) == 0) return true;
  if ((memory_types.default_type & MtrrDefType::kFe) != 0 && base < kFixedRangesEnd) return false;
  const uint64_t inside = size - 1;
  for (const MtrrSettings::VariableRange& range : memory_types.variable) {
    if ((range.mask & MtrrVariable::kV) == 0) continue;
    const uint64_t mask = range.mask & MtrrVariable::kAddress;
    const bool may_match = ((base ^ range.base) & mask & ~inside) == 0;
    const bool distinguishes = (mask & inside) != 0;
    if (may_match && distinguishes) return false;
  }
  return true;
}

uint64_t Ept01::NextPage() {
  if (used_ == pages_.pages.size()) return 0;
  pages_.pages[used_].words.fill(0);
  return pages_.AddressOf(used_++).value;
}

EffectiveMtrrs::EffectiveMtrrs(const MtrrSettings& settings) : is_any_(true) {
  if ((settings.default_type & MtrrDefType::kE) == 0) return;
  settings_.default_type = settings.default_type;
  if ((settings.default_type & MtrrDefType::kFe) != 0) {
    for (size_t n = 0; n < std::size(settings.fixed); ++n) settings_.fixed[n] = settings.fixed[n];
  }
  for (const MtrrSettings::VariableRange& range : settings.variable) {
    if ((range.mask & MtrrVariable::kV) != 0) settings_.variable[ranges_++] = range;
  }
}

bool EffectiveMtrrs::IsOfDefaultType(uint64_t base, uint64_t size) const {
  if ((settings_.default_type & MtrrDefType::kFe) != 0 && base < kFixedRangesEnd) return false;
  for (size_t n = 0; n < ranges_; ++n) {
    const MtrrSettings::VariableRange& range = settings_.variable[n];
    if (((base ^ range.base) & range.mask & MtrrVariable::kAddress & ~(size - 1)) == 0)
      return false;
  }
  return true;
}

std::optional<MemoryType> Ept01::TypeOfBlock(uint64_t base, uint64_t size) const {
  const MtrrSettings& settings = types_.settings();
  // TypeOf() of most blocks, and there are many.
  if (types_.IsOfDefaultType(base, size)) {
    return (settings.default_type & MtrrDefType::kE) != 0
               ? static_cast<MemoryType>(settings.default_type & MtrrDefType::kType)
               : MemoryType::kUncacheable;
  }
  if (!HasOneMemoryType(settings, base, size)) return std::nullopt;
  return settings.TypeOf(base);
}

// The entry of level `level` for the block at `base`, with everything below it.
uint64_t Ept01::Entry(uint64_t base, unsigned level) {
  const uint64_t size = uint64_t{1} << EptLevelShift(level);
  const AddressRange block{base, base + size};
  const bool may_be_leaf = level <= kEptLevelPde || (level == kEptLevelPdpte && has_1gbyte_pages_);
  if (absent_.begin <= block.begin && block.end <= absent_.end) return 0;
  if (may_be_leaf && !absent_.Overlaps(block)) {
    if (const std::optional<MemoryType> type = TypeOfBlock(base, size)) {
      return base | EptEntry::kPermissions |
             static_cast<uint64_t>(*type) << EptEntry::kMemoryTypeShift |
             (level > kEptLevelPte ? EptEntry::kLarge : 0);
    }
  }
  const uint64_t table = NextPage();
  // PagesNeeded() are enough; a block without a page would be one that L1 does not have.
  if (table == 0) return 0;
  for (unsigned i = 0; i < kEptEntries; ++i) {
    const uint64_t entry = Entry(base + i * (size >> kEptIndexBits), level - 1);
    pages_.At(PhysicalAddress{table}).words[i] = entry;
  }
  return table | EptEntry::kPermissions;
}

void Ept01::Fill(const MtrrSettings& memory_types) {
  const EffectiveMtrrs types(memory_types);
  if (types == types_) return;
  types_ = types;
  used_ = 0;
  const uint64_t root = NextPage();
  pages_.At(PhysicalAddress{root}).words[0] = Entry(0, kLevels);
}

uint64_t Ept01::pointer() const {
  constexpr auto kWriteBack = static_cast<uint64_t>(MemoryType::kWriteBack);
  return pages_.first.value | kWriteBack | uint64_t{kLevels - 1} << Eptp::kWalkLengthShift;
}

Ept01Mapping Ept01::Map(GuestPhysicalAddress address) const {
  Ept01Mapping mapping{.address = PhysicalAddress{address.value},
                       .block_shift = EptLevelShift(kEptLevelPdpte)};
  if (address.value >= kSpan) return mapping;
  uint64_t table = pages_.first.value;
  for (unsigned level = kLevels;; --level) {
    const uint64_t entry = pages_.At(PhysicalAddress{table}).words[EptIndex(address.value, level)];
    mapping.block_shift = EptLevelShift(level < kEptLevelPdpte ? level : kEptLevelPdpte);
    if ((entry & EptEntry::kPermissions) == 0) return mapping;
    if (level == kEptLevelPte || (entry & EptEntry::kLarge) != 0) {
      mapping.readable = mapping.writable = mapping.executable = true;
      mapping.memory_type =
          static_cast<MemoryType>((entry & EptEntry::kMemoryType) >> EptEntry::kMemoryTypeShift);
      return mapping;
    }
    table = entry & EptEntry::kAddress;
  }
}

}  // namespace nvmx::metal
