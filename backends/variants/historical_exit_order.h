// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VARIANTS_HISTORICAL_EXIT_ORDER_H_
#define NVMX_BACKENDS_VARIANTS_HISTORICAL_EXIT_ORDER_H_

#include "core/nested/vm_exit.h"

namespace nvmx {

// What the core's types forbid: to work on a VM exit that nobody has settled. Only the historical
// orders need it.
class HistoricalExitOrder {
 public:
  static ReflectableExit AssumeSettled(Vcpu& vcpu, RawExit) {
    return ReflectableExit(static_cast<uint32_t>(vcpu.ports.vmcs.Read(VmcsField::kExitReason)));
  }
};

}  // namespace nvmx

#endif  // NVMX_BACKENDS_VARIANTS_HISTORICAL_EXIT_ORDER_H_
