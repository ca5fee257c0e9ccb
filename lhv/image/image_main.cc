// SPDX-License-Identifier: Apache-2.0
//
// The bootable image: runs the guest programs of a boot module, and writes what they observe on the
// serial line. Its command line: "first=N" to begin with program N, "cpus=N" to use no more CPUs.
#include "backends/vmx-hw/machine/image_main.h"

#include <cstring>

#include "backends/vmx-hw/machine/command_line.h"
#include "backends/vmx-hw/machine/console.h"
#include "backends/vmx-hw/machine/cpu_instructions.h"
#include "backends/vmx-hw/machine/cpus.h"
#include "backends/vmx-hw/machine/hypercall.h"
#include "backends/vmx-hw/machine/power.h"
#include "backends/vmx-hw/machine/smp.h"
#include "backends/vmx-hw/machine/text.h"
#include "backends/vmx-hw/machine/traps.h"
#include "lhv/image/machine_run.h"
#include "lhv/layout.h"

namespace nvmx::metal {
namespace {

constexpr uint8_t kNmi = 2;
constexpr size_t kMostPackBytes = 16 << 20;
std::byte pack[kMostPackBytes];

struct Options {
  uint32_t first = 0;
  uint32_t cpus = lhv::kMostImageCpus;
};

Options ReadOptions(std::string_view text) {
  Options options;
  CommandLine line(text);
  while (const std::optional<CommandLine::Word> word = line.Next()) {
    const std::optional<uint32_t> number = ParseNumber(word->value);
    if (word->name == "first" && number) options.first = *number;
    if (word->name == "cpus" && number && *number >= 1 && *number < options.cpus) {
      options.cpus = *number;
    }
  }
  return options;
}

// Guest programs use it where it is (lhv/layout.h), whatever the firmware keeps there.
void CheckMemory(const MemoryMap& memory, uint32_t cpus) {
  const AddressRange used[] = {
      {lhv::WindowOf(0), lhv::WindowOf(cpus)},
      {lhv::kL1CodeBase, lhv::CodeOf(cpus, lhv::kL1CodeBase)},
      {lhv::kL2CodeBase, lhv::CodeOf(cpus, lhv::kL2CodeBase)},
      {lhv::kL1HandlerBase, lhv::HandlersOf(cpus, lhv::kL1HandlerBase)},
      {lhv::kL1BareHandlerBase, lhv::HandlersOf(cpus, lhv::kL1BareHandlerBase)},
      {lhv::kL2HandlerBase, lhv::HandlersOf(cpus, lhv::kL2HandlerBase)},
      {lhv::kL2BareHandlerBase, lhv::HandlersOf(cpus, lhv::kL2BareHandlerBase)},
  };
  for (const AddressRange& range : used) {
    if (memory.IsRam(range)) continue;
    Write(Text() << "lhv: not all of " << Hex{range.begin} << " - " << Hex{range.end}
                 << " is RAM\n");
    Stop("guest programs for so many CPUs need other memory than this machine has");
  }
}

void RunOther() { lhv::TakePart(ThisCpu().index); }

bool HasVmx() {
  constexpr uint32_t kVmx = 1u << 5;
  return (Cpuid(1).ecx & kVmx) != 0;
}

}  // namespace

void ImageMain(BootInformation& information) {
  SetLastWords([] { CallHypervisor(kLastWordsCall); });
  if (!HasVmx()) Stop("this processor has no VMX");
  if (information.module_count == 0) Stop("there is no boot module with guest programs");
  // Out of the way of windows and code.
  const BootModule& module = information.modules[0];
  const size_t bytes = module.end - module.begin;
  if (bytes > sizeof pack) Stop("the boot module is too large");
  std::memcpy(pack, reinterpret_cast<const void*>(static_cast<uintptr_t>(module.begin)), bytes);
  const Options options = ReadOptions(information.command_line.view());
  // NMIs that come when no program runs any more are nobody's.
  SetTrapHandler(kNmi, [](TrapFrame&) {});
  const StartedCpus started = StartOtherCpus(information, options.cpus, &RunOther);
  CheckMemory(information.memory, started.running);
  lhv::PrepareMachine(started.running);
  WriteSerial(Text() << "@image cpus " << started.running << "\n");
  lhv::RunPack(std::span(pack).first(bytes), options.first);
  PowerOff(EndStatus::kGood);
}

}  // namespace nvmx::metal
