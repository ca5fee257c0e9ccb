// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VARIANTS_EXIT_ORDERS_H_
#define NVMX_BACKENDS_VARIANTS_EXIT_ORDERS_H_

#include "core/nested/choreography.h"

namespace nvmx {

// Historical ways to handle VM exits, in the order in which a hypervisor under repair had them.

// VMCS02 has L1's pin-based controls. An L1 that does not intercept NMIs lets L2's handler swallow
// those of L0.
class NmiPassthrough final : public Choreography {
 public:
  uint32_t Vmcs02PinBasedControls(uint32_t vmcs12_controls) const override;
};

// NMI exits from L2 are noticed, and end in an assertion, whose message needs the print lock.
class UnhandledNmiExit final : public Choreography {
 public:
  void HandleL2Exit(Vcpu& vcpu, RawExit raw) const override;
};

// VMCS02 is translated to VMCS12 first, MSR lists and all, and the copy of the exit reason is
// looked at afterwards.
class LateAcknowledgement : public Choreography {
 public:
  void HandleL2Exit(Vcpu& vcpu, RawExit raw) const override;
};

// The same with an IRET up front: NMIs are unblocked, but the one that was taken is still not
// acknowledged.
class LateAcknowledgementUnblocked final : public LateAcknowledgement {
 public:
  void HandleL2Exit(Vcpu& vcpu, RawExit raw) const override;
};

// The late acknowledgement with L2 never entered: the exit path runs right behind the entry path.
class SkippedL2 final : public LateAcknowledgement {
 public:
  void FinishNestedEntry(Vcpu& vcpu) const override;
};

// No IRET after an NMI exit: NMIs stay blocked while L0 goes on.
class NoUnblocking final : public Choreography {
 public:
  void AfterNmiExit(Vcpu& vcpu) const override;
};

// The window for a guest NMI is armed whether or not guest NMIs are masked; a window exit while
// they are masked is dropped, and the NMI with it.
class SwallowedWindow final : public Choreography {
 public:
  void DeliverGuestNmi(Vcpu& vcpu) const override;
  void HandleNmiWindow(Vcpu& vcpu) const override;
};

}  // namespace nvmx

#endif  // NVMX_BACKENDS_VARIANTS_EXIT_ORDERS_H_
