// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/ept01.h"

#include <algorithm>
#include <array>
#include <bit>

#include "core/vmx/ept.h"

namespace nvmx::metal {
namespace {

constexpr unsigned kLevels = 4;
constexpr uint64_t kFixedRangesEnd = 0x100000;
constexpr uint64_t kNoEnd = ~uint64_t{0};

// Writes paging structures by ascending addresses, and each entry of them once.
class Writer {
 public:
  // A block of an entry of `largest_level` can be one page.
  Writer(HostPages pages, unsigned largest_level) : pages_(pages), largest_level_(largest_level) {
    tables_[kLevels] = {0, &pages.pages[0]};
  }

  // Maps addresses from `begin` on to themselves, as `bits` says, or to nothing if those are 0: as
  // far as entries of one paging structure go that lie before `end`. Returns where that is.
  uint64_t Write(uint64_t begin, uint64_t end, uint64_t bits);
  // How many pages it has written, the first ones.
  size_t used() const { return used_; }

 private:
  // A paging structure, and what the addresses shifted right are for which it is the one of its
  // level.
  struct Table {
    uint64_t number = kNoEnd;
    HostPage* page = nullptr;
  };

  HostPage* TableOf(uint64_t address, unsigned level);

  HostPages pages_;
  unsigned largest_level_;
  size_t used_ = 1;
  std::array<Table, kLevels + 1> tables_ = {};
};

uint64_t Writer::Write(uint64_t begin, uint64_t end, uint64_t bits) {
  unsigned level = largest_level_;
  while (level > kEptLevelPte && ((begin & ((uint64_t{1} << EptLevelShift(level)) - 1)) != 0 ||
                                  end - begin < uint64_t{1} << EptLevelShift(level))) {
    --level;
  }
  const unsigned shift = EptLevelShift(level);
  const uint64_t table_end = ((begin >> (shift + kEptIndexBits)) + 1) << (shift + kEptIndexBits);
  HostPage* const table = TableOf(begin, level);
  // PagesNeeded() are enough; a block without a page would be one that L1 does not have.
  if (table == nullptr) return table_end;
  const uint64_t step = bits != 0 ? uint64_t{1} << shift : 0;
  uint64_t entry = bits != 0 ? begin | bits | (level > kEptLevelPte ? EptEntry::kLarge : 0) : 0;
  const uint64_t count = (std::min(end, table_end) - begin) >> shift;
  uint64_t* const first = &table->words[EptIndex(begin, level)];
  for (uint64_t* at = first; at != first + count; ++at, entry += step) *at = entry;
  return begin + (count << shift);
}

HostPage* Writer::TableOf(uint64_t address, unsigned level) {
  Table& table = tables_[level];
  const uint64_t number = address >> EptLevelShift(level + 1);
  if (table.number == number) return table.page;
  table = {number, nullptr};
  HostPage* const parent = TableOf(address, level + 1);
  if (parent == nullptr) return nullptr;
  uint64_t& entry = parent->words[EptIndex(address, level + 1)];
  entry = 0;
  if (used_ == pages_.pages.size()) return nullptr;
  entry = pages_.AddressOf(used_).value | EptEntry::kPermissions;
  table.page = &pages_.pages[used_++];
  return table.page;
}

}  // namespace

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

uint64_t EffectiveMtrrs::SameTypeUntil(uint64_t address) const {
  if ((settings_.default_type & MtrrDefType::kE) == 0) return kNoEnd;
  if ((settings_.default_type & MtrrDefType::kFe) != 0 && address < kFixedRangesEnd) {
    const MemoryType type = settings_.TypeOf(address);
    uint64_t end = (address | kPageOffsetMask) + 1;
    while (end < kFixedRangesEnd && settings_.TypeOf(end) == type) end += kPageSize;
    return end;
  }
  uint64_t end = kNoEnd;
  for (size_t n = 0; n < ranges_; ++n) {
    const uint64_t mask = settings_.variable[n].mask & MtrrVariable::kAddress;
    if (mask == 0) continue;
    const uint64_t differing = (address ^ settings_.variable[n].base) & mask;
    // Addresses that share the bits from this one on are all in the range, or all outside.
    const uint64_t bit = differing != 0 ? std::bit_floor(differing) : mask & -mask;
    end = std::min(end, (address | (bit - 1)) + 1);
  }
  return end;
}

bool Ept01::Fill(const MtrrSettings& memory_types) {
  const EffectiveMtrrs types(memory_types);
  if (types == types_) return false;
  types_ = types;
  Writer writer(pages_, has_1gbyte_pages_ ? kEptLevelPdpte : kEptLevelPde);
  for (uint64_t begin = 0; begin < kSpan;) {
    if (absent_.Contains(begin)) {
      begin = writer.Write(begin, absent_.end, 0);
      continue;
    }
    uint64_t end = std::min(types.SameTypeUntil(begin), kSpan);
    if (begin < absent_.begin) end = std::min(end, absent_.begin);
    uint64_t rights = EptEntry::kPermissions;
    if (begin < read_only_) {
      end = std::min(end, read_only_);
    } else if (begin == read_only_) {
      end = begin + kPageSize;
      rights &= ~EptEntry::kWrite;
    }
    const auto type = static_cast<uint64_t>(types.settings().TypeOf(begin));
    begin = writer.Write(begin, end, rights | type << EptEntry::kMemoryTypeShift);
  }
  used_ = writer.used();
  return true;
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
      mapping.readable = mapping.executable = true;
      mapping.writable = (entry & EptEntry::kWrite) != 0;
      mapping.memory_type =
          static_cast<MemoryType>((entry & EptEntry::kMemoryType) >> EptEntry::kMemoryTypeShift);
      return mapping;
    }
    table = entry & EptEntry::kAddress;
  }
}

}  // namespace nvmx::metal
