// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/comparison.h"

#include <algorithm>

#include "backends/sim/program/declared_differences.h"

namespace nvmx::sim {
namespace {

std::optional<lhv::Observation> At(const std::vector<lhv::Observation>& log, size_t position) {
  if (position >= log.size()) return std::nullopt;
  return log[position];
}

}  // namespace

bool IsLeftOpen(const Comparison& comparison) {
  const ProgramResult& evict = comparison.evict;
  const Difference& difference = *comparison.difference;
  return evict.left_open != LeftOpen::kNothing &&
         evict.left_open_at[difference.cpu] <= difference.position;
}

const char* Name(Likeness likeness) {
  switch (likeness) {
    case Likeness::kSame:
      return "same";
    case Likeness::kSameAsOnePolicy:
      return "same as one TLB policy";
    case Likeness::kTlbDependent:
      return "depends on the TLB";
    case Likeness::kDeclared:
      return "declared";
    case Likeness::kLeftOpen:
      return "left open by the SDM";
    case Likeness::kDifferent:
      return "DIFFERENT";
  }
  return "?";
}

std::optional<Difference> FirstDifference(const ProgramResult& reference,
                                          const ProgramResult& nested) {
  for (uint32_t cpu = 0; cpu < reference.cpus.size(); ++cpu) {
    const CpuResult& a = reference.cpus[cpu];
    const CpuResult& b = nested.cpus[cpu];
    if (SameObservations(a, b)) continue;
    const auto [x, y] = std::mismatch(a.log.begin(), a.log.end(), b.log.begin(), b.log.end());
    const auto position = static_cast<size_t>(x - a.log.begin());
    return Difference{cpu, position, At(a.log, position), At(b.log, position), a.end, b.end};
  }
  return std::nullopt;
}

Comparer::Comparer(uint32_t cpus, const Variant& variant, const Capabilities& hardware)
    : hardware_(hardware),
      keep_(cpus, TlbPolicy::kKeep, hardware),
      evict_(cpus, TlbPolicy::kEvictAtOnce, hardware),
      nested_(cpus, variant, hardware) {}

void Comparer::Compare(const lhv::GuestProgram& program, Comparison& result) {
  keep_.Run(program, result.keep);
  evict_.Run(program, result.evict);
  nested_.Run(program, result.nested);
  Judge(program, result);
}

void Comparer::CompareQuickly(const lhv::GuestProgram& program, Comparison& result) {
  keep_.Run(program, result.keep);
  nested_.Run(program, result.nested);
  if (IsSame(result)) return;
  evict_.Run(program, result.evict);
  Judge(program, result);
}

void Comparer::CompareBehindSetup(const lhv::GuestProgram& program, Comparison& result) {
  keep_.RunBehindSetup(program, result.keep);
  nested_.RunBehindSetup(program, result.nested);
  if (IsSame(result)) return;
  evict_.RunBehindSetup(program, result.evict);
  Judge(program, result);
}

bool Comparer::IsSame(Comparison& result) {
  if (!result.nested.defect.empty() || !SameObservations(result.keep, result.nested)) return false;
  result.likeness = Likeness::kSame;
  result.ambiguous = false;
  result.declared.clear();
  result.difference.reset();
  return true;
}

void Comparer::Judge(const lhv::GuestProgram& program, Comparison& result) {
  result.hardware = hardware_;
  result.declared.clear();
  result.difference.reset();
  result.ambiguous = !SameObservations(result.keep, result.evict);
  const bool nested_is_sound = result.nested.defect.empty();
  if (nested_is_sound && SameObservations(result.keep, result.nested)) {
    result.likeness = result.ambiguous ? Likeness::kSameAsOnePolicy : Likeness::kSame;
    return;
  }
  result.difference = FirstDifference(result.keep, result.nested);
  if (const DeclaredDifference* row = FindDeclaredDifference(program, result)) {
    result.likeness = Likeness::kDeclared;
    result.declared = row->name;
  } else if (nested_is_sound && (result.ambiguous || !keep_.ExitedLike(evict_))) {
    result.likeness = SameObservations(result.evict, result.nested) ? Likeness::kSameAsOnePolicy
                                                                    : Likeness::kTlbDependent;
  } else if (nested_is_sound && IsLeftOpen(result)) {
    result.likeness = Likeness::kLeftOpen;
  } else {
    result.likeness = Likeness::kDifferent;
  }
}

void Comparer::RememberSetup(const lhv::GuestProgram& program) {
  for (ProgramMachine* machine :
       {static_cast<ProgramMachine*>(&keep_), static_cast<ProgramMachine*>(&evict_),
        static_cast<ProgramMachine*>(&nested_)}) {
    machine->RememberSetup(program);
  }
}

void Comparer::set_step_limit(uint64_t steps) {
  keep_.set_step_limit(steps);
  evict_.set_step_limit(steps);
  nested_.set_step_limit(steps);
}

}  // namespace nvmx::sim
