// SPDX-License-Identifier: Apache-2.0
#include "lhv/paging_tables.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/vmx/ept.h"
#include "core/x86/address.h"

namespace nvmx::lhv {
namespace {

constexpr uint64_t kTableBits =
    PageEntry::kPresent | PageEntry::kWritable | PageEntry::kUser | PageEntry::kAccessed;

}  // namespace

PagingFormat PagingFormat::Ept(unsigned levels) {
  return {.levels = levels,
          .entry_bytes = 8,
          .index_bits = 9,
          .top_index_bits = 9,
          .largest_page = 3,
          .table_bits = EptEntry::kPermissions,
          .top_table_bits = EptEntry::kPermissions,
          .is_ept = true};
}

PagingFormat PagingFormat::FourLevel() {
  return {.levels = 4,
          .entry_bytes = 8,
          .index_bits = 9,
          .top_index_bits = 9,
          .largest_page = 3,
          .table_bits = kTableBits,
          .top_table_bits = kTableBits,
          .is_ept = false};
}

PagingFormat PagingFormat::FiveLevel() {
  PagingFormat format = FourLevel();
  format.levels = 5;
  return format;
}

PagingFormat PagingFormat::Pae() {
  return {.levels = 3,
          .entry_bytes = 8,
          .index_bits = 9,
          .top_index_bits = 2,
          .largest_page = 2,
          .table_bits = kTableBits,
          .top_table_bits = PageEntry::kPresent,  // the other bits of a PDPTE are reserved
          .is_ept = false};
}

PagingFormat PagingFormat::ThirtyTwoBit() {
  return {.levels = 2,
          .entry_bytes = 4,
          .index_bits = 10,
          .top_index_bits = 10,
          .largest_page = 2,
          .table_bits = kTableBits,
          .top_table_bits = kTableBits,
          .is_ept = false};
}

uint64_t PagingFormat::PageBytes(unsigned level) const {
  return uint64_t{1} << (kPageShift + index_bits * (level - 1));
}

uint64_t PagingFormat::End() const { return PageBytes(levels) << top_index_bits; }

PagingTables::PagingTables(const PagingFormat& format, uint64_t base)
    : format_(format), base_(base), bytes_(kPageSize) {}

bool PagingTables::Set(uint64_t address, unsigned level, uint64_t entry) {
  if (!IsValid(address, level)) return false;
  uint64_t table = 0;
  for (unsigned at = format_.levels; at > level; --at) {
    table = TableBelow(table + IndexOf(address, at) * format_.entry_bytes, at);
  }
  const uint64_t offset = table + IndexOf(address, level) * format_.entry_bytes;
  std::erase_if(links_, [offset](const auto& link) { return link.first == offset; });
  Write(offset, entry);
  return true;
}

bool PagingTables::SetTableBits(uint64_t address, unsigned level, uint64_t bits) {
  const std::optional<uint64_t> offset = EntryOffset(address, level);
  if (!offset) return false;
  for (const auto& [entry, table] : links_) {
    if (entry != *offset) continue;
    Write(entry, (base_ + table) | bits);
    return true;
  }
  return false;
}

std::optional<uint64_t> PagingTables::EntryOffset(uint64_t address, unsigned level) const {
  if (!IsValid(address, level)) return std::nullopt;
  uint64_t table = 0;
  for (unsigned at = format_.levels; at > level; --at) {
    const uint64_t offset = table + IndexOf(address, at) * format_.entry_bytes;
    const auto link = std::find_if(links_.begin(), links_.end(), [offset](const auto& candidate) {
      return candidate.first == offset;
    });
    if (link == links_.end()) return std::nullopt;
    table = link->second;
  }
  return table + IndexOf(address, level) * format_.entry_bytes;
}

bool PagingTables::IsValid(uint64_t address, unsigned level) const {
  // Bits above those translated repeat the highest one in a linear address.
  const uint64_t above = address >> 63 != 0 && !format_.is_ept && format_.levels >= 4
                             ? ~(address | (format_.End() - 1))
                             : address & ~(format_.End() - 1);
  return level >= 1 && level <= format_.levels && above == 0;
}

uint64_t PagingTables::IndexOf(uint64_t address, unsigned level) const {
  const unsigned bits = level == format_.levels ? format_.top_index_bits : format_.index_bits;
  return address / format_.PageBytes(level) & ((uint64_t{1} << bits) - 1);
}

uint64_t PagingTables::Read(uint64_t offset) const {
  uint64_t entry = 0;
  std::memcpy(&entry, bytes_.data() + offset, format_.entry_bytes);
  return entry;
}

void PagingTables::Write(uint64_t offset, uint64_t entry) {
  std::memcpy(bytes_.data() + offset, &entry, format_.entry_bytes);
}

bool PagingTables::MapsPage(uint64_t entry, unsigned level) const {
  static_assert(EptEntry::kLarge == PageEntry::kLarge);
  return level <= format_.largest_page && (entry & PageEntry::kLarge) != 0;
}

uint64_t PagingTables::TableBelow(uint64_t offset, unsigned level) {
  for (const auto& [entry, table] : links_) {
    if (entry == offset) return table;
  }
  const uint64_t replaced = Read(offset);
  const uint64_t table = bytes_.size();
  bytes_.resize(table + kPageSize);
  links_.emplace_back(offset, table);
  Write(offset,
        (base_ + table) | (level == format_.levels ? format_.top_table_bits : format_.table_bits));
  if (MapsPage(replaced, level)) Split(replaced, level - 1, table);
  return table;
}

void PagingTables::Split(uint64_t page_entry, unsigned level, uint64_t table) {
  const uint64_t page = format_.PageBytes(level);
  uint64_t entry = page_entry;
  if (level == 1) {
    // Bit 7 is no longer the size; for guest pages it is where PAT has moved.
    const bool pat = !format_.is_ept && (entry & PageEntry::kLargePat) != 0;
    entry &= ~PageEntry::kLarge;
    if (pat) entry = (entry & ~PageEntry::kLargePat) | PageEntry::kPat;
  }
  const uint64_t entries = uint64_t{1} << format_.index_bits;
  for (uint64_t i = 0; i < entries; ++i) {
    Write(table + i * format_.entry_bytes, entry + i * page);
  }
}

}  // namespace nvmx::lhv
