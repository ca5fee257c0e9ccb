// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_TRACE_H_
#define NVMX_BACKENDS_SIM_MACHINE_TRACE_H_

#include <cstdint>
#include <vector>

#include "core/ports/trace.h"

namespace nvmx::sim {

// Everything that can be observed of a run, in order.
enum class EventKind : uint32_t {
  kChoice,        // first: Choice; second: PointKind it was made at
  kCellChanged,   // first: cell number; second: its new value
  kIpiSent,       // first: interrupt command
  kNmiLatched,    // first: NmiSource
  kNmiMerged,     // the latch was full; first: NmiSource of the newcomer
  kNmiTaken,      // first: NmiDestination; second: NmiSource
  kVmExit,        // first: VmcsRole; second: exit reason
  kVmEntry,       // first: VmcsRole
  kEntryRefused,  // hardware refused a VM entry that L0 had accepted
  kCore,          // what the core told; first: TraceKind, then its two arguments
};

struct TraceEvent {
  uint32_t step;
  uint32_t cpu;
  EventKind kind;
  uint32_t core_kind;  // TraceKind, of kCore
  uint64_t first;
  uint64_t second;
};

class TraceLog {
 public:
  // Whether the events themselves are kept; the hash always is.
  explicit TraceLog(bool keep) : keep_(keep) {}

  void Append(const TraceEvent& event);
  uint64_t hash() const { return hash_; }
  const std::vector<TraceEvent>& events() const { return events_; }

 private:
  bool keep_;
  uint64_t hash_ = 0;
  std::vector<TraceEvent> events_;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_TRACE_H_
