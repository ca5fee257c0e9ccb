// SPDX-License-Identifier: Apache-2.0
//
// nvmx as L0: takes the machine, and starts what the first boot module holds as L1.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <new>

#include "backends/vmx-hw/l0/acpi_for_l1.h"
#include "backends/vmx-hw/l0/canary.h"
#include "backends/vmx-hw/l0/contract_run.h"
#include "backends/vmx-hw/l0/direct_map.h"
#include "backends/vmx-hw/l0/ept01.h"
#include "backends/vmx-hw/l0/hardware.h"
#include "backends/vmx-hw/l0/l0_cpu.h"
#include "backends/vmx-hw/l0/l0_layout.h"
#include "backends/vmx-hw/l0/l0_log.h"
#include "backends/vmx-hw/l0/l1_loader.h"
#include "backends/vmx-hw/l0/options.h"
#include "backends/vmx-hw/l0/requirements.h"
#include "backends/vmx-hw/l0/startup_ipis.h"
#include "backends/vmx-hw/l0/watchdog.h"
#include "backends/vmx-hw/machine/acpi.h"
#include "backends/vmx-hw/machine/console.h"
#include "backends/vmx-hw/machine/cpu_instructions.h"
#include "backends/vmx-hw/machine/cpus.h"
#include "backends/vmx-hw/machine/image_main.h"
#include "backends/vmx-hw/machine/local_apic.h"
#include "backends/vmx-hw/machine/power.h"
#include "backends/vmx-hw/machine/smp.h"
#include "core/x86/msr.h"

extern "C" {
extern const char image_begin[];
extern const char image_constants_end[];
extern const char image_end[];
}

