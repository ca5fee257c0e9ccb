// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/testing/root_probe.h"

#include "core/x86/msr.h"

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

class Impure final : public QuiesceProtocol {
 public:
  bool AcknowledgeIfRequested(SmpContext& context) const override {
    context.cpu.WriteMsr(Index(Msr::IA32_STAR), 1);
    return QuiesceProtocol::AcknowledgeIfRequested(context);
  }
};

constexpr Probe kProbe;
constexpr Impure kImpure;

}  // namespace

const Choreography& RootProbe() { return kProbe; }
void SetRootProbe(InRootOperation* probe) { current = probe; }
const QuiesceProtocol& ImpureQuiesce() { return kImpure; }

}  // namespace nvmx::sim
