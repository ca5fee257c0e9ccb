// SPDX-License-Identifier: Apache-2.0
//
// An L1 whose steps are counted, natively or under an L0: one line "cost NAME TICKS ROUNDS" each.
#include "backends/vmx-hw/cost/l2_vmcs.h"
#include "backends/vmx-hw/cost/steps.h"
#include "backends/vmx-hw/l0/vmx_instructions.h"
#include "backends/vmx-hw/machine/console.h"
#include "backends/vmx-hw/machine/cpu_instructions.h"
#include "backends/vmx-hw/machine/cpus.h"
#include "backends/vmx-hw/machine/image_main.h"
#include "backends/vmx-hw/machine/power.h"
#include "backends/vmx-hw/machine/smp.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/address.h"
#include "core/x86/memory_type.h"
#include "core/x86/msr.h"
#include "core/x86/mtrr.h"

namespace nvmx::metal {
namespace {

constexpr uint64_t kRounds = 1000;

void Report(std::string_view name, uint64_t ticks, uint64_t rounds) {
  Write(Text() << "cost " << name << " " << ticks << " " << rounds << "\n");
}

// One entry, whose exit has to be the VMCALL that L2 ends with.
void Enter(bool launched, Touches* touches = nullptr) {
  if (!EnterOnce(launched ? 1 : 0, touches)) Panic("a VM entry fails");
  uint64_t reason = 0;
  Vmread(Encoding(VmcsField::kExitReason), reason);
  if (reason == static_cast<uint64_t>(ExitReason::kVmcall)) return;
  Write(Text() << "exit reason " << Hex{reason} << "\n");
  Panic("L2 exits for another reason than VMCALL");
}

void CountL2Exits(std::string_view name, const VmcsOptions& options) {
  MakeVmcs(options, &CallMonitor, &TakeExit);
  Enter(/*launched=*/false);
  Vmwrite(Encoding(VmcsField::kGuestRip), reinterpret_cast<uintptr_t>(&ExecuteCpuid));
  Vmwrite(Encoding(VmcsField::kHostRip), reinterpret_cast<uintptr_t>(&TakeCountedExit));
  // The first rounds bring translations and what L0 keeps into place.
  constexpr uint64_t kFirst = 2;
  if (CountExits(kFirst) == 0) Panic("an exit for CPUID fails");
  const uint64_t ticks = CountExits(kRounds);
  if (ticks == 0) Panic("an exit for CPUID fails");
  Report(name, ticks, kRounds);
}

void CountVmcsAccesses() {
  MakeVmcs({}, &CallMonitor, &TakeExit);
  Enter(/*launched=*/false);
  Report("vmread", CountVmread(kRounds, Encoding(VmcsField::kExitReason)), kRounds);
  Report("vmwrite", CountVmwrite(kRounds, Encoding(VmcsField::kGuestRip)), kRounds);
  // Fields that hypervisors touch rarely.
  Report("vmread-rare", CountVmread(kRounds, Encoding(VmcsField::kHostRip)), kRounds);
  Report("vmwrite-rare", CountVmwrite(kRounds, Encoding(VmcsField::kHostRsp)), kRounds);
}

void CountEptFills() {
  constexpr uint64_t kPage = 4096;
  constexpr uint64_t kLargePage = uint64_t{1} << 21;
  MakeVmcs({.ept = true}, &CallMonitor, &TakeExit);
  Enter(/*launched=*/false);
  const auto touch = [](std::string_view name, Touches touches) {
    Vmwrite(Encoding(VmcsField::kGuestRip), reinterpret_cast<uintptr_t>(&TouchMemory));
    Enter(/*launched=*/true, &touches);
    if (!name.empty()) Report(name, touches.ticks, touches.count);
  };
  touch("", {.address = kSmallPagesBegin, .count = 1, .stride = kPage, .ticks = 0});
  touch("ept-fill",
        {.address = kSmallPagesBegin + kPage, .count = 500, .stride = kPage, .ticks = 0});
  touch("ept-touch",
        {.address = kSmallPagesBegin + kPage, .count = 500, .stride = kPage, .ticks = 0});
  touch("ept-fill-new", {.address = kSmallPagesBegin + kLargePage,
                         .count = kSmallPageTables - 1,
                         .stride = kLargePage,
                         .ticks = 0});
}

void CountMtrrWrites() {
  constexpr unsigned kRange = 7;
  constexpr uint64_t kMtrrRounds = 16;
  const auto count = [](std::string_view name, uint32_t msr, const uint64_t(&values)[2]) {
    CountWrmsr(2, msr, values);
    Report(name, CountWrmsr(kMtrrRounds, msr, values), kMtrrRounds);
  };
  const uint32_t base = Index(MtrrPhysBase(kRange));
  const uint32_t mask = Index(MtrrPhysMask(kRange));
  // A range that does not count, so that no memory type changes; L0 does not know.
  count("mtrr", base, {0x1000, 0x2000});
  // One page above all RAM, with a type of its own or without.
  WriteMsr(base, (uint64_t{1} << 38) | static_cast<uint64_t>(MemoryType::kWriteThrough));
  const uint64_t whole_page = PhysicalAddressMask(40) & MtrrVariable::kAddress;
  count("mtrr-types", mask, {whole_page | MtrrVariable::kV, whole_page});
  WriteMsr(mask, 0);
  WriteMsr(base, 0);
}

void Spin() {
  for (;;) Pause();
}

}  // namespace

void ImageMain(BootInformation& information) {
  const StartedCpus cpus = StartOtherCpus(information, kMostCpus, &Spin);
  Write(Text() << "cost of the steps of an L1 on " << cpus.running << " CPUs\n");
  if (cpus.running != cpus.found) Panic("a CPU has not started");
  CountMtrrWrites();
  Report("cpuid", CountCpuid(kRounds), kRounds);
  EnterVmx();
  CountVmcsAccesses();
  CountL2Exits("exit", {});
  CountL2Exits("exit-lists", {.msr_lists = true});
  CountL2Exits("exit-ept", {.ept = true, .msr_bitmap = true});
  CountEptFills();
  LeaveVmx();
  PowerOff(EndStatus::kGood);
}

}  // namespace nvmx::metal
