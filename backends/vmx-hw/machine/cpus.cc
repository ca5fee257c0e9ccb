// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/machine/cpus.h"

#include <array>

#include "backends/vmx-hw/machine/cpu_instructions.h"

namespace nvmx::metal {
namespace {

constinit std::array<PerCpu, kMostCpus> cpus{};

}  // namespace

PerCpu& CpuAt(uint32_t index) { return cpus[index]; }

#ifdef __x86_64__
PerCpu& ThisCpu() {
  PerCpu* self;
  asm("mov %%gs:0, %0" : "=r"(self));
  return *self;
}
#else
// By the APIC id: without a GS base there is no register of this CPU's own.
PerCpu& ThisCpu() {
  const uint32_t apic_id = Cpuid(1).ebx >> 24;
  for (PerCpu& cpu : cpus) {
    if (cpu.self != nullptr && cpu.apic_id == apic_id) return cpu;
  }
  return cpus[0];
}
#endif

}  // namespace nvmx::metal
