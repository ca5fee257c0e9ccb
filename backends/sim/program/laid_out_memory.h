// SPDX-License-Identifier: Apache-2.0
//
// The memory of a CPU when its program begins: what the memory blocks say.
#ifndef NVMX_BACKENDS_SIM_PROGRAM_LAID_OUT_MEMORY_H_
#define NVMX_BACKENDS_SIM_PROGRAM_LAID_OUT_MEMORY_H_

#include <cstdint>
#include <cstring>

#include "lhv/assembled.h"
#include "lhv/layout.h"

namespace nvmx::sim {

class LaidOutMemory {
 public:
  LaidOutMemory(const lhv::CpuProgram& cpu, uint32_t index)
      : cpu_(cpu), window_(lhv::WindowOf(index)) {}

  uint64_t Word(uint64_t address) const {
    for (const lhv::MemoryBlock& block : cpu_.memory) {
      const uint64_t first = window_ + block.offset;
      uint64_t word = 0;
      // Addresses can be as large as a word has room for.
      if (address < first || block.bytes.size() < sizeof word ||
          address - first > block.bytes.size() - sizeof word) {
        continue;
      }
      std::memcpy(&word, block.bytes.data() + (address - first), sizeof word);
      return word;
    }
    return 0;
  }
  // True for memory that is there and not the program's.
  bool IsForeign(uint64_t address) const {
    return address < kLargestAddress &&
           (address < window_ || address - window_ >= lhv::kWindowBytes);
  }

 private:
  // Addresses of what the machines have are below it.
  static constexpr uint64_t kLargestAddress = uint64_t{1} << 40;

  const lhv::CpuProgram& cpu_;
  uint64_t window_;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_LAID_OUT_MEMORY_H_
