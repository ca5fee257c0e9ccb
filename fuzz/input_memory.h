// SPDX-License-Identifier: Apache-2.0
//
// The memory of an input's program, word by word, whatever its blocks are.
#ifndef NVMX_FUZZ_INPUT_MEMORY_H_
#define NVMX_FUZZ_INPUT_MEMORY_H_

#include <cstdint>

#include "lhv/assembled.h"

namespace nvmx::fuzz {

// The 8 bytes at an offset in the CPU's window. Writing makes a block, or one of those that it
// joins; where no memory of an input can be, nothing is written. What no block has is read as 0.
void PutWord(lhv::CpuProgram& cpu, uint64_t offset, uint64_t value);
uint64_t WordAt(const lhv::CpuProgram& cpu, uint64_t offset);

}  // namespace nvmx::fuzz

#endif  // NVMX_FUZZ_INPUT_MEMORY_H_
