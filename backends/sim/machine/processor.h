// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_PROCESSOR_H_
#define NVMX_BACKENDS_SIM_MACHINE_PROCESSOR_H_

#include <cstdint>
#include <optional>
#include <span>

#include "backends/sim/machine/memory.h"
#include "backends/sim/machine/processor_state.h"
#include "core/ports/cpu.h"
#include "core/ports/vmcs.h"
#include "core/vmx/capabilities.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/interruption_info.h"
#include "core/vmx/outcomes.h"
#include "core/vmx/vmx_abort.h"
#include "core/x86/exception.h"
#include "lhv/guest_cpu.h"

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

// What other agents want of a processor at an instruction boundary.
struct Signals {
  bool init = false;
  std::optional<uint8_t> sipi;  // its vector
  bool nmi = false;
  std::optional<uint8_t> interrupt;  // the highest vector that is requested in the local APIC
};

// What can happen at an instruction boundary instead of the next instruction, the most urgent
// first. SDM Vol. 3A, 7.9 "Priority Among Concurrent Events"; Vol. 3C, 26.2 "Other Causes of VM
// Exits".
enum class BoundaryEvent : uint8_t {
  kNone,
  kInit,
  kSipi,
  kNmiWindow,
  kNmi,
  kInterrupt,
};

// One simulated logical processor, written from the SDM: guest instructions with their intercepts,
// VM entries and VM exits with their MSR lists, injection, NMI blocking. It shares the vocabulary
// with the core, and no logic.
class Processor final : public lhv::GuestCpu {
 public:
  Processor(Memory& memory, Platform& platform, const Capabilities& capabilities,
            const ProcessorOptions& options = {});

  ProcessorState& state() { return state_; }
  const ProcessorState& state() const { return state_; }
  const Capabilities& capabilities() const { return capabilities_; }
  bool is_native() const { return options_.native; }

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
  // RDTSC outside VMX non-root operation.
  uint64_t ReadTsc() { return state_.tsc; }

  // --- The guest. `Execute` and the rest of GuestCpu are what lhv's interpreter drives.
  lhv::InstructionEnd Execute(const lhv::Instruction& instruction) override;
  uint64_t Rip() const override { return state_.switched.rip; }
  void Jump(uint64_t rip) override { state_.switched.rip = rip; }
  lhv::EventFrame TopFrame(uint8_t vector) const override;
  void SetResumeRip(uint64_t rip) override;
  uint64_t ScratchRegister() const override;
  void SetScratchRegister(uint64_t value) override;

  // Whose instructions run now: 1, the guest hypervisor's, or 2, its guest's. Of a processor with
  // L0, while L0 runs: those of the VMCS that is current.
  unsigned level() const;
  // The guest program runs, L1 or L2, and not L0.
  bool in_guest() const { return options_.native || in_non_root(); }
  bool in_non_root() const { return state_.operation == Operation::kNonRoot; }

  // --- Events, between instructions. Whoever drives the processor asks NextEvent() before each
  // instruction, and takes what it names instead of the instruction.
  // The event that is due now, given what is signalled.
  BoundaryEvent NextEvent(const Signals& signals) const;
  // Takes it. The signal is over when this is called, which the caller sees to beforehand: an INIT,
  // a SIPI and an NMI are gone from where they were latched, and so is an interrupt if
  // AcknowledgesInterrupt(). Returns when the guest is at its next instruction.
  void Take(BoundaryEvent event, const Signals& signals);
  // Whether Take(kInterrupt) takes the interrupt from the local APIC: not if it is a VM exit that
  // does not acknowledge it.
  bool AcknowledgesInterrupt() const;

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

 private:
  // What a VM exit reports beside its reason; what is 0 here is not defined for the exit.
  struct ExitInformation {
    uint64_t qualification = 0;
    uint64_t interruption = 0;
    uint64_t error_code = 0;
    uint64_t instruction_length = 0;
    uint64_t instruction_information = 0;
    uint64_t guest_linear = 0;
    uint64_t guest_physical = 0;
    uint64_t vectoring = 0;  // IDT-vectoring information
    uint64_t vectoring_error_code = 0;
  };
  // kNext: RIP is to move on. kReturned: the instruction completed and set RIP. kElsewhere: a fault
  // or a VM exit did.
  enum class Outcome { kNext, kReturned, kElsewhere };

