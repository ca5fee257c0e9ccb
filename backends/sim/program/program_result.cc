// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/program_result.h"

#include <algorithm>
#include <cstddef>
#include <span>

namespace nvmx::sim {

const char* Name(CpuEnd end) {
  switch (end) {
    case CpuEnd::kComplete:
      return "complete";
    case CpuEnd::kCompleteInL2:
      return "complete, in L2";
    case CpuEnd::kHalted:
      return "halted";
    case CpuEnd::kShutdown:
      return "shut down";
    case CpuEnd::kWaitsForSipi:
      return "waits for a SIPI";
    case CpuEnd::kLost:
      return "at an address without code";
    case CpuEnd::kStepLimit:
      return "still running";
    case CpuEnd::kStuck:
      return "stuck in L0";
    case CpuEnd::kL0Failed:
      return "L0 failed";
  }
  return "?";
}

bool ProgramResult::IsComplete() const {
  return defect.empty() && std::all_of(cpus.begin(), cpus.end(), [](const CpuResult& cpu) {
           return cpu.end == CpuEnd::kComplete || cpu.end == CpuEnd::kCompleteInL2;
         });
}

size_t ComparableLength(const CpuResult& a, const CpuResult& b) {
  // Two runs that were cut off were not cut off at the same place.
  const bool cut_off = a.end == CpuEnd::kStepLimit && b.end == CpuEnd::kStepLimit;
  return cut_off ? std::min(a.log.size(), b.log.size()) : std::max(a.log.size(), b.log.size());
}

namespace {

// An INIT that stops the CPU right behind its last operation can come before the note that this was
// the last.
std::span<const lhv::Observation> WithoutNoteOfEnd(const std::vector<lhv::Observation>& log) {
  const bool has_note = !log.empty() && log.back().kind == lhv::ObservationKind::kDone;
  return std::span(log).first(log.size() - (has_note ? 1 : 0));
}

}  // namespace

bool SameObservations(const CpuResult& a, const CpuResult& b) {
  if (a.end != b.end) return false;
  if (a.end == CpuEnd::kWaitsForSipi) {
    return std::ranges::equal(WithoutNoteOfEnd(a.log), WithoutNoteOfEnd(b.log));
  }
  const size_t length = ComparableLength(a, b);
  return length <= a.log.size() && length <= b.log.size() &&
         std::equal(a.log.begin(), a.log.begin() + static_cast<std::ptrdiff_t>(length),
                    b.log.begin());
}

bool SameObservations(const ProgramResult& a, const ProgramResult& b) {
  return std::equal(a.cpus.begin(), a.cpus.end(), b.cpus.begin(), b.cpus.end(),
                    [](const CpuResult& x, const CpuResult& y) { return SameObservations(x, y); });
}

}  // namespace nvmx::sim
