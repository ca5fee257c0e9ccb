// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VARIANTS_QUIESCE_ORDERS_H_
#define NVMX_BACKENDS_VARIANTS_QUIESCE_ORDERS_H_

#include <cstdint>

#include "core/smp/quiesce.h"

namespace nvmx {

// Historical orders of the quiesce protocol; each breaks one of the three rules that
// QuiesceProtocol states.

// The initiator does not take the print lock: a CPU is stopped while it holds it, and the initiator
// prints.
class NoPrintLock final : public QuiesceProtocol {
  uint64_t Begin(SmpContext& context) const override;
};

// The resume signal is raised while the request is still open.
class SignalBeforeWithdrawal final : public QuiesceProtocol {
  void End(SmpContext& context, uint64_t stopped) const override;
};

// The print lock is taken before the quiesce lock, and given back before all have acknowledged.
class PrintLockFirst final : public QuiesceProtocol {
  uint64_t Begin(SmpContext& context) const override;
};

// The print lock is given back before all have acknowledged.
class EarlyPrintLockRelease final : public QuiesceProtocol {
  uint64_t Begin(SmpContext& context) const override;
};

// The responder prints in NMI context, before it acknowledges.
class PrintInNmiContext final : public QuiesceProtocol {
 public:
  bool AcknowledgeIfRequested(SmpContext& context) const override;
};

}  // namespace nvmx

#endif  // NVMX_BACKENDS_VARIANTS_QUIESCE_ORDERS_H_
