// SPDX-License-Identifier: Apache-2.0
#include "core/testing/fake_vcpu.h"

#include "core/nested/hypervisor.h"
#include "core/nested/nested_entry.h"
#include "core/nested/vmcs02.h"
#include "core/nested/vmcs12_region.h"
#include "core/testing/builders.h"
#include "core/testing/core_objects.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/memory_type.h"
#include "core/x86/rflags.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint64_t kPresentWritable = 3;
constexpr uint64_t kLargePage = 0x80;
constexpr uint64_t k2MBytes = 0x200000;

// Identity-maps the memory with 2-MByte pages.
void PutPaging(FakeGuestMemory& memory) {
  constexpr uint64_t kPdpt = 0x3000;
  constexpr uint64_t kPageDirectory = 0x4000;
  memory.Poke(FakeVcpu::kPml4, kPdpt | kPresentWritable);
  memory.Poke(kPdpt, kPageDirectory | kPresentWritable);
  for (uint64_t n = 0; n * k2MBytes < FakeVcpu::kMemorySize; ++n) {
    memory.Poke(kPageDirectory + 8 * n, n * k2MBytes | kLargePage | kPresentWritable);
  }
}

void PutL1State(VmcsImage& vmcs01) {
  vmcs01.Set<VmcsField::kGuestCr0>(Cr0::kPe | Cr0::kEt | Cr0::kNe | Cr0::kWp | Cr0::kPg);
  vmcs01.Set<VmcsField::kGuestCr3>(FakeVcpu::kPml4);
  vmcs01.Set<VmcsField::kGuestCr4>(Cr4::kPae | Cr4::kVmxe);
  vmcs01.Set<VmcsField::kGuestIa32Efer>(Efer::kLme | Efer::kLma | Efer::kNxe | Efer::kSce);
  vmcs01.Set<VmcsField::kGuestIa32Pat>(kPatReset);
  vmcs01.Set<VmcsField::kGuestCsSelector>(0x08);
  vmcs01.Set<VmcsField::kGuestCsAccessRights>(0xA09B);
  vmcs01.Set<VmcsField::kGuestSsSelector>(0x10);
  vmcs01.Set<VmcsField::kGuestSsAccessRights>(0xC093);
  vmcs01.Set<VmcsField::kGuestDr7>(Dr7::kInit);
  vmcs01.Set<VmcsField::kGuestRflags>(Rflags::kFixed1);
  vmcs01.Set<VmcsField::kGuestRip>(FakeVcpu::kRip);
  vmcs01.Set<VmcsField::kGuestRsp>(0x9000);
}

}  // namespace

uint32_t InstructionOperands::InstructionInformation() const {
  constexpr uint32_t kInRegister = uint32_t{1} << 10;
  constexpr uint32_t kNoIndex = uint32_t{1} << 22;
  constexpr uint32_t kNoBase = uint32_t{1} << 27;
  const auto number = [](GeneralRegister name) { return static_cast<uint32_t>(name); };
  uint32_t information = scaling | number(register1) << 3 | address_size << 7 |
                         static_cast<uint32_t>(segment) << 15 | number(register2) << 28;
  if (in_register) information |= kInRegister;
  information |= index ? number(*index) << 18 : kNoIndex;
  information |= base ? number(*base) << 23 : kNoBase;
  return information;
}

FakeVcpu::FakeVcpu(uint32_t cpus, CpuIndex index)
    : cpu(index, log),
      vmcs(BuildHardwareCapabilities(), log),
      memory(kMemorySize, log),
      apic(log),
      clock(log),
      trace(log),
      system(cpus) {
  InitializeVcpuState(state, BuildOfferedCapabilities());
  SetEmbedder(CoreEmbedder());
  cpu.SetNmiHandler([this] { HandleHostNmi(vcpu()); });
  PutPaging(memory);
  PutL1State(vmcs.vmcs01());
  InitializeVmcs01Controls(vcpu());
  log.clear();
}

void FakeVcpu::SetEmbedder(const Embedder& embedder) {
  vcpu_.reset();
  vcpu_.emplace(Vcpu{{cpu, vmcs, memory, apic, clock, trace},
                     system,
                     own,
                     state,
                     CoreQuiesce(),
                     CoreChoreography(),
                     embedder,
                     {host_pages, kHostPages}});
}

void FakeVcpu::TakeHostPages() { vcpu().host_pages = {}; }

void FakeVcpu::EnterVmxRoot() {
  memory.Poke(kVmxonRegion, kVmcs12Revision);
  state.operation = VmxOperation::kRoot;
  state.vmxon_region = kVmxonRegion;
}

