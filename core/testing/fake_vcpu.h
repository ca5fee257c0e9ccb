// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_TESTING_FAKE_VCPU_H_
#define NVMX_CORE_TESTING_FAKE_VCPU_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "core/nested/msr_lists.h"
#include "core/nested/vcpu.h"
#include "core/testing/fake_ports.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/msr_list.h"
#include "core/vmx/outcomes.h"
#include "core/x86/general_register.h"
#include "core/x86/segment.h"

namespace nvmx {

// The operands of a VMX instruction, as its VM exit describes them.
// SDM Vol. 3C, 28.2.5 "Information for VM Exits Due to Instruction Execution".
struct InstructionOperands {
  // The operand is register1; else it is in memory.
  bool in_register = false;
  GeneralRegister register1 = GeneralRegister::kRax;
  // The second register of VMREAD and VMWRITE: the field encoding.
  GeneralRegister register2 = GeneralRegister::kRax;
  uint64_t displacement = 0;
  std::optional<GeneralRegister> base = std::nullopt;
  std::optional<GeneralRegister> index = std::nullopt;
  unsigned scaling = 0;
  SegmentRegister segment = SegmentRegister::kDs;
  // 0: 16 bits, 1: 32 bits, 2: 64 bits.
  unsigned address_size = 2;

  uint32_t InstructionInformation() const;
};

// One CPU of L0 on fake ports, and an L1 on it: 64-bit mode, CPL 0, 16 MBytes of memory that its
// paging maps to itself, VMX operation off.
class FakeVcpu {
 public:
  static constexpr uint64_t kMemorySize = 0x100'0000;
  // In L1's memory: its paging structures, VMX regions, and a place for the operands of its
  // instructions.
  static constexpr uint64_t kPml4 = 0x1000;
  static constexpr uint64_t kVmxonRegion = 0x10000;
  static constexpr uint64_t kVmcs12Region = 0x11000;
  static constexpr uint64_t kOperand = 0x12000;
  // Where tests put the three MSR lists.
  static constexpr uint64_t kEntryLoadList = 0x20000;
  static constexpr uint64_t kExitStoreList = 0x21000;
  static constexpr uint64_t kExitLoadList = 0x22000;
  // L1's RIP, and the length of every instruction that it executes.
  static constexpr uint64_t kRip = 0x8000;
  static constexpr uint64_t kInstructionLength = 4;

  // The host pages: as many, from this address on, outside L1's memory.
  static constexpr size_t kHostPageCount = 512;
  static constexpr PhysicalAddress kHostPages{0x7F'0000'0000};

  explicit FakeVcpu(uint32_t cpus = 1, CpuIndex index = 0);
  FakeVcpu(const FakeVcpu&) = delete;
  FakeVcpu& operator=(const FakeVcpu&) = delete;

  // The whole, as the core takes it.
  Vcpu& vcpu() { return *vcpu_; }
  SmpContext smp() { return vcpu().smp(); }

  // Another value at a seam of the core.
  void SetEmbedder(const Embedder& embedder);
  // From now on there are no host pages.
  void TakeHostPages();

  // L1 has executed VMXON.
  void EnterVmxRoot();
  // L1 has executed VMXON, and VMPTRLD of kVmcs12Region, which holds the image; its launch state is
  // clear.
  void MakeCurrentVmcs12(const VmcsImage& vmcs12);
  // L1 has entered L2 with that VMCS12, and L2 runs: the processor has taken the event that was to
  // be injected.
  void RunL2(const VmcsImage& vmcs12);
  void RunL2();
  bool L2Runs() const { return state.operation == VmxOperation::kNonRoot; }

  // Writes the entries into L1's memory, and returns the list that they are.
  MsrList PutMsrList(uint64_t address, const std::vector<MsrListEntry>& entries);

  // A VM exit of whoever runs, through HandleVmExit().
  void Exit(ExitReason reason, uint64_t qualification = 0);
  // A VM exit because of an NMI, which leaves NMIs blocked.
  void NmiExit();
  // L1 executes a VMX instruction, which exits. Returns what L1 observes; the test fails if RIP is
  // not where that outcome leaves it. Not for an instruction that enters L2.
  VmxOutcome Execute(ExitReason instruction, const InstructionOperands& operands = {});
  // As Execute, of an instruction whose memory operand holds the address of a region.
  VmxOutcome ExecuteWithPointer(ExitReason instruction, uint64_t pointer);

  uint64_t& Register(GeneralRegister name) { return state.registers[static_cast<size_t>(name)]; }
  // All other CPUs acknowledge and resume whenever this one waits for it.
  void OthersAnswerQuiesce();

  EventLog log;
  FakeCpu cpu;
  FakeVmcs vmcs;
  FakeGuestMemory memory;
  FakeApic apic;
  FakeClock clock;
  FakeTrace trace;
  System system;
  CpuCells own;
  VcpuState state;
  std::vector<HostPage> host_pages = std::vector<HostPage>(kHostPageCount);

 private:
  std::optional<Vcpu> vcpu_;
};

}  // namespace nvmx

#endif  // NVMX_CORE_TESTING_FAKE_VCPU_H_
