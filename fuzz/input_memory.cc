// SPDX-License-Identifier: Apache-2.0
#include "fuzz/input_memory.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

#include "fuzz/input.h"
#include "lhv/layout.h"

namespace nvmx::fuzz {
namespace {

using lhv::CpuProgram;

constexpr uint64_t kWord = sizeof(uint64_t);

lhv::MemoryBlock* BlockFor(CpuProgram& cpu, uint64_t offset, uint64_t length) {
  const uint64_t end = offset + length;
  lhv::MemoryBlock merged{.name = {}, .offset = offset, .bytes = std::vector<std::byte>(length)};
  for (lhv::MemoryBlock& block : cpu.memory) {
    const uint64_t block_end = block.offset + block.bytes.size();
    if (block.offset <= offset && end <= block_end) return &block;
    if (block_end < offset || end < block.offset) continue;
    // It overlaps or adjoins: one block of both.
    const uint64_t first = std::min(block.offset, merged.offset);
    const uint64_t last = std::max(block_end, merged.offset + merged.bytes.size());
    std::vector<std::byte> bytes(last - first);
    std::copy(merged.bytes.begin(), merged.bytes.end(),
              bytes.begin() + static_cast<ptrdiff_t>(merged.offset - first));
    std::copy(block.bytes.begin(), block.bytes.end(),
              bytes.begin() + static_cast<ptrdiff_t>(block.offset - first));
    merged = {.name = {}, .offset = first, .bytes = std::move(bytes)};
    block.bytes.clear();
  }
  std::erase_if(cpu.memory, [](const lhv::MemoryBlock& block) { return block.bytes.empty(); });
  cpu.memory.push_back(std::move(merged));
  return &cpu.memory.back();
}

}  // namespace

void PutWord(CpuProgram& cpu, uint64_t offset, uint64_t value) {
  if (offset < kFirstInputMemory || offset > lhv::kBlocksEnd - kWord) return;
  lhv::MemoryBlock* block = BlockFor(cpu, offset, kWord);
  std::memcpy(block->bytes.data() + (offset - block->offset), &value, kWord);
}

uint64_t WordAt(const CpuProgram& cpu, uint64_t offset) {
  uint64_t value = 0;
  for (const lhv::MemoryBlock& block : cpu.memory) {
    if (offset < block.offset || block.bytes.size() < kWord ||
        offset - block.offset > block.bytes.size() - kWord) {
      continue;
    }
    std::memcpy(&value, block.bytes.data() + (offset - block.offset), kWord);
  }
  return value;
}

}  // namespace nvmx::fuzz
