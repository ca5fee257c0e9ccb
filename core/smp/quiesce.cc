// SPDX-License-Identifier: Apache-2.0
#include "core/smp/quiesce.h"

namespace nvmx {
namespace {

uint64_t CpuValue(const Cpu& cpu) { return uint64_t{cpu.Index()} + 1; }

}  // namespace

StoppedWorld QuiesceProtocol::Stop(SmpContext& context) const {
  Begin(context);
  context.trace.Record(TraceKind::kQuiesceBegin, 0, 0);
  return StoppedWorld();
}

void QuiesceProtocol::Resume(SmpContext& context, StoppedWorld) const {
  End(context);
  context.trace.Record(TraceKind::kQuiesceEnd, 0, 0);
}

void QuiesceProtocol::OpenRequest(SmpContext& context) {
  QuiesceCells& quiesce = context.system.quiesce;
  quiesce.acknowledged.Store(context.cpu, 0);
  quiesce.initiator.Store(context.cpu, CpuValue(context.cpu));
  context.apic.SendNmiToAllOthers();
}

void QuiesceProtocol::AwaitAcknowledgements(SmpContext& context) {
  context.system.quiesce.acknowledged.SpinUntilAtLeast(context.cpu, context.system.cpu_count - 1);
}

void QuiesceProtocol::RaiseResumeSignal(SmpContext& context) {
  QuiesceCells& quiesce = context.system.quiesce;
  quiesce.resumed.Store(context.cpu, 0);
  quiesce.resume_signal.Store(context.cpu, 1);
}

void QuiesceProtocol::AwaitResumption(SmpContext& context) {
  QuiesceCells& quiesce = context.system.quiesce;
  quiesce.resumed.SpinUntilAtLeast(context.cpu, context.system.cpu_count - 1);
  quiesce.resume_signal.Store(context.cpu, 0);
}

void QuiesceProtocol::Begin(SmpContext& context) const {
  context.system.quiesce.lock.Acquire(context.cpu);
  context.system.print_lock.Acquire(context.cpu);
  OpenRequest(context);
  AwaitAcknowledgements(context);
  context.system.print_lock.Release(context.cpu);
}

void QuiesceProtocol::End(SmpContext& context) const {
  context.system.quiesce.initiator.Store(context.cpu, 0);
  RaiseResumeSignal(context);
  AwaitResumption(context);
  context.system.quiesce.lock.Release(context.cpu);
}

bool QuiesceProtocol::AcknowledgeIfRequested(SmpContext& context) const {
  QuiesceCells& quiesce = context.system.quiesce;
  const uint64_t initiator = quiesce.initiator.Load(context.cpu);
  if (initiator == 0 || initiator == CpuValue(context.cpu)) return false;
  quiesce.acknowledged.Add(context.cpu, 1);
  context.trace.Record(TraceKind::kNmiAcknowledged, initiator - 1, 0);
  StandStill(context);
  return true;
}

void QuiesceProtocol::StandStill(SmpContext& context) {
  QuiesceCells& quiesce = context.system.quiesce;
  quiesce.resume_signal.SpinUntilEquals(context.cpu, 1);
  // What the initiator changed may be cached here; nothing of the guest may run before that is
  // gone.
  context.cpu.Invalidate({.kind = Invalidation::Kind::kEptAllContexts});
  quiesce.resumed.Add(context.cpu, 1);
}

}  // namespace nvmx
