// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/captured_log.h"

#include <cstddef>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backends/sim/program/machine_differences.h"
#include "backends/sim/program/not_comparable.h"
#include "lhv/expected_observations.h"

namespace nvmx::sim {
namespace {

using lhv::ImageEnd;

enum Where : uint8_t {
  kNativeX8664 = 1,
  kNativeI386 = 2,
  kNestedX8664 = 4,
  kNestedI386 = 8,
  kNative = kNativeX8664 | kNativeI386,
  kNested = kNestedX8664 | kNestedI386,
  kBoth = kNative | kNested
};
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
      return kNativeX8664;
    case CapturedMachine::kBochsNativeI386:
      return kNativeI386;
    case CapturedMachine::kBochsNested:
      return kNestedX8664;
    case CapturedMachine::kBochsNestedI386:
      return kNestedI386;
  }
  return 0;
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
    if (cpu.end == ImageEnd::kOtherL1) return absl::StrCat("its L1 has ", cpu.detail, " bits");
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

// What the rows of machine_differences.def make of the differences of two logs.
struct Explanation {
  std::set<std::string> reasons;
  bool deviates = false;  // a reason is Bochs's
  // Where the logs cannot be compared any more; nothing if they can be to their ends.
  std::optional<Difference> end;
  bool is_explained = true;  // that, too
};

bool IsOfBochs(const MachineDifference& row) {
  return row.origin == MachineDifference::Origin::kBochs ||
         row.origin == MachineDifference::Origin::kBochsNative;
}
bool Holds(const MachineDifference& row, CapturedMachine machine) {
  if (row.origin == MachineDifference::Origin::kBochsNative) {
    return (RowsOf(machine) & kNative) != 0;
  }
  return !IsOfBochs(row) || machine != CapturedMachine::kOther;
}

const MachineDifference* FindRow(const PlaceOfDifference& place, CapturedMachine machine,
                                 Explained& explained) {
  for (const MachineDifference& row : AllMachineDifferences()) {
    if (!Holds(row, machine)) continue;
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
    explanation.deviates |= IsOfBochs(*row);
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
