// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_PROCESSOR_H_
#define NVMX_BACKENDS_SIM_MACHINE_PROCESSOR_H_

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "backends/sim/machine/boundary_event.h"
#include "backends/sim/machine/event.h"
#include "backends/sim/machine/instruction_effects.h"
#include "backends/sim/machine/memory.h"
#include "backends/sim/machine/mmu.h"
#include "backends/sim/machine/platform.h"
#include "backends/sim/machine/processor_state.h"
#include "core/ports/cpu.h"
#include "core/ports/vmcs.h"
#include "core/vmx/capabilities.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/interruption_info.h"
#include "core/vmx/outcomes.h"
#include "core/vmx/vmx_abort.h"
#include "core/x86/exception.h"
#include "core/x86/general_register.h"
#include "core/x86/segment.h"
#include "lhv/guest_cpu.h"

namespace nvmx::sim {

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
  // Whether XSETBV of XCR0 accepts the value.
  static bool IsValidXcr0(uint64_t value);
  // INVEPT or INVVPID, XSETBV of XCR0 with a value that is valid, and MOV to CR0 of these bits, by
  // L0.
  void Invalidate(const Invalidation& invalidation);
  void WriteXcr0(uint64_t value) { state_.xcr0 = value; }
  void WriteCacheControl(uint64_t cr0);
  Mmu& mmu() { return mmu_; }
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

  // What the guest reads of them. SDM Vol. 3C, 26.3 "Changes to Instruction Behavior in VMX
  // Non-Root Operation", MOV from CR0 and CR4.
  uint64_t VisibleCr0() const;
  uint64_t VisibleCr4() const;

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

  // The guest rests where its program has ended: what STI or MOV SS blocked for the instruction
  // behind it is blocked no longer, as if it had executed one. True if something was.
  bool EndInterruptShadow();
  // A guest that rests until its VMX-preemption timer expires: lets that time pass. False if no
  // timer runs, or time stands still.
  bool PassTimeToTimer();

  // Whether an NMI that is latched can be taken now; in VMX root operation, by L0.
  bool CanTakeNmi() const;
  // Whether taking it is a VM exit.
  bool NmiExits() const;
  // The guest waits for a SIPI, and takes nothing else.
  bool WaitsForSipi() const;
  // The guest executes instructions: not halted, not shut down.
  bool IsActive() const;

 private:
  ActiveVmcs& Vmcs() { return state_.vmcs[state_.current_vmcs]; }
  const ActiveVmcs& Vmcs() const { return state_.vmcs[state_.current_vmcs]; }

  // --- processor.cc
  Outcome Perform(const lhv::Instruction& instruction);
  Outcome PerformPlain(const lhv::Instruction& instruction);
  Outcome PerformSystem(const lhv::Instruction& instruction);
  Outcome PerformSegmentation(const lhv::Instruction& instruction);
  // Puts the operands where the instruction expects them. False: that took a fault or a VM exit.
  bool LoadOperands(const lhv::Instruction& instruction);

  // --- processor_operand.cc
  uint64_t& Register(GeneralRegister name);
  uint64_t Register(GeneralRegister name) const;
  // Sets instruction_operand_. False as above.
  bool LoadMemoryOperand(const lhv::Instruction& instruction);
  bool LoadOwnOperand(const lhv::Instruction& instruction);
  static EncodedOperand EncodeRegister(GeneralRegister name);
  EncodedOperand EncodeMemory(const lhv::Operand& operand);
  // What is in it when the instruction has ended.
  uint64_t OperandResult() const;
  // What decides about the boundary behind an instruction, as it was before the instruction.
  struct Before {
    bool non_root, trap, interrupts;
  };
  void FinishInstruction(const lhv::Instruction& instruction, const Before& before);
  // What a completed instruction gave.
  uint64_t ResultOf(const lhv::Instruction& instruction) const;
  uint64_t StoredTable(uint64_t linear) const;
  void AdvanceTime(bool timer_counts);

