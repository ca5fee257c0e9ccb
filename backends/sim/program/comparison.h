// SPDX-License-Identifier: Apache-2.0
//
// One program on the reference and on the core: do they look the same from inside?
#ifndef NVMX_BACKENDS_SIM_PROGRAM_COMPARISON_H_
#define NVMX_BACKENDS_SIM_PROGRAM_COMPARISON_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "backends/sim/program/native_machine.h"
#include "backends/sim/program/nested_machine.h"
#include "backends/sim/program/program_result.h"
#include "lhv/assembled.h"
#include "lhv/observation.h"

namespace nvmx::sim {

// The first place where two runs differ.
struct Difference {
  uint32_t cpu = 0;
  // Where in the logs of that CPU; nothing where a log has ended.
  size_t position = 0;
  std::optional<lhv::Observation> reference, nested;
  CpuEnd reference_end = CpuEnd::kComplete;
  CpuEnd nested_end = CpuEnd::kComplete;
};

// The first difference by CPU; nothing if there is none.
std::optional<Difference> FirstDifference(const ProgramResult& reference,
                                          const ProgramResult& nested);

enum class Likeness : uint8_t {
  kSame,
  // The program depends on stale translations: the reference itself gives two logs, one for each
  // policy, and the core gives one of them,
  kSameAsOnePolicy,
  // or another, which can be as right: a processor may keep some translations and drop others. The
  // reference's own two may then look alike, if the program does not ask where its VM exits were.
  kTlbDependent,
  // The table of declared differences has it.
  kDeclared,
  // The program has done something of which the SDM leaves open what comes of it.
  kLeftOpen,
  kDifferent,
};
const char* Name(Likeness likeness);

struct Comparison {
  Likeness likeness = Likeness::kSame;
  ProgramResult keep;  // the reference, with each policy of its TLB
  ProgramResult evict;
  ProgramResult nested;
  // What `nested` is the result of.
  const char* tested = "sim-nested";
  // Unless the likeness is kSame: between `keep` and `nested`.
  std::optional<Difference> difference;
  // What the processors can do. Unless the likeness is kSame.
  Capabilities hardware = SimulatedCapabilities();
  // Of kDeclared: the row's name.
  std::string declared;

  // The reference gives two logs, one for each policy. Not looked at where CompareQuickly() and
  // CompareBehindSetup() find the programs the same.
  bool ambiguous = false;
  // Neither the same nor explained.
  bool IsDefect() const { return likeness == Likeness::kDifferent; }
};

// Whether the program did something of which the SDM leaves the outcome open before the first
// difference, which there is.
bool IsLeftOpen(const Comparison& comparison);

// The machines for programs with one number of CPUs, used again for each program.
class Comparer {
 public:
  // On processors with the capabilities `hardware`.
  explicit Comparer(uint32_t cpus, const Variant& variant = *FindVariant("correct"),
                    const Capabilities& hardware = SimulatedCapabilities());

  // The program has as many CPUs. The result's memory is used again.
  void Compare(const lhv::GuestProgram& program, Comparison& result);

  // The same, faster: the reference runs without stale translations only if it gives another log
  // with them than the core. So a program that depends on them counts as the same if the core
  // depends on them too.
  void CompareQuickly(const lhv::GuestProgram& program, Comparison& result);
  // CompareQuickly() for a program that begins with the setup that is remembered, faster again;
  // ProgramMachine::RememberSetup() tells more.
  void CompareBehindSetup(const lhv::GuestProgram& program, Comparison& result);
  void RememberSetup(const lhv::GuestProgram& program);
  void set_step_limit(uint64_t steps);
  NestedMachine& nested() { return nested_; }

 private:
  // Whether the core gave the log of the reference; says so in the result then.
  static bool IsSame(Comparison& result);
  void Judge(const lhv::GuestProgram& program, Comparison& result);

  const Capabilities hardware_;
  NativeMachine keep_, evict_;
  NestedMachine nested_;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_COMPARISON_H_
