// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/trace.h"

#include "xxhash.h"

namespace nvmx::sim {

void TraceLog::Append(const TraceEvent& event) {
  static_assert(sizeof(TraceEvent) == 4 * sizeof(uint64_t), "no padding may enter the hash");
  hash_ = XXH3_64bits_withSeed(&event, sizeof event, hash_);
  if (keep_) events_.push_back(event);
}

}  // namespace nvmx::sim
