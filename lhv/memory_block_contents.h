// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_MEMORY_BLOCK_CONTENTS_H_
#define NVMX_LHV_MEMORY_BLOCK_CONTENTS_H_

#include "lhv/memory_blocks.h"

namespace nvmx::lhv {

// A kind of contents that a memory block can have, named by the key that describes it.
struct MemoryBlocks::Contents {
  const char* key;
  void (MemoryBlocks::*declare)(Block& block, const YAML::Node& node);  // sets the size
  void (MemoryBlocks::*fill)(Block& block, const YAML::Node& node);
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_MEMORY_BLOCK_CONTENTS_H_
