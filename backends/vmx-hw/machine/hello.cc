// SPDX-License-Identifier: Apache-2.0
//
// The smallest image: says what it was given, and that all is well.
#include <atomic>

#include "backends/vmx-hw/machine/console.h"
#include "backends/vmx-hw/machine/cpu_instructions.h"
#include "backends/vmx-hw/machine/cpus.h"
#include "backends/vmx-hw/machine/image_main.h"
#include "backends/vmx-hw/machine/local_apic.h"
#include "backends/vmx-hw/machine/power.h"
#include "backends/vmx-hw/machine/smp.h"
#include "backends/vmx-hw/machine/text.h"
#include "backends/vmx-hw/machine/traps.h"

namespace nvmx::metal {
namespace {

constexpr uint8_t kNmi = 2;
constinit std::atomic<uint32_t> nmis_of_others{0};

void CountNmi(TrapFrame&) {
  if (ThisCpu().index != 0) nmis_of_others.fetch_add(1);
}

void Rest() {
  for (;;) Halt();
}

}  // namespace

void ImageMain(BootInformation& information) {
  Write(Text() << "hello, " << 8 * sizeof(void*) << " bits, command line \""
               << information.command_line.view() << "\"\n");
  for (const MemoryRange& r : information.memory.Ranges()) {
    Write(Text() << "  memory " << Hex{r.range.begin} << " - " << Hex{r.range.end} << " kind "
                 << static_cast<uint32_t>(r.kind) << "\n");
  }
  for (const BootModule& module : information.Modules()) {
    Write(Text() << "  module " << Hex{module.begin} << " - " << Hex{module.end} << " \""
                 << module.command_line.view() << "\"\n");
  }
  constexpr uint32_t kNoSuchMsr = 0x4000'0000;
  const bool faults = !TryReadMsr(kNoSuchMsr) && !TryWriteMsr(kNoSuchMsr, 0);
  Write(Text() << "  an MSR that there is not: " << (faults ? "#GP" : "no fault") << "\n");

  SetTrapHandler(kNmi, &CountNmi);
  const StartedCpus cpus = StartOtherCpus(information, kMostCpus, &Rest);
  Write(Text() << "  CPUs found " << cpus.found << ", running " << cpus.running << "\n");
  if (cpus.running != cpus.found) Panic("a CPU has not started");
  if (cpus.running > 1) SendNmiToAllOthers();
  while (nmis_of_others.load() != cpus.running - 1) Pause();
  Write(Text() << "  NMIs taken by others " << nmis_of_others.load() << "\n");
  PowerOff(EndStatus::kGood);
}

}  // namespace nvmx::metal
