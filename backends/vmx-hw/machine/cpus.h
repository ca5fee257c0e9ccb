// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_MACHINE_CPUS_H_
#define NVMX_BACKENDS_VMX_HW_MACHINE_CPUS_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace nvmx::metal {

// How many CPUs an image can hold.
inline constexpr uint32_t kMostCpus = 16;

// What belongs to one CPU.
struct PerCpu {
  PerCpu* self;      // what GS:0 holds
  uint32_t index;    // 0 is the CPU that booted
  uint32_t apic_id;  // as its local APIC says
  void* user;        // whatever the image wants to find from here
};

PerCpu& CpuAt(uint32_t index);
// The CPU that runs this. GS must be the image's.
PerCpu& ThisCpu();

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_MACHINE_CPUS_H_
