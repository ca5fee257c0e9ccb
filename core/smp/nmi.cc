// SPDX-License-Identifier: Apache-2.0
#include "core/smp/nmi.h"

namespace nvmx {

NmiOwner SettleNmi(SmpContext& context, const QuiesceProtocol& protocol) {
  if (protocol.AcknowledgeIfRequested(context)) return NmiOwner::kL0;
  Shared& pending = context.own.guest_nmis_pending;
  // Nobody adds but this context, which no NMI interrupts; the exit path only subtracts, and is
  // interrupted now.
  const uint64_t before = pending.Load(context.cpu) & kGuestNmisPendingMask;
  if (before >= kMaxGuestNmisPending) {
    context.trace.Record(TraceKind::kNmiMergedForGuest, before, 0);
    return NmiOwner::kGuest;
  }
  pending.Add(context.cpu, 1);
  context.trace.Record(TraceKind::kNmiToGuest, before + 1, 0);
  return NmiOwner::kGuest;
}

}  // namespace nvmx
