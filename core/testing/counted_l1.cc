// SPDX-License-Identifier: Apache-2.0
#include "core/testing/counted_l1.h"

#include <cstring>

#include "core/nested/hypervisor.h"
#include "core/testing/core_objects.h"
#include "core/vmx/ept.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/rflags.h"

namespace nvmx {
namespace {

constexpr GeneralRegister kValue = GeneralRegister::kRbx;
constexpr GeneralRegister kEncoding = GeneralRegister::kRcx;
constexpr GeneralRegister kType = GeneralRegister::kRdx;

}  // namespace

CountedL1::CountedL1(const std::function<void(FakeVcpu&)>& prepare)
    : vcpu{{cpu, vmcs, memory, apic, clock, trace},
           system,
           own,
           state,
           CoreQuiesce(),
           CoreChoreography(),
           CoreEmbedder()} {
  FakeVcpu fake;
  prepare(fake);
  state = fake.state;
  host_pages = fake.host_pages;
  vcpu.host_pages = {host_pages, FakeVcpu::kHostPages};
  vmcs.image(VmcsRole::kVmcs01) = fake.vmcs.vmcs01();
  vmcs.image(VmcsRole::kVmcs02) = fake.vmcs.vmcs02();
  if (fake.vmcs.Current() == VmcsRole::kVmcs02) vmcs.MakeCurrent(VmcsRole::kVmcs02);
  for (uint64_t page = 0; page < FakeVcpu::kMemorySize; page += kPageSize) {
    const auto contents = fake.memory.Peek<std::array<std::byte, kPageSize>>(page);
    std::memcpy(memory.bytes().data() + page, contents.data(), kPageSize);
  }
  for (const auto& [msr, value] : fake.cpu.msrs()) cpu.WriteMsr(msr, value);
  calls = {};
}

void CountedL1::Exit(ExitReason reason, uint64_t qualification) {
  VmcsImage& image = vmcs.current_image();
  image.Set<VmcsField::kExitReason>(static_cast<uint64_t>(reason));
  image.Set<VmcsField::kExitQualification>(qualification);
  image.Set<VmcsField::kVmExitInterruptionInformation>(0);
  image.Set<VmcsField::kVmExitInstructionLength>(FakeVcpu::kInstructionLength);
  image.Set<VmcsField::kVmEntryInterruptionInformation>(
      image.Get<VmcsField::kVmEntryInterruptionInformation>() & ~InterruptionInformation::kValid);
  // The code that L1 runs is short, and begins again.
  image.Set<VmcsField::kGuestRip>(FakeVcpu::kRip);
  HandleVmExit(vcpu, RawExit::FromHardware(vmcs.Current()));
}

void CountedL1::ViolateEpt(uint64_t guest_physical) {
  VmcsImage& image = vmcs.current_image();
  image.Set<VmcsField::kGuestPhysicalAddress>(guest_physical);
  image.Set<VmcsField::kGuestLinearAddress>(guest_physical);
  Exit(ExitReason::kEptViolation,
       EptViolation::kRead | EptViolation::kLinearAddressValid | EptViolation::kToFinalAddress);
}

void CountedL1::SetOperand(uint64_t offset, uint64_t value) {
  std::memcpy(memory.bytes().data() + FakeVcpu::kOperand + offset, &value, sizeof value);
}

void CountedL1::ExecuteInRegister(ExitReason instruction, VmcsField field) {
  state.registers[static_cast<size_t>(kEncoding)] = static_cast<uint64_t>(field);
  const InstructionOperands operands{
      .in_register = true, .register1 = kValue, .register2 = kEncoding};
  vmcs.current_image().Set<VmcsField::kVmExitInstructionInformation>(
      operands.InstructionInformation());
  Exit(instruction);
}

void CountedL1::Vmread(VmcsField field) { ExecuteInRegister(ExitReason::kVmread, field); }

void CountedL1::Vmwrite(VmcsField field, uint64_t value) {
  state.registers[static_cast<size_t>(kValue)] = value;
  ExecuteInRegister(ExitReason::kVmwrite, field);
}

uint64_t CountedL1::vmread_result() const { return state.registers[static_cast<size_t>(kValue)]; }

void CountedL1::WithPointer(ExitReason instruction, uint64_t pointer) {
  SetOperand(0, pointer);
  vmcs.current_image().Set<VmcsField::kVmExitInstructionInformation>(
      InstructionOperands{.register2 = kType}.InstructionInformation());
  Exit(instruction, FakeVcpu::kOperand);
}

void CountedL1::Invept(uint64_t eptp) {
  constexpr uint64_t kSingleContext = 1;
  state.registers[static_cast<size_t>(kType)] = kSingleContext;
  SetOperand(sizeof(uint64_t), 0);
  WithPointer(ExitReason::kInvept, eptp);
}

bool CountedL1::Succeeded() {
  const VmcsImage& l1 = vmcs.image(VmcsRole::kVmcs01);
  return (l1.Get<VmcsField::kGuestRflags>() & Rflags::kArithmetic) == 0 &&
         !InterruptionInformation(l1.Get<VmcsField::kVmEntryInterruptionInformation>()).valid();
}

}  // namespace nvmx
