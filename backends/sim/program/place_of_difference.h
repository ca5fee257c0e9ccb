// SPDX-License-Identifier: Apache-2.0
//
// The place where the log of a machine and that of the reference part, and what can be asked of it.
#ifndef NVMX_BACKENDS_SIM_PROGRAM_PLACE_OF_DIFFERENCE_H_
#define NVMX_BACKENDS_SIM_PROGRAM_PLACE_OF_DIFFERENCE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "backends/sim/program/comparison.h"
#include "backends/sim/program/exit_information.h"
#include "core/vmx/capabilities.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/vmcs_field.h"
#include "lhv/assembled.h"
#include "lhv/observation.h"

namespace nvmx::sim {

// Where the logs part.
struct PlaceOfDifference {
  const lhv::GuestProgram& program;
  const Capabilities& hardware;
  const Difference& difference;
  // Of the CPU, up to the place the same.
  const std::vector<lhv::Observation>& reference;
  const std::vector<lhv::Observation>& machine;
};

// What becomes of a difference that a row explains.
enum class Explained : uint8_t {
  kNot,
  kStep,           // one observation on each side
  kReferenceOnly,  // the machine has not observed what the reference has; then they go on alike
  kMachineOnly,    // or the other way round
  kParting,        // from here the logs cannot be compared
};

// Whether the place is one observation on each side, of the same thing, with another value.
inline bool IsOfAValue(const PlaceOfDifference& place) {
  const Difference& d = place.difference;
  return d.reference && d.nested && d.reference->kind == d.nested->kind &&
         d.reference->selector == d.nested->selector && d.reference->level == d.nested->level &&
         d.reference->operation == d.nested->operation;
}
inline Explained StepIf(bool matches) { return matches ? Explained::kStep : Explained::kNot; }
inline Explained PartingIf(bool matches) { return matches ? Explained::kParting : Explained::kNot; }

inline bool IsField(const std::optional<lhv::Observation>& o, VmcsField field) {
  return o &&
         (o->kind == lhv::ObservationKind::kVmExit ||
          o->kind == lhv::ObservationKind::kFieldValue) &&
         FieldOf(static_cast<uint32_t>(o->selector)) == field;
}
inline bool IsExit(const std::optional<lhv::Observation>& o, ExitReason reason) {
  return o && o->kind == lhv::ObservationKind::kVmExit && IsField(o, VmcsField::kExitReason) &&
         ExitReasonValue{static_cast<uint32_t>(o->value)}.basic() == reason;
}
// The machine has stopped: nothing tells how it would have gone on.
inline bool HasStopped(const PlaceOfDifference& place) {
  return !place.difference.nested && place.difference.nested_end == CpuEnd::kShutdown;
}
// It has taken along what it had observed: with several CPUs that is written when the program is
// over.
inline bool HasLostLog(const PlaceOfDifference& place) {
  return HasStopped(place) && place.machine.empty();
}
// Whether it can have stopped at an observation of the reference for which the predicate holds.
template <typename Predicate>
inline bool CanHaveStoppedAt(const PlaceOfDifference& place, Predicate predicate) {
  if (!HasStopped(place)) return false;
  if (place.difference.reference && predicate(*place.difference.reference)) return true;
  return HasLostLog(place) &&
         std::any_of(place.reference.begin(), place.reference.end(), predicate);
}

template <typename Predicate>
inline bool AnyOperation(const PlaceOfDifference& place, Predicate predicate) {
  const lhv::CpuProgram& cpu = place.program.cpus[place.difference.cpu];
  return std::any_of(cpu.l1.begin(), cpu.l1.end(), predicate) ||
         std::any_of(cpu.l2.begin(), cpu.l2.end(), predicate);
}
inline bool IsVmEntry(const lhv::Operation& operation) {
  return operation.kind == lhv::OperationKind::kVmlaunch ||
         operation.kind == lhv::OperationKind::kVmresume;
}
inline std::optional<ExitSeen> LastExit(const PlaceOfDifference& place) {
  const std::vector<ExitSeen> exits = ExitsSeen(place.reference, place.difference.position);
  return exits.empty() ? std::nullopt : std::optional(exits.back());
}
inline bool Writes(const lhv::Operation& operation, VmcsField field) {
  return operation.kind == lhv::OperationKind::kVmwrite && operation.selector == Encoding(field);
}

// Whether L1 has advanced RIP behind a VM exit that is so.
template <typename Predicate>
inline bool HasAdvancedBehind(const PlaceOfDifference& place, Predicate predicate) {
  const std::vector<lhv::Operation>& l1 = place.program.cpus[place.difference.cpu].l1;
  for (const ExitSeen& exit : ExitsSeen(place.reference, place.difference.position)) {
    if (!predicate(exit)) continue;
    for (size_t at = exit.operation + 1; at < l1.size() && !IsVmEntry(l1[at]); ++at) {
      if (l1[at].kind == lhv::OperationKind::kAdvanceGuestRip) return true;
    }
  }
  return false;
}

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_PLACE_OF_DIFFERENCE_H_
