// SPDX-License-Identifier: Apache-2.0
//
// What an image that runs as a guest can ask nvmx, if that is what it runs under.
#ifndef NVMX_BACKENDS_VMX_HW_MACHINE_HYPERCALL_H_
#define NVMX_BACKENDS_VMX_HW_MACHINE_HYPERCALL_H_

#include <cstdint>

#include "backends/vmx-hw/machine/cpu_instructions.h"

namespace nvmx::metal {

// RAX of VMCALL, of which an i386 guest has the low half. The guest is about to end the run: the
// hypervisor says what it has to say.
inline constexpr uint32_t kLastWordsCall = 0x4E56'4D01;

// VMCALL; false if it is undefined here, or the hypervisor is another.
inline bool CallHypervisor(uint32_t call) {
  uintptr_t result = call;
  uint32_t failed = 0;
  asm volatile(
      "1: vmcall\n"
      "2:\n"
      ".pushsection .text.fixup, \"ax\"\n3: movl $1, %[failed]\njmp "
      "2b\n.popsection\n" NVMX_MAY_FAULT
      : [failed] "+r"(failed), "+a"(result)
      :
      : "memory", "cc");
  return failed == 0 && result == 0;
}

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_MACHINE_HYPERCALL_H_
