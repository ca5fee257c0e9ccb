// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROGRAM_NESTED_CPU_H_
#define NVMX_BACKENDS_SIM_PROGRAM_NESTED_CPU_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/sim/machine/fiber.h"
#include "backends/sim/machine/l0_memory.h"
#include "backends/sim/program/program_cpu.h"
#include "backends/variants/variant.h"
#include "core/nested/embedder.h"
#include "core/nested/vcpu.h"
#include "core/smp/system.h"

namespace nvmx::sim {

// The other CPUs, as L0 on one of them reaches them.
class L0Bus {
 public:
  virtual void SendHostNmiToAllOthers(uint32_t from) = 0;
  virtual void SendHostNmi(uint32_t to) = 0;

 protected:
  ~L0Bus() = default;
};

// A CPU with the core as L0. L0 on a machine with one CPU never waits, so its code is called
// directly; with several it runs on a fiber and gives control back where it waits.
class NestedCpu final : public ProgramCpu,
                        private Cpu,
                        private ::nvmx::Vmcs,
                        private GuestMemory,
                        private Apic,
                        private Clock,
                        private Trace,
                        private Embedder {
 public:
  struct L0Parts {
    System& system;
    L0Memory& memory;
    L0Bus& bus;
    const Variant& variant;
    bool has_fiber;
  };
  NestedCpu(const Parts& parts, const L0Parts& l0);

  // From the next Reset() on L1 has a shadow VMCS (core/nested/vmcs12_shadow.h).
  void GiveShadowVmcs() { vcpu_.shadow_pages = l0_memory_.ShadowPagesOf(index()); }

  // L1's CPU as its loader leaves it, under a fresh L0.
  void Reset(lhv::L1Mode mode);

  // A turn, or the rest of one. False if nothing moved.
  bool Run();
  // L0 has stopped this CPU inside, at a wait that is not over.
  bool IsWaiting() const { return waiting_ && !CanGoOn(); }
  // L0's part alone: takes an NMI, or goes on where it waited, without an instruction of the guest
  // program. False if nothing moved.
  bool RunL0Only();
  bool HasFinishedTurn() const { return !waiting_; }
  CpuEnd EndOfRun() const;

  // An NMI of L0's own arrives.
  void ReceiveHostNmi() {
    if (pending().nmi) NmiMerges();
    pending().nmi = true;
  }
  // What went wrong with L0; empty if nothing did.
  const std::string& defect() const { return defect_; }

  // CpuResult::forbidden_access_at.
  std::optional<size_t> forbidden_access_at() const { return forbidden_access_at_; }

  // CpuResult::nmi_merged_at.
  std::optional<size_t> nmi_merged_at() const { return nmi_merged_at_; }

  const VcpuState& vcpu_state() const { return vcpu_state_; }
  // L0's own view of this CPU, for who looks at a state or changes it between two turns.
  Vcpu& vcpu() { return vcpu_; }
  // What is neither in the processor nor in the guest's memory, to go back to.
  struct L0State {
    VcpuState vcpu;
    uint64_t guest_nmis_pending;
    std::vector<HostPage> host_pages;  // those that are not zero are among these
  };
  L0State SaveL0State() const;
  void RestoreL0State(const L0State& state);

 private:
  // What can happen to L0 that it does not come back from.
  struct L0Stopped {};
  enum class Command : uint8_t { kTurn, kEventsOnly };

  Ports ports() { return {*this, *this, *this, *this, *this, *this}; }
  // Makes the VMCS in Vcpu::shadow_pages active, where MakeCurrent() finds it.
  void ActivateShadowVmcs();
  static void FiberMain(void* self);
  void RunFiber();
  // Runs to the end of what was commanded, or to a wait.
  bool Resume(Command command);
  bool Obey(Command command);
  bool CanGoOn() const;
  void TakeNmiInRoot();
  [[noreturn]] void StopL0(const std::string& defect);

  // Both may be the guest's own: then it sees what it sees on a processor.
  void NmiMerges() override;
  void LeftL2(lhv::Interpreter& interpreter) override;
  // Platform
  void RunRoot() override;
  std::optional<uint64_t> EptPointerOfL2() const override;
  void EntryRefused(const char* rule) override;
  // Cpu
  CpuIndex Index() const override { return index(); }
  std::optional<uint64_t> ReadMsr(uint32_t msr) override { return processor().ReadMsr(msr); }
  bool WriteMsr(uint32_t msr, uint64_t value) override { return processor().WriteMsr(msr, value); }
  CpuidRegisters Cpuid(uint32_t leaf, uint32_t subleaf) override {
    return processor().Cpuid(leaf, subleaf);
  }
  void UnblockNmi() override;
  void Invalidate(const Invalidation& invalidation) override;
  void WriteXcr0(uint64_t value) override;
  void WriteCacheControl(uint64_t cr0) override;
  void BeforeSharedAccess(const SharedAccess&) override {}
  void SpinUntil(const SpinCondition& condition) override;
  // Vmcs
  void MakeCurrent(VmcsRole role) override { processor().MakeCurrent(role); }
  VmcsRole Current() const override { return processor().Current(); }
  uint64_t Read(VmcsField field) override { return processor().VmcsRead(field); }
  void Write(VmcsField field, uint64_t value) override { processor().VmcsWrite(field, value); }
  // GuestMemory
  bool Read(GuestPhysicalAddress address, std::span<std::byte> bytes) override {
    return memory_.Read(address.value, bytes);
  }
  bool Write(GuestPhysicalAddress address, std::span<const std::byte> bytes) override {
    return memory_.Write(address.value, bytes);
  }
  // Apic
  void SendNmiToAllOthers() override { l0_bus_.SendHostNmiToAllOthers(index()); }
  void SendNmi(CpuIndex cpu) override { l0_bus_.SendHostNmi(cpu); }
  // Clock
  uint64_t ReadTsc() override { return processor().ReadTsc(); }
  // Trace
  void Record(TraceKind kind, uint64_t first, uint64_t second) override;
  // Embedder
  Ept01Mapping MapEpt01(const Vcpu&, GuestPhysicalAddress address) const override {
    return l0_memory_.Map(address);
  }
  ForbiddenAccess HandleForbiddenAccess(Vcpu& vcpu, GuestPhysicalAddress address) const override;

  Memory& memory_;
  L0Memory& l0_memory_;
  L0Bus& l0_bus_;
  VcpuState vcpu_state_{};
  CpuCells cells_;
  Vcpu vcpu_;
  ProcessorState at_reset_;

  std::unique_ptr<Fiber> fiber_;
  Command command_ = Command::kTurn;
  bool moved_ = false;
  bool waiting_ = false;
  SpinCondition wait_{};
  std::string defect_;
  // The embedder's methods are const: it has no state that counts.
  mutable std::optional<size_t> forbidden_access_at_;
  std::optional<size_t> nmi_merged_at_;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_NESTED_CPU_H_
