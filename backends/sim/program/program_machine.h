// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROGRAM_PROGRAM_MACHINE_H_
#define NVMX_BACKENDS_SIM_PROGRAM_PROGRAM_MACHINE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "backends/sim/machine/memory.h"
#include "backends/sim/program/program_cpu.h"
#include "backends/sim/program/program_result.h"
#include "lhv/assembled.h"

namespace nvmx::sim {

// Something that runs guest programs, one after the other. What a program sees follows from the
// program alone: the CPUs take turns, one instruction each, in order; an NMI or an interrupt is
// taken before the first instruction that nothing keeps it from.
class ProgramMachine : protected ProgramBus {
 public:
  virtual ~ProgramMachine() = default;
  ProgramMachine(const ProgramMachine&) = delete;

  static constexpr uint32_t kMostCpus = 8;
  static constexpr uint64_t kDefaultStepLimit = 200'000;
  void set_step_limit(uint64_t steps) { step_limit_ = steps; }

  // Runs the program from the reset of the machine on. It has one CPU program for each CPU of the
  // machine; the result's memory is used again.
  void Run(const lhv::GuestProgram& program, ProgramResult& result);

  // For many programs that begin alike: RunBehindSetup() starts behind the setup of `program`,
  // which has one CPU, in the state that it left. The setup and the memory blocks of `program` must
  // be those that the other program begins with, and the setup must not look at other memory.
  void RememberSetup(const lhv::GuestProgram& program);
  void RunBehindSetup(const lhv::GuestProgram& program, ProgramResult& result);

 protected:
  explicit ProgramMachine(uint32_t cpus);

  uint32_t cpu_count() const { return cpu_count_; }
  Memory& memory() { return memory_; }

  virtual ProgramCpu& cpu(uint32_t index) = 0;
  // Puts the CPUs into the state in which the loader of a guest program for that mode leaves them.
  virtual void Reset(lhv::L1Mode mode) = 0;
  // Gives the CPU its turn. False if it did not move.
  virtual bool Turn(uint32_t index) = 0;
  // How a CPU stands that cannot move.
  virtual CpuEnd End(uint32_t index) = 0;
  // Adds to the result of a run what only this kind of machine knows.
  virtual void Report(ProgramResult& result) = 0;
  // Everything about CPU 0 that is not in its window.
  virtual void SaveStart() = 0;
  virtual void RestoreStart() = 0;

 private:
  void SendIpi(uint32_t from, uint64_t interrupt_command) override;
  void LoadFromReset(const lhv::GuestProgram& program);
  void LoadBehindSetup(const lhv::GuestProgram& program);
  void Finish(ProgramResult& result);
  void WriteBlocks(const lhv::GuestProgram& program, size_t first);
  void RunToTheEnd();
  // When no CPU can move: lets time pass until a timer expires. False if none runs.
  bool PassTime();

  const uint32_t cpu_count_;
  Memory memory_;
  uint64_t step_limit_ = kDefaultStepLimit;
  // The CPUs that moved when each had its last turn. If that was for the limit, they would move on,
  // even one that is at the end of its program for the moment.
  std::vector<bool> was_cut_off_;

  struct RememberedSetup {
    lhv::GuestProgram program;
    std::unique_ptr<Memory::Snapshot> window;
    std::vector<lhv::Observation> log;
    uint64_t steps = 0;
  };
  std::unique_ptr<RememberedSetup> remembered_;
  // The window has changed since the setup only by programs that began with it.
  bool window_is_remembered_ = false;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_PROGRAM_MACHINE_H_
