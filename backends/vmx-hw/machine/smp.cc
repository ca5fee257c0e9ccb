// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/machine/smp.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstring>

#include "backends/vmx-hw/machine/acpi.h"
#include "backends/vmx-hw/machine/console.h"
#include "backends/vmx-hw/machine/cpu_instructions.h"
#include "backends/vmx-hw/machine/cpus.h"
#include "backends/vmx-hw/machine/local_apic.h"
#include "backends/vmx-hw/machine/power.h"
#include "backends/vmx-hw/machine/text.h"
#include "backends/vmx-hw/machine/traps.h"

extern "C" {
extern const char ap_trampoline_begin[];
extern const char ap_trampoline_end[];
extern const char ap_trampoline_cr3[];
extern const char ap_trampoline_target[];
extern const char ap_trampoline_gdt_base[];
extern const char ap_trampoline_gdt[];
#ifndef __x86_64__
extern const char ap_trampoline_cr0[];
extern const char ap_trampoline_cr4[];
#endif
extern uintptr_t ap_stack_top;
void ApplicationProcessorEntry();
[[noreturn]] void ApplicationProcessorMain();
}

namespace nvmx::metal {
namespace {

constexpr size_t kStackSize = 65536;
constexpr uint64_t kPage = 4096;
// The BIOS's data end below, its extended data begin above.
constexpr uint64_t kFirstTrampolinePage = 0x1000;
constexpr uint64_t kTrampolinePagesEnd = 0x90000;
// In microseconds. SDM Vol. 3A, 9.4.4.1 "Typical BSP Initialization Sequence".
constexpr uint32_t kInitWait = 10000;
constexpr uint32_t kSipiWait = 200;
constexpr uint32_t kPatience = 1000000;
constexpr uint32_t kPatienceStep = 100;

alignas(16) constinit std::array<std::array<std::byte, kStackSize>, kMostCpus - 1> stacks{};
constinit std::atomic<uint32_t> running{1};
constinit uint32_t starting = 0;
constinit CpuMain main_of_others = nullptr;

uint64_t FindTrampolinePage(const BootInformation& information) {
  for (uint64_t page = kFirstTrampolinePage; page < kTrampolinePagesEnd; page += kPage) {
    const AddressRange range{page, page + kPage};
    bool is_free = information.memory.IsRam(range);
    for (const BootModule& module : information.Modules()) {
      is_free &= !range.Overlaps({module.begin, module.end});
    }
    if (is_free) return page;
  }
  Stop("there is no free page below 1 MiB to start other CPUs from");
}

void PutWord(std::byte* page, const char* place, uint32_t value) {
  std::memcpy(page + (place - ap_trampoline_begin), &value, sizeof value);
}

void FillTrampoline(std::byte* page) {
  std::memcpy(page, ap_trampoline_begin,
              static_cast<size_t>(ap_trampoline_end - ap_trampoline_begin));
  const auto base = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(page));
  PutWord(page, ap_trampoline_cr3, static_cast<uint32_t>(ReadCr3()));
#ifndef __x86_64__
  // As this CPU has it: paging may be on.
  PutWord(page, ap_trampoline_cr0, ReadCr0());
  PutWord(page, ap_trampoline_cr4, ReadCr4());
#endif
  PutWord(page, ap_trampoline_target,
          static_cast<uint32_t>(reinterpret_cast<uintptr_t>(&ApplicationProcessorEntry)));
  PutWord(page, ap_trampoline_gdt_base,
          base + static_cast<uint32_t>(ap_trampoline_gdt - ap_trampoline_begin));
}

bool StartCpu(uint32_t index, uint32_t apic_id, uint64_t page) {
  CpuAt(index) = {&CpuAt(index), index, apic_id, nullptr};
  starting = index;
  ap_stack_top = reinterpret_cast<uintptr_t>(stacks[index - 1].data()) + kStackSize;
  const auto vector = static_cast<uint8_t>(page / kPage);
  // One that already waits for a SIPI needs no INIT, any other discards the SIPI. That is tried
  // first because Bochs 2.7 never drops an INIT that it has reported as a VM exit: a CPU of L1 that
  // got one would not start under any hypervisor.
  SendSipi(apic_id, vector);
  DelayMicroseconds(kSipiWait);
  if (running.load() > index) return true;
  SendInit(apic_id);
  DelayMicroseconds(kInitWait);
  SendSipi(apic_id, vector);
  DelayMicroseconds(kSipiWait);
  if (running.load() <= index) SendSipi(apic_id, vector);
  for (uint32_t waited = 0; waited < kPatience; waited += kPatienceStep) {
    if (running.load() > index) return true;
    DelayMicroseconds(kPatienceStep);
  }
  return false;
}

}  // namespace

extern "C" void ApplicationProcessorMain() {
  LoadDescriptorTables(starting);
  const CpuMain main = main_of_others;
  running.fetch_add(1);
  main();
  Panic("a CPU has nothing more to do");
}

StartedCpus StartOtherCpus(const BootInformation& information, uint32_t most, CpuMain main) {
  const ApicIds ids = FindApicIds(LowMemory(), information.acpi);
  if (most > kMostCpus) most = kMostCpus;
  const uint32_t own = ReadApicId();
  CpuAt(0).apic_id = own;
  if (ids.found == 0) {
    Write(Text() << "one CPU, for the firmware names none: " << ids.problem << " (table at "
                 << Hex{ids.table} << ")\n");
  }
  StartedCpus result{ids.found == 0 ? 1 : static_cast<uint32_t>(ids.found), 1};
  if (result.found == 1 || most == 1) return result;
  main_of_others = main;
  auto* const page =
      reinterpret_cast<std::byte*>(static_cast<uintptr_t>(FindTrampolinePage(information)));
  std::array<std::byte, kPage> before;
  std::memcpy(before.data(), page, kPage);
  FillTrampoline(page);
  for (uint32_t apic_id : ids.view()) {
    if (apic_id == own || result.running == most) continue;
    if (!StartCpu(result.running, apic_id, reinterpret_cast<uintptr_t>(page))) break;
    ++result.running;
  }
  std::memcpy(page, before.data(), kPage);
  return result;
}

uint32_t RunningCpus() { return running.load(); }

}  // namespace nvmx::metal
