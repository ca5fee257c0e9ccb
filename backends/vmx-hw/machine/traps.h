// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_MACHINE_TRAPS_H_
#define NVMX_BACKENDS_VMX_HW_MACHINE_TRAPS_H_

#include <cstdint>

namespace nvmx::metal {

// Interrupts and exceptions of the image itself.

// The registers as an interrupt or exception found them; traps.S pushes it. What a handler changes
// here is what the interrupted code goes on with.
struct TrapFrame {
#ifdef __x86_64__
  uintptr_t r15, r14, r13, r12, r11, r10, r9, r8;
#endif
  uintptr_t rdi, rsi, rbp, rbx, rdx, rcx, rax;
  uintptr_t vector, error_code;
  uintptr_t rip, cs, rflags;
  // On i386 they are not there: nothing changes the privilege level.
  uintptr_t rsp, ss;
};

using TrapHandler = void (*)(TrapFrame& frame);

// From now on vectors of that number go to the handler, on all CPUs. Without one, an exception
// at an instruction that may fault (cpu_instructions.h) makes that fail, and any other vector is a
// panic that prints the frame.
void SetTrapHandler(uint8_t vector, TrapHandler handler);

// The image's selectors; every CPU has the same.
inline constexpr uint16_t kCodeSelector = 0x08;
inline constexpr uint16_t kDataSelector = 0x10;
inline constexpr uint16_t kTssSelector = 0x18;

// Loads GDT, TSS and IDT of the CPU with that index, and its GS base (cpus.h). NMI, #DF and #MC
// have stacks of their own there; on i386 they use the stack that they find.
void LoadDescriptorTables(uint32_t cpu);
// The bases that LoadDescriptorTables() loads: VM exits load them again.
uintptr_t GdtBaseOf(uint32_t cpu);
uintptr_t TssBaseOf(uint32_t cpu);
uintptr_t IdtBase();

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_MACHINE_TRAPS_H_
