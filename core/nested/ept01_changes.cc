// SPDX-License-Identifier: Apache-2.0
//
// How the EPT02s of all CPUs follow EPT01. Only the CPU whose they are touches EPT02s: whoever
// changes EPT01 stops the others, but they may have been stopped in the middle of a change of
// theirs. So it writes down where EPT01 led, and each CPU looks for itself before it enters L2.
#include "core/nested/entry_conditions.h"
#include "core/nested/ept02.h"
#include "core/nested/nested_paging.h"
#include "core/nested/vmcs02.h"
#include "core/vmx/controls.h"

namespace nvmx {

bool DependsOnEpt01(const Vcpu& vcpu) {
  const VmcsImage& vmcs12 = vcpu.state.vmcs12;
  return vcpu.state.operation == VmxOperation::kNonRoot &&
         (HasSecondary(vmcs12, Secondary::kEnableEpt) || HasTranslatedAddresses(vmcs12));
}

void FollowEpt01(Vcpu& vcpu) {
  if (!DependsOnEpt01(vcpu)) return;
  Cpu& cpu = vcpu.ports.cpu;
  uint64_t& followed = vcpu.state.ept02.ept01_generation;
  if (vcpu.system.ept01_generation.Load(cpu) == followed) return;
  // EPT01 may have changed once more between the two loads: the block is what counts.
  const Ept01Changes changes = vcpu.system.ept01_changes.Load(cpu);
  if (changes.count - followed > Ept01Changes::kKept) {
    EmptyEpt02s(vcpu);
    followed = changes.count;
  }
  for (; followed != changes.count; ++followed) {
    const Ept01Changes::Range& range = changes.latest[followed % Ept01Changes::kKept];
    DropFromEpt02sWhatLeadsTo(vcpu, PhysicalAddress{range.first}, range.bytes);
  }
  TranslateAddressesAgain(vcpu);
}

void Ept01Changed(Vcpu& vcpu, const StoppedWorld& world, PhysicalAddress was, uint64_t bytes) {
  Cpu& cpu = vcpu.ports.cpu;
  Ept01Changes changes = vcpu.system.ept01_changes.Load(cpu);
  changes.latest[changes.count++ % Ept01Changes::kKept] = {was.value, bytes};
  vcpu.system.ept01_changes.Store(cpu, world, changes);
  vcpu.system.ept01_generation.Store(cpu, changes.count);
  // The others do so as they resume.
  cpu.Invalidate({.kind = Invalidation::Kind::kEptAllContexts});
}

}  // namespace nvmx
