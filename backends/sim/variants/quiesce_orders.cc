// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/variants/quiesce_orders.h"

#include "core/smp/console.h"

namespace nvmx::sim {

void NoPrintLock::Begin(SmpContext& context) const {
  context.system.quiesce.lock.Acquire(context.cpu);
  OpenRequest(context);
  AwaitAcknowledgements(context);
}

void SignalBeforeWithdrawal::End(SmpContext& context) const {
  RaiseResumeSignal(context);
  AwaitResumption(context);
  context.system.quiesce.initiator.Store(context.cpu, 0);
  context.system.quiesce.lock.Release(context.cpu);
}

void PrintLockFirst::Begin(SmpContext& context) const {
  context.system.print_lock.Acquire(context.cpu);
  context.system.quiesce.lock.Acquire(context.cpu);
  OpenRequest(context);
  context.system.print_lock.Release(context.cpu);
  AwaitAcknowledgements(context);
}

void EarlyPrintLockRelease::Begin(SmpContext& context) const {
  context.system.quiesce.lock.Acquire(context.cpu);
  context.system.print_lock.Acquire(context.cpu);
  OpenRequest(context);
  context.system.print_lock.Release(context.cpu);
  AwaitAcknowledgements(context);
}

bool PrintInNmiContext::AcknowledgeIfRequested(SmpContext& context) const {
  PrintLine(context, LogLine::kNmiTaken, context.cpu.Index());
  return QuiesceProtocol::AcknowledgeIfRequested(context);
}

}  // namespace nvmx::sim
