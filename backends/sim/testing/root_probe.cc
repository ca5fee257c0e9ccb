// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/testing/root_probe.h"

namespace nvmx::sim {
namespace {

InRootOperation* current = nullptr;

class Probe final : public Choreography {
 public:
  void DeliverGuestNmi(Vcpu& vcpu) const override {
    if (current != nullptr) current->Run(vcpu);
    Choreography::DeliverGuestNmi(vcpu);
  }
};

constexpr Probe kProbe;

}  // namespace

const Choreography& RootProbe() { return kProbe; }
void SetRootProbe(InRootOperation* probe) { current = probe; }

}  // namespace nvmx::sim