  // --- processor_mode.cc: what decides how instructions behave.
  // Whether all these controls are 1 in the current VMCS, in non-root operation.
  bool HasPin(uint32_t bits) const;
  bool HasPrimary(uint32_t bits) const;
  bool HasSecondary(uint32_t bits) const;
  // Current privilege level.
  unsigned Cpl() const;
  unsigned Iopl() const;
  bool Is64BitMode() const;
  bool IsProtectedMode() const;
  // The width of linear addresses in bits: 48 or 57.
  unsigned LinearBits() const;
  const SegmentState& Segment(SegmentRegister name) const;
  // What is added to an offset: in 64-bit mode only FS and GS have a base.
  uint64_t SegmentBase(SegmentRegister name) const;

  // --- processor_memory.cc
  // Access to memory by the instruction at RIP. False: it did not happen, and the fault has been
  // delivered or the VM exit has happened.
  bool ReadData(const MemoryOperand& place, std::span<std::byte> bytes);
  bool WriteData(const MemoryOperand& place, std::span<const std::byte> bytes);
  // Both kinds: as the context says, through `segment`.
  bool ReadLinear(const TranslationContext& context, SegmentRegister segment, uint64_t linear,
                  std::span<std::byte> bytes);
  bool WriteLinear(const TranslationContext& context, SegmentRegister segment, uint64_t linear,
                   std::span<const std::byte> bytes);
  // The same at a linear address, as an implicit supervisor access: of descriptor tables and TSS.
  bool ReadSystem(uint64_t linear, std::span<std::byte> bytes);
  bool WriteSystem(uint64_t linear, std::span<const std::byte> bytes);
  // As it is there now, without any trace; zeros where an access would fault.
  void PeekData(uint64_t linear, std::span<std::byte> bytes) const;
  // The instruction fetch at RIP, of as many bytes. False as above.
  bool FetchInstruction(std::span<std::byte> code = {});
  bool IsMisaligned(uint64_t linear, size_t bytes) const;
  // What translation depends on now.
  TranslationContext Context() const;
  // Around accesses with page-modification logging, whose index is a field of the VMCS.
  void TakeLogIndex();
  void PutLogIndex();
  // An access to the APIC-access page by an instruction: true if it was virtualized; otherwise the
  // VM exit has happened. SDM Vol. 3C, 30.4 "Virtualizing Memory-Mapped APIC Accesses".
  bool VirtualizeApicRead(const TranslationFault& fault, std::span<std::byte> bytes);
  bool VirtualizeApicWrite(const TranslationFault& fault, std::span<const std::byte> bytes);
  bool IsVirtualTprAccess(const TranslationFault& fault, size_t bytes) const;
  Outcome ExitForApicAccess(const TranslationFault& fault, AccessKind kind);
  // The fault of an access through a segment, or the linear address.
  std::optional<Exception> Linear(const MemoryOperand& place, size_t bytes, bool write,
                                  uint64_t& linear) const;
  // Of the structures that the VMCS names: as physical memory.
  uint8_t ReadPhysicalByte(uint64_t physical) const;
  uint64_t ReadVirtualTpr() const;
  // With TPR virtualization: a value below the threshold makes a VM exit due. SDM Vol. 3C, 30.1.2
  // "TPR Virtualization".
  void WriteVirtualTpr(uint64_t value);
  bool IsTprBelowThreshold(uint64_t virtual_tpr) const;
  // Into the registers of PAE paging. False: a fault or a VM exit came instead.
  bool LoadPdptes(uint64_t cr3);
  // Of the current VPID, and EP4TA if EPT is on.
  void DropTranslations(bool retain_globals = false);
  void DropTranslationsOfPcid(uint64_t pcid);
  void DropTranslationsOfPage(uint64_t linear);
  void DropTranslationsOfPageAndPcid(uint64_t linear, uint64_t pcid);

  // --- processor_privilege.cc: faults that have priority over VM exits.
  std::optional<Exception> PriorFault(const lhv::Instruction& instruction) const;
  bool IsUndefinedOpcode(const lhv::Instruction& instruction) const;
  bool IsEnabled(uint32_t feature, uint32_t control) const;

