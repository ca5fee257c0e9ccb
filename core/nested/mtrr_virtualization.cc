// SPDX-License-Identifier: Apache-2.0
#include "core/nested/mtrr_virtualization.h"

#include <utility>

#include "core/nested/embedder.h"
#include "core/smp/console.h"

namespace nvmx {

bool WriteMtrr(Vcpu& vcpu, uint32_t msr, uint64_t value) {
  VcpuState& state = vcpu.state;
  if (!MtrrSettings::IsValidWrite(msr, value,
                                  static_cast<unsigned>(state.offered.physical_address_width))) {
    return false;
  }
  if (!vcpu.embedder.AllowsMtrrWrite(vcpu, msr, value)) return false;
  if (state.mtrr.Read(msr) == value) return true;
  if (vcpu.system.log_mtrr_writes) {
    SmpContext smp = vcpu.smp();
    PrintLine(smp, LogLine::kMtrrWrite, msr);
  }
  state.mtrr.Write(msr, value);
  state.memory_types_stale = 1;
  return true;
}

void CommitMemoryTypes(Vcpu& vcpu) {
  if (vcpu.state.memory_types_stale == 0) return;
  vcpu.state.memory_types_stale = 0;
  SmpContext smp = vcpu.smp();
  StoppedWorld world = vcpu.quiesce.Stop(smp);
  vcpu.system.ept01_memory_types.Store(vcpu.ports.cpu, world, vcpu.state.mtrr);
  vcpu.ports.trace.Record(TraceKind::kMemoryTypesChanged, 0, 0);
  PrintLine(smp, LogLine::kMemoryTypesChanged, vcpu.ports.cpu.Index());
  vcpu.ports.cpu.Invalidate({.kind = Invalidation::Kind::kEptAllContexts});
  vcpu.quiesce.Resume(smp, std::move(world));
}

}  // namespace nvmx
