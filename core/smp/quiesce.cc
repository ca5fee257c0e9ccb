// SPDX-License-Identifier: Apache-2.0
#include "core/smp/quiesce.h"

#include <bit>

namespace nvmx {
namespace {

uint64_t Bit(CpuIndex cpu) { return uint64_t{1} << cpu; }

uint64_t CpuValue(const Cpu& cpu) { return uint64_t{cpu.Index()} + 1; }

}  // namespace

StoppedWorld QuiesceProtocol::Stop(SmpContext& context) const {
  const uint64_t stopped = Begin(context);
  context.trace.Record(TraceKind::kQuiesceBegin, 0, 0);
  return StoppedWorld(stopped);
}

void QuiesceProtocol::Resume(SmpContext& context, StoppedWorld world) const {
  End(context, world.stopped_);
  context.trace.Record(TraceKind::kQuiesceEnd, 0, 0);
}

uint64_t QuiesceProtocol::OpenRequest(SmpContext& context) {
  QuiesceCells& quiesce = context.system.quiesce;
  const uint64_t left_out = quiesce.left_out.Load(context.cpu);
  quiesce.acknowledged.Store(context.cpu, 0);
  quiesce.initiator.Store(context.cpu, CpuValue(context.cpu));
  const uint64_t others = context.system.cpu_count - 1;
  if (left_out == 0) {
    context.apic.SendNmiToAllOthers();
    return others;
  }
  for (CpuIndex cpu = 0; cpu < context.system.cpu_count; ++cpu) {
    if (cpu != context.cpu.Index() && (left_out & Bit(cpu)) == 0) context.apic.SendNmi(cpu);
  }
  return others - static_cast<uint64_t>(std::popcount(left_out));
}

void QuiesceProtocol::AwaitAcknowledgements(SmpContext& context, uint64_t to_stop) {
  context.system.quiesce.acknowledged.SpinUntilAtLeast(context.cpu, to_stop);
}

void QuiesceProtocol::RaiseResumeSignal(SmpContext& context) {
  QuiesceCells& quiesce = context.system.quiesce;
  quiesce.resumed.Store(context.cpu, 0);
  quiesce.resume_signal.Store(context.cpu, 1);
}

void QuiesceProtocol::AwaitResumption(SmpContext& context, uint64_t stopped) {
  QuiesceCells& quiesce = context.system.quiesce;
  quiesce.resumed.SpinUntilAtLeast(context.cpu, stopped);
  quiesce.resume_signal.Store(context.cpu, 0);
}

uint64_t QuiesceProtocol::Begin(SmpContext& context) const {
  context.system.quiesce.lock.Acquire(context.cpu);
  context.system.print_lock.Acquire(context.cpu);
  const uint64_t to_stop = OpenRequest(context);
  AwaitAcknowledgements(context, to_stop);
  context.system.print_lock.Release(context.cpu);
  return to_stop;
}

void QuiesceProtocol::End(SmpContext& context, uint64_t stopped) const {
  context.system.quiesce.initiator.Store(context.cpu, 0);
  RaiseResumeSignal(context);
  AwaitResumption(context, stopped);
  context.system.quiesce.lock.Release(context.cpu);
}

bool QuiesceProtocol::AcknowledgeIfRequested(SmpContext& context) const {
  QuiesceCells& quiesce = context.system.quiesce;
  const uint64_t initiator = quiesce.initiator.Load(context.cpu);
  if (initiator == 0 || initiator == CpuValue(context.cpu) || context.left_out) return false;
  quiesce.acknowledged.Add(context.cpu, 1);
  context.trace.Record(TraceKind::kNmiAcknowledged, initiator - 1, 0);
  StandStill(context);
  return true;
}

void QuiesceProtocol::LeaveOut(SmpContext& context, uint64_t& left_out) {
  if (left_out != 0) return;
  QuiesceCells& quiesce = context.system.quiesce;
  quiesce.lock.Acquire(context.cpu);
  left_out = 1;
  quiesce.left_out.Add(context.cpu, Bit(context.cpu.Index()));
  quiesce.lock.Release(context.cpu);
}

void QuiesceProtocol::TakePart(SmpContext& context, uint64_t& left_out) {
  if (left_out == 0) return;
  QuiesceCells& quiesce = context.system.quiesce;
  quiesce.lock.Acquire(context.cpu);
  quiesce.left_out.Add(context.cpu, uint64_t{0} - Bit(context.cpu.Index()));
  left_out = 0;
  context.cpu.Invalidate({.kind = Invalidation::Kind::kEptAllContexts});
  quiesce.lock.Release(context.cpu);
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
