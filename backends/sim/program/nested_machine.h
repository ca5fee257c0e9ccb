// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROGRAM_NESTED_MACHINE_H_
#define NVMX_BACKENDS_SIM_PROGRAM_NESTED_MACHINE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/sim/machine/processor_profile.h"
#include "backends/sim/program/nested_cpu.h"
#include "backends/sim/program/program_machine.h"

namespace nvmx::sim {

// The thing under test: guest programs on the core, on simulated CPUs with the capabilities
// `hardware`.
class NestedMachine final : public ProgramMachine, private L0Bus {
 public:
  // 1 to kMostCpus CPUs. `variant` is the core's order of things.
  explicit NestedMachine(uint32_t cpus, const Variant& variant = *FindVariant("correct"),
                         const Capabilities& hardware = SimulatedCapabilities());

  // A check of every byte of L0's memory that must not change takes a few microseconds: it is made
  // after each run by default, and after one in `runs` otherwise.
  void CheckL0MemoryEvery(uint64_t runs) { runs_between_checks_ = runs; }

  // From the next run on L1 has a shadow VMCS, if the processor can have one: its VMREAD and
  // VMWRITE of what hypervisors touch with every exit do not exit.
  void GiveShadowVmcs() {
    for (const std::unique_ptr<NestedCpu>& cpu : cpus_) cpu->GiveShadowVmcs();
  }

 private:
  ProgramCpu& cpu(uint32_t index) override { return *cpus_[index]; }
  void Reset(lhv::L1Mode mode) override;
  bool Turn(uint32_t index) override;
  CpuEnd End(uint32_t index) override { return cpus_[index]->EndOfRun(); }
  void Report(ProgramResult& result) override;
  void SaveStart() override;
  void RestoreStart() override;
  void SendHostNmiToAllOthers(uint32_t from) override;
  void SendHostNmi(uint32_t to) override { cpus_[to]->ReceiveHostNmi(); }
  // Lets the CPUs' L0 go on until `index` has finished its turn. False if none can.
  bool FinishTurn(uint32_t index);
  // What went wrong with L0; empty if nothing did.
  std::string Defect();

  std::optional<System> system_;
  L0Memory l0_memory_;
  const Variant& variant_;
  std::vector<std::unique_ptr<NestedCpu>> cpus_;
  uint64_t runs_ = 0;
  uint64_t runs_between_checks_ = 1;

  struct Start {
    ProcessorState processor;
    NestedCpu::L0State l0;
  };
  std::unique_ptr<Start> start_;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_NESTED_MACHINE_H_
