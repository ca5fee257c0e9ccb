// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_MACHINE_POWER_H_
#define NVMX_BACKENDS_VMX_HW_MACHINE_POWER_H_

#include <string_view>

namespace nvmx::metal {

// How a run of an image ended, for whoever started it.
enum class EndStatus : unsigned char {
  kGood = 0,
  kFailed = 1,    // what the image was to do went wrong, e.g. a test
  kStopped = 2,   // it cannot do it on this machine or with this configuration, and has said why
  kPanicked = 3,  // a defect
  kHung = 4,      // CPUs wait for each other
};

// Writes the line "end of run, status N", which is what scripts look for, and turns the machine
// off: Bochs and QEMU end, on a real machine (of which the ACPI tables would have to be executed)
// the CPU stops and a person turns it off.
[[noreturn]] void PowerOff(EndStatus status);

// What else is to be written before the run ends; called once, by the first CPU that ends it.
void SetLastWords(void (*say)());

// Writes "panic: REASON" and ends the run. For what must not happen. Other CPUs go on until the
// machine is off.
[[noreturn]] void Panic(std::string_view reason);

// Writes "stop: REASON" and ends the run. For what a person has to change: the machine, its
// firmware's settings, the command line.
[[noreturn]] void Stop(std::string_view reason);

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_MACHINE_POWER_H_
