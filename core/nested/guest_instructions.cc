// SPDX-License-Identifier: Apache-2.0
#include "core/nested/guest_instructions.h"

#include <optional>

#include "core/nested/embedder.h"
#include "core/nested/event_injection.h"
#include "core/nested/msr_access.h"
#include "core/nested/mtrr_virtualization.h"
#include "core/nested/offered_cpuid.h"
#include "core/x86/exception.h"

namespace nvmx {
namespace {

using enum GeneralRegister;

constexpr uint64_t kLow32 = 0xFFFFFFFF;

uint32_t Low32(Vcpu& vcpu, GeneralRegister name) {
  return static_cast<uint32_t>(ReadRegister(vcpu, name));
}

void RaiseGeneralProtection(Vcpu& vcpu) {
  RaiseFault(vcpu, VmxOutcome::Fault(Vector::kGeneralProtection));
}

void FinishCpuid(Vcpu& vcpu, const CpuidRegisters& result) {
  WriteRegister(vcpu, kRax, result.eax);
  WriteRegister(vcpu, kRbx, result.ebx);
  WriteRegister(vcpu, kRcx, result.ecx);
  WriteRegister(vcpu, kRdx, result.edx);
  FinishInstruction(vcpu);
}

}  // namespace

uint64_t ReadRegister(Vcpu& vcpu, GeneralRegister name) {
  if (name == kRsp) return vcpu.ports.vmcs.Read(VmcsField::kGuestRsp);
  return vcpu.state.registers[static_cast<size_t>(name)];
}

void WriteRegister(Vcpu& vcpu, GeneralRegister name, uint64_t value) {
  if (name == kRsp) {
    vcpu.ports.vmcs.Write(VmcsField::kGuestRsp, value);
    return;
  }
  vcpu.state.registers[static_cast<size_t>(name)] = value;
}

void FinishInstruction(Vcpu& vcpu, std::optional<uint64_t> length) {
  if (vcpu.state.operation == VmxOperation::kNonRoot) {
    RetireInstructionOfL2(vcpu, length);
  } else {
    RetireInstruction(vcpu, length);
  }
}

void EmulateRdmsr(Vcpu& vcpu) {
  const std::optional<uint64_t> value = ReadMsrAsInstruction(vcpu, Low32(vcpu, kRcx));
  if (!value) {
    RaiseGeneralProtection(vcpu);
    return;
  }
  WriteRegister(vcpu, kRax, *value & kLow32);
  WriteRegister(vcpu, kRdx, *value >> 32);
  FinishInstruction(vcpu);
}

void EmulateWrmsr(Vcpu& vcpu) {
  const uint64_t value = Low32(vcpu, kRax) | ReadRegister(vcpu, kRdx) << 32;
  if (!WriteGuestMsr(vcpu, Low32(vcpu, kRcx), value)) {
    RaiseGeneralProtection(vcpu);
    return;
  }
  CommitMemoryTypes(vcpu);
  FinishInstruction(vcpu);
}

void EmulateCpuidOfL1(Vcpu& vcpu) {
  const uint32_t leaf = Low32(vcpu, kRax);
  const uint32_t subleaf = Low32(vcpu, kRcx);
  const std::optional<CpuidRegisters> answer =
      vcpu.embedder.AnswerCpuid(vcpu, GuestLevel::kL1, leaf, subleaf);
  FinishCpuid(vcpu, answer ? *answer : OfferedCpuid(vcpu, leaf, subleaf));
}

bool EmulateCpuidOfL2(Vcpu& vcpu) {
  const std::optional<CpuidRegisters> answer =
      vcpu.embedder.AnswerCpuid(vcpu, GuestLevel::kL2, Low32(vcpu, kRax), Low32(vcpu, kRcx));
  if (!answer) return false;
  FinishCpuid(vcpu, *answer);
  return true;
}

}  // namespace nvmx
