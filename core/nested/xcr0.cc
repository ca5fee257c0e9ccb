// SPDX-License-Identifier: Apache-2.0
#include "core/nested/xcr0.h"

#include "core/nested/event_injection.h"
#include "core/nested/guest_instructions.h"
#include "core/nested/vmcs01.h"
#include "core/nested/vmx_instruction_checks.h"
#include "core/x86/control_registers.h"

namespace nvmx {
namespace {

// SDM Vol. 3A, 2.6 "Extended Control Registers (Including XCR0)".
struct Xcr0 {
  static constexpr uint64_t kX87 = uint64_t{1} << 0;
  static constexpr uint64_t kSse = uint64_t{1} << 1;
  static constexpr uint64_t kAvx = uint64_t{1} << 2;
  static constexpr uint64_t kMpx = uint64_t{3} << 3;
  static constexpr uint64_t kAvx512 = uint64_t{7} << 5;
  static constexpr uint64_t kAmx = uint64_t{3} << 17;
};

// All of them or none.
bool AreTogether(uint64_t value, uint64_t bits) {
  return (value & bits) == 0 || (value & bits) == bits;
}

bool Implies(uint64_t value, uint64_t bits, uint64_t needed) {
  return (value & bits) == 0 || (value & needed) == needed;
}

}  // namespace

bool IsValidXcr0(uint64_t value, uint64_t supported) {
  return (value & Xcr0::kX87) != 0 && (value & ~supported) == 0 &&
         Implies(value, Xcr0::kAvx, Xcr0::kSse) && Implies(value, Xcr0::kAvx512, Xcr0::kAvx) &&
         AreTogether(value, Xcr0::kMpx) && AreTogether(value, Xcr0::kAvx512) &&
         AreTogether(value, Xcr0::kAmx);
}

void EmulateXsetbvOfL1(Vcpu& vcpu) {
  constexpr uint64_t kLow32 = 0xFFFFFFFF;
  constexpr uint32_t kXcr0 = 0;
  constexpr uint32_t kXsaveLeaf = 0xD;
  if ((ReadL1Cr4(vcpu) & Cr4::kOsxsave) == 0) {
    RaiseFault(vcpu, Undefined());
    return;
  }
  const CpuidRegisters leaf = vcpu.ports.cpu.Cpuid(kXsaveLeaf, 0);
  const uint64_t supported = uint64_t{leaf.edx} << 32 | leaf.eax;
  const uint64_t value = (ReadRegister(vcpu, GeneralRegister::kRax) & kLow32) |
                         ReadRegister(vcpu, GeneralRegister::kRdx) << 32;
  if (CurrentPrivilegeLevel(vcpu) != 0 ||
      (ReadRegister(vcpu, GeneralRegister::kRcx) & kLow32) != kXcr0 ||
      !IsValidXcr0(value, supported)) {
    RaiseFault(vcpu, GeneralProtection());
    return;
  }
  vcpu.ports.cpu.WriteXcr0(value);
  FinishInstruction(vcpu);
}

}  // namespace nvmx
