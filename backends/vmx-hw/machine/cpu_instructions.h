// SPDX-License-Identifier: Apache-2.0
//
// Single instructions of the processor. Each function is the instruction of its name and nothing
// more; those named Try...() catch the #GP(0) that it may raise.
#ifndef NVMX_BACKENDS_VMX_HW_MACHINE_CPU_INSTRUCTIONS_H_
#define NVMX_BACKENDS_VMX_HW_MACHINE_CPU_INSTRUCTIONS_H_

#include <cstdint>
#include <optional>

namespace nvmx::metal {

// An instruction at label 1 that may fault: HandleTrap() then goes on at label 3 (traps.cc).
#ifdef __x86_64__
#define NVMX_MAY_FAULT ".pushsection .exception_table, \"a\"\n.quad 1b, 3b\n.popsection\n"
#else
#define NVMX_MAY_FAULT ".pushsection .exception_table, \"a\"\n.long 1b, 3b\n.popsection\n"
#endif

inline uint64_t ReadMsr(uint32_t msr) {
  uint32_t low, high;
  asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
  return uint64_t{high} << 32 | low;
}

inline void WriteMsr(uint32_t msr, uint64_t value) {
  asm volatile("wrmsr"
               :
               : "c"(msr), "a"(static_cast<uint32_t>(value)),
                 "d"(static_cast<uint32_t>(value >> 32))
               : "memory");
}

// Nothing if the instruction raises #GP.
inline std::optional<uint64_t> TryReadMsr(uint32_t msr) {
  uint32_t low = 0, high = 0, failed = 0;
  asm volatile(
      "1: rdmsr\n"
      "2:\n"
      ".pushsection .text.fixup, \"ax\"\n3: movl $1, %[failed]\njmp "
      "2b\n.popsection\n" NVMX_MAY_FAULT
      : "=a"(low), "=d"(high), [failed] "+r"(failed)
      : "c"(msr)
      : "memory");
  if (failed != 0) return std::nullopt;
  return uint64_t{high} << 32 | low;
}

// False if the instruction raises #GP.
inline bool TryWriteMsr(uint32_t msr, uint64_t value) {
  uint32_t failed = 0;
  asm volatile(
      "1: wrmsr\n"
      "2:\n"
      ".pushsection .text.fixup, \"ax\"\n3: movl $1, %[failed]\njmp "
      "2b\n.popsection\n" NVMX_MAY_FAULT
      : [failed] "+r"(failed)
      : "c"(msr), "a"(static_cast<uint32_t>(value)), "d"(static_cast<uint32_t>(value >> 32))
      : "memory");
  return failed == 0;
}

struct CpuidResult {
  uint32_t eax, ebx, ecx, edx;
};
inline CpuidResult Cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  CpuidResult r;
  asm volatile("cpuid"
               : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
               : "a"(leaf), "c"(subleaf));
  return r;
}

inline uint64_t ReadTsc() {
  uint32_t low, high;
  asm volatile("rdtsc" : "=a"(low), "=d"(high));
  return uint64_t{high} << 32 | low;
}

inline uint8_t In8(uint16_t port) {
  uint8_t value;
  asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
inline void Out8(uint16_t port, uint8_t value) {
  asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}
inline void Out16(uint16_t port, uint16_t value) {
  asm volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}
inline void Out32(uint16_t port, uint32_t value) {
  asm volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

inline void Pause() { asm volatile("pause" : : : "memory"); }
// Stops this CPU until an interrupt, and for ever if none is let in.
inline void Halt() { asm volatile("hlt" : : : "memory"); }
inline void DisableInterrupts() { asm volatile("cli" : : : "memory"); }

#define NVMX_CONTROL_REGISTER(n)                                   \
  inline uintptr_t ReadCr##n() {                                   \
    uintptr_t value;                                               \
    asm volatile("mov %%cr" #n ", %0" : "=r"(value) : : "memory"); \
    return value;                                                  \
  }                                                                \
  inline void WriteCr##n(uintptr_t value) {                        \
    asm volatile("mov %0, %%cr" #n : : "r"(value) : "memory");     \
  }
NVMX_CONTROL_REGISTER(0)
NVMX_CONTROL_REGISTER(2)
NVMX_CONTROL_REGISTER(3)
NVMX_CONTROL_REGISTER(4)
#undef NVMX_CONTROL_REGISTER

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_MACHINE_CPU_INSTRUCTIONS_H_
