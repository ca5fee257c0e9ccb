// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/contract_run.h"

#include <atomic>
#include <cstddef>

#include "backends/vmx-hw/machine/console.h"
#include "backends/vmx-hw/machine/cpu_instructions.h"
#include "backends/vmx-hw/machine/cpus.h"
#include "backends/vmx-hw/machine/local_apic.h"
#include "backends/vmx-hw/machine/power.h"
#include "core/testing/port_contract.h"
#include "core/x86/msr.h"

namespace nvmx::metal {
namespace {

// What CPU 1 is to run.
constinit std::atomic<const OnCpu*> wanted_of_cpu_1{nullptr};
// Where CPU 0 goes on with NMIs blocked.
constinit void* blocked_place[5] = {};
constinit std::atomic<bool> wants_nmis_blocked{false};

// Takes an NMI and leaves its handler without IRET.
[[gnu::noinline]] void BlockNmis() {
  const uint32_t own = ThisCpu().apic_id;
  if (__builtin_setjmp(blocked_place) != 0) return;
  wants_nmis_blocked = true;
  SendNmi(own);
  for (;;) Pause();
}

class MetalContractMachine final : public ContractMachine {
 public:
  MetalContractMachine(L0Cpu& cpu, L0Shared& shared) : cpu_(cpu), shared_(shared) {}

  void Run(const OnCpu& on_cpu_0) override { cpu_.RunWithPorts(on_cpu_0); }
  void RunBoth(const OnCpu& on_cpu_0, const OnCpu& on_cpu_1) override {
    wanted_of_cpu_1 = &on_cpu_1;
    cpu_.RunWithPorts(on_cpu_0);
    while (wanted_of_cpu_1.load() != nullptr) Pause();
  }
  void BlockNmisAndSendOne() override {
    BlockNmis();
    SendNmi(ThisCpu().apic_id);
  }
  int NmisTaken() override { return static_cast<int>(shared_.watchdog.status(0).nmis_in_root()); }
  uint32_t WritableMsr() override { return Index(Msr::IA32_STAR); }
  uint32_t AbsentMsr() override { return 0xDEAD; }
  uint32_t ReadOnlyMsr() override { return Index(Msr::IA32_MTRRCAP); }
  uint64_t NaturalWidth() override { return ~uintptr_t{0}; }
  uint64_t MemoryEnd() override { return shared_.l1_memory.EndOfRam(); }
  // Where the image was before it moved is L1's now.
  uint64_t Seam() override { return shared_.layout.linear_begin(); }

 private:
  L0Cpu& cpu_;
  L0Shared& shared_;
};

class ConsoleReport final : public ContractReport {
 public:
  explicit ConsoleReport(const char* check) : check_(check) {}
  void Fail(const char* what, uint64_t found, uint64_t wanted) override {
    has_failed_ = true;
    Write(Text() << "ports: " << check_ << ": " << what << " is " << Hex{found} << ", not "
                 << Hex{wanted} << "\n");
  }
  bool has_failed() const { return has_failed_.load(); }

 private:
  const char* check_;
  std::atomic<bool> has_failed_{false};
};

}  // namespace

void KeepNmisBlockedIfWanted() {
  if (wants_nmis_blocked.exchange(false)) __builtin_longjmp(blocked_place, 1);
}

void RunPortContract(L0Cpu& cpu, L0Shared& shared) {
  MetalContractMachine machine(cpu, shared);
  size_t kept = 0;
  for (const ContractCheck& check : PortContract()) {
    ConsoleReport report(check.name);
    check.run(machine, report);
    if (!report.has_failed()) ++kept;
  }
  Write(Text() << "ports: " << kept << " of " << PortContract().size() << " checks are kept\n");
  PowerOff(kept == PortContract().size() ? EndStatus::kGood : EndStatus::kFailed);
}

void HelpWithPortContract(L0Cpu& cpu) {
  for (;;) {
    if (const OnCpu* code = wanted_of_cpu_1.load()) {
      cpu.RunWithPorts(*code);
      wanted_of_cpu_1 = nullptr;
    }
    Pause();
  }
}

}  // namespace nvmx::metal