  ActiveVmcs& Vmcs() { return state_.vmcs[state_.current_vmcs]; }
  const ActiveVmcs& Vmcs() const { return state_.vmcs[state_.current_vmcs]; }
  FrameStack& Stack() { return state_.stacks[level() - 1]; }
  const FrameStack& Stack() const { return state_.stacks[level() - 1]; }
  // Whether all these controls are 1 in the current VMCS, in non-root operation.
  bool HasPin(uint32_t bits) const;
  bool HasPrimary(uint32_t bits) const;
  bool HasSecondary(uint32_t bits) const;
  // Current privilege level.
  unsigned Cpl() const;

  // processor.cc
  Outcome Perform(const lhv::Instruction& instruction);
  // Puts the operands where the instruction expects them.
  void LoadOperands(const lhv::Instruction& instruction);
  // What a completed instruction gave.
  uint64_t ResultOf(const lhv::Instruction& instruction) const;
  void AdvanceTime(bool timer_counts);

  // Access to linear memory by the instruction at RIP. False: it did not happen, and the fault has
  // been delivered or the VM exit has happened.
  bool ReadData(uint64_t linear, std::span<std::byte> bytes);
  bool WriteData(uint64_t linear, std::span<const std::byte> bytes);

  // processor_instructions.cc: instructions that do not exit.
  Outcome PerformMemory(const lhv::Instruction& instruction);
  Outcome PerformIret(uint64_t target);
  Outcome PerformHlt();
  Outcome PerformCpuid();
  Outcome PerformRdmsr();
  Outcome PerformWrmsr();

  // processor_intercepts.cc: VM exits of instructions in non-root operation.
  std::optional<ExitReason> Intercept(const lhv::Instruction& instruction) const;
  // The exit, with the length of the instruction at RIP. Always kElsewhere.
  Outcome ExitOnInstruction(ExitReason reason, uint64_t qualification = 0,
                            uint64_t information = 0);

  // processor_vmx_instructions.cc
  Outcome PerformVmx(const lhv::Instruction& instruction);
  void ActivateShadowVmcs(uint64_t address);

  // processor_entry.cc. SDM Vol. 3C, chapter 27 "VM Entries".
  // What the checks of the current VMCS say; of L0's VMCSs not the host state.
  EntryOutcome CheckEntry() const;
  // The rest of a VM entry that passed them, but for the injected event. False: an MSR could not be
  // loaded, and the processor is in root operation with the host state.
  bool EnterCheckedGuest();
  void StartGuestTimers();
  void LoadGuestState();
  void LoadGuestMsrs();
  void LoadGuestPdptes();
  void LoadGuestNonRegisterState();
  // Without VPIDs nothing that is remembered outlives a VM entry or a VM exit.
  void DropTranslationsAtTransition();

  // processor_exit.cc. SDM Vol. 3C, chapter 28 "VM Exits".
  void Exit(ExitReason reason, const ExitInformation& information);
  void RecordExitInformation(ExitReason reason, const ExitInformation& information);
  void SaveGuestState(ExitReason reason, const ExitInformation& information);
  void SaveGuestMsrs();
  uint64_t SavedRflags(ExitReason reason, const ExitInformation& information) const;
  uint64_t SavedPendingDebugExceptions(ExitReason reason, const ExitInformation& information) const;
  std::optional<VmxAbort> LoadHostState();
  void LoadHostRegisters(const SwitchedRegisters& guest);
  void LoadHostSegments(bool long_mode);
  void FailEntry(ExitReason reason, uint64_t qualification);
  // SDM Vol. 3C, 27.4, 28.4, 28.6. The number of the entry that failed, or 0.
  uint32_t LoadMsrList(uint64_t address, uint64_t count);
  uint32_t StoreMsrList(uint64_t address, uint64_t count);
  void EnterVmxAbort(VmxAbort indicator);

  // processor_events.cc
  // The event that the VM-entry interruption-information field asks for, at the end of VM entry.
  void InjectEvent();
  // An exception caused by the instruction at RIP: VM exit or delivery. Always kElsewhere.
  Outcome Fault(Vector vector, uint32_t error_code = 0);
  void RaisePageFault(uint64_t address, uint32_t error_code);
  // VM exit, or shutdown.
  void RaiseTripleFault();
  void DeliverEvent(InterruptionInformation event, uint32_t error_code);

  Memory& memory_;
  Platform& platform_;
  const Capabilities capabilities_;
  const ProcessorOptions options_;
  ProcessorState state_{};
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_PROCESSOR_H_
