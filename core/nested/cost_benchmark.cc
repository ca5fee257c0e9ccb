// SPDX-License-Identifier: Apache-2.0
//
// What nested virtualization costs: how often the core calls each port, and how long it takes on
// ports that cost next to nothing. On hardware the calls dominate: a VMREAD or VMWRITE takes some
// tens of cycles, a VMPTRLD or INVEPT some hundreds.
#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "core/nested/cost_table.h"
#include "core/nested/ept02.h"
#include "core/nested/nested_paging.h"
#include "core/nested/vmcs12_region.h"
#include "core/testing/builders.h"
#include "core/testing/counted_l1.h"
#include "core/testing/nested_paging_fixture.h"
#include "core/vmx/controls.h"
#include "core/vmx/ept.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/msr.h"

namespace nvmx {
namespace {

using SteadyClock = std::chrono::steady_clock;
using Step = std::function<void(CountedL1&)>;

double Seconds(SteadyClock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

// What measuring nothing takes.
double Overhead() {
  std::vector<double> samples(10001);
  for (double& sample : samples) {
    const auto begin = SteadyClock::now();
    sample = Seconds(SteadyClock::now() - begin);
  }
  const auto median = samples.begin() + 5000;
  std::nth_element(samples.begin(), median, samples.end());
  return *median;
}

struct Case {
  std::string name;
  std::function<void(FakeVcpu&)> set_up;  // L1's memory and VMCS12
  Step before;                            // each time, not measured
  Step measured;
  std::function<bool(CountedL1&)> holds;  // what must be true afterwards
};

// The median of the times is taken: what else the machine does meanwhile makes single ones long.
void Measure(benchmark::State& state, const Case& c) {
  static const double overhead = Overhead();
  auto l1 = std::make_unique<CountedL1>(c.set_up);
  PortCalls sum;
  std::vector<double> times;
  for (auto _ : state) {
    if (c.before) c.before(*l1);
    const PortCalls before = l1->calls;
    const auto begin = SteadyClock::now();
    c.measured(*l1);
    const double time = std::max(Seconds(SteadyClock::now() - begin) - overhead, 0.0);
    times.push_back(time);
    state.SetIterationTime(time);
    for (size_t n = 0; n < kPortCallKinds; ++n)
      sum.counts[n] += l1->calls.counts[n] - before.counts[n];
    if (!c.holds(*l1)) {
      state.SkipWithError("it is not what it should be");
      break;
    }
  }
  for (size_t n = 0; n < kPortCallKinds; ++n) {
    state.counters[Name(static_cast<PortCall>(n))] =
        benchmark::Counter(static_cast<double>(sum.counts[n]), benchmark::Counter::kAvgIterations);
  }
  const auto median = times.begin() + static_cast<ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), median, times.end());
  state.counters["ns"] = *median * 1e9;
}

// --- What L1 sets up.

// Addresses in L1's memory that FakeVcpu leaves free.
constexpr uint64_t kOtherVmcs12 = 0x1'4000;
constexpr uint64_t kMsrBitmap = 0x1'5000;
constexpr uint64_t kShadowVmcs = 0x1'6000;
constexpr uint64_t kShadowBitmaps = 0x1'7000;  // and the page behind it
constexpr uint64_t kLists = 0x4'0000;
constexpr uint64_t kListBytes = 0x4000;
constexpr uint64_t kEpt12 = 0x10'0000;

using Change = std::function<void(FakeVcpu&, VmcsImage&)>;

// L1 with a VMCS12, which is current and clear.
std::function<void(FakeVcpu&)> With(const Change& change = {}) {
  return [change](FakeVcpu& fake) {
    VmcsImage vmcs12 = ValidVmcs12(fake.state.offered);
    if (change) change(fake, vmcs12);
    fake.MakeCurrentVmcs12(vmcs12);
  };
}

void Add(VmcsImage& v, VmcsField controls, uint64_t bits) {
  v.Write(controls, v.Read(controls) | bits);
}
void AddSecondary(VmcsImage& v, uint64_t bits) {
  Add(v, VmcsField::kPrimaryProcessorBasedControls,
      PrimaryProcessorBased::kActivateSecondaryControls);
  Add(v, VmcsField::kSecondaryProcessorBasedControls, bits);
}

void UseMsrBitmap(FakeVcpu&, VmcsImage& v) {
  Add(v, VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kUseMsrBitmaps);
  v.Set<VmcsField::kMsrBitmapAddress>(kMsrBitmap);
}

// An EPT12 of which the first 4 GBytes are pages of the level, and a VPID.
void UseEpt(FakeVcpu& fake, VmcsImage& v, unsigned level, uint64_t pages) {
  Ept12Builder ept12(fake.memory, kEpt12);
  const uint64_t bytes = uint64_t{1} << EptLevelShift(level);
  for (uint64_t n = 0; n < pages; ++n) ept12.Map(n * bytes, n * bytes, kEptAll, level);
  AddSecondary(v, Secondary::kEnableEpt | Secondary::kEnableVpid);
  v.Set<VmcsField::kEptPointer>(ept12.Eptp());
  v.Set<VmcsField::kVirtualProcessorIdentifier>(1);
}
Change SmallPages(uint64_t pages) {
  return [pages](FakeVcpu& fake, VmcsImage& v) { UseEpt(fake, v, kEptLevelPte, pages); };
}
Change LargePages(uint64_t pages) {
  return [pages](FakeVcpu& fake, VmcsImage& v) { UseEpt(fake, v, kEptLevelPde, pages); };
}
uint64_t Eptp12(const CountedL1& l1) { return l1.state.vmcs12.Get<VmcsField::kEptPointer>(); }

// What a usual hypervisor has: EPT, VPID, an MSR bitmap.
void UseAll(FakeVcpu& fake, VmcsImage& v) {
  UseMsrBitmap(fake, v);
  UseEpt(fake, v, kEptLevelPde, 512);
}

Change Lists(uint32_t entries) {
  return [entries](FakeVcpu& fake, VmcsImage& v) {
    constexpr Msr kMsrs[] = {Msr::IA32_STAR, Msr::IA32_LSTAR, Msr::IA32_FMASK,
                             Msr::IA32_KERNEL_GS_BASE};
    std::vector<MsrListEntry> list;
    for (uint32_t n = 0; n < entries; ++n) {
      list.push_back({Index(kMsrs[n % std::size(kMsrs)]), 0, n});
      fake.cpu.msrs()[list.back().index] = 0;
    }
    for (uint64_t n = 0; n < 3; ++n) fake.PutMsrList(kLists + n * kListBytes, list);
    v.Set<VmcsField::kVmEntryMsrLoadAddress>(kLists);
    v.Set<VmcsField::kVmEntryMsrLoadCount>(entries);
    v.Set<VmcsField::kVmExitMsrStoreAddress>(kLists + kListBytes);
    v.Set<VmcsField::kVmExitMsrStoreCount>(entries);
    v.Set<VmcsField::kVmExitMsrLoadAddress>(kLists + 2 * kListBytes);
    v.Set<VmcsField::kVmExitMsrLoadCount>(entries);
  };
}

// --- What L1 and L2 do.

bool InL2(CountedL1& l1) { return l1.L2Runs(); }
bool InL1(CountedL1& l1) { return !l1.L2Runs(); }
bool L1Goes(CountedL1& l1) { return !l1.L2Runs() && l1.Succeeded(); }

void Resume(CountedL1& l1) {
  if (l1.L2Runs()) return;
  if (l1.state.vmcs12_launched != 0) {
    l1.Vmresume();
  } else {
    l1.Vmlaunch();
  }
}
void Cpuid(CountedL1& l1) { l1.Exit(ExitReason::kCpuid); }
// L1 has just been left by L2.
void BackInL1(CountedL1& l1) {
  Resume(l1);
  Cpuid(l1);
}
Step Behind(const Step& first, const Step& then) {
  return [first, then](CountedL1& l1) {
    first(l1);
    then(l1);
  };
}
// L1 has written these fields since, each with another value than before.
Step Written(const std::vector<VmcsField>& fields) {
  return [fields](CountedL1& l1) {
    BackInL1(l1);
    for (VmcsField field : fields) {
      l1.Vmread(field);
      l1.Vmwrite(field, l1.vmread_result() ^ 0x1000);
    }
  };
}
Step Injected() {
  return [](CountedL1& l1) {
    BackInL1(l1);
    l1.Vmwrite(VmcsField::kVmEntryInterruptionInformation,
               InterruptionInformation::Make(InterruptionType::kExternalInterrupt, 0x40).value());
  };
}

std::vector<Case> Entries() {
  const Step entry = [](CountedL1& l1) { l1.Vmresume(); };
  const auto row = [&](const char* name, const Change& change, const Step& before) {
    return Case{std::string("VM entry (VMRESUME by L1)/") + name, With(change), before, entry,
                InL2};
  };
  return {
      row("nothing changed", {}, BackInL1),
      row("RIP changed", {}, Written({VmcsField::kGuestRip})),
      row(
          "RIP, RSP, CR3, TSC offset, read shadow changed",
          [](FakeVcpu&, VmcsImage& v) {
            Add(v, VmcsField::kPrimaryProcessorBasedControls,
                PrimaryProcessorBased::kUseTscOffsetting);
          },
          Written({VmcsField::kGuestRip, VmcsField::kGuestRsp, VmcsField::kGuestCr3,
                   VmcsField::kTscOffset, VmcsField::kCr4ReadShadow})),
      row("a segment's base changed", {}, Written({VmcsField::kGuestTrBase})),
      row("an interrupt injected", {}, Injected()),
      row("nothing changed, MSR bitmap", UseMsrBitmap, BackInL1),
      row("nothing changed, EPT and VPID", LargePages(512), BackInL1),
      row("nothing changed, MSR bitmap, EPT and VPID", UseAll, BackInL1),
      {"VM entry (VMRESUME by L1)/the first of a VMCS12: all written (VMLAUNCH)", With(),
       [](CountedL1& l1) {
         if (l1.L2Runs()) Cpuid(l1);
         l1.WithPointer(ExitReason::kVmclear, FakeVcpu::kVmcs12Region);
         l1.WithPointer(ExitReason::kVmptrld, FakeVcpu::kVmcs12Region);
       },
       [](CountedL1& l1) { l1.Vmlaunch(); }, InL2},
  };
}

std::vector<Case> Exits() {
  const std::string to_l1 = "Exit of L2 that is L1's/";
  const std::string to_l0 = "Exit of L2 that is L0's/";
  const auto rdmsr = [](Msr msr) {
    return [msr](CountedL1& l1) {
      l1.state.registers[static_cast<size_t>(GeneralRegister::kRcx)] = Index(msr);
      l1.Exit(ExitReason::kRdmsr);
    };
  };
  return {
      {to_l1 + "CPUID", With(), Resume, Cpuid, InL1},
      {to_l1 + "CPUID, L1 with MSR bitmap, EPT and VPID", With(UseAll), Resume, Cpuid, InL1},
      {to_l1 + "RDMSR, without MSR bitmap", With(), Resume, rdmsr(Msr::IA32_LSTAR), InL1},
      {to_l1 + "EPT violation of EPT12", With(LargePages(512)), Resume,
       [](CountedL1& l1) { l1.ViolateEpt(uint64_t{1} << 38); }, InL1},
      {to_l0 + "RDMSR of an MTRR that L1 lets L2 read", With(UseMsrBitmap), Resume,
       rdmsr(Msr::IA32_MTRR_DEF_TYPE), InL2},
      {to_l0 + "timer of L1 that has not expired", With([](FakeVcpu&, VmcsImage& v) {
         Add(v, VmcsField::kPinBasedControls, PinBased::kActivateVmxPreemptionTimer);
         v.Set<VmcsField::kVmxPreemptionTimerValue>(0xFFFFFFFF);
       }),
       Resume, [](CountedL1& l1) { l1.Exit(ExitReason::kVmxPreemptionTimerExpired); }, InL2},
  };
}

// The page is missing in EPT02, whose structures are there or not.
Step MissingPage(bool structures) {
  return [structures](CountedL1& l1) {
    Resume(l1);
    if (!structures) {
      DropAllEpt02s(l1.vcpu);
      UseEpt02(l1.vcpu, Eptp12(l1));
    } else {
      DropFromEpt02(l1.vcpu, GuestPhysicalAddress{0});
    }
  };
}

std::vector<Case> Fills() {
  const std::string section = "EPT violation that fills EPT02/";
  const Step touch = [](CountedL1& l1) { l1.ViolateEpt(0); };
  return {
      {section + "4 KBytes", With(SmallPages(512)), MissingPage(true), touch, InL2},
      {section + "4 KBytes, with three new structures", With(SmallPages(512)), MissingPage(false),
       touch, InL2},
      {section + "2 MBytes", With(LargePages(512)), MissingPage(true), touch, InL2},
      {section + "2 MBytes, with two new structures", With(LargePages(512)), MissingPage(false),
       touch, InL2},
  };
}

Change Shadowing(bool intercepted) {
  return [intercepted](FakeVcpu& fake, VmcsImage& v) {
    AddSecondary(v, Secondary::kVmcsShadowing);
    fake.memory.Poke(kShadowVmcs, uint32_t{kVmcs12Revision | kShadowVmcsIndicator});
    v.Set<VmcsField::kVmcsLinkPointer>(kShadowVmcs);
    v.Set<VmcsField::kVmreadBitmapAddress>(kShadowBitmaps);
    v.Set<VmcsField::kVmwriteBitmapAddress>(kShadowBitmaps + kPageSize);
    if (!intercepted) return;
    for (uint64_t at = 0; at < 2 * kPageSize; at += 8) {
      fake.memory.Poke(kShadowBitmaps + at, ~uint64_t{0});
    }
  };
}

std::vector<Case> VmreadsAndVmwrites() {
  const std::string l1s = "VMREAD and VMWRITE by L1/";
  const std::string l2s = "VMREAD and VMWRITE by L2, L1 with VMCS shadowing/";
  const auto read = [](VmcsField field) { return [field](CountedL1& l1) { l1.Vmread(field); }; };
  const auto write = [](VmcsField field, uint64_t value) {
    return [field, value](CountedL1& l1) { l1.Vmwrite(field, value); };
  };
  const Step change = [](CountedL1& l1) {
    l1.Vmwrite(VmcsField::kGuestRip, l1.state.vmcs12.Get<VmcsField::kGuestRip>() ^ 0x1000);
  };
  return {
      {l1s + "VMREAD of GUEST_RIP", With(), {}, read(VmcsField::kGuestRip), L1Goes},
      {l1s + "VMREAD of a field that the last exit left in VMCS02", With(), BackInL1,
       read(VmcsField::kGuestTrBase), L1Goes},
      {l1s + "VMREAD of another such field", With(),
       Behind(BackInL1, read(VmcsField::kGuestTrBase)), read(VmcsField::kGuestGdtrBase), L1Goes},
      {l1s + "VMWRITE of another value", With(), {}, change, L1Goes},
      {l1s + "VMWRITE of the same value", With(), write(VmcsField::kGuestRip, 1),
       write(VmcsField::kGuestRip, 1), L1Goes},
      {l2s + "VMREAD, shadowed", With(Shadowing(false)), Resume, read(VmcsField::kGuestRip), InL2},
      {l2s + "VMWRITE, shadowed", With(Shadowing(false)), Resume, write(VmcsField::kGuestRip, 1),
       InL2},
      {l2s + "VMREAD, intercepted: exit to L1", With(Shadowing(true)), Resume,
       read(VmcsField::kGuestRip), InL1},
  };
}

std::vector<Case> Switches() {
  const std::string section = "Other VMX instructions of L1/";
  const auto set_up = [](FakeVcpu& fake) {
    With()(fake);
    fake.memory.Poke(kOtherVmcs12, uint32_t{kVmcs12Revision});
  };
  const auto other = [](const CountedL1& l1) {
    return l1.state.current_vmcs == kOtherVmcs12 ? FakeVcpu::kVmcs12Region : kOtherVmcs12;
  };
  return {
      {section + "VMPTRLD of another VMCS12",
       set_up,
       {},
       [other](CountedL1& l1) { l1.WithPointer(ExitReason::kVmptrld, other(l1)); },
       L1Goes},
      {section + "VMPTRLD of another VMCS12, after L2 ran", set_up,
       [](CountedL1& l1) {
         l1.WithPointer(ExitReason::kVmptrld, FakeVcpu::kVmcs12Region);
         BackInL1(l1);
       },
       [other](CountedL1& l1) { l1.WithPointer(ExitReason::kVmptrld, other(l1)); }, L1Goes},
      {section + "VMPTRLD of the current VMCS12",
       set_up,
       {},
       [](CountedL1& l1) { l1.WithPointer(ExitReason::kVmptrld, FakeVcpu::kVmcs12Region); },
       L1Goes},
      {section + "VMCLEAR of the current VMCS12", set_up,
       [](CountedL1& l1) { l1.WithPointer(ExitReason::kVmptrld, FakeVcpu::kVmcs12Region); },
       [](CountedL1& l1) { l1.WithPointer(ExitReason::kVmclear, FakeVcpu::kVmcs12Region); },
       L1Goes},
      {section + "VMCLEAR of another VMCS12",
       set_up,
       {},
       [](CountedL1& l1) { l1.WithPointer(ExitReason::kVmclear, kOtherVmcs12); },
       L1Goes},
  };
}

std::vector<Case> MsrLists() {
  std::vector<Case> cases;
  for (uint32_t entries : {0u, 8u, 64u, 512u}) {
    const std::string length = std::to_string(entries) + " entries in each list: ";
    cases.push_back(
        {"MSR lists/" + length + "VM entry", With(Lists(entries)), BackInL1, Resume, InL2});
    cases.push_back({"MSR lists/" + length + "VM exit", With(Lists(entries)), Resume, Cpuid, InL1});
  }
  return cases;
}

void Touch(CountedL1& l1, uint64_t pages) {
  for (uint64_t n = 0; n < pages; ++n) l1.ViolateEpt(n * kPageSize);
}

std::vector<Case> EptSizes() {
  std::vector<Case> cases;
  for (uint64_t pages : {1u, 64u, 512u, 4096u}) {
    const std::string touched = std::to_string(pages) + " pages touched: ";
    const Step filled = [pages](CountedL1& l1) {
      Resume(l1);
      Touch(l1, pages);
      Cpuid(l1);
    };
    cases.push_back({"EPT/" + touched + "all fills, 4 KBytes each", With(SmallPages(pages)),
                     [](CountedL1& l1) {
                       if (l1.L2Runs()) Cpuid(l1);
                       l1.Invept(Eptp12(l1));
                       Resume(l1);
                     },
                     [pages](CountedL1& l1) { Touch(l1, pages); }, InL2});
    cases.push_back({"EPT/" + touched + "VM entry", With(SmallPages(pages)),
                     [filled](CountedL1& l1) {
                       if (l1.state.vmcs12_launched == 0) filled(l1);
                       BackInL1(l1);
                     },
                     Resume, InL2});
    cases.push_back({"EPT/" + touched + "INVEPT by L1", With(SmallPages(pages)), filled,
                     [](CountedL1& l1) { l1.Invept(Eptp12(l1)); }, L1Goes});
  }
  return cases;
}

void Register(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    benchmark::RegisterBenchmark(c.name.c_str(),
                                 [c](benchmark::State& state) { Measure(state, c); })
        ->UseManualTime()
        ->Iterations(2000);
  }
}

}  // namespace
}  // namespace nvmx

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  for (const auto& cases :
       {nvmx::Entries(), nvmx::Exits(), nvmx::Fills(), nvmx::VmreadsAndVmwrites(), nvmx::Switches(),
        nvmx::MsrLists(), nvmx::EptSizes()}) {
    nvmx::Register(cases);
  }
  std::vector<std::string> columns;
  for (size_t n = 0; n < nvmx::kPortCallKinds; ++n) {
    const auto call = static_cast<nvmx::PortCall>(n);
    if (call != nvmx::PortCall::kOther) columns.push_back(nvmx::Name(call));
  }
  columns.push_back("ns");
  nvmx::CostTable table(columns);
  benchmark::RunSpecifiedBenchmarks(&table);
}