namespace nvmx::metal {
namespace {

constexpr uint8_t kNmi = 2;
constexpr uint64_t k4GBytes = uint64_t{1} << 32;
static_assert(kMostCpus <= L0Log::kMostCpus && kMostCpus <= Watchdog::kMostCpus);

template <typename T>
struct Storage {
  alignas(T) std::array<std::byte, sizeof(T)> bytes;
  template <typename... Arguments>
  T& Make(Arguments&&... arguments) {
    return *new (bytes.data()) T(static_cast<Arguments&&>(arguments)...);
  }
};

constinit Storage<L0Layout> layout_storage{};
constinit Storage<System> system_storage{};
constinit Storage<Ept01> ept01_storage{};
constinit Storage<QuiesceBesideStartupIpis> quiesce_storage{};
constinit Storage<L0Shared> shared_storage{};
constinit std::array<Storage<L0Cpu>, kMostCpus> cpu_storage{};
constinit L0Log event_log;
constinit Watchdog watchdog;
constinit StartupIpis startup;
constinit Canary canary;
constinit MemoryMap l1_memory;
constinit Capabilities hardware;
constinit MtrrSettings memory_types;
constinit L0Shared* shared = nullptr;
constinit std::atomic<uint32_t> ready{0};
constinit bool checks_ports = false;

L0Cpu& MakeCpu() {
  PerCpu& self = ThisCpu();
  L0Cpu& cpu = cpu_storage[self.index].Make(*shared, self.index);
  self.user = &cpu;
  cpu.EnterVmxOperation(hardware, memory_types);
  return cpu;
}

void TakeNmi(TrapFrame& frame) {
  // Without one there is no guest yet whose NMI it could be.
  KeepNmisBlockedIfWanted();
  if (auto* cpu = static_cast<L0Cpu*>(ThisCpu().user)) cpu->TakeNmiInRoot(frame);
}

void RunOtherCpu() {
  if (const auto why = WhyVmxIsOff(HasVmx(), ReadMsr(Index(Msr::IA32_FEATURE_CONTROL)));
      !why.empty()) {
    Stop(why);
  }
  if (ReadCapabilities() != hardware) Stop("the CPUs of this machine differ in what VMX can do");
  L0Cpu& cpu = MakeCpu();
  ready.fetch_add(1);
  if (checks_ports && ThisCpu().index == 1) HelpWithPortContract(cpu);
  // The boot CPU's L1 begins when all are there.
  while (ready.load() < shared->system.cpu_count) Pause();
  cpu.Run();
}

void ListVariants() {
  for (const Variant& variant : AllVariants()) {
    Write(Text() << "  variant=" << variant.name << ": " << variant.summary << "\n");
  }
}

Options CheckOptions(const BootInformation& information) {
  const ParsedOptions parsed = ParseOptions(information.command_line.view(), kMostCpus);
  if (!parsed.bad_word.empty()) {
    Write(Text() << "nvmx: \"" << parsed.bad_word << "\" on the command line: " << parsed.why
                 << "\n");
    if (parsed.is_unknown_variant) ListVariants();
    Stop("the command line is wrong");
  }
  checks_ports = parsed.options.checks_ports;
  if (information.module_count == 0 && !checks_ports)
    Stop("there is no boot module: the first one is L1");
  return parsed.options;
}

void CheckHardware() {
  const bool has_vmx = HasVmx();
  const uint64_t feature_control =
      has_vmx ? ReadMsr(Index(Msr::IA32_FEATURE_CONTROL)) : uint64_t{0};
  if (const auto why = WhyVmxIsOff(has_vmx, feature_control); !why.empty()) Stop(why);
  hardware = ReadCapabilities();
  if (const auto missing = WhatIsMissing(hardware); !missing.empty()) {
    Write(Text() << "nvmx: missing: " << missing << "\n");
    Stop("this CPU's VMX lacks something that nvmx needs");
  }
  memory_types = ReadMtrrs();
}

uint32_t CountCpus(const Options& options, const BootInformation& information) {
  const ApicIds ids = FindApicIds(LowMemory(), information.acpi);
  const size_t found = ids.found;
  if (options.cpus > std::max<size_t>(found, 1)) {
    Write(Text() << "nvmx: cpus=" << options.cpus << ", and the machine has "
                 << std::max<size_t>(found, 1) << (found == 0 ? ": " : "") << ids.problem << "\n");
    Stop("there are not that many CPUs");
  }
  if (options.cpus != 0) return options.cpus;
  if (found > kMostCpus) {
    Write(Text() << "nvmx: " << found << " CPUs; it can hold " << kMostCpus << "\n");
    Stop("there are too many CPUs; cpus=16 takes the first ones");
  }
  return std::max<uint32_t>(static_cast<uint32_t>(found), 1);
}

// Finds a place for L0, moves there, and takes it out of L1's memory.
L0Layout& TakeMemory(const BootInformation& information, uint32_t cpus, bool has_1gbyte_pages) {
  const uint64_t begin = reinterpret_cast<uintptr_t>(image_begin);
  const uint64_t end = reinterpret_cast<uintptr_t>(image_end);
  L0Layout& layout =
      layout_storage.Make(begin, end - begin, Ept01::PagesNeeded(has_1gbyte_pages), cpus);
  std::array<AddressRange, 1 + BootInformation::kMostModules> taken{};
  size_t count = 0;
  taken[count++] = {begin, end};
  for (const BootModule& module : information.Modules())
    taken[count++] = {module.begin, module.end};
  const auto place = information.memory.FindHighest(layout.size(), L0Layout::kLargePage, k4GBytes,
                                                    std::span(taken).first(count));
  if (!place) {
    Write(Text() << "nvmx: needs " << (layout.size() >> 20)
                 << " MBytes of RAM in one piece below 4 GBytes\n");
    Stop("there is too little memory");
  }
  layout.MoveTo(place->begin);
  MoveImage(layout);
  std::memset(layout.At<std::byte>(layout.Ept01Offset()), 0, layout.size() - layout.Ept01Offset());
  l1_memory = information.memory;
  if (!l1_memory.Reserve(layout.physical())) Stop("the memory map has too many ranges");
  if (l1_memory.EndOfRam() > std::min(DirectMapEnd(), Ept01::kSpan)) {
    Stop("there is more RAM than this L0 can map on this CPU");
  }
  return layout;
}

void LeaveAcpiRootForL1(const BootInformation& information) {
  if (!information.acpi || FindAcpiRoot(LowMemory())) return;
  std::array<AddressRange, BootInformation::kMostModules> taken{};
  size_t count = 0;
  for (const BootModule& module : information.Modules())
    taken[count++] = {module.begin, module.end};
  const auto page = TakeEbdaPage(std::span(taken).first(count), l1_memory);
  if (!page) {
    Write("nvmx: there is no place below 640 KBytes to tell L1 where the ACPI tables are\n");
    return;
  }
  const Ebda ebda = MakeEbda(*page, *information.acpi);
  std::memset(AtPhysical(*page), 0, kPageSize);
  std::memcpy(AtPhysical(*page), ebda.rsdp.data(), ebda.rsdp.size());
  std::memcpy(AtPhysical(kEbdaSegmentAddress), &ebda.segment, sizeof ebda.segment);
}

uint64_t MeasureTicksPerSecond() {
  constexpr uint32_t kMicroseconds = 20000;
  const uint64_t before = ReadTsc();
  DelayMicroseconds(kMicroseconds);
  return (ReadTsc() - before) * (1000000 / kMicroseconds);
}

void SayLastWords() {
  event_log.WriteRest();
  if (!canary.watches()) return;
  const char* const damaged = canary.Damaged();
  if (damaged == nullptr) return Write("canary: intact\n");
  Write(Text() << "canary: damaged: " << damaged << "\n");
  Panic("something has written to L0's memory");
}

// What nothing writes from now on.
void StartCanary(const Ept01& ept01) {
  constexpr uint64_t kAccessedAndDirty = 0x60;
  canary.Watch("code and constants", {reinterpret_cast<const uint64_t*>(image_begin),
                                      reinterpret_cast<const uint64_t*>(image_constants_end)});
  canary.Watch("paging structures", PagingStructures(), kAccessedAndDirty);
  canary.Watch("EPT01", ept01.words());
}

void StartLogAndWatchdog(uint32_t cpus, const Options& options) {
  event_log.Start(options.log, cpus, [](const Text& line) { WriteSerial(line); });
  SetLastWords(&SayLastWords);
  if (options.variant != FindVariant("correct")) {
    Write(Text() << "nvmx: variant " << options.variant->name << ": " << options.variant->summary
                 << "\n");
  }
  if (options.watchdog_seconds == 0) return;
  const uint64_t ticks = MeasureTicksPerSecond();
  watchdog.Start(options.watchdog_seconds * ticks, ticks, options.variant->name);
}

L1Start LoadAnyL1(BootInformation& information, L1Kind kind) {
  return kind == L1Kind::kLinux ? LoadLinuxL1(information, l1_memory)
                                : LoadL1(information, l1_memory);
}

void MakeShared(L0Layout& layout, uint32_t cpus, bool has_1gbyte_pages, const Variant& variant) {
  System& system = system_storage.Make(cpus, event_log.records());
  std::memcpy(system.ept01_memory_types.bytes().data(), &memory_types, sizeof memory_types);
  const HostPages pages{{layout.At<HostPage>(layout.Ept01Offset()), layout.ept01_pages()},
                        PhysicalAddress{layout.PhysicalOf(layout.Ept01Offset())}};
  Ept01& ept01 = ept01_storage.Make(pages, layout.physical(), ApicAddress(), has_1gbyte_pages);
  ept01.Fill(memory_types);
  shared =
      new (shared_storage.bytes.data()) L0Shared{layout,
                                                 system,
                                                 ept01,
                                                 l1_memory,
                                                 quiesce_storage.Make(variant.quiesce, startup),
                                                 variant.choreography,
                                                 event_log,
                                                 watchdog,
                                                 startup,
                                                 ApicAddress(),
                                                 canary,
                                                 &SayLastWords};
}

}  // namespace

void ImageMain(BootInformation& information) {
  Write(Text() << "nvmx: L0, command line \"" << information.command_line.view() << "\"\n");
  const Options options = CheckOptions(information);
  CheckHardware();
  const uint32_t cpus = CountCpus(options, information);
  const bool has_1gbyte_pages = (hardware.ept_vpid_cap & EptVpidCap::k1GByteMapping) != 0;
  L0Layout& layout = TakeMemory(information, cpus, has_1gbyte_pages);
  StartLogAndWatchdog(cpus, options);
  MakeShared(layout, cpus, has_1gbyte_pages, *options.variant);
  if (checks_ports && cpus < 2) Stop("check=ports needs two CPUs");
  LeaveAcpiRootForL1(information);
  const L1Start start = checks_ports ? L1Start{} : LoadAnyL1(information, options.l1);
  SetTrapHandler(kNmi, &TakeNmi);
  const StartedCpus started = StartOtherCpus(information, cpus, &RunOtherCpu);
  if (started.running != cpus) {
    Write(Text() << "nvmx: " << started.running << " of " << cpus << " CPUs run\n");
    Stop("a CPU does not start");
  }
  L0Cpu& cpu = MakeCpu();
  while (ready.load() + 1 < cpus) Pause();
  if (checks_ports) RunPortContract(cpu, *shared);
  cpu.StartL1At(start);
  Write(Text() << "nvmx: in VMX operation on " << cpus << " CPUs; L0's memory is "
               << Hex{layout.physical().begin} << " - " << Hex{layout.physical().end}
               << "; L1 begins at " << Hex{start.entry} << "\n");
  StartCanary(shared->ept01);
  ready.fetch_add(1);
  cpu.Run();
}

}  // namespace nvmx::metal
