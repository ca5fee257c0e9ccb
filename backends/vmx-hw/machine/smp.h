// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_MACHINE_SMP_H_
#define NVMX_BACKENDS_VMX_HW_MACHINE_SMP_H_

#include <cstdint>

#include "backends/vmx-hw/machine/multiboot.h"

namespace nvmx::metal {

// What a started CPU runs, on a stack of its own, its descriptor tables loaded, interrupts
// disabled, with the paging of the CPU that started it. Does not return.
using CpuMain = void (*)();

// The numbers of CPUs that the firmware names, and of those that run `main`, this one included.
struct StartedCpus {
  uint32_t found;
  uint32_t running;
};

// Starts other CPUs one after the other, with indices from 1 on, as long as there are not `most` in
// all; returns when each has said that it runs, or has not for a second. Writes to the console why
// the firmware names no CPU, if it names none. CR3 must be below 4 GiB and map the first MByte to
// itself.
StartedCpus StartOtherCpus(const BootInformation& information, uint32_t most, CpuMain main);

// How many CPUs run an image, and may be addressed by CpuAt().
uint32_t RunningCpus();

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_MACHINE_SMP_H_
