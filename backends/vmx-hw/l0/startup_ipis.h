// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_L0_STARTUP_IPIS_H_
#define NVMX_BACKENDS_VMX_HW_L0_STARTUP_IPIS_H_

#include <array>
#include <atomic>
#include <cstdint>

#include "backends/vmx-hw/l0/icr.h"
#include "backends/vmx-hw/l0/startup_mailbox.h"
#include "backends/vmx-hw/machine/cpus.h"
#include "core/nested/vcpu.h"
#include "core/smp/quiesce.h"

namespace nvmx::metal {

// INIT and SIPI from one CPU of L1 to another, in software: L0 takes them off the ICR, and no
// processor sees them. In Bochs 2.7 one that has reported an INIT as a VM exit reports it at every
// VM entry from then on; and on any, what arrives in VMX root operation is held back or dropped,
// as L1's CPU would not do.
//
// The other CPU is made to look at its mailbox by an NMI. The sender holds the quiesce lock until
// the NMI has been taken, so that it is never merged with a quiesce's, nor taken for one: while the
// lock is held there is no other NMI of L0's. One of L1's that comes first counts as this one, and
// this one, later, as L1's.
class StartupIpis {
 public:
  // To each CPU that the command reaches. Not in NMI context; the caller holds no lock.
  void Send(Vcpu& sender, const IcrCommand& command);
  StartupMailbox& MailboxOf(CpuIndex cpu) { return slots_[cpu].mailbox; }
  // In NMI context: whether the NMI is one that Send() is waiting for.
  bool TakeNmi(CpuIndex cpu) { return slots_[cpu].awaits_nmi.exchange(0) != 0; }

  // L2 waits for a SIPI on that processor, which then takes no NMI: a SIPI is left to hardware.
  void BeginWaitOfL2(Vcpu& vcpu) { SetWaitOfL2(vcpu, true); }
  void EndWaitOfL2(Vcpu& vcpu) { SetWaitOfL2(vcpu, false); }

 private:
  struct Slot {
    StartupMailbox mailbox;
    std::atomic<uint32_t> awaits_nmi{0};
    bool l2_waits = false;  // under the quiesce lock
  };
  void SendTo(Vcpu& sender, CpuIndex cpu, const IcrCommand& command);
  void SetWaitOfL2(Vcpu& vcpu, bool waits);

  std::array<Slot, kMostCpus> slots_;
};

// An order of the protocol, but for the NMIs that Send() sends.
class QuiesceBesideStartupIpis final : public QuiesceProtocol {
 public:
  QuiesceBesideStartupIpis(const QuiesceProtocol& order, StartupIpis& startup)
      : order_(order), startup_(startup) {}
  bool AcknowledgeIfRequested(SmpContext& context) const override {
    if (startup_.TakeNmi(context.cpu.Index())) return true;
    return order_.AcknowledgeIfRequested(context);
  }

 private:
  uint64_t Begin(SmpContext& context) const override { return BeginAs(order_, context); }
  void End(SmpContext& context, uint64_t stopped) const override {
    EndAs(order_, context, stopped);
  }

  const QuiesceProtocol& order_;
  StartupIpis& startup_;
};

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_STARTUP_IPIS_H_
