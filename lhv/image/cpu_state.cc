// SPDX-License-Identifier: Apache-2.0
#include "lhv/image/cpu_state.h"

#include "backends/vmx-hw/machine/cpu_instructions.h"
#include "backends/vmx-hw/machine/traps.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/memory_type.h"
#include "core/x86/msr.h"
#include "lhv/image/cpu_instructions.h"
#include "lhv/image/image_mode.h"
#include "lhv/image/local_apic.h"
#include "lhv/image/machine_tables.h"
#include "lhv/tables_of_32_bits.h"

#ifdef __x86_64__
extern "C" const uint64_t boot_pml4[];
#endif

namespace nvmx::lhv {
namespace {

using metal::ReadCr4;
using metal::ReadMsr;
using metal::TryWriteMsr;
using metal::WriteCr0;
using metal::WriteCr2;
using metal::WriteCr3;
using metal::WriteCr4;
using metal::WriteMsr;

struct [[gnu::packed]] TableRegister {
  uint16_t limit;
  uintptr_t base;
};

void LoadSegments() {
  asm volatile("mov %0, %%ds\n mov %0, %%es\n mov %0, %%ss\n mov %0, %%fs\n mov %0, %%gs" ::"r"(
                   uint32_t{kDataSelector})
               : "memory");
#ifdef __x86_64__
  asm volatile(
      "pushq %0\n leaq 1f(%%rip), %%rax\n pushq %%rax\n lretq\n 1:" ::"i"(uint64_t{kCodeSelector})
      : "rax", "memory");
#else
  asm volatile("ljmpl %0, $1f\n 1:" ::"i"(kCodeSelector) : "memory");
#endif
}

struct MsrValue {
  Msr msr;
  uint64_t value;
};
// What a program may have written; what the simulated CPU has at reset.
constexpr MsrValue kMsrs[] = {
    {Msr::IA32_PAT, kPatReset},  {Msr::IA32_SYSENTER_CS, 0}, {Msr::IA32_SYSENTER_ESP, 0},
    {Msr::IA32_SYSENTER_EIP, 0}, {Msr::IA32_STAR, 0},        {Msr::IA32_LSTAR, 0},
    {Msr::IA32_CSTAR, 0},        {Msr::IA32_FMASK, 0},       {Msr::IA32_KERNEL_GS_BASE, 0},
    {Msr::IA32_TSC_AUX, 0},      {Msr::IA32_DEBUGCTL, 0},
};

void WriteOneMsr(void* argument) {
  const auto& row = *static_cast<const MsrValue*>(argument);
  WriteMsr(Index(row.msr), row.value);
}

void WriteMtrr(void* argument) {
  WriteMsr(static_cast<uint32_t>(reinterpret_cast<uintptr_t>(argument)), 0);
}

// Each of these may not exist.
void LoadMsrs(CpuArea& area) {
  for (const MsrValue& row : kMsrs) {
    RunProtected(&area, &WriteOneMsr, const_cast<MsrValue*>(&row));
  }
  constexpr uintptr_t kFirstVariable = 0x200;
  constexpr uintptr_t kVariable = 16;
  for (uintptr_t msr = kFirstVariable; msr < kFirstVariable + kVariable; ++msr) {
    RunProtected(&area, &WriteMtrr, reinterpret_cast<void*>(msr));
  }
}

void ResetXcr0(void*) { asm volatile("xsetbv" ::"a"(1), "d"(0), "c"(0)); }

void UnblockNmis() {
#ifdef __x86_64__
  asm volatile(
      "movq %%rsp, %%rax\n pushq %0\n pushq %%rax\n pushfq\n pushq %1\n leaq 1f(%%rip), %%rax\n"
      "pushq %%rax\n iretq\n 1: nop" ::"i"(uint64_t{kDataSelector}),
      "i"(uint64_t{kCodeSelector})
      : "rax", "memory");
#else
  asm volatile("pushfl\n pushl %0\n pushl $1f\n iretl\n 1: nop" ::"i"(kCodeSelector) : "memory");
#endif
}

// Paging is the image's own behind it.
void TakeBackPaging() {
#ifdef __x86_64__
  WriteCr3(reinterpret_cast<uintptr_t>(boot_pml4));
#else
  WriteCr0(metal::ReadCr0() & ~static_cast<uintptr_t>(Cr0::kPg));
#endif
}

// What a program has written that is there in 64-bit mode alone, or is for it.
void LoadMode() {
#ifdef __x86_64__
  WriteCr4(Cr4::kPae | Cr4::kVmxe);
  WriteCr0(Cr0::kPe | Cr0::kEt | Cr0::kNe | Cr0::kPg);
  WriteMsr(Index(Msr::IA32_EFER), Efer::kLme | Efer::kLma);
#else
  WriteCr4(kCr4Of32Bits);
  WriteCr0(Cr0::kPe | Cr0::kEt | Cr0::kNe | Cr0::kPg);
  TryWriteMsr(Index(Msr::IA32_EFER), 0);
#endif
}

// Ends blocking by NMI, and takes what a program has left pending: the entry from the interpreter
// makes a note of it.
void TakePendingEvents(void*) {
  // An NMI that the first lets in blocks them again.
  for (int i = 0; i < 3; ++i) UnblockNmis();
  constexpr unsigned kMostInterrupts = 256;
  for (unsigned i = 0; i < kMostInterrupts && LocalApic::HasWork(); ++i) {
    asm volatile("sti\n nop\n nop\n cli" ::: "memory");
    LocalApic::EndInterrupt();
  }
}

void CallL1(void*) { Vmcall(); }
void DropTranslations(void*) { InvalidateAllTranslations(); }
void TurnVmxOff(void*) { Vmxoff(); }

}  // namespace

void TakeBackCpu(CpuArea& area, uint32_t cpu, uint32_t level) {
  if (level == 2) RunProtected(&area, &CallL1, nullptr);
  // The next program has other tables at the same addresses, and VMXOFF need not drop what is
  // cached of these.
  RunProtected(&area, &DropTranslations, nullptr);
  RunProtected(&area, &TurnVmxOff, nullptr);
  // A program may have left only what it needed itself.
  TakeBackPaging();
  metal::LoadDescriptorTables(cpu);
  LoadSegments();
  // GS is the image's again behind that.
  metal::LoadDescriptorTables(cpu);
}

void LoadInitialState(CpuArea& area, uint32_t cpu) {
  const uint64_t window = WindowOf(cpu);
  WriteCr3(static_cast<uintptr_t>(window + kPageTableOffset));
  LoadMode();
  const TableRegister gdtr{GdtLimit(kImageMode), static_cast<uintptr_t>(window + kGdtOffset)};
  const TableRegister idtr{IdtLimit(kImageMode), static_cast<uintptr_t>(window + kL1IdtOffset)};
  asm volatile("lgdt %0" ::"m"(gdtr));
  asm volatile("lidt %0" ::"m"(idtr));
  LoadSegments();
  // LTR wants a TSS that is not busy.
  constexpr uint64_t kTypeByte = 5;
  constexpr uint8_t kBusy = 2;
  Memory<uint8_t>(window + kGdtOffset + kTssSelector + kTypeByte) &= static_cast<uint8_t>(~kBusy);
  asm volatile("ltr %0" ::"r"(kTssSelector));
  asm volatile("lldt %0" ::"r"(uint16_t{0}));
  const uintptr_t zero = 0;
  asm volatile("mov %0, %%dr7" ::"r"(uintptr_t{Dr7::kInit}));
  asm volatile("mov %0, %%dr0\n mov %0, %%dr1\n mov %0, %%dr2\n mov %0, %%dr3" ::"r"(zero));
  asm volatile("mov %0, %%dr6" ::"r"(uintptr_t{Dr6::kInit}));
  WriteCr2(0);
  LocalApic::LetAllIn();
  LoadMsrs(area);
  RunProtected(&area, &TakePendingEvents, nullptr);
  // XSETBV is there with CR4.OSXSAVE alone.
  constexpr uint32_t kXsave = 1u << 26;
  if ((metal::Cpuid(1).ecx & kXsave) != 0) {
    WriteCr4(ReadCr4() | static_cast<uintptr_t>(Cr4::kOsxsave));
    RunProtected(&area, &ResetXcr0, nullptr);
    WriteCr4(ReadCr4() & ~static_cast<uintptr_t>(Cr4::kOsxsave));
  }
}

void AllowVmx() {
  constexpr uint64_t kLock = 1;
  constexpr uint64_t kOutsideSmx = 4;
  const uint64_t value = ReadMsr(Index(Msr::IA32_FEATURE_CONTROL));
  if ((value & kLock) == 0) WriteMsr(Index(Msr::IA32_FEATURE_CONTROL), kLock | kOutsideSmx);
}

}  // namespace nvmx::lhv
