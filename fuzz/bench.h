// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_FUZZ_BENCH_H_
#define NVMX_FUZZ_BENCH_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backends/sim/machine/l0_memory.h"
#include "backends/sim/program/nested_cpu.h"
#include "backends/sim/program/program_cpu.h"
#include "lhv/assembled.h"

namespace nvmx::fuzz {

// What an input showed on the bare processor: the keys of semantic coverage.
struct BenchReached {
  bool entered = false;  // L2 ran, or a VM exit from it
  // The exit-reason field at the end, if a VMCS is current and L1 has not written the field.
  std::optional<uint32_t> exit;
  uint64_t exit_qualification = 0;
  std::span<const lhv::Observation> log;
};

// Where the two machines differ, and what an L1 would have to look at to see it.
struct BenchDifference {
  enum class What : uint8_t {
    kL0Defect,         // L0 failed; `text` says how
    kLog,              // the observations; position `selector`
    kEnd,              // how the CPU stands at the end
    kField,            // the field `selector` of VMCS12
    kMsr,              // MSR `selector` of L1
    kControlRegister,  // CR `selector`
    kState,            // something else of the processor's state; `text` names it
    kMemory,
  };
  What what;
  uint64_t selector = 0;
  uint64_t native = 0, nested = 0;
  std::string text;
};

// One CPU that runs L1 and L2, as the bare simulated processor and on the core, for inputs that all
// begin behind the same setup. It does what ProgramMachine does behind a remembered setup, and
// saves the instructions that only carry values: the VMWRITEs that an input begins with are made by
// hand, and what L1 could read in the end is compared without L1's reading it. An input that shows
// a difference here is compared again as a guest program, which is what counts.
class Bench {
 public:
  explicit Bench(const lhv::GuestProgram& setup);
  ~Bench();
  Bench(const Bench&) = delete;

  // Runs what follows the setup. Nothing: no difference.
  // `thorough`: all memory is compared. Otherwise it is that which the input has of its own, what
  // an MSR list stores, and the tops of the stacks; with EPT all the same.
  std::optional<BenchDifference> Run(const lhv::CpuProgram& own, bool thorough = false);
  // Of the last run.
  BenchReached reached() const;
  // A digest of everything that the last run was compared by.
  uint64_t Digest() const;
  void CheckL0MemoryEvery(uint64_t runs) { runs_between_checks_ = runs; }

 private:
  class NativeCpu;
  class Bus;
  struct Side;

  void RememberSetup();
  void Restore(Side& side);
  void WriteMemory(Side& side, const lhv::CpuProgram& own);
  // The VMWRITEs from the first operation behind the setup on; returns how many operations.
  size_t Poke(const lhv::CpuProgram& own, size_t setup_size);
  bool PokeOne(const lhv::Operation& operation);
  void RunToTheEnd(Side& side);
  std::optional<BenchDifference> Compare(const lhv::CpuProgram& own, bool thorough);
  std::optional<BenchDifference> CompareLogs();
  std::optional<BenchDifference> CompareControlRegisters() const;
  std::optional<BenchDifference> CompareMemory(const lhv::CpuProgram& own, bool thorough);
  bool SameMemory(uint64_t address, uint64_t length);

  const Capabilities offered_;
  lhv::CpuProgram program_;  // the setup, and behind it what runs
  size_t setup_size_, setup_l2_size_;
  // L2's memory is translated by EPT12, whose entries get accessed and dirty flags.
  const bool has_ept_;
  std::unique_ptr<Side> native_, nested_;
  std::unique_ptr<NativeCpu> native_cpu_;
  std::optional<System> system_;
  std::optional<sim::L0Memory> l0_memory_;
  std::unique_ptr<Bus> bus_;
  std::unique_ptr<sim::NestedCpu> nested_cpu_;
  std::unique_ptr<sim::NestedCpu::L0State> l0_state_;
  // The program makes VMCS regions: what a processor keeps there has no format.
  bool has_regions_ = false;
  bool writes_exit_reason_ = false;
  uint64_t runs_ = 0;
  uint64_t runs_between_checks_ = 64;
};

}  // namespace nvmx::fuzz

#endif  // NVMX_FUZZ_BENCH_H_
