// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/difference_text.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/nested/entry_rules.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/vmcs_field.h"
#include "lhv/observation_text.h"
#include "lhv/operation_text.h"

namespace nvmx::sim {
namespace {

using lhv::Observation;
using lhv::ObservationKind;

constexpr size_t kContext = 6;

std::string ObservationOrEnd(const std::optional<Observation>& observation, CpuEnd end) {
  if (observation) return lhv::ToString(*observation);
  return absl::StrCat("(end of the log: ", Name(end), ")");
}

std::string OperationLine(const lhv::CpuProgram& program, uint32_t level, uint64_t index) {
  const std::vector<lhv::Operation>& code = level == 1 ? program.l1 : program.l2;
  if (index >= code.size()) return "";
  return absl::StrCat("  L", level, " #", index, " is  ", lhv::OperationText(program, code[index]),
                      "\n");
}

// The last exit reason that L1 has read before the position.
std::string LastExit(const std::vector<Observation>& log, size_t position) {
  for (size_t at = std::min(position + 1, log.size()); at-- > 0;) {
    const Observation& o = log[at];
    if (o.kind != ObservationKind::kVmExit || o.selector != Encoding(VmcsField::kExitReason)) {
      continue;
    }
    const ExitReasonValue reason{static_cast<uint32_t>(o.value)};
    return absl::StrCat("  the last VM exit that L1 saw: ",
                        reason.is_vm_entry_failure() ? "VM-entry failure, " : "",
                        Name(reason.basic()), " (", o.value & 0xFFFF, ")\n");
  }
  return "";
}

}  // namespace

std::string RuleText(const RefusedEntry& refused) {
  const EntryRule& rule = RuleOf(refused.rule);
  return absl::StrCat("VMCS12 breaks the rule ", rule.name, ", ", rule.source);
}

std::string LogText(const ProgramResult& result) {
  std::string text;
  for (size_t cpu = 0; cpu < result.cpus.size(); ++cpu) {
    for (const Observation& observation : result.cpus[cpu].log) {
      absl::StrAppendFormat(&text, "CPU %d  %s\n", cpu, lhv::ToString(observation));
    }
  }
  return text;
}

std::string DifferenceText(const lhv::GuestProgram& program, const Comparison& comparison) {
  std::string text;
  if (!comparison.nested.defect.empty()) {
    absl::StrAppend(&text, "  ", comparison.nested.defect, "\n");
  }
  if (!comparison.difference) return text;
  const Difference& d = *comparison.difference;
  const std::vector<Observation>& log = comparison.keep.cpus[d.cpu].log;
  const size_t from = d.position - std::min(d.position, kContext);
  for (size_t at = from; at < d.position; ++at) {
    absl::StrAppendFormat(&text, "  both        %s\n", lhv::ToString(log[at]));
  }
  absl::StrAppendFormat(&text, "  sim-native  %s\n",
                        ObservationOrEnd(d.reference, d.reference_end));
  if (comparison.ambiguous) {
    const std::vector<Observation>& evict = comparison.evict.cpus[d.cpu].log;
    absl::StrAppendFormat(&text, "  (no TLB)    %s\n",
                          d.position < evict.size() ? lhv::ToString(evict[d.position])
                                                    : std::string("(end of the log)"));
  }
  absl::StrAppendFormat(&text, "  %-10s  %s\n", comparison.tested,
                        ObservationOrEnd(d.nested, d.nested_end));
  const lhv::CpuProgram& cpu = program.cpus[d.cpu];
  const std::optional<Observation>& here = d.reference ? d.reference : d.nested;
  if (here) absl::StrAppend(&text, OperationLine(cpu, here->level, here->operation));
  if (d.reference && d.nested &&
      (d.reference->operation != d.nested->operation || d.reference->level != d.nested->level)) {
    absl::StrAppend(&text, OperationLine(cpu, d.nested->level, d.nested->operation));
  }
  absl::StrAppend(&text, LastExit(log, d.position));
  const std::vector<RefusedEntry>& refused = comparison.nested.cpus[d.cpu].refused_entries;
  for (size_t at = refused.size(); at-- > 0;) {
    if (refused[at].position > d.position) continue;
    absl::StrAppend(&text, "  the last VM entry that the core refused: ", RuleText(refused[at]),
                    "\n");
    break;
  }
  if (comparison.likeness == Likeness::kLeftOpen) {
    absl::StrAppend(
        &text, "  the SDM leaves open what comes of it: ", Name(comparison.evict.left_open), "\n");
  }
  if (!comparison.declared.empty()) {
    absl::StrAppend(&text, "  declared: ", comparison.declared, "\n");
  }
  return text;
}

}  // namespace nvmx::sim
