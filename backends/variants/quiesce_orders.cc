// SPDX-License-Identifier: Apache-2.0
#include "backends/variants/quiesce_orders.h"

#include "core/smp/console.h"

namespace nvmx {

uint64_t NoPrintLock::Begin(SmpContext& context) const {
  context.system.quiesce.lock.Acquire(context.cpu);
  const uint64_t to_stop = OpenRequest(context);
  AwaitAcknowledgements(context, to_stop);
  return to_stop;
}

void SignalBeforeWithdrawal::End(SmpContext& context, uint64_t stopped) const {
  RaiseResumeSignal(context);
  AwaitResumption(context, stopped);
  context.system.quiesce.initiator.Store(context.cpu, 0);
  context.system.quiesce.lock.Release(context.cpu);
}

uint64_t PrintLockFirst::Begin(SmpContext& context) const {
  context.system.print_lock.Acquire(context.cpu);
  context.system.quiesce.lock.Acquire(context.cpu);
  const uint64_t to_stop = OpenRequest(context);
  context.system.print_lock.Release(context.cpu);
  AwaitAcknowledgements(context, to_stop);
  return to_stop;
}

uint64_t EarlyPrintLockRelease::Begin(SmpContext& context) const {
  context.system.quiesce.lock.Acquire(context.cpu);
  context.system.print_lock.Acquire(context.cpu);
  const uint64_t to_stop = OpenRequest(context);
  context.system.print_lock.Release(context.cpu);
  AwaitAcknowledgements(context, to_stop);
  return to_stop;
}

bool PrintInNmiContext::AcknowledgeIfRequested(SmpContext& context) const {
  PrintLine(context, LogLine::kNmiTaken, context.cpu.Index());
  return QuiesceProtocol::AcknowledgeIfRequested(context);
}

}  // namespace nvmx
