// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/campaign.h"

#include <algorithm>
#include <bitset>
#include <ctime>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/vm_instruction_error.h"
#include "core/vmx/vmcs_field.h"
#include "lhv/names.h"
#include "lhv/operation_text.h"

namespace nvmx::sim {
namespace {

using lhv::Observation;
using lhv::ObservationKind;

constexpr uint64_t kStepLimit = 4000;

bool IsExitReason(const Observation& o) {
  return o.kind == ObservationKind::kVmExit && o.selector == Encoding(VmcsField::kExitReason);
}

const char* KindName(ObservationKind kind) {
  switch (kind) {
    case ObservationKind::kMsrValue:
      return "MSR value";
    case ObservationKind::kFieldValue:
      return "field value";
    case ObservationKind::kVmcsPointer:
      return "VMCS pointer";
    case ObservationKind::kMemoryValue:
      return "memory value";
    case ObservationKind::kCpuidValue:
      return "CPUID value";
    case ObservationKind::kVmfailInvalid:
      return "VMfailInvalid";
    case ObservationKind::kVmfailValid:
      return "VMfailValid";
    case ObservationKind::kFault:
      return "fault";
    case ObservationKind::kNmi:
      return "NMI";
    case ObservationKind::kInterrupt:
      return "interrupt";
    case ObservationKind::kVmExit:
      return "exit field";
    case ObservationKind::kDone:
      return "end of the operations";
    case ObservationKind::kReadValue:
      return "value";
  }
  return "?";
}

// The kind of an observation and what it is of; exit reasons and vectors with their value.
std::string Kind(const std::optional<Observation>& observation, CpuEnd end) {
  if (!observation) return absl::StrCat("end (", Name(end), ")");
  const Observation& o = *observation;
  std::string text = absl::StrCat("L", o.level, " ", KindName(o.kind));
  switch (o.kind) {
    case ObservationKind::kVmExit:
    case ObservationKind::kFieldValue:
      absl::StrAppend(&text, " ", lhv::FieldText(static_cast<uint32_t>(o.selector)));
      if (IsExitReason(o)) {
        absl::StrAppend(&text, o.value >> 31 != 0 ? " failure " : " ", o.value & 0xFFFF);
      }
      break;
    case ObservationKind::kMsrValue:
      absl::StrAppend(&text, " ", lhv::MsrText(static_cast<uint32_t>(o.selector)));
      break;
    case ObservationKind::kVmfailValid:
    case ObservationKind::kVmfailInvalid:
      absl::StrAppend(&text, " ", o.value);
      break;
    case ObservationKind::kFault:
      absl::StrAppend(&text, " vector ", o.selector);
      break;
    default:
      break;
  }
  return text;
}

std::string FirstWord(const std::string& text) { return text.substr(0, text.find(' ')); }

}  // namespace

void Reached::Add(const ProgramResult& reference) {
  ++programs;
  std::bitset<kExitReasons> exit_reasons, failure_reasons;
  std::bitset<kVmInstructionErrors> errors;
  std::bitset<256> events;
  bool in_l2 = false;
  for (const CpuResult& cpu : reference.cpus) {
    ++ends[cpu.end];
    for (const Observation& o : cpu.log) {
      if (o.level == 2) in_l2 = true;
      if (IsExitReason(o)) {
        const ExitReasonValue reason{static_cast<uint32_t>(o.value)};
        const size_t basic = std::min<size_t>(o.value & 0xFFFF, kExitReasons - 1);
        (reason.is_vm_entry_failure() ? failure_reasons : exit_reasons).set(basic);
      } else if (o.kind == ObservationKind::kVmfailValid) {
        errors.set(std::min<size_t>(o.value, kVmInstructionErrors - 1));
      } else if (o.kind == ObservationKind::kFault || o.kind == ObservationKind::kNmi ||
                 o.kind == ObservationKind::kInterrupt) {
        events.set(o.selector & 0xFF);
      }
    }
  }
  // Exit reason 0 is also what a VMCS holds that was never entered.
  if (in_l2 || exit_reasons.any()) ++entered_l2;
  if (failure_reasons.any()) ++entry_failures;
  for (size_t i = 0; i < kExitReasons; ++i) {
    exits[i] += exit_reasons[i];
    failures[i] += failure_reasons[i];
  }
  for (size_t i = 0; i < kVmInstructionErrors; ++i) vmfails[i] += errors[i];
  for (size_t i = 0; i < vectors.size(); ++i) vectors[i] += events[i];
}

std::string SignatureOf(const lhv::GuestProgram& program, const Comparison& comparison) {
  if (!comparison.nested.defect.empty()) return comparison.nested.defect;
  if (!comparison.difference) return "none";
  const Difference& d = *comparison.difference;
  std::string text =
      absl::StrCat(Kind(d.reference, d.reference_end), "  |  ", Kind(d.nested, d.nested_end));
  const lhv::CpuProgram& cpu = program.cpus[d.cpu];
  const std::optional<Observation>& here = d.reference ? d.reference : d.nested;
  if (here) {
    const std::vector<lhv::Operation>& code = here->level == 1 ? cpu.l1 : cpu.l2;
    if (here->operation < code.size()) {
      absl::StrAppend(&text, "  at ", FirstWord(lhv::OperationText(cpu, code[here->operation])));
    }
  }
  const std::vector<Observation>& log = comparison.keep.cpus[d.cpu].log;
  for (size_t at = std::min(d.position, log.size()); at-- > 0;) {
    if (!IsExitReason(log[at])) continue;
    absl::StrAppend(&text, "  after exit ", log[at].value & 0xFFFF);
    break;
  }
  return text;
}

CampaignResult RunCampaign(const CampaignOptions& options) {
  CampaignResult result;
  Comparer comparer(1, *FindVariant("correct"), options.hardware);
  if (options.l1_has_shadow_vmcs) comparer.nested().GiveShadowVmcs();
  comparer.set_step_limit(kStepLimit);
  comparer.nested().CheckL0MemoryEvery(64);
  comparer.RememberSetup(GeneratedSetup());
  Comparison comparison;
  std::map<std::string, size_t> known;
  // Of this process: others may be running too.
  const std::clock_t begin = std::clock();
  for (uint64_t number = options.first; number < options.first + options.count; ++number) {
    const lhv::GuestProgram program = GenerateProgram(options.generator, number);
    comparer.CompareBehindSetup(program, comparison);
    ++result.likenesses[comparison.likeness];
    result.reached.Add(comparison.keep);
    if (comparison.likeness == Likeness::kDeclared) ++result.declared[comparison.declared];
    if (comparison.IsDefect()) {
      const std::string signature = SignatureOf(program, comparison);
      const auto [place, is_new] = known.emplace(signature, result.findings.size());
      if (is_new) result.findings.push_back({signature, 0, number});
      ++result.findings[place->second].count;
    }
    if (options.progress && !options.progress(number)) break;
  }
  result.seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  return result;
}

std::string CampaignText(const CampaignResult& result) {
  const Reached& r = result.reached;
  std::string text =
      absl::StrFormat("%d programs in %.2f s of one processor: %.0f programs/s\n", r.programs,
                      result.seconds, r.programs / std::max(result.seconds, 1e-9));
  for (const auto& [likeness, count] : result.likenesses) {
    absl::StrAppendFormat(&text, "  %8d %s\n", count, Name(likeness));
  }
  for (const auto& [name, count] : result.declared) {
    absl::StrAppendFormat(&text, "  %8d declared: %s\n", count, name);
  }
  absl::StrAppend(&text, "reached on the reference, in programs:\n");
  absl::StrAppendFormat(&text, "  %8d entered L2\n  %8d had a VM-entry failure\n", r.entered_l2,
                        r.entry_failures);
  for (size_t i = 0; i < Reached::kExitReasons; ++i) {
    if (r.exits[i] == 0) continue;
    absl::StrAppendFormat(&text, "  %8d exit %d, %s\n", r.exits[i], i,
                          Name(static_cast<ExitReason>(i)));
  }
  for (size_t i = 0; i < Reached::kExitReasons; ++i) {
    if (r.failures[i] == 0) continue;
    absl::StrAppendFormat(&text, "  %8d VM-entry failure %d, %s\n", r.failures[i], i,
                          Name(static_cast<ExitReason>(i)));
  }
  for (size_t i = 0; i < Reached::kVmInstructionErrors; ++i) {
    if (r.vmfails[i] != 0) absl::StrAppendFormat(&text, "  %8d VMfail %d\n", r.vmfails[i], i);
  }
  for (size_t i = 0; i < 32; ++i) {
    if (r.vectors[i] != 0) absl::StrAppendFormat(&text, "  %8d vector %d\n", r.vectors[i], i);
  }
  for (const auto& [end, count] : r.ends) {
    absl::StrAppendFormat(&text, "  %8d ended: %s\n", count, Name(end));
  }
  return text;
}

}  // namespace nvmx::sim
