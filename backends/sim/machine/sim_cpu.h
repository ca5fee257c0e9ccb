// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_SIM_CPU_H_
#define NVMX_BACKENDS_SIM_MACHINE_SIM_CPU_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "backends/sim/machine/fiber.h"
#include "backends/sim/machine/local_apic.h"
#include "backends/sim/machine/memory.h"
#include "backends/sim/machine/nmi_latch.h"
#include "backends/sim/machine/point.h"
#include "backends/sim/machine/processor.h"
#include "backends/sim/machine/trace.h"
#include "backends/variants/variant.h"
#include "core/nested/embedder.h"
#include "core/nested/vcpu.h"
#include "lhv/assembled.h"
#include "lhv/interpreter.h"

namespace nvmx::sim {

// What one step of a CPU did, beside changing a cell: enough to judge it without the trace.
struct StepEffects {
  bool acknowledged = false;       // answered a quiesce
  bool given_to_guest = false;     // found an NMI to be the guest's
  bool merged_for_guest = false;   // found one, but the guest already had two
  bool merged_while_held = false;  // held two for a guest that could take none, and kept one
  uint8_t delivered_to_guest = 0;  // injected, or made an exit to L1
  bool nmi_taken = false;
  NmiDestination destination = NmiDestination::kRoot;  // of nmi_taken
  bool lock_before_settling = false;  // asked for a lock between an NMI exit and its settlement
  bool l0_failed = false;             // an assertion of L0's, or a refused VM entry
  bool sends_nmi_to_others = false;
  std::optional<uint32_t> sends_nmi_to;  // one CPU
  bool sends_other_ipi = false;
};

// What the last NMI that this CPU took became.
struct LastNmi {
  bool any = false;
  NmiSource source = NmiSource::kNone;
  NmiDestination destination = NmiDestination::kRoot;
  enum class Fate : uint8_t {
    kUnsettled,
    kAcknowledged,
    kGivenToGuest,
    kSwallowed
  } fate = Fate::kUnsettled;
  uint32_t step = 0;
};

// What has happened to this CPU's NMIs since the start.
struct NmiAccount {
  uint32_t sent_to_guest = 0;  // by devices and other guests
  uint32_t merged = 0;         // arrivals that met a full latch
  uint32_t delivered_to_guest = 0;
  uint32_t acknowledged = 0;    // quiesces answered
  uint32_t quiesces_begun = 0;  // by this CPU, and acknowledged by all
};

// The last VM exit, as hardware reported it.
struct LastExit {
  bool any = false;
  VmcsRole from = VmcsRole::kVmcs01;
  uint32_t reason = 0;
};

// The other CPUs, as one CPU reaches them.
class Interconnect {
 public:
  virtual void Send(uint32_t from, uint64_t interrupt_command, NmiSource source) = 0;
  virtual void Record(uint32_t cpu, EventKind kind, uint32_t core_kind, uint64_t first,
                      uint64_t second) = 0;
  // The number of the step that is being made, counted from 1.
  virtual uint32_t StepNumber() const = 0;

