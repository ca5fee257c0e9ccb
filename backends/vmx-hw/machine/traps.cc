// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/machine/traps.h"

#include <array>
#include <cstddef>

#include "backends/vmx-hw/machine/console.h"
#include "backends/vmx-hw/machine/cpu_instructions.h"
#include "backends/vmx-hw/machine/cpus.h"
#include "backends/vmx-hw/machine/power.h"
#include "backends/vmx-hw/machine/text.h"

extern "C" {
extern const char trap_entries[];
struct ExceptionTableRow {
  uintptr_t instruction;
  uintptr_t goes_on_at;
};
extern const ExceptionTableRow exception_table_begin[];
extern const ExceptionTableRow exception_table_end[];
}

namespace nvmx::metal {
namespace {

constexpr size_t kVectors = 256;
constexpr size_t kTrapEntrySize = 16;
constexpr uint64_t kInterruptGate = 0x8E;
constexpr uint64_t kAvailableTss = 0x89;

#ifdef __x86_64__
constexpr size_t kWordsOfGate = 2;
constexpr uint64_t kCode = 0x00AF'9B00'0000'FFFF;
struct [[gnu::packed]] Tss {
  uint32_t reserved0;
  uint64_t rsp[3];
  uint64_t reserved1;
  uint64_t ist[7];
  uint64_t reserved2;
  uint16_t reserved3;
  uint16_t io_map_base;
};
static_assert(sizeof(Tss) == 104);

constexpr uint8_t kNmi = 2;
constexpr uint8_t kDoubleFault = 8;
constexpr uint8_t kMachineCheck = 18;
constexpr uint32_t kGsBaseMsr = 0xC0000101;

// The stacks that do not depend on what the interrupted code's stack is.
enum Ist : uint8_t { kNoIst, kNmiIst, kDoubleFaultIst, kMachineCheckIst };

Ist IstOf(size_t vector) {
  if (vector == kNmi) return kNmiIst;
  if (vector == kDoubleFault) return kDoubleFaultIst;
  if (vector == kMachineCheck) return kMachineCheckIst;
  return kNoIst;
}
#else
constexpr size_t kWordsOfGate = 1;
constexpr uint64_t kCode = 0x00CF'9B00'0000'FFFF;
struct Tss {
  uint32_t words[26];
};
static_assert(sizeof(Tss) == 104);
#endif
constexpr uint64_t kData = 0x00CF'9300'0000'FFFF;

constexpr size_t kTrapStackSize = 16384;
constexpr size_t kTrapStacks = 3;

struct alignas(64) CpuTables {
  std::array<uint64_t, 5> gdt;
  Tss tss;
  alignas(16) std::array<std::array<std::byte, kTrapStackSize>, kTrapStacks> stacks;
};

constinit std::array<CpuTables, kMostCpus> tables{};
alignas(16) constinit std::array<uint64_t, kVectors * kWordsOfGate> idt{};
constinit std::array<TrapHandler, kVectors> handlers{};
constinit bool idt_is_filled = false;

struct [[gnu::packed]] TableRegister {
  uint16_t limit;
  uintptr_t base;
};

void FillIdt() {
  for (size_t vector = 0; vector < kVectors; ++vector) {
    const uint64_t target = reinterpret_cast<uintptr_t>(trap_entries) + vector * kTrapEntrySize;
    uint64_t gate = (target & 0xFFFF) | uint64_t{kCodeSelector} << 16 | kInterruptGate << 40 |
                    ((target >> 16) & 0xFFFF) << 48;
#ifdef __x86_64__
    gate |= uint64_t{IstOf(vector)} << 32;
    idt[vector * kWordsOfGate + 1] = target >> 32;
#endif
    idt[vector * kWordsOfGate] = gate;
  }
  idt_is_filled = true;
}

void FillGdt(CpuTables& cpu) {
  const uint64_t base = reinterpret_cast<uintptr_t>(&cpu.tss);
  cpu.gdt = {0, kCode, kData,
             (sizeof(Tss) - 1) | (base & 0xFFFFFF) << 16 | kAvailableTss << 40 |
                 ((base >> 24) & 0xFF) << 56,
             base >> 32};
#ifdef __x86_64__
  for (size_t stack = 0; stack < kTrapStacks; ++stack) {
    cpu.tss.ist[stack] = reinterpret_cast<uintptr_t>(cpu.stacks[stack].data()) + kTrapStackSize;
  }
  cpu.tss.io_map_base = sizeof(Tss);
#endif
}

bool GoOnBehindFault(TrapFrame& frame) {
  for (const ExceptionTableRow* row = exception_table_begin; row != exception_table_end; ++row) {
    if (row->instruction != frame.rip) continue;
    frame.rip = row->goes_on_at;
    return true;
  }
  return false;
}

[[noreturn]] void PanicWithFrame(const TrapFrame& frame) {
  Write(Text() << "vector " << frame.vector << ", error code " << Hex{frame.error_code} << ", CPU "
               << ThisCpu().index << ", RIP " << Hex{frame.rip} << ", RFLAGS " << Hex{frame.rflags}
               << ", CR2 " << Hex{ReadCr2()} << "\n");
  Write(Text() << "RAX " << Hex{frame.rax} << " RBX " << Hex{frame.rbx} << " RCX " << Hex{frame.rcx}
               << " RDX " << Hex{frame.rdx} << " RSI " << Hex{frame.rsi} << " RDI "
               << Hex{frame.rdi} << " RBP " << Hex{frame.rbp} << "\n");
#ifdef __x86_64__
  Write(Text() << "RSP " << Hex{frame.rsp} << " R8 " << Hex{frame.r8} << " R9 " << Hex{frame.r9}
               << " R10 " << Hex{frame.r10} << " R11 " << Hex{frame.r11} << " R12 "
               << Hex{frame.r12} << "\n");
#endif
  Panic("an exception or interrupt that nobody handles");
}

}  // namespace

extern "C" void HandleTrap(TrapFrame* frame) {
  if (TrapHandler handler = handlers[frame->vector]) return handler(*frame);
  if (!GoOnBehindFault(*frame)) PanicWithFrame(*frame);
}

void SetTrapHandler(uint8_t vector, TrapHandler handler) { handlers[vector] = handler; }

void LoadDescriptorTables(uint32_t cpu) {
  if (!idt_is_filled) FillIdt();
  FillGdt(tables[cpu]);
  const TableRegister gdtr{sizeof(tables[cpu].gdt) - 1, GdtBaseOf(cpu)};
  const TableRegister idtr{sizeof(idt) - 1, IdtBase()};
  asm volatile("lgdt %0" : : "m"(gdtr));
  asm volatile("lidt %0" : : "m"(idtr));
  asm volatile("ltr %0" : : "r"(kTssSelector));
#ifdef __x86_64__
  WriteMsr(kGsBaseMsr, reinterpret_cast<uintptr_t>(&CpuAt(cpu)));
#endif
}

uintptr_t GdtBaseOf(uint32_t cpu) { return reinterpret_cast<uintptr_t>(tables[cpu].gdt.data()); }
uintptr_t TssBaseOf(uint32_t cpu) { return reinterpret_cast<uintptr_t>(&tables[cpu].tss); }
uintptr_t IdtBase() { return reinterpret_cast<uintptr_t>(idt.data()); }

}  // namespace nvmx::metal
