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
#include "lhv/source_reader.h"

namespace nvmx::lhv {

// The named blocks in the window of one CPU.
class MemoryBlocks {
 public:
  // `memory` is the map under that key, or an undefined or null node. Errors go to the reader,
  // which must outlive this object.
  MemoryBlocks(SourceReader& reader, const YAML::Node& memory, uint32_t cpu);

  // The blocks in the order of the source. To be called last.
  std::vector<MemoryBlock> Take();

  // The address that `node` stands for: a number, the name of a block, or a map of address_of and
  // offset.
  std::optional<AddressOperand> Address(const YAML::Node& node, const std::string& what);
  // The address that keys address_of and offset of `map` stand for.
  std::optional<AddressOperand> AddressOf(const YAML::Node& map, const std::string& what);
  // How many entries the MSR list named by `node` has.
  std::optional<uint64_t> EntryCount(const YAML::Node& node);

 private:
  struct Block {
    std::string name;
    YAML::Node source;
    std::optional<uint64_t> offset;
    uint64_t size = 0;
    std::optional<uint64_t> msr_entries;
    std::vector<std::byte> bytes;
    uint64_t end() const { return *offset + size; }
  };

  void Declare(const YAML::Node& name, const YAML::Node& description);
  void DeclareSize(Block& block, const YAML::Node& description);
  void PlaceAll();
  void PlaceWhereThereIsRoom(Block& block);
  const Block* Overlapping(const Block& block, uint64_t offset) const;
  void Fill(Block& block);
  void FillMsrList(Block& block, const YAML::Node& list);
  void FillQwords(Block& block, const YAML::Node& list);
  std::optional<size_t> Find(const YAML::Node& name);

  SourceReader& reader_;
  const uint32_t cpu_;
  std::vector<Block> blocks_;
  std::map<std::string, size_t> by_name_;
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_MEMORY_BLOCKS_H_
