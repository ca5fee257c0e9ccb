// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_CHOREOGRAPHY_H_
#define NVMX_CORE_NESTED_CHOREOGRAPHY_H_

#include <cstdint>

#include "core/nested/vm_exit.h"

namespace nvmx {

// The steps whose order or place decides whether CPUs can wait for each other for ever, and whether
// an NMI can be lost. Each virtual function is one such decision, made the right way here. The
// simulator replaces single ones by what hypervisors really did at some time; the core has no other
// implementation.
class Choreography {
 public:
  // A VM exit out of L2. First settles what L0 owes, then translates, runs the MSR lists and goes
  // to L1.
  virtual void HandleL2Exit(Vcpu& vcpu, RawExit raw) const;
  // After the NMI of an NMI exit was settled: ends the blocking that the exit left behind, before
  // anything can wait.
  virtual void AfterNmiExit(Vcpu& vcpu) const;
  // The pin-based controls of VMCS02. NMIs always exit to L0, whatever L1 asked for.
  virtual uint32_t Vmcs02PinBasedControls(uint32_t vmcs12_controls) const;
  // VMCS02 is complete and L2 is about to run.
  virtual void FinishNestedEntry(Vcpu& vcpu) const;
  // The last thing before each VM entry: gives a pending guest NMI to L1 or L2, or arranges that it
  // can be given later.
  virtual void DeliverGuestNmi(Vcpu& vcpu) const;
  // The VM exit "NMI window" that DeliverGuestNmi arranged.
  virtual void HandleNmiWindow(Vcpu& vcpu) const;

 protected:
  ~Choreography() = default;
};

class OrderedChoreography final : public Choreography {};

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_CHOREOGRAPHY_H_
