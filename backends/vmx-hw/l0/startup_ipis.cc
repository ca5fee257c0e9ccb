// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/startup_ipis.h"

#include "backends/vmx-hw/machine/cpu_instructions.h"
#include "backends/vmx-hw/machine/local_apic.h"

namespace nvmx::metal {
namespace {

void Post(const IcrCommand& command, StartupMailbox& mailbox) {
  if (command.IsSipi()) {
    mailbox.PostSipi(command.vector());
  } else {
    mailbox.PostInit();
  }
}

}  // namespace

void StartupIpis::Send(Vcpu& sender, const IcrCommand& command) {
  const CpuIndex own = sender.ports.cpu.Index();
  for (CpuIndex cpu = 0; cpu < sender.system.cpu_count; ++cpu) {
    if (!command.Reaches(CpuAt(cpu).apic_id, CpuAt(own).apic_id)) continue;
    if (cpu == own) {
      Post(command, slots_[cpu].mailbox);
    } else {
      SendTo(sender, cpu, command);
    }
  }
}

void StartupIpis::SendTo(Vcpu& sender, CpuIndex cpu, const IcrCommand& command) {
  Cpu& own = sender.ports.cpu;
  Slot& slot = slots_[cpu];
  sender.system.quiesce.lock.Acquire(own);
  if (slot.l2_waits && command.IsSipi()) {
    SendSipi(CpuAt(cpu).apic_id, command.vector());
  } else {
    Post(command, slot.mailbox);
    if (!slot.l2_waits) {
      slot.awaits_nmi.store(1);
      SendNmi(CpuAt(cpu).apic_id);
      while (slot.awaits_nmi.load() != 0) Pause();
    }
  }
  sender.system.quiesce.lock.Release(own);
}

void StartupIpis::SetWaitOfL2(Vcpu& vcpu, bool waits) {
  vcpu.system.quiesce.lock.Acquire(vcpu.ports.cpu);
  slots_[vcpu.ports.cpu.Index()].l2_waits = waits;
  vcpu.system.quiesce.lock.Release(vcpu.ports.cpu);
}

}  // namespace nvmx::metal
