// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/declared_differences.h"

#include <algorithm>
#include <cstring>

#include "backends/sim/machine/l0_memory.h"
#include "core/vmx/controls.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/msr_list.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/msr.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

// L0 refused an access before the logs part. What is seen of it is the #GP(0), or what became of
// its delivery.
bool IsAccessToL0Memory(const lhv::GuestProgram&, const Comparison& comparison) {
  const Difference& difference = *comparison.difference;
  const std::optional<size_t> at = comparison.nested.cpus[difference.cpu].forbidden_access_at;
  return at && *at <= difference.position;
}

// An address in VMCS12 or of the APIC that is L0's: a processor finds memory or nothing there, the
// core does not use it. EPT entries are not meant: what L2 sees through them must be the same.
bool IsL0Memory(uint64_t address) {
  return address >= L0Memory::BaseFor(L0Memory::kMostWidth) &&
         address < uint64_t{1} << L0Memory::kMostWidth;
}

bool GivesL0Memory(const lhv::Operation& operation, uint32_t cpu) {
  const bool is_offset = (operation.flags & lhv::kValueIsWindowOffset) != 0;
  if (!IsL0Memory(is_offset ? lhv::WindowOf(cpu) + operation.value : operation.value)) return false;
  switch (operation.kind) {
    case lhv::OperationKind::kVmwrite:
      return operation.selector != Encoding(VmcsField::kEptPointer);
    case lhv::OperationKind::kWrmsr:
      return operation.selector == Index(Msr::IA32_APIC_BASE);
    default:
      return false;
  }
}

// Something like an entry of an MSR list.
bool GivesL0MemoryToApic(const lhv::MemoryBlock& block) {
  constexpr size_t kEntry = sizeof(MsrListEntry);
  for (size_t at = -block.offset % kEntry; at + kEntry <= block.bytes.size(); at += kEntry) {
    MsrListEntry entry;
    std::memcpy(&entry, block.bytes.data() + at, kEntry);
    if (entry.index == Index(Msr::IA32_APIC_BASE) && IsL0Memory(entry.data)) return true;
  }
  return false;
}

bool NamesL0Memory(const lhv::GuestProgram& program, const Comparison& comparison) {
  const uint32_t index = comparison.difference->cpu;
  const lhv::CpuProgram& cpu = program.cpus[index];
  const auto gives = [index](const lhv::Operation& operation) {
    return GivesL0Memory(operation, index);
  };
  return std::any_of(cpu.l1.begin(), cpu.l1.end(), gives) ||
         std::any_of(cpu.l2.begin(), cpu.l2.end(), gives) ||
         std::any_of(cpu.memory.begin(), cpu.memory.end(), GivesL0MemoryToApic);
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
  if (!at || *at > difference.position) return false;
  // In a loop that goes from NMI to NMI and looks at none the end alone tells.
  const bool goes_on = !difference.reference && difference.reference_end == CpuEnd::kStepLimit;
  return IsAboutNmi(difference) || goes_on;
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
