// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_PROCESSOR_H_
#define NVMX_BACKENDS_SIM_MACHINE_PROCESSOR_H_

#include <cstdint>
#include <optional>

#include "backends/sim/machine/memory.h"
#include "backends/sim/machine/processor_state.h"
#include "core/ports/cpu.h"
#include "core/ports/vmcs.h"
#include "core/vmx/capabilities.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/interruption_info.h"
#include "core/vmx/vmx_abort.h"
#include "lhv/guest_cpu.h"

namespace nvmx::sim {

// What a processor is wired to.
class Platform {
 public:
  // VMX root operation: runs the software at the host RIP until it executes a VM entry.
  virtual void RunRoot() = 0;
  // The guest or L0 wrote the local APIC's ICR.
  virtual void SendIpi(uint64_t interrupt_command) = 0;
  // A VM entry of L0's failed. Never L1's doing: L0 checks what L1 wants before.
  virtual void EntryRefused(const char* rule) = 0;

 protected:
  ~Platform() = default;
};

// One simulated logical processor, written from the SDM: guest instructions with their intercepts,
// VM entries and VM exits with their MSR lists, injection, NMI blocking. It shares the vocabulary
// with the core, and no logic.
class Processor final : public lhv::GuestCpu {
 public:
  Processor(Memory& memory, Platform& platform, const Capabilities& capabilities);

  ProcessorState& state() { return state_; }
  const ProcessorState& state() const { return state_; }
  const Capabilities& capabilities() const { return capabilities_; }

  // --- Software in VMX root operation.
  void MakeCurrent(VmcsRole role) { state_.current_vmcs = static_cast<uint64_t>(role); }
  VmcsRole Current() const { return static_cast<VmcsRole>(state_.current_vmcs); }
  uint64_t VmcsRead(VmcsField field) const { return Vmcs().fields.Read(field); }
  void VmcsWrite(VmcsField field, uint64_t value) { Vmcs().fields.Write(field, value); }
  std::optional<uint64_t> ReadMsr(uint32_t msr) const;
  bool WriteMsr(uint32_t msr, uint64_t value);
  CpuidRegisters Cpuid(uint32_t leaf, uint32_t subleaf) const;
  // VMLAUNCH or VMRESUME, whichever the launch state wants. Returns when the entry is complete, or
  // with the processor back in root operation if it failed. SDM Vol. 3C, chapter 27 "VM Entries".
  void EnterGuest();
  // RDTSC. The counter stands still but for WRMSR: time is no part of a schedule.
  uint64_t ReadTsc() { return state_.tsc; }

  // --- The guest. `Execute` and the rest of GuestCpu are what lhv's interpreter drives.
  lhv::InstructionEnd Execute(const lhv::Instruction& instruction) override;
  uint64_t Rip() const override { return state_.switched.rip; }
  void Jump(uint64_t rip) override { state_.switched.rip = rip; }
  lhv::EventFrame TopFrame(uint8_t vector) const override;
  void SetResumeRip(uint64_t rip) override;
  uint64_t ScratchRegister() const override;
  void SetScratchRegister(uint64_t value) override;

  // --- Events, between instructions.
  // Whether an NMI that is latched can be taken now.
  bool CanTakeNmi() const;
  // Takes the latched NMI in non-root operation: VM exit, or delivery through the guest's IDT. True
  // if it was an exit.
  bool TakeNmiInGuest();
  // NMI-window exiting is on and nothing blocks: the VM exit has priority over everything but an
  // injected event.
  bool NmiWindowIsOpen() const;
  void ExitForNmiWindow();
  // Whether a fixed interrupt can be delivered now, through the guest's IDT ("external-interrupt
  // exiting" is not offered), and its delivery. SDM Vol. 3A, 7.8 "Enabling and Disabling
  // Interrupts".
  bool CanTakeInterrupt() const;
  void TakeInterrupt(uint8_t vector);
  // VM exits for INIT and SIPI in non-root operation. INIT exits unless the guest waits for a SIPI,
  // SIPI only if it does. SDM Vol. 3C, 26.2 "Other Causes of VM Exits".
  bool WaitsForSipi() const;
  void ExitForInit();
  void ExitForSipi(uint8_t vector);
  // The guest executes instructions: not halted, not shut down.
  bool IsActive() const;
  // Non-root operation: a guest runs, L1 or L2.
  bool in_guest() const { return state_.operation == Operation::kNonRoot; }

 private:
  struct ExitInformation {
    uint64_t qualification = 0;
    uint64_t interruption = 0;
    uint64_t error_code = 0;
    uint64_t instruction_length = 0;
    uint64_t instruction_information = 0;
  };
  // kNext: RIP is to move on. kReturned: IRET set it. kElsewhere: a fault or a VM exit did.
  enum class Outcome { kNext, kReturned, kElsewhere };

  ActiveVmcs& Vmcs() { return state_.vmcs[state_.current_vmcs]; }
  const ActiveVmcs& Vmcs() const { return state_.vmcs[state_.current_vmcs]; }
  FrameStack& Stack() { return state_.stacks[state_.current_vmcs]; }
  const FrameStack& Stack() const { return state_.stacks[state_.current_vmcs]; }
  bool HasPin(uint32_t bits) const;
  bool HasPrimary(uint32_t bits) const;

  Outcome Perform(const lhv::Instruction& instruction, lhv::InstructionEnd& end);
  Outcome PerformVmx(const lhv::Instruction& instruction);
  Outcome PerformMemory(const lhv::Instruction& instruction, lhv::InstructionEnd& end);
  // False if there was nothing to return to.
  bool PerformIret(uint64_t target);
  void ExitOnInstruction(ExitReason reason, uint64_t qualification = 0, uint64_t information = 0);

  void Exit(ExitReason reason, const ExitInformation& information);
  void SaveGuestState();
  void LoadHostState();
  void LoadGuestState();
  const char* BrokenEntryRule() const;
  const char* BrokenControlRule() const;
  const char* BrokenGuestRule() const;
  bool IsUnrestricted() const;
  void FailEntry(ExitReason reason, uint64_t qualification);
  // SDM Vol. 3C, 27.4, 28.4, 28.6. The number of the entry that failed, or 0.
  uint32_t LoadMsrList(uint64_t address, uint64_t count);
  uint32_t StoreMsrList(uint64_t address, uint64_t count);
  void EnterVmxAbort(VmxAbort indicator);
  void InjectEvent();
  void RaisePageFault(uint64_t address, uint32_t error_code);
  void DeliverEvent(InterruptionInformation event, uint32_t error_code);

  Memory& memory_;
  Platform& platform_;
  const Capabilities capabilities_;
  ProcessorState state_{};
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_PROCESSOR_H_
