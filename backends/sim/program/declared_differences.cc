// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/declared_differences.h"

#include "backends/sim/machine/l0_memory.h"
#include "core/vmx/controls.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/exception.h"

namespace nvmx::sim {
namespace {

// The reference goes on where the core raises #GP(0), and the address is one of L0's: one that an
// operation of the program names, or that it has put into a paging structure.
bool IsAccessToL0Memory(const lhv::GuestProgram& program, const Comparison& comparison) {
  const Difference& difference = *comparison.difference;
  if (!difference.nested || difference.nested->kind != lhv::ObservationKind::kFault ||
      difference.nested->selector != static_cast<uint8_t>(Vector::kGeneralProtection) ||
      difference.nested->value != 0) {
    return false;
  }
  const uint64_t base = L0Memory::BaseFor(comparison.hardware.physical_address_width);
  const auto is_l0 = [base](uint64_t value) { return L0Memory::IsNamedBy(value, base); };
  for (const lhv::CpuProgram& cpu : program.cpus) {
    for (const std::vector<lhv::Operation>* code : {&cpu.l1, &cpu.l2}) {
      for (const lhv::Operation& operation : *code) {
        if (is_l0(operation.value) || is_l0(operation.extra)) return true;
      }
    }
  }
  return false;
}

// The exits of an MWAIT, of which only one says that the monitoring was armed.
bool IsDisarmedMonitor(const lhv::GuestProgram&, const Comparison& comparison) {
  const Difference& d = *comparison.difference;
  const auto is_qualification = [](const std::optional<lhv::Observation>& o, uint64_t value) {
    return o && o->kind == lhv::ObservationKind::kVmExit &&
           o->selector == Encoding(VmcsField::kExitQualification) && o->value == value;
  };
  if (!is_qualification(d.reference, 1) || !is_qualification(d.nested, 0) || d.position == 0) {
    return false;
  }
  // What is observed of an exit begins with its reason.
  const lhv::Observation& reason = comparison.keep.cpus[d.cpu].log[d.position - 1];
  return reason.kind == lhv::ObservationKind::kVmExit &&
         reason.selector == Encoding(VmcsField::kExitReason) &&
         reason.value == static_cast<uint64_t>(ExitReason::kMwait);
}

// One machine gives the NMI where the other still waits.
bool IsNmiWithoutMonitorTrapFlag(const lhv::GuestProgram&, const Comparison& comparison) {
  if (comparison.hardware.SupportsPrimary(PrimaryProcessorBased::kMonitorTrapFlag)) return false;
  const auto is_nmi = [](const std::optional<lhv::Observation>& o) {
    if (!o) return false;
    if (o->kind == lhv::ObservationKind::kNmi) return true;
    return o->kind == lhv::ObservationKind::kVmExit &&
           o->selector == Encoding(VmcsField::kExitReason) &&
           o->value == static_cast<uint64_t>(ExitReason::kExceptionOrNmi);
  };
  return is_nmi(comparison.difference->reference) || is_nmi(comparison.difference->nested);
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
