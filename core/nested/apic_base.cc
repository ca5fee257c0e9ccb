// SPDX-License-Identifier: Apache-2.0
#include "core/nested/apic_base.h"

#include "core/nested/hardware_address.h"
#include "core/vmx/ept.h"
#include "core/x86/msr.h"

namespace nvmx {
namespace {

constexpr uint32_t kMsr = Index(Msr::IA32_APIC_BASE);

bool MayLieAt(const Vcpu& vcpu, uint64_t value) {
  const auto width = static_cast<unsigned>(vcpu.state.offered.physical_address_width);
  const uint64_t address_mask = PhysicalAddressMask(width);
  const uint64_t page = PageBase(value & address_mask);
  // Where it lies it may stay, even if EPT01 guards the registers.
  const std::optional<uint64_t> old = vcpu.ports.cpu.ReadMsr(kMsr);
  if (old && PageBase(*old & address_mask) == page) return true;
  const std::optional<PhysicalAddress> address =
      TranslateForHardware(vcpu, GuestPhysicalAddress{page}, EptEntry::kRead | EptEntry::kWrite);
  return address && address->value == page;
}

}  // namespace

std::optional<uint64_t> ReadApicBase(Vcpu& vcpu) {
  std::optional<uint64_t> value = vcpu.ports.cpu.ReadMsr(kMsr);
  if (value && vcpu.state.apic_is_off_for_l1 != 0) *value &= ~ApicBase::kEnable;
  return value;
}

bool WriteApicBase(Vcpu& vcpu, uint64_t value) {
  Cpu& cpu = vcpu.ports.cpu;
  const bool off = (value & ApicBase::kEnable) == 0;
  // From "disabled" there is no way into x2APIC mode; the processor's APIC is not disabled.
  if (vcpu.state.apic_is_off_for_l1 != 0 && (value & ApicBase::kEnableX2Apic) != 0) return false;
  if (!MayLieAt(vcpu, value) || !cpu.WriteMsr(kMsr, value)) return false;
  vcpu.state.apic_is_off_for_l1 = off ? 1 : 0;
  // Off and on again: that is how the processor leaves x2APIC mode.
  if (off) cpu.WriteMsr(kMsr, value | ApicBase::kEnable);
  return true;
}

}  // namespace nvmx