  // --- processor_intercepts.cc: VM exits of instructions in non-root operation.
  std::optional<InstructionExit> Intercept(const lhv::Instruction& instruction) const;
  std::optional<InstructionExit> InterceptCrAccess(const lhv::Instruction& instruction) const;
  std::optional<InstructionExit> InterceptDescriptorTable(
      const lhv::Instruction& instruction) const;
  std::optional<InstructionExit> InterceptRandom(ExitReason reason, uint32_t control) const;
  bool IsCr3Target(uint64_t value) const;
  bool MsrAccessExits(uint32_t msr, bool write) const;
  bool IoAccessExits(uint16_t port, unsigned width) const;
  static uint64_t IoQualification(const lhv::Instruction& instruction);
  static uint64_t DrQualification(const lhv::Instruction& instruction);
  // The exit, with the length of the instruction at RIP. Always kElsewhere.
  Outcome ExitOnInstruction(const InstructionExit& exit);
  Outcome ExitOnInstruction(ExitReason reason, uint64_t qualification = 0,
                            uint64_t information = 0);

  // --- processor_instructions.cc: instructions that do not exit.
  Outcome PerformMemory(const lhv::Instruction& instruction);
  Outcome PerformIret(uint64_t target);
  Outcome PerformHandlerReturn();
  // Where the frame of the running handler begins: behind the error code, if there is one.
  uint64_t FrameOffset(bool& has_error_code) const;
  // Pushes a frame that IRET returns to `rip` from.
  bool PushReturnFrame(uint64_t rip);
  // The bytes of each value in a frame: 8, 4 or 2.
  size_t FrameValueBytes() const;
  Outcome PerformPopf(uint64_t value);
  Outcome PerformSti();
  Outcome PerformCli();
  Outcome PerformHlt();
  Outcome PerformCpuid();
  Outcome PerformRdmsr();
  Outcome PerformWrmsr();
  Outcome PerformFetch(uint64_t linear);
  void ReturnEdxEax(uint64_t value);
  // RDMSR and WRMSR of IA32_X2APIC_TPR go to the virtual-APIC page.
  bool VirtualizesTprMsr(uint32_t msr) const;

  // --- processor_control_registers.cc
  uint64_t Cr0HostMask() const;
  uint64_t Cr4HostMask() const;
  uint64_t VisibleCr8() const;
  bool IsCr0Allowed(uint64_t cr0) const;
  static bool UsesPaePaging(uint64_t cr0, uint64_t cr4, uint64_t efer);
  Outcome WriteCr0(uint64_t value);
  Outcome WriteCr3(uint64_t value);
  Outcome WriteCr4(uint64_t value);
  Outcome WriteCr8(uint64_t value);
  Outcome PerformMovToCr(unsigned number);
  Outcome PerformMovFromCr(unsigned number);
  Outcome PerformClts();
  Outcome PerformLmsw();
  Outcome PerformMovDr(const lhv::Instruction& instruction);

  // --- processor_system.cc
  Outcome PerformStoreTable(bool gdt);
  Outcome PerformLoadTable(bool gdt);
  bool ReadDescriptor(uint64_t selector, bool system, uint64_t& address,
                      std::array<uint64_t, 2>& words);
  Outcome PerformLldt();
  Outcome PerformLtr();
  Outcome PerformMovSs();
  Outcome PerformXgetbv();
  Outcome PerformXsetbv();
  Outcome PerformInvlpg(uint64_t offset);
  Outcome PerformInvpcid();
  Outcome PerformMonitor();
  Outcome PerformMwait();
  bool MayAccessPort(uint16_t port, unsigned width);
  Outcome PerformIo(const lhv::Instruction& instruction);
  Outcome PerformRandom();
  Outcome PerformRdpmc();
  // What RDTSC gives at the level that runs.
  uint64_t GuestTsc() const;

  // --- processor_msr.cc, processor_cpuid.cc
  bool HasPerformanceCounters() const;
  CpuidRegisters CpuidOfXsave(uint32_t subleaf) const;
  // SDM Vol. 3C, 27.4, 28.4, 28.6. The number of the entry that failed, or 0.
  uint32_t LoadMsrList(uint64_t address, uint64_t count);
  uint32_t StoreMsrList(uint64_t address, uint64_t count);

