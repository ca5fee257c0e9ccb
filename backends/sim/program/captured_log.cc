// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/captured_log.h"

#include <cstddef>
#include <cstring>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backends/sim/program/machine_differences.h"
#include "core/nested/offered_capabilities.h"
#include "core/vmx/capabilities.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/msr_list.h"
#include "core/vmx/vmcs_field.h"
#include "core/vmx/vmcs_image.h"
#include "core/x86/address.h"
#include "core/x86/msr.h"
#include "core/x86/rflags.h"
#include "lhv/expected_observations.h"

namespace nvmx::sim {
namespace {

using lhv::ImageEnd;
using lhv::Operation;
using lhv::OperationKind;

enum Where : uint8_t { kNative = 1, kNested = 2, kBoth = kNative | kNested };
struct Deviation {
  const char* program;
  Where where;
  const char* reason;
};
constexpr Deviation kDeviations[] = {
#define NVMX_DEVIATION(program, where, reason) {program, where, reason},
#include "backends/sim/program/bochs_deviations.def"
#undef NVMX_DEVIATION
};

// Where the rows are that hold for the machine.
uint8_t RowsOf(CapturedMachine machine) {
  switch (machine) {
    case CapturedMachine::kOther:
      return 0;
    case CapturedMachine::kBochsNative:
      return kNative;
    case CapturedMachine::kBochsNested:
      return kNested;
  }
  return 0;
}

bool IsWriteOf(const Operation& operation, VmcsField field) {
  return (operation.kind == OperationKind::kVmwrite ||
          operation.kind == OperationKind::kVmwriteControl) &&
         operation.selector == Encoding(field);
}

const char* WhyNotComparable(const Operation& o) {
  const bool is_msr = o.kind == OperationKind::kRdmsr || o.kind == OperationKind::kWrmsr;
  switch (o.kind) {
    case OperationKind::kRdtsc:
    case OperationKind::kRdtscp:
      return "it reads the time";
    case OperationKind::kRdrand:
    case OperationKind::kRdseed:
      return "it reads random numbers";
    case OperationKind::kIn:
    case OperationKind::kOut:
      return "its ports are devices of the machine";
    case OperationKind::kPopf:
      if ((o.value & Rflags::kTf) != 0) return "it counts instructions: TF";
      break;
    default:
      break;
  }
  if (is_msr && o.selector == Index(Msr::IA32_TIME_STAMP_COUNTER)) return "it reads the time";
  if (IsWriteOf(o, VmcsField::kPinBasedControls) &&
      (o.value & PinBased::kActivateVmxPreemptionTimer) != 0) {
    return "it counts time: VMX-preemption timer";
  }
  if (IsWriteOf(o, VmcsField::kPrimaryProcessorBasedControls) &&
      (o.value & PrimaryProcessorBased::kMonitorTrapFlag) != 0) {
    return "it counts instructions: monitor trap flag";
  }
  if (IsWriteOf(o, VmcsField::kGuestRflags) && (o.value & Rflags::kTf) != 0) {
    return "it counts instructions: TF";
  }
  if (IsWriteOf(o, VmcsField::kGuestInterruptibilityState) &&
      (o.value & (Interruptibility::kBlockingBySti | Interruptibility::kBlockingByMovSs)) != 0) {
    return "an event behind a VM entry with blocking comes in the image's own code";
  }
  if (IsWriteOf(o, VmcsField::kSecondaryProcessorBasedControls) &&
      (o.value & Secondary::kEnablePml) != 0) {
    return "the log has the pages that the interpreter writes";
  }
  for (const VmcsField count : {VmcsField::kVmExitMsrStoreCount, VmcsField::kVmExitMsrLoadCount,
                                VmcsField::kVmEntryMsrLoadCount}) {
    if (IsWriteOf(o, count) && o.value > MaximumMsrListEntries(SimulatedCapabilities().misc)) {
      return "what an MSR list of more entries than IA32_VMX_MISC recommends does is undefined";
    }
  }
  if (IsWriteOf(o, VmcsField::kVmEntryControls) && (o.value & VmEntry::kIa32eModeGuest) == 0) {
    return "L2 is not in 64-bit mode";
  }
  return nullptr;
}

// How a run that ended so on the machine ends on the reference.
bool IsLike(CpuEnd reference, const lhv::LoggedCpu& captured) {
  if (!captured.end) {
    return reference == CpuEnd::kShutdown || reference == CpuEnd::kWaitsForSipi ||
           reference == CpuEnd::kHalted;
  }
  switch (*captured.end) {
    case ImageEnd::kComplete:
      return reference == CpuEnd::kComplete;
    case ImageEnd::kCompleteInL2:
      return reference == CpuEnd::kCompleteInL2;
    case ImageEnd::kStepLimit:
      return reference == CpuEnd::kStepLimit;
    case ImageEnd::kLost:
      return reference == CpuEnd::kLost;
    case ImageEnd::kResting:
      return reference == CpuEnd::kHalted || reference == CpuEnd::kLost ||
             reference == CpuEnd::kShutdown;
    default:
      return false;
  }
}

CpuEnd EndOf(const lhv::LoggedCpu& captured) {
  if (!captured.end) return CpuEnd::kShutdown;
  switch (*captured.end) {
    case ImageEnd::kComplete:
      return CpuEnd::kComplete;
    case ImageEnd::kCompleteInL2:
      return CpuEnd::kCompleteInL2;
    case ImageEnd::kStepLimit:
      return CpuEnd::kStepLimit;
    case ImageEnd::kResting:
      return CpuEnd::kHalted;
    default:
      return CpuEnd::kLost;
  }
}

ProgramResult ResultFor(const ProgramResult& reference, const lhv::LoggedProgram& captured) {
  ProgramResult result;
  for (size_t cpu = 0; cpu < reference.cpus.size(); ++cpu) {
    const lhv::LoggedCpu logged =
        cpu < captured.cpus.size() ? captured.cpus[cpu] : lhv::LoggedCpu{};
    const CpuEnd end = reference.cpus[cpu].end;
    result.cpus.push_back({.log = logged.log, .end = IsLike(end, logged) ? end : EndOf(logged)});
  }
  return result;
}

// Why the image could not begin with the program; empty if it could.
std::string WhyNotBegun(const lhv::LoggedProgram& captured) {
  for (const lhv::LoggedCpu& cpu : captured.cpus) {
    if (cpu.end == ImageEnd::kBadProgram) return absl::StrCat("it needs ", cpu.detail, " CPUs");
  }
  return "";
}

// Why it could not run the program to its end; empty if it could.
std::string WhyImageStopped(const lhv::LoggedProgram& captured) {
  for (const lhv::LoggedCpu& cpu : captured.cpus) {
    if (!cpu.end) continue;
    switch (*cpu.end) {
      case ImageEnd::kRefused:
        return absl::StrCat("an instruction has no encoding of eight bytes (kind ", cpu.detail,
                            ")");
      case ImageEnd::kFault:
      case ImageEnd::kInterrupted:
        return "the interpreter cannot run there: tables do not map the image";
      default:
        break;
    }
  }
  return "";
}

// Whether the machine saw what the program says: where the SDM leaves something open it is less
// than what the reference saw.
bool IsAsExpected(const lhv::GuestProgram& program, const ProgramResult& reference,
                  const lhv::LoggedProgram& captured) {
  for (size_t cpu = 0; cpu < program.cpus.size(); ++cpu) {
    const lhv::LoggedCpu logged =
        cpu < captured.cpus.size() ? captured.cpus[cpu] : lhv::LoggedCpu{};
    const CpuResult& seen = reference.cpus[cpu];
    if (!IsLike(seen.end, logged)) return false;
    // A program says nothing of CPUs that it does not name.
    const auto& expected = program.cpus[cpu].expected;
    if (expected ? lhv::CompareWithExpected(*expected, logged.log).has_value()
                 : logged.log != seen.log) {
      return false;
    }
  }
  return true;
}

// A VMCS region that the program itself has given the revision identifier of the core.
bool HoldsRevision(const lhv::CpuProgram& cpu) {
  const auto revision = static_cast<uint32_t>(OfferedCapabilities(SimulatedCapabilities()).basic &
                                              VmxBasic::kRevisionIdentifier);
  for (const lhv::MemoryBlock& block : cpu.memory) {
    uint32_t word = 0;
    for (size_t at = 0; at + sizeof word <= block.bytes.size(); at += kPageSize) {
      std::memcpy(&word, block.bytes.data() + at, sizeof word);
      if ((word & VmxBasic::kRevisionIdentifier) == revision) return true;
    }
  }
  for (const Operation& operation : cpu.l1) {
    if (operation.kind != OperationKind::kWriteMemory) continue;
    // The last byte alone makes a shadow VMCS of a region.
    const bool is_last_byte =
        operation.selector == 1 && operation.extra == (revision | kShadowVmcsIndicator) >> 24;
    if (is_last_byte || (operation.extra & VmxBasic::kRevisionIdentifier) == revision) return true;
  }
  return false;
}

// What the rows of machine_differences.def make of the differences of two logs.
struct Explanation {
  std::set<std::string> reasons;
  bool deviates = false;  // a reason is Bochs's
  // Where the logs cannot be compared any more; nothing if they can be to their ends.
  std::optional<Difference> end;
  bool is_explained = true;  // that, too
};

const MachineDifference* FindRow(const PlaceOfDifference& place, CapturedMachine machine,
                                 Explained& explained) {
  for (const MachineDifference& row : AllMachineDifferences()) {
    const bool is_of_bochs = row.origin == MachineDifference::Origin::kBochs;
    if (is_of_bochs && machine == CapturedMachine::kOther) continue;
    explained = row.matches(place);
    if (explained != Explained::kNot) return &row;
  }
  return nullptr;
}

// Makes the logs alike where they part and go on.
void StepOver(Explained explained, size_t position, const std::vector<lhv::Observation>& reference,
              std::vector<lhv::Observation>& machine) {
  const auto at = machine.begin() + static_cast<std::ptrdiff_t>(position);
  switch (explained) {
    case Explained::kStep:
      *at = reference[position];
      break;
    case Explained::kReferenceOnly:
      machine.insert(at, reference[position]);
      break;
    case Explained::kMachineOnly:
      machine.erase(at);
      break;
    default:
      break;
  }
}

Explanation Explain(const lhv::GuestProgram& program, const CapturedComparison& result,
                    const ProgramResult& reference, ProgramResult seen) {
  Explanation explanation;
  while (true) {
    explanation.end = FirstDifference(reference, seen);
    if (!explanation.end) return explanation;
    const uint32_t cpu = explanation.end->cpu;
    const PlaceOfDifference place{program, result.comparison.hardware, *explanation.end,
                                  reference.cpus[cpu].log, seen.cpus[cpu].log};
    Explained explained = Explained::kNot;
    const MachineDifference* const row = FindRow(place, result.machine, explained);
    explanation.is_explained = row != nullptr;
    if (row == nullptr) return explanation;
    explanation.reasons.insert(row->reason);
    explanation.deviates |= row->origin == MachineDifference::Origin::kBochs;
    if (explained == Explained::kParting) return explanation;
    StepOver(explained, explanation.end->position, reference.cpus[cpu].log, seen.cpus[cpu].log);
  }
}

// With that policy of the reference's TLB with which the logs can be compared to their ends.
Explanation ExplainWithAnyPolicy(const lhv::GuestProgram& program, const CapturedComparison& result,
                                 const lhv::LoggedProgram& captured) {
  const Comparison& c = result.comparison;
  Explanation keep = Explain(program, result, c.keep, ResultFor(c.keep, captured));
  if (!keep.end || !c.ambiguous) return keep;
  Explanation evict = Explain(program, result, c.evict, ResultFor(c.evict, captured));
  return !evict.end || (evict.is_explained && !keep.is_explained) ? evict : keep;
}

// Whether the reference's own two logs have parted before the place: then a third is as right.
bool IsBehindKeptTranslation(const Comparison& c, const Difference& difference) {
  const std::optional<Difference> own = FirstDifference(c.keep, c.evict);
  return own && own->cpu == difference.cpu && own->position <= difference.position;
}

Calibration VerdictOf(const Explanation& explanation) {
  if (!explanation.is_explained) return Calibration::kDifferent;
  if (explanation.deviates) return Calibration::kDeviation;
  return explanation.end ? Calibration::kNotComparable : Calibration::kWhereDefined;
}

}  // namespace

const char* Name(Calibration calibration) {
  switch (calibration) {
    case Calibration::kSame:
      return "same";
    case Calibration::kWhereDefined:
      return "same where it is defined";
    case Calibration::kAsExpected:
      return "as expected";
    case Calibration::kDeviation:
      return "known deviation";
    case Calibration::kNotComparable:
      return "not comparable";
    case Calibration::kDifferent:
      return "DIFFERENT";
  }
  return "?";
}

std::string WhyNotComparable(const lhv::GuestProgram& program) {
  for (const lhv::CpuProgram& cpu : program.cpus) {
    if (HoldsRevision(cpu)) return "it holds the VMCS revision identifier of the core";
  }
  for (const lhv::CpuProgram& cpu : program.cpus) {
    for (const auto* code : {&cpu.l1, &cpu.l2}) {
      for (const lhv::Operation& operation : *code) {
        if (const char* const reason = WhyNotComparable(operation)) return reason;
      }
    }
  }
  return "";
}

std::string KnownDeviation(CapturedMachine machine, const std::string& name) {
  for (const Deviation& row : kDeviations) {
    if ((row.where & RowsOf(machine)) == 0) continue;
    if (absl::StrContains(name, absl::StrCat("lhv/suites/", row.program))) return row.reason;
  }
  return "";
}

void CompareCaptured(const std::string& name, const lhv::GuestProgram& program,
                     const lhv::LoggedProgram& captured, CapturedComparison& result) {
  Comparison& c = result.comparison;
  c.tested = "machine";
  c.likeness = Likeness::kDifferent;
  c.ambiguous = !SameObservations(c.keep, c.evict);
  result.reason.clear();
  result.calibration = Calibration::kSame;
  for (const ProgramResult* reference : {&c.keep, &c.evict}) {
    c.nested = ResultFor(*reference, captured);
    c.difference = FirstDifference(*reference, c.nested);
    if (!c.difference) return;
  }
  c.nested = ResultFor(c.keep, captured);
  c.difference = FirstDifference(c.keep, c.nested);
  if (IsAsExpected(program, c.keep, captured)) {
    result.calibration = Calibration::kAsExpected;
    return;
  }
  if (result.reason = WhyNotBegun(captured); !result.reason.empty()) {
    result.calibration = Calibration::kNotComparable;
    return;
  }
  if (result.reason = KnownDeviation(result.machine, name); !result.reason.empty()) {
    result.calibration = Calibration::kDeviation;
    return;
  }
  const Explanation explanation = ExplainWithAnyPolicy(program, result, captured);
  if (explanation.end) {
    c.difference = explanation.end;
    result.calibration = Calibration::kNotComparable;
    if (result.reason = WhyImageStopped(captured); !result.reason.empty()) return;
    if (result.reason = WhyNotComparable(program); !result.reason.empty()) return;
    if (!explanation.is_explained && IsBehindKeptTranslation(c, *explanation.end)) {
      result.reason = "it depends on the translations that a processor keeps";
      return;
    }
  }
  result.calibration = VerdictOf(explanation);
  result.reason = absl::StrJoin(explanation.reasons, "; ");
}

}  // namespace nvmx::sim
