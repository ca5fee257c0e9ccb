// SPDX-License-Identifier: Apache-2.0
//
// Builds paging structures: EPT, and those of the four paging modes.
// Source: SDM Vol. 3A, 4.3 "32-Bit Paging", 4.4 "PAE Paging", 4.5 "4-Level Paging and 5-Level
// Paging"; Vol. 3C, 29.3.2 "EPT Translation Mechanism".
#ifndef NVMX_LHV_PAGING_TABLES_H_
#define NVMX_LHV_PAGING_TABLES_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace nvmx::lhv {

// The bits of an entry of guest paging structures that programs name.
struct PageEntry {
  static constexpr uint64_t kPresent = uint64_t{1} << 0;
  static constexpr uint64_t kWritable = uint64_t{1} << 1;
  static constexpr uint64_t kUser = uint64_t{1} << 2;
  static constexpr uint64_t kPwt = uint64_t{1} << 3;
  static constexpr uint64_t kPcd = uint64_t{1} << 4;
  static constexpr uint64_t kAccessed = uint64_t{1} << 5;
  static constexpr uint64_t kDirty = uint64_t{1} << 6;
  static constexpr uint64_t kLarge = uint64_t{1} << 7;
  static constexpr uint64_t kPat = uint64_t{1} << 7;  // of a 4-KByte page
  static constexpr uint64_t kGlobal = uint64_t{1} << 8;
  static constexpr uint64_t kLargePat = uint64_t{1} << 12;  // of a larger page
  static constexpr uint64_t kNoExecute = uint64_t{1} << 63;
};

// A kind of paging structures. Level 1 is that of the entries that map 4-KByte pages.
struct PagingFormat {
  unsigned levels;
  unsigned entry_bytes;
  unsigned index_bits;      // of an address, used up by each level
  unsigned top_index_bits;  // the same for the top level
  unsigned largest_page;    // the highest level that can map a page
  uint64_t table_bits;      // of an entry that refers to another table
  uint64_t top_table_bits;  // the same for the top level
  bool is_ept;

  static PagingFormat Ept(unsigned levels);  // 4 or 5
  static PagingFormat FourLevel();
  static PagingFormat FiveLevel();
  static PagingFormat Pae();
  static PagingFormat ThirtyTwoBit();

  // How much an entry of the level maps.
  uint64_t PageBytes(unsigned level) const;
  // The first address beyond those that the structures translate; 0 for 2^64.
  uint64_t End() const;
};

class PagingTables {
 public:
  // The tables lie one behind the other from physical address `base`, the top one first.
  PagingTables(const PagingFormat& format, uint64_t base);

  // Writes the entry of the level that translates `address`. Missing tables on the way are added;
  // a larger page there is split into pages that map the same. False: the level or the address is
  // not one of the format.
  bool Set(uint64_t address, unsigned level, uint64_t entry);
  // Replaces the bits of an entry that refers to a table. False: there is no such entry.
  bool SetTableBits(uint64_t address, unsigned level, uint64_t bits);
  // Where that entry is, in bytes from the base. Nothing: no table of the level translates the
  // address.
  std::optional<uint64_t> EntryOffset(uint64_t address, unsigned level) const;

  const PagingFormat& format() const { return format_; }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  bool IsValid(uint64_t address, unsigned level) const;
  uint64_t IndexOf(uint64_t address, unsigned level) const;
  uint64_t Read(uint64_t offset) const;
  void Write(uint64_t offset, uint64_t entry);
  bool MapsPage(uint64_t entry, unsigned level) const;
  // The table that the entry at `offset` refers to, of the level below `level`; added if missing.
  uint64_t TableBelow(uint64_t offset, unsigned level);
  void Split(uint64_t page_entry, unsigned level, uint64_t table);

  PagingFormat format_;
  uint64_t base_;
  std::vector<std::byte> bytes_;
  // The offsets of the entries that refer to tables, and of those tables.
  std::vector<std::pair<uint64_t, uint64_t>> links_;
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_PAGING_TABLES_H_