void FakeVcpu::MakeCurrentVmcs12(const VmcsImage& vmcs12) {
  EnterVmxRoot();
  state.current_vmcs = kNoVmcs;
  memory.Poke(kVmcs12Region, Vmcs12Region{kVmcs12Revision, 0, 0, vmcs12});
  ASSERT_TRUE(LoadVmcs12(vcpu(), kVmcs12Region));
  log.clear();
}

void FakeVcpu::RunL2(const VmcsImage& vmcs12) {
  MakeCurrentVmcs12(vmcs12);
  ASSERT_TRUE(EnterL2(vcpu(), /*launch=*/true).entered());
  vmcs.vmcs02().Set<VmcsField::kVmEntryInterruptionInformation>(0);
  log.clear();
}

void FakeVcpu::RunL2() { RunL2(ValidVmcs12(state.offered)); }

MsrList FakeVcpu::PutMsrList(uint64_t address, const std::vector<MsrListEntry>& entries) {
  for (size_t n = 0; n < entries.size(); ++n) {
    memory.Poke(address + n * sizeof(MsrListEntry), entries[n]);
  }
  return {GuestPhysicalAddress{address}, static_cast<uint32_t>(entries.size())};
}

void FakeVcpu::Exit(ExitReason reason, uint64_t qualification) {
  VmcsImage& image = vmcs.current_image();
  image.Set<VmcsField::kExitReason>(static_cast<uint64_t>(reason));
  image.Set<VmcsField::kExitQualification>(qualification);
  image.Set<VmcsField::kVmExitInterruptionInformation>(0);
  image.Set<VmcsField::kVmEntryInterruptionInformation>(
      image.Get<VmcsField::kVmEntryInterruptionInformation>() & ~InterruptionInformation::kValid);
  HandleVmExit(vcpu(), RawExit::FromHardware(vmcs.Current()));
}

void FakeVcpu::NmiExit() {
  VmcsImage& image = vmcs.current_image();
  image.Set<VmcsField::kExitReason>(static_cast<uint64_t>(ExitReason::kExceptionOrNmi));
  image.Set<VmcsField::kVmExitInterruptionInformation>(InterruptionInformation::Nmi().value());
  image.Set<VmcsField::kVmEntryInterruptionInformation>(
      image.Get<VmcsField::kVmEntryInterruptionInformation>() & ~InterruptionInformation::kValid);
  cpu.SetNmiBlocked(true);
  HandleVmExit(vcpu(), RawExit::FromHardware(vmcs.Current()));
}

VmxOutcome FakeVcpu::Execute(ExitReason instruction, const InstructionOperands& operands) {
  VmcsImage& l1 = vmcs.vmcs01();
  const uint64_t rip = l1.Get<VmcsField::kGuestRip>();
  l1.Set<VmcsField::kVmExitInstructionLength>(kInstructionLength);
  l1.Set<VmcsField::kVmExitInstructionInformation>(operands.InstructionInformation());
  Exit(instruction, operands.displacement);
  const InterruptionInformation event(l1.Get<VmcsField::kVmEntryInterruptionInformation>());
  if (event.valid()) {
    EXPECT_EQ(event.type(), InterruptionType::kHardwareException);
    EXPECT_EQ(l1.Get<VmcsField::kGuestRip>(), rip);
    return VmxOutcome::Fault(static_cast<Vector>(event.vector()),
                             l1.Get<VmcsField::kVmEntryExceptionErrorCode>());
  }
  EXPECT_EQ(l1.Get<VmcsField::kGuestRip>(), rip + kInstructionLength);
  const uint64_t flags = l1.Get<VmcsField::kGuestRflags>() & Rflags::kArithmetic;
  if (flags == Rflags::kCf) return VmxOutcome::FailInvalid();
  if (flags == Rflags::kZf) {
    return VmxOutcome::FailValid(
        static_cast<VmInstructionError>(state.vmcs12.Get<VmcsField::kVmInstructionError>()));
  }
  EXPECT_EQ(flags, 0u);
  return VmxOutcome::Succeed();
}

VmxOutcome FakeVcpu::ExecuteWithPointer(ExitReason instruction, uint64_t pointer) {
  memory.Poke(kOperand, pointer);
  return Execute(instruction, {.displacement = kOperand});
}

void FakeVcpu::OthersAnswerQuiesce() {
  cpu.WhileWaiting([this](const SpinCondition& condition) {
    FakeCpu other(cpu.Index() + 1, log);
    QuiesceCells& cells = system.quiesce;
    for (Shared* cell : {&cells.acknowledged, &cells.resumed}) {
      if (condition.cell == cell) cell->Store(other, condition.wanted);
    }
  });
}

}  // namespace nvmx
