// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_MACHINE_H_
#define NVMX_BACKENDS_SIM_MACHINE_MACHINE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/sim/machine/l0_memory.h"
#include "backends/sim/machine/sim_cpu.h"
#include "lhv/assembled.h"

namespace nvmx::sim {

// A shared cell with its place in the machine: one of the System's, or one of a CPU's own.
struct CellPlace {
  SharedCell* cell;
  static constexpr uint32_t kSystem = ~uint32_t{0};
  uint32_t cpu;  // kSystem, or whose
};

struct MachineOptions {
  const Variant* variant = nullptr;
  bool log_mtrr_writes = true;
  // Keep the events of the trace, not only its hash.
  bool keep_trace = false;
  bool enable_keys = false;
};

// The whole simulated machine. Nothing in it happens by itself: whoever owns it makes each choice.
class Machine final : private Interconnect {
 public:
  // A machine whose CPUs have run the setup of their programs. InvalidArgument if a setup does not
  // come to its end. The program must outlive the machine.
  static absl::StatusOr<std::unique_ptr<Machine>> Create(const lhv::GuestProgram& program,
                                                         const MachineOptions& options);

  uint32_t cpu_count() const { return static_cast<uint32_t>(cpus_.size()); }
  SimCpu& cpu(uint32_t index) { return *cpus_[index]; }
  const SimCpu& cpu(uint32_t index) const { return *cpus_[index]; }
  System& system() { return system_; }
  const System& system() const { return system_; }
  Memory& memory() { return memory_; }

  bool IsPossible(uint32_t cpu, Choice choice) const;
  // Makes a possible choice.
  void Step(uint32_t cpu, Choice choice);
  uint32_t steps() const { return step_; }

  // Every shared cell, the System's first, in a fixed order; the same for each machine with this
  // number of CPUs.
  const std::vector<CellPlace>& cells() const { return cells_; }
  // The number of a cell in cells().
  uint32_t CellNumber(const SharedCell* cell) const;

  const TraceLog& trace() const { return trace_; }
  // A digest of the whole state: every CPU's private one, the latches and the cells.
  uint64_t StateDigest();
  // In a machine of which only one CPU ever steps, IPIs to the others go nowhere.
  void IsolateCpu() { isolated_ = true; }

 private:
  Machine(const lhv::GuestProgram& program, const MachineOptions& options);
  void Send(uint32_t from, uint64_t interrupt_command, NmiSource source) override;
  void Record(uint32_t cpu, EventKind kind, uint32_t core_kind, uint64_t first,
              uint64_t second) override;
  uint32_t StepNumber() const override { return step_; }
  void PutNmi(uint32_t cpu, NmiSource source);

  System system_;
  Memory memory_;
  L0Memory l0_memory_;
  TraceLog trace_;
  uint32_t step_ = 0;
  bool isolated_ = false;
  bool recording_ = false;  // setups are not part of the trace
  std::vector<std::unique_ptr<SimCpu>> cpus_;
  std::vector<CellPlace> cells_;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_MACHINE_H_
