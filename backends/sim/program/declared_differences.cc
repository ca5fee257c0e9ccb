// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/declared_differences.h"

#include <algorithm>

#include "core/vmx/controls.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/vmcs_field.h"

namespace nvmx::sim {
namespace {

// L0 refused an access before the logs part. What is seen of it is the #GP(0), or what became of
// its delivery.
bool IsAccessToL0Memory(const lhv::GuestProgram&, const Comparison& comparison) {
  const Difference& difference = *comparison.difference;
  const std::optional<size_t> at = comparison.nested.cpus[difference.cpu].forbidden_access_at;
  return at && *at <= difference.position;
}

bool IsFieldOfExit(const lhv::Observation& o, VmcsField field) {
  return (o.kind == lhv::ObservationKind::kVmExit || o.kind == lhv::ObservationKind::kFieldValue) &&
         o.selector == Encoding(field);
}

bool DoesMwaitInL2(const lhv::CpuProgram& cpu) {
  return std::any_of(cpu.l2.begin(), cpu.l2.end(), [](const lhv::Operation& operation) {
    return operation.kind == lhv::OperationKind::kMwait;
  });
}

// The exits of an MWAIT, of which only one says that the monitoring was armed. What is observed of
// an exit begins with its reason; a VMREAD of the qualification alone may be of any exit.
bool IsDisarmedMonitor(const lhv::GuestProgram& program, const Comparison& comparison) {
  const Difference& d = *comparison.difference;
  const auto is_qualification = [](const std::optional<lhv::Observation>& o, uint64_t value) {
    return o && IsFieldOfExit(*o, VmcsField::kExitQualification) && o->value == value;
  };
  if (!is_qualification(d.reference, 1) || !is_qualification(d.nested, 0)) return false;
  if (d.reference->kind == lhv::ObservationKind::kFieldValue) {
    return DoesMwaitInL2(program.cpus[d.cpu]);
  }
  if (d.position == 0) return false;
  const lhv::Observation& reason = comparison.keep.cpus[d.cpu].log[d.position - 1];
  return IsFieldOfExit(reason, VmcsField::kExitReason) &&
         reason.value == static_cast<uint64_t>(ExitReason::kMwait);
}

// One machine gives an NMI where the other does not, or not yet.
bool IsAboutNmi(const Difference& difference) {
  const auto is_nmi = [](const std::optional<lhv::Observation>& o) {
    if (!o) return false;
    if (o->kind == lhv::ObservationKind::kNmi) return true;
    return o->kind == lhv::ObservationKind::kVmExit &&
           o->selector == Encoding(VmcsField::kExitReason) &&
           o->value == static_cast<uint64_t>(ExitReason::kExceptionOrNmi);
  };
  return is_nmi(difference.reference) || is_nmi(difference.nested);
}

bool IsNmiWithoutMonitorTrapFlag(const lhv::GuestProgram&, const Comparison& comparison) {
  return !comparison.hardware.SupportsPrimary(PrimaryProcessorBased::kMonitorTrapFlag) &&
         IsAboutNmi(*comparison.difference);
}

bool IsNmiMergedWithL0s(const lhv::GuestProgram&, const Comparison& comparison) {
  const Difference& difference = *comparison.difference;
  const std::optional<size_t> at = comparison.nested.cpus[difference.cpu].nmi_merged_at;
  return at && *at <= difference.position && IsAboutNmi(difference);
}

constexpr DeclaredDifference kRows[] = {
#define NVMX_DECLARED_DIFFERENCE(name, matches, reason) {name, reason, matches},
#include "backends/sim/program/declared_differences.def"
#undef NVMX_DECLARED_DIFFERENCE
};

}  // namespace

std::span<const DeclaredDifference> AllDeclaredDifferences() { return kRows; }

const DeclaredDifference* FindDeclaredDifference(const lhv::GuestProgram& program,
                                                 const Comparison& comparison) {
  if (!comparison.difference) return nullptr;
  for (const DeclaredDifference& row : kRows) {
    if (row.matches(program, comparison)) return &row;
  }
  return nullptr;
}

}  // namespace nvmx::sim
