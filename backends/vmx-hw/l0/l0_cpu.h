// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_L0_L0_CPU_H_
#define NVMX_BACKENDS_VMX_HW_L0_L0_CPU_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "backends/vmx-hw/l0/canary.h"
#include "backends/vmx-hw/l0/enter_guest.h"
#include "backends/vmx-hw/l0/ept01.h"
#include "backends/vmx-hw/l0/l0_layout.h"
#include "backends/vmx-hw/l0/l0_log.h"
#include "backends/vmx-hw/l0/nmi_blocking.h"
#include "backends/vmx-hw/l0/startup_ipis.h"
#include "backends/vmx-hw/l0/store_instruction.h"
#include "backends/vmx-hw/l0/watchdog.h"
#include "backends/vmx-hw/machine/memory_map.h"
#include "backends/vmx-hw/machine/traps.h"
#include "core/nested/choreography.h"
#include "core/nested/embedder.h"
#include "core/nested/vcpu.h"
#include "core/smp/quiesce.h"
#include "core/smp/system.h"

namespace nvmx::metal {

// What all CPUs of L0 share besides the core's System.
struct L0Shared {
  L0Layout& layout;
  System& system;
  Ept01& ept01;
  const MemoryMap& l1_memory;  // without L0's
  const QuiesceProtocol& quiesce;
  const Choreography& choreography;
  L0Log& log;
  Watchdog& watchdog;
  StartupIpis& startup;
  uint64_t apic_page;  // of all CPUs'; EPT01 lets nobody write it
  Canary& canary;
  // What L0 has to say at the end of the run.
  void (*say_last_words)();
};

// Where L1's boot CPU begins: in 32-bit protected mode, with flat segments and without paging.
struct L1Start {
  uint32_t entry;
  uint16_t code_selector;
  uint16_t data_selector;
  uint32_t rax = 0;
  uint32_t rbx = 0;
  uint32_t rsi = 0;
  // GDTR.
  uint32_t gdt = 0;
  uint16_t gdt_limit = 0xFFFF;
};

// One CPU with the core as L0: the ports, over real instructions. Every method is called on the CPU
// that it is.
class L0Cpu final : private Cpu,
                    private Vmcs,
                    private GuestMemory,
                    private Apic,
                    private Clock,
                    private Trace,
                    private Embedder {
 public:
  L0Cpu(const L0Shared& shared, CpuIndex index);

  // VMXON, both VMCSs, their host state and controls, and L1 in wait-for-SIPI; stops with a message
  // if this CPU cannot.
  void EnterVmxOperation(const Capabilities& hardware, const MtrrSettings& memory_types);
  // L1 runs from there instead.
  void StartL1At(const L1Start& start);
  // Runs L1 for ever.
  [[noreturn]] void Run();
  // Runs code that wants this CPU's ports.
  template <typename Code>
  void RunWithPorts(const Code& code) {
    Ports own = ports();
    code(own);
  }
  // An NMI in root, from the handler.
  void TakeNmiInRoot(TrapFrame& frame);

 private:
  Ports ports() { return {*this, *this, *this, *this, *this, *this}; }
  void InitializeVmcs(VmcsRole role);
  void WriteHostState();
  void DropBlockingBySmi();
  void NoteNmiBlockingBeforeEntry();
  void SettleNmiBlockingAfterExit();
  void StayInVmxAbort();
  void LookAgainAtPendingNmis();
  EnterGuestResult EnterGuestOrWait();
  // INIT and SIPI in software (l1_apic.cc): what other CPUs have sent; what L1 writes to
  // its ICR; and the instructions that it writes the guarded registers with.
  void TakeStartupIpis();
  void InterceptIcr();
  bool WriteIcr(uint64_t value);
  std::optional<StoreInstruction> FetchStore(Vcpu& vcpu) const;
  [[noreturn]] void FailEntry(const char* what);
  // After an exit from VMCS01.
  void LookAtReason(VmcsRole from);
  // One that cannot be: hardware refuses the guest state that it was entered with.
  [[noreturn]] void PanicAboutEntry(uint64_t reason);
  void ReportShutdown();
  // For the watchdog: where this CPU is.
  void NoteExit();
  void WaitFor(const SpinCondition& condition);
  // This CPU has waited too long.
  [[noreturn]] void EndHungRun();

  // Cpu
  CpuIndex Index() const override { return index_; }
  std::optional<uint64_t> ReadMsr(uint32_t msr) override;
  bool WriteMsr(uint32_t msr, uint64_t value) override;
  CpuidRegisters Cpuid(uint32_t leaf, uint32_t subleaf) override;
  void UnblockNmi() override;
  void Invalidate(const Invalidation& invalidation) override;
  void WriteXcr0(uint64_t value) override;
  void WriteCacheControl(uint64_t cr0) override;
  void BeforeSharedAccess(const SharedAccess&) override {}
  void SpinUntil(const SpinCondition& condition) override;
  // Vmcs
  void MakeCurrent(VmcsRole role) override;
  VmcsRole Current() const override { return current_; }
  uint64_t Read(VmcsField field) override;
  void Write(VmcsField field, uint64_t value) override;
  // GuestMemory
  bool Read(GuestPhysicalAddress address, std::span<std::byte> bytes) override;
  bool Write(GuestPhysicalAddress address, std::span<const std::byte> bytes) override;
  bool CompareExchange(GuestPhysicalAddress address, uint64_t expected, uint64_t desired) override;
  // Whether the bytes are where L1's memory was found to be RAM last; the memory map has many
  // entries, and does not change.
  bool IsKnownRam(GuestPhysicalAddress address, size_t bytes) const {
    return address.value >= known_ram_.begin && address.value < known_ram_.end &&
           bytes <= known_ram_.end - address.value;
  }
  // Whether they are RAM at all.
  bool FindRam(GuestPhysicalAddress address, size_t bytes);
  bool ReadElsewhere(GuestPhysicalAddress address, std::span<std::byte> bytes);
  bool WriteElsewhere(GuestPhysicalAddress address, std::span<const std::byte> bytes);
  // Apic
  void SendNmiToAllOthers() override;
  void SendNmi(CpuIndex cpu) override;
  // Clock
  uint64_t ReadTsc() override;
  // Trace
  void Record(TraceKind kind, uint64_t first, uint64_t second) override {
    if (shared_.log.records() || IsForL0(kind)) Take(kind, first, second);
  }
  // Events that are more than lines of a log.
  static bool IsForL0(TraceKind kind) {
    return kind == TraceKind::kMemoryTypesChanged || kind == TraceKind::kAssertionFailed ||
           kind == TraceKind::kVmxAbort;
  }
  void Take(TraceKind kind, uint64_t first, uint64_t second);
  // Embedder
  bool HandleVmcall(Vcpu& vcpu) const override;
  Ept01Mapping MapEpt01(const Vcpu&, GuestPhysicalAddress address) const override {
    return shared_.ept01.Map(address);
  }
  ForbiddenAccess HandleForbiddenAccess(Vcpu& vcpu, GuestPhysicalAddress address) const override;

  uint64_t VmcsOffset(VmcsRole role) const {
    return shared_.layout.VmxOffset(index_) + (1 + static_cast<uint64_t>(role)) * kPageSize;
  }

  const L0Shared& shared_;
  const CpuIndex index_;
  CpuStatus& status_;
  Capabilities hardware_{};
  VcpuState state_{};
  CpuCells cells_;
  Vcpu vcpu_;
  VmcsRole current_ = VmcsRole::kVmcs01;
  std::array<bool, 2> launched_{};
  AddressRange known_ram_{0, 0};
  // See DropBlockingBySmi().
  bool keeps_blocking_by_smi_ = false;
  NmiBlocking nmi_blocking_;
  // Set by the NMI handler; cleared before each last look at pending NMIs.
  uint32_t nmi_mark_ = 0;
};

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_L0_CPU_H_
