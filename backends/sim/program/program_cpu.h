// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROGRAM_PROGRAM_CPU_H_
#define NVMX_BACKENDS_SIM_PROGRAM_PROGRAM_CPU_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "backends/sim/machine/local_apic.h"
#include "backends/sim/machine/processor.h"
#include "backends/sim/program/program_result.h"
#include "lhv/assembled.h"
#include "lhv/interpreter.h"

namespace nvmx::sim {

// How the CPUs of a machine reach each other.
class ProgramBus {
 public:
  virtual void SendIpi(uint32_t from, uint64_t interrupt_command) = 0;

 protected:
  ~ProgramBus() = default;
};

// A CPU that runs a guest program as fast as it can, whoever handles its VM exits.
class ProgramCpu : protected Platform, private lhv::ObservationLog {
 public:
  struct Parts {
    uint32_t index;
    Memory& memory;
    ProgramBus& bus;
    const Capabilities& capabilities;
    ProcessorOptions options;
  };
  explicit ProgramCpu(const Parts& parts);
  ProgramCpu(const ProgramCpu&) = delete;

  // Begins a program, which must outlive the run, behind that many steps of it. The CPU's state and
  // memory are the caller's.
  void Load(const lhv::CpuProgram& program, uint64_t steps = 0);

  // Takes all events that are due, then executes one instruction if there is one. False if there
  // was nothing to do.
  bool Turn();
  // Instructions and events so far.
  uint64_t steps() const { return steps_; }

  // An IPI arrives. `delivery_mode` as in lhv::InterruptCommand.
  void ReceiveIpi(uint64_t delivery_mode, uint8_t vector);

  // Whether RIP is at the first operation behind the setup, in L1.
  bool IsBehindSetup() const;
  // How the CPU stands, given that it cannot move.
  CpuEnd End() const;

  Processor& processor() { return processor_; }
  const Processor& processor() const { return processor_; }
  std::vector<lhv::Observation>& log() { return log_; }
  const std::vector<lhv::Observation>& log() const { return log_; }
  std::vector<RefusedEntry>& refused_entries() { return refused_entries_; }

  // What has been sent to the CPU and not been taken.
  struct Pending {
    LocalApic local_apic;
    bool nmi = false;
  };
  Pending& pending() { return pending_; }
  const Pending& pending() const { return pending_; }

 protected:
  uint32_t index() const { return index_; }
  // Takes one event if one is due.
  bool TakeEvent();
  // An NMI comes while one is latched.
  virtual void NmiMerges() {}
  // An instruction of L2's has ended in L1.
  virtual void LeftL2(lhv::Interpreter&) {}

 private:
  uint64_t AddressInL1(size_t operation) const;
  Signals SignalsNow() const;
  void DropUselessSignals();
  void SendIpi(uint64_t interrupt_command) override { bus_.SendIpi(index_, interrupt_command); }
  void Append(const lhv::Observation& observation) override { log_.push_back(observation); }

  const uint32_t index_;
  ProgramBus& bus_;
  Processor processor_;
  lhv::CpuProgramView program_;
  std::optional<lhv::Interpreter> interpreter_;
  Pending pending_;
  uint64_t steps_ = 0;
  std::vector<lhv::Observation> log_;
  std::vector<RefusedEntry> refused_entries_;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_PROGRAM_CPU_H_