  // --- processor_vmx_instructions.cc
  Outcome PerformVmx(const lhv::Instruction& instruction);
  bool IsModeForVmx() const;
  bool IsVmxUndefined(lhv::InstructionKind kind) const;
  bool VmxInstructionExits(lhv::InstructionKind kind) const;
  Outcome Vmsucceed();
  Outcome VmfailInvalid();
  // VMfailValid, or VMfailInvalid without a current VMCS.
  Outcome Vmfail(VmInstructionError error);
  Outcome PerformVmxon();
  Outcome PerformVmxoff();
  Outcome PerformVmEntry(bool launch);

  // --- processor_vmcs_instructions.cc
  bool ReadPointerOperand(uint64_t& pointer);
  bool IsVmcsPointerValid(uint64_t pointer) const;
  uint32_t RegionHeader(uint64_t pointer) const;
  uint32_t RevisionIdentifier() const;
  Outcome PerformVmclear();
  Outcome PerformVmptrld();
  Outcome PerformVmptrst();
  // The operand in a register that names a field, or a type of invalidation.
  uint64_t FieldOperand() const;
  ActiveVmcs& ActivateShadowVmcs(uint64_t address);
  ActiveVmcs* AccessedVmcs();
  std::optional<VmcsField> ExistingField(uint64_t encoding) const;
  Outcome PerformVmread();
  Outcome PerformVmwrite();
  Outcome PerformInvept();
  Outcome PerformInvvpid();
  Outcome PerformVmfunc();
  // Without VPIDs nothing that is remembered outlives a VM entry or a VM exit.
  void DropTranslationsAtTransition();

  // --- processor_entry.cc. SDM Vol. 3C, chapter 27 "VM Entries".
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

  // --- processor_exit.cc. SDM Vol. 3C, chapter 28 "VM Exits".
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
  void EnterVmxAbort(VmxAbort indicator);

  // --- processor_events.cc
  bool HasActivity(ActivityState state) const;
  bool NmiWindowIsOpen() const;
  bool InterruptWindowIsOpen() const;
  bool CanTakeInterrupt(uint8_t vector) const;
  bool HasDeliverableDebugExceptions() const;
  bool DebugTrapIsDue() const;
  void TakeInit();
  void TakeSipi(uint8_t vector);
  void TakeNmi();
  void TakeInterrupt(uint8_t vector);
  void TakeDebugTrap();
  void DropUndeliverableDebugExceptions();
  // The event that the VM-entry interruption-information field asks for, and what else is due, at
  // the end of VM entry.
  void InjectEvent();

  // --- processor_exceptions.cc
  // An exception of the instruction at RIP: VM exit or delivery. Always kElsewhere.
  Outcome Raise(const Exception& exception);
  Outcome Fault(Vector vector, uint32_t error_code = 0) {
    return Raise(Exception{vector, error_code});
  }
  // INT n, INT3, INT1. kReturned, if the handler has been reached.
  Outcome RaiseSoftware(InterruptionType type, uint8_t vector);
  bool ExceptionExits(uint8_t vector, uint32_t error_code) const;
  void ExitForException(const Event& event, uint64_t detail);
  // The VM exit, with what it reports of the event that was being delivered. Always kElsewhere.
  Outcome ExitDuringAccess(ExitReason reason, ExitInformation information);
  // Calls the handler. What goes wrong on the way becomes an exception of its own, a double fault,
  // a triple fault or a VM exit.
  void Deliver(const Event& event);
  // What came of an access instead of its end; `segment` is the one it went through. Always
  // kElsewhere.
  Outcome Raise(const TranslationFault& fault, SegmentRegister segment, AccessKind kind);
  Outcome Raise(const EventFault& fault, bool by_iret);
  void RaiseDoubleFault();
  // VM exit, or shutdown.
  void RaiseTripleFault();

  Memory& memory_;
  Platform& platform_;
  const Capabilities capabilities_;
  const ProcessorOptions options_;
  // Translations are no part of the state: a machine whose states are compared keeps none.
  Mmu mmu_;
  ProcessorState state_{};
  // Of the instruction that is being executed; set before each.
  EncodedOperand instruction_operand_;
  // Since the instruction began: the RIP that the first event to be delivered saved.
  std::optional<uint64_t> delivered_from_;
  // The running instruction is an IRET that has ended blocking by NMI.
  bool nmis_unblocked_by_iret_ = false;
  // The event that is being delivered.
  std::optional<Event> vectoring_;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_PROCESSOR_H_
