// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROGRAM_PROGRAM_RESULT_H_
#define NVMX_BACKENDS_SIM_PROGRAM_PROGRAM_RESULT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "backends/sim/machine/left_open.h"
#include "lhv/observation.h"

namespace nvmx {
// core/nested/entry_rules.h: few who include this file need the rules themselves.
enum class EntryRuleNumber : uint16_t;
}  // namespace nvmx

namespace nvmx::sim {

// How a CPU stands when the run of a guest program is over.
enum class CpuEnd : uint8_t {
  kComplete,      // L1 has no more operations
  kCompleteInL2,  // L2 has none, and nothing makes it exit
  kHalted,        // nothing wakes it
  kShutdown,      // after a triple fault or a VMX abort
  kWaitsForSipi,
  kLost,       // at an address where there is no code, and nothing faults
  kStepLimit,  // it would go on
  kStuck,      // inside L0, which waits for what does not come
  kL0Failed,   // L0 asserted something, or its VM entry was refused
};

const char* Name(CpuEnd end);

// L0 found that a VM entry of L1's breaks a rule.
struct RefusedEntry {
  EntryRuleNumber rule;
  size_t position;  // observations in the CPU's log before it
};

struct CpuResult {
  std::vector<lhv::Observation> log;
  CpuEnd end = CpuEnd::kComplete;
  // Of a machine with L0. No part of what the program sees.
  std::vector<RefusedEntry> refused_entries = {};
  // The same: how many observations came before the first access to L0's memory, which EPT01 lacks.
  std::optional<size_t> forbidden_access_at = std::nullopt;
  // As long was the log when one of the guest's NMIs and one of L0's merged in the processor's
  // latch.
  std::optional<size_t> nmi_merged_at = std::nullopt;
};

// What came of a run.
struct ProgramResult {
  std::vector<CpuResult> cpus;
  // Instructions and events of all CPUs.
  uint64_t steps = 0;
  // Of kL0Failed, and if L0's memory was damaged: what happened. Otherwise empty.
  std::string defect;
  // Of a machine that looks for it: the first thing done of which the SDM leaves the outcome open,
  // and how many observations each CPU had then.
  LeftOpen left_open = LeftOpen::kNothing;
  std::vector<size_t> left_open_at;

  bool IsComplete() const;
};

// Whether programs saw the same, as far as they ran.
bool SameObservations(const CpuResult& a, const CpuResult& b);
bool SameObservations(const ProgramResult& a, const ProgramResult& b);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_PROGRAM_RESULT_H_
