// SPDX-License-Identifier: Apache-2.0
//
// The simulator's ports keep what every backend promises.
#include <array>
#include <memory>
#include <utility>

#include "backends/sim/machine/testing/program_run.h"
#include "backends/sim/machine/testing/root_probe.h"
#include "core/testing/port_contract_gtest.h"

namespace nvmx::sim {
namespace {

// Two CPUs whose guests do nothing but exit. What the tests run, runs in root operation behind such
// an exit.
class SimulatedContractMachine final : public ContractMachine, private InRootOperation {
 public:
  SimulatedContractMachine() {
    const Variant& correct = *FindVariant("correct");
    const Variant variant{"probe", "", correct.quiesce, RootProbe()};
    program_ = ProgramRun::MustAssemble(
        "name: exits\ncpus:\n  - {repeat: all, run: [cpuid: 0, cpuid: 0, cpuid: 0, cpuid: 0]}\n",
        2);
    MachineOptions options;
    options.variant = &variant;
    options.keep_trace = true;
    auto machine = Machine::Create(program_, options);
    if (!machine.ok()) std::abort();
    machine_ = *std::move(machine);
    SetRootProbe(this);
  }
  ~SimulatedContractMachine() { SetRootProbe(nullptr); }

  void Run(const OnCpu& on_cpu_0) override {
    wanted_[0] = &on_cpu_0;
    RunWhatIsWanted();
  }
  void RunBoth(const OnCpu& on_cpu_0, const OnCpu& on_cpu_1) override {
    wanted_ = {&on_cpu_0, &on_cpu_1};
    RunWhatIsWanted();
  }
  void BlockNmisAndSendOne() override {
    machine_->cpu(0).processor().state().nmi_blocked = 1;
    machine_->Step(0, Choice::kDeviceNmi);
  }
  // A CPU takes its NMIs at its points. Up to the next one it touches nothing that anybody could
  // see, so an NMI that is taken there was taken at once.
  int NmisTaken() override {
    point_.Load(machine_->cpu(0).ports().cpu);
    int taken = 0;
    for (const TraceEvent& event : machine_->trace().events()) {
      if (event.kind == EventKind::kNmiTaken && event.cpu == 0 &&
          event.first == static_cast<uint64_t>(NmiDestination::kRoot)) {
        ++taken;
      }
    }
    return taken;
  }
  uint32_t WritableMsr() override { return Index(Msr::IA32_STAR); }
  uint32_t AbsentMsr() override { return 0xDEAD; }
  uint32_t ReadOnlyMsr() override { return Index(Msr::IA32_MTRRCAP); }
  uint64_t MemoryEnd() override { return lhv::WindowOf(2); }

 private:
  void Run(Vcpu& vcpu) override {
    const CpuIndex cpu = vcpu.ports.cpu.Index();
    if (wanted_[cpu] == nullptr) return;
    (*wanted_[cpu])(vcpu.ports);
    wanted_[cpu] = nullptr;
  }

  // CPU 1 runs while CPU 0 waits.
  void RunWhatIsWanted() {
    while (wanted_[0] != nullptr || wanted_[1] != nullptr) {
      bool moved = false;
      for (uint32_t cpu = 0; cpu < 2 && !moved; ++cpu) {
        if (wanted_[cpu] == nullptr) continue;
        for (Choice choice : {Choice::kTakeNmi, Choice::kStep}) {
          if (!machine_->IsPossible(cpu, choice)) continue;
          machine_->Step(cpu, choice);
          moved = true;
          break;
        }
      }
      if (!moved) {
        ADD_FAILURE() << "nobody can move";
        return;
      }
    }
  }

  lhv::GuestProgram program_;
  std::unique_ptr<Machine> machine_;
  std::array<const OnCpu*, 2> wanted_{};
  Shared point_{"point"};
};

}  // namespace
}  // namespace nvmx::sim

namespace nvmx {

INSTANTIATE_TEST_SUITE_P(Simulator, PortContractTest, EachCheckOn<sim::SimulatedContractMachine>(),
                         NameOfCheck);

}  // namespace nvmx
