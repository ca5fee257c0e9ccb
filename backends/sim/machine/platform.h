// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_PLATFORM_H_
#define NVMX_BACKENDS_SIM_MACHINE_PLATFORM_H_

#include <cstdint>
#include <optional>

namespace nvmx::sim {

// What a processor is wired to.
class Platform {
 public:
  // VMX root operation: runs the software at the host RIP until it executes a VM entry. Never
  // called on a native processor.
  virtual void RunRoot() = 0;
  // The guest or L0 wrote the local APIC's ICR.
  virtual void SendIpi(uint64_t interrupt_command) = 0;
  // A VM entry of L0's failed. Never L1's doing: L0 checks what L1 wants before.
  virtual void EntryRefused(const char* rule) = 0;
  // The EPT pointer by which an L0 translates what L2 accesses, if it uses one that is not that of
  // the current VMCS.
  virtual std::optional<uint64_t> EptPointerOfL2() const { return std::nullopt; }

 protected:
  ~Platform() = default;
};

struct ProcessorOptions {
  // There is no L0. L1 runs outside VMX operation or in VMX root operation, L2 in VMX non-root
  // operation; a VM exit continues the guest program at the host RIP. Otherwise L0 is the
  // platform's RunRoot(), and L1 and L2 run in VMX non-root operation under VMCS01 and VMCS02.
  bool native = false;
  // By how much the time-stamp counter advances with each completed instruction of the guest
  // program. 0: time stands still.
  uint64_t ticks_per_instruction = 0;
  // Translations are kept until something architecturally drops them; otherwise they are dropped at
  // once, which a processor may do too.
  bool keep_translations = true;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_PLATFORM_H_