 protected:
  ~Interconnect() = default;
};

// One CPU of the simulated machine: a processor, the real core as its L0 on a fiber, and a guest
// program on top. It gives control back at each point (point.h).
class SimCpu final : private Platform,
                     private Cpu,
                     private ::nvmx::Vmcs,
                     private GuestMemory,
                     private Apic,
                     private Clock,
                     private Trace,
                     private Embedder,
                     private lhv::ObservationLog {
 public:
  struct Parts {
    Memory& memory;
    System& system;
    Interconnect& interconnect;
    const Variant& variant;
    const lhv::CpuProgram& program;
  };
  SimCpu(uint32_t index, const Parts& parts);

  // Runs the program's setup, which no other CPU and no NMI takes part in. False if an operation of
  // it did not complete in a bounded number of steps.
  bool RunSetup();

  // --- The scheduler's side.
  const Point& point() const { return point_; }
  // Whether the choice is possible now.
  bool CanStep() const;
  bool CanTakeNmi() const;
  // Makes it: runs to the next point.
  void Advance(Choice choice);
  const StepEffects& effects() const { return effects_; }
  // An IPI that is no NMI arrives. The CPU takes it with its next step at a guest point, before the
  // instruction there; an NMI is another choice than that step. `delivery_mode` as in
  // lhv::InterruptCommand.
  void ReceiveIpi(uint64_t delivery_mode, uint8_t vector);

  // --- The observer's side.
  Processor& processor() { return processor_; }
  const Processor& processor() const { return processor_; }
  NmiLatch& latch() { return latch_; }
  const LocalApic& local_apic() const { return local_apic_; }
  const NmiLatch& latch() const { return latch_; }
  const VcpuState& vcpu_state() const { return vcpu_state_; }
  CpuCells& cells() { return cells_; }
  const CpuCells& cells() const { return cells_; }
  const LastNmi& last_nmi() const { return last_nmi_; }
  const LastExit& last_exit() const { return last_exit_; }
  NmiAccount& account() { return account_; }
  const NmiAccount& account() const { return account_; }
  std::vector<uintptr_t> Backtrace() const { return fiber_.Backtrace(); }
  const std::vector<lhv::Observation>& observations() const { return observations_; }
  bool in_nmi_context() const { return control_.size() > 1; }
  Ports ports() { return {*this, *this, *this, *this, *this, *this}; }

  // A digest of everything that decides what this CPU does next, but for the values of shared cells
  // and its NMI latch: the state of the processor and of L0's per-CPU data, its memory, and where
  // the code on the fiber stands. That last part is not read off the stack, which holds garbage
  // too. It is a digest of what the code has seen since it began: the state at its VM exit, and
  // every value that it loaded from a cell. NMI context is a frame of its own that is forgotten
  // when it returns; in exchange it must not change private state, which is checked.
  struct Key {
    uint64_t low, high;
    friend bool operator==(const Key&, const Key&) = default;
  };
  Key LocalKey();
  // Computing digests costs; without them LocalKey() must not be called.
  void EnableKeys() { keys_enabled_ = true; }
  // NMI context changed private state: keys cannot be trusted.
  bool nmi_context_was_impure() const { return nmi_context_was_impure_; }

  // A digest of the private state alone: processor, L0's per-CPU data, memory.
  uint64_t PrivateDigest();

  // The state after RunSetup(), to go back to.
  void SaveStart();
  void RestoreStart();

 private:
  static void FiberMain(void* self);
  void Run();
  void StepGuest();
  void DropUselessApicEvents();
  // All that others want but NMIs, which are choices of the scheduler.
  Signals ApicSignals() const;
  bool HasApicEvent() const;
  void TakeApicEvent();
  void Yield(const Point& point);
  void TakeNmiInRoot();
  void NoteNmiTaken(NmiDestination destination);
  void Note(EventKind kind, uint64_t first, uint64_t second);

  // Platform
  void RunRoot() override;
  void SendIpi(uint64_t interrupt_command) override;
  void EntryRefused(const char* rule) override;
  // Cpu
  CpuIndex Index() const override { return index_; }
  std::optional<uint64_t> ReadMsr(uint32_t msr) override { return processor_.ReadMsr(msr); }
  bool WriteMsr(uint32_t msr, uint64_t value) override { return processor_.WriteMsr(msr, value); }
  CpuidRegisters Cpuid(uint32_t leaf, uint32_t subleaf) override {
    return processor_.Cpuid(leaf, subleaf);
  }
  void UnblockNmi() override { processor_.state().nmi_blocked = 0; }
  void Invalidate(const Invalidation& invalidation) override {
    processor_.Invalidate(invalidation);
  }
  void WriteXcr0(uint64_t value) override { processor_.WriteXcr0(value); }
  void WriteCacheControl(uint64_t cr0) override { processor_.WriteCacheControl(cr0); }
  void BeforeSharedAccess(const SharedAccess& access) override;
  void SpinUntil(const SpinCondition& condition) override;
  // Vmcs
  void MakeCurrent(VmcsRole role) override { processor_.MakeCurrent(role); }
  VmcsRole Current() const override { return processor_.Current(); }
  uint64_t Read(VmcsField field) override { return processor_.VmcsRead(field); }
  void Write(VmcsField field, uint64_t value) override { processor_.VmcsWrite(field, value); }
  // GuestMemory
  bool Read(GuestPhysicalAddress address, std::span<std::byte> bytes) override {
    return memory_.Read(address.value, bytes);
  }
  bool Write(GuestPhysicalAddress address, std::span<const std::byte> bytes) override {
    return memory_.Write(address.value, bytes);
  }
  // Apic
  void SendNmiToAllOthers() override;
  void SendNmi(CpuIndex cpu) override;
  // Clock
  uint64_t ReadTsc() override { return processor_.ReadTsc(); }
  // Trace
  void Record(TraceKind kind, uint64_t first, uint64_t second) override;
  // Embedder
  bool HandleVmcall(Vcpu& vcpu) const override;
  // ObservationLog
  void Append(const lhv::Observation& observation) override {
    observations_.push_back(observation);
  }

  const uint32_t index_;
  Memory& memory_;
  Interconnect& interconnect_;
  Processor processor_;
  VcpuState vcpu_state_{};
  CpuCells cells_;
  Vcpu vcpu_;
  const lhv::CpuProgramView program_;
  lhv::Interpreter interpreter_;
  NmiLatch latch_;
  LocalApic local_apic_;

  Fiber fiber_;
  Point point_;
  Choice choice_ = Choice::kStep;
  StepEffects effects_;
  bool nmi_unsettled_ = false;
  LastNmi last_nmi_;
  LastExit last_exit_;
  NmiAccount account_;

  bool keys_enabled_ = false;
  bool nmi_context_was_impure_ = false;
  std::vector<uint64_t>
      control_;  // a digest for each activation: guest or VM exit, then NMI context
  std::vector<lhv::Observation> observations_;

  struct Start {
    ProcessorState processor;
    VcpuState vcpu;
    std::unique_ptr<Memory::Snapshot> memory;
    size_t observations;
    LocalApic local_apic;
  };
  std::optional<Start> start_;
};

// What RAX of a VMCALL asks L0 for, in guest programs that stand for an embedding hypervisor's
// client.
inline constexpr uint64_t kVmcallMaskGuestNmis = 0x6E760001;
inline constexpr uint64_t kVmcallUnmaskGuestNmis = 0x6E760002;

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_SIM_CPU_H_
