// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_EPT02_STATE_H_
#define NVMX_CORE_NESTED_EPT02_STATE_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/vmx/ept.h"

namespace nvmx {

// One EPT02: what stands behind one EPT12 of L1 on one CPU.
struct Ept02Root {
  // The bits of L1's EPT pointer that decide about translations; 0 if there is no EPT02 here.
  uint64_t context;
  // The physical address of its topmost structure.
  uint64_t table;
};

// The bookkeeping of the EPT02s of one CPU; the rest of it is in the pages themselves (ept02.cc).
struct Ept02State {
  static constexpr size_t kRoots = 8;
  // The most recently used one first, those not in use last: no clock is needed, and what was used
  // long ago leaves no trace.
  std::array<Ept02Root, kRoots> roots;
  // The first of the pages that were freed, or 0; each holds the address of the next in its first
  // word, and is zero otherwise.
  uint64_t first_free;
  // How many of the pages from kFirstEpt02Page on have ever been in use.
  uint64_t pages_begun;
  // How many changes of EPT01 the EPT02s follow.
  uint64_t ept01_generation;
};

// The bits of a valid EPT pointer that decide about translations: EP4TA, the walk length, and
// whether there are accessed and dirty flags. Never 0, because the walk length is not.
constexpr uint64_t Ept02Context(uint64_t eptp12) {
  return eptp12 & (EptEntry::kAddress | Eptp::kWalkLength | Eptp::kAccessedAndDirty);
}

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_EPT02_STATE_H_
