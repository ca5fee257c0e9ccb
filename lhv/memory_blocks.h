// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_MEMORY_BLOCKS_H_
#define NVMX_LHV_MEMORY_BLOCKS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lhv/assembled.h"
#include "lhv/baseline.h"
#include "lhv/labels.h"
#include "lhv/paging_tables.h"
#include "lhv/source_reader.h"

namespace nvmx::lhv {

// The named blocks in the window of one CPU, and the values that refer to them.
class MemoryBlocks {
 public:
  // `memory` is the map under that key, or an undefined or null node. Errors go to the reader,
  // which must outlive this object, as must the labels.
  MemoryBlocks(SourceReader& reader, const YAML::Node& memory, uint32_t cpu, const Labels& labels);

  // The blocks in the order of the source, filled. To be called last.
  std::vector<MemoryBlock> Take();

  // The address that `node` stands for: a number, the name of a block, or a map that Value() knows.
  std::optional<AddressOperand> Address(const YAML::Node& node, const std::string& what);
  // The address that keys address_of and offset of `map` stand for.
  std::optional<AddressOperand> AddressOf(const YAML::Node& map, const std::string& what);
  // How many entries the MSR list named by `node` has.
  std::optional<uint64_t> EntryCount(const YAML::Node& node);
  // The value that `node` stands for: as an address, or a map that composes a value; lhv/README.md
  // lists them. At most `max`.
  std::optional<AddressOperand> Value(const YAML::Node& node, const std::string& what,
                                      uint64_t max = ~uint64_t{0});
  // The EPTP that keys eptp_of, memory_type, walk_length and accessed_dirty of `map` stand for.
  std::optional<AddressOperand> Eptp(const YAML::Node& map);
  // The address of the word in which the repetition with that number, from 0 on, counts: a block
  // that has no name to refer to. `at` is where it is asked for.
  std::optional<AddressOperand> Counter(size_t number, const YAML::Node& at);
  // Whose window the blocks lie in.
  uint32_t cpu() const { return cpu_; }
  // The keys of every map that is a value.
  static std::vector<std::string> ValueKeys();

 private:
  struct Contents;
  struct ValueForm;

  struct Block {
    std::string name;
    YAML::Node source;
    const Contents* contents = nullptr;  // null: of a counter, which is filled
    std::optional<uint64_t> offset;
    uint64_t size = 0;
    std::optional<uint64_t> msr_entries;
    std::optional<PagingTables> tables;
    std::vector<std::byte> bytes;
    uint64_t end() const { return *offset + size; }
  };

  // Places.
  void Declare(const YAML::Node& name, const YAML::Node& description);
  const Contents* ContentsOf(const YAML::Node& description, const std::string& what);
  void PlaceAll();
  void PlaceWhereThereIsRoom(Block& block);
  const Block* Overlapping(const Block& block, uint64_t offset) const;
  std::optional<size_t> Find(const YAML::Node& name);
  // An address that is the same for all CPUs, or in the window of this one.
  uint64_t Absolute(const AddressOperand& address) const;

  // Contents: each kind says how large a block is before it has a place, and fills it after.
  static const std::vector<Contents>& AllContents();
  void DeclareBytes(Block& block, const YAML::Node& node);
  void DeclareQwords(Block& block, const YAML::Node& node);
  void DeclareHex(Block& block, const YAML::Node& node);
  void DeclareMsrList(Block& block, const YAML::Node& node);
  void DeclareTables(Block& block, const YAML::Node& node);
  void DeclareMsrBitmap(Block& block, const YAML::Node& node);
  void DeclareIoBitmap(Block& block, const YAML::Node& node);
  void DeclareVmcsBitmap(Block& block, const YAML::Node& node);
  void DeclareEptpList(Block& block, const YAML::Node& node);
  void FillBytes(Block& block, const YAML::Node& node);
  void FillQwords(Block& block, const YAML::Node& node);
  void FillHex(Block& block, const YAML::Node& node);
  void FillMsrList(Block& block, const YAML::Node& node);
  void FillTables(Block& block, const YAML::Node& node);
  void FillBitmap(Block& block, const YAML::Node& node);
  void FillEptpList(Block& block, const YAML::Node& node);
  std::optional<PagingTables> BuildTables(const Block& block, const YAML::Node& node);

  // Values, one function per form; each is given the map that has its key.
  static const std::vector<ValueForm>& AllValueForms();
  std::optional<AddressOperand> ValueOfMap(const YAML::Node& map, const std::string& what);
  std::optional<AddressOperand> CountOf(const YAML::Node& map);
  std::optional<AddressOperand> EntryOf(const YAML::Node& map);
  std::optional<AddressOperand> EptEntryValue(const YAML::Node& map);
  std::optional<AddressOperand> PageEntryValue(const YAML::Node& map);
  std::optional<AddressOperand> OperationOf(const YAML::Node& map);
  std::optional<AddressOperand> Interruption(const YAML::Node& map);
  std::optional<AddressOperand> EntryValue(const YAML::Node& map, const std::string& key,
                                           bool is_ept);

  SourceReader& reader_;
  const uint32_t cpu_;
  const Labels& labels_;
  std::vector<Block> blocks_;
  std::map<std::string, size_t> by_name_;
  std::vector<uint64_t> counters_;  // their offsets
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_MEMORY_BLOCKS_H_
