// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_COST_STEPS_H_
#define NVMX_BACKENDS_VMX_HW_COST_STEPS_H_

#include <cstdint>

extern "C" {

// What is counted: straight code between two RDTSCs. Each function does its step `rounds` times and
// returns the ticks of the time-stamp counter that all took. Bochs's counter counts instructions.

uint64_t CountCpuid(uint64_t rounds);
// VMREAD and VMWRITE of the field with that encoding; VMWRITE alternates two values.
uint64_t CountVmread(uint64_t rounds, uint64_t field);
uint64_t CountVmwrite(uint64_t rounds, uint64_t field);
// WRMSR of two values in turn.
uint64_t CountWrmsr(uint64_t rounds, uint32_t msr, const uint64_t (&values)[2]);

// The current VMCS is entered, has been launched, and L2 is at ExecuteCpuid. L1 reads exit reason,
// instruction length and RIP, writes RIP, and resumes. 0 if an exit is another than that for CPUID
// or an entry fails.
uint64_t CountExits(uint64_t rounds);
// L2 for it: CPUID for ever.
void ExecuteCpuid();
// HOST_RIP for it.
void TakeCountedExit();

// What L2 reads: `count` places, `stride` bytes apart, from `address` on. It leaves the ticks.
struct Touches {
  uint64_t address;
  uint64_t count;
  uint64_t stride;
  uint64_t ticks;
};
// The current VMCS is entered, with VMLAUNCH if it has not been launched, until its next exit;
// false if the entry fails.
bool EnterOnce(uint64_t launched, Touches* touches);
// HOST_RIP for it.
void TakeExit();
// L2: does what EnterOnce() was given, then VMCALL.
void TouchMemory();
// L2: VMCALL at once.
void CallMonitor();

}  // extern "C"

#endif  // NVMX_BACKENDS_VMX_HW_COST_STEPS_H_
