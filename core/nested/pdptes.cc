// SPDX-License-Identifier: Apache-2.0
#include "core/nested/pdptes.h"

#include <algorithm>

#include "core/vmx/controls.h"
#include "core/x86/address.h"
#include "core/x86/control_registers.h"

namespace nvmx {
namespace {

constexpr std::array<VmcsField, 4> kFields = {VmcsField::kGuestPdpte0, VmcsField::kGuestPdpte1,
                                              VmcsField::kGuestPdpte2, VmcsField::kGuestPdpte3};

bool UsesEpt(Vmcs& vmcs) {
  return (vmcs.Read(VmcsField::kPrimaryProcessorBasedControls) &
          PrimaryProcessorBased::kActivateSecondaryControls) != 0 &&
         (vmcs.Read(VmcsField::kSecondaryProcessorBasedControls) & Secondary::kEnableEpt) != 0;
}

bool L1UsesEpt(const VmcsImage& vmcs12) {
  return (vmcs12.Get<VmcsField::kPrimaryProcessorBasedControls>() &
          PrimaryProcessorBased::kActivateSecondaryControls) != 0 &&
         (vmcs12.Get<VmcsField::kSecondaryProcessorBasedControls>() & Secondary::kEnableEpt) != 0;
}

bool UsesPaePaging(const VmcsImage& vmcs12) {
  const bool ia32e_mode =
      (vmcs12.Get<VmcsField::kVmEntryControls>() & VmEntry::kIa32eModeGuest) != 0;
  return nvmx::UsesPaePaging(vmcs12.Get<VmcsField::kGuestCr0>(), vmcs12.Get<VmcsField::kGuestCr4>(),
                             ia32e_mode);
}

}  // namespace

bool UsesPaePaging(uint64_t cr0, uint64_t cr4, bool ia32e_mode) {
  return (cr0 & Cr0::kPg) != 0 && (cr4 & Cr4::kPae) != 0 && !ia32e_mode;
}

bool AreValidPdptes(const Pdptes& pdptes, unsigned physical_address_width) {
  const uint64_t reserved = Pdpte::kReserved | ~PhysicalAddressMask(physical_address_width);
  for (uint64_t pdpte : pdptes) {
    if ((pdpte & Pdpte::kPresent) != 0 && (pdpte & reserved) != 0) return false;
  }
  return true;
}

Pdptes ReadPdptes(Vcpu& vcpu, uint64_t cr3) {
  constexpr uint64_t kTable = 0xFFFFFFE0;
  Pdptes pdptes;
  pdptes.fill(~uint64_t{0});
  vcpu.ports.memory.ReadValue(GuestPhysicalAddress{cr3 & kTable}, pdptes);
  return pdptes;
}

Pdptes PdptesOfGuest(Vcpu& vcpu) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  if (!UsesEpt(vmcs)) return ReadPdptes(vcpu, vmcs.Read(VmcsField::kGuestCr3));
  Pdptes pdptes;
  for (size_t n = 0; n < kFields.size(); ++n) pdptes[n] = vmcs.Read(kFields[n]);
  return pdptes;
}

std::optional<Pdptes> PdptesOfVmcs12(Vcpu& vcpu) {
  const VmcsImage& vmcs12 = vcpu.state.vmcs12;
  if (!UsesPaePaging(vmcs12)) return std::nullopt;
  if (!L1UsesEpt(vmcs12)) return ReadPdptes(vcpu, vmcs12.Get<VmcsField::kGuestCr3>());
  Pdptes pdptes;
  for (size_t n = 0; n < kFields.size(); ++n) pdptes[n] = vmcs12.Read(kFields[n]);
  return pdptes;
}

bool IsPdpteField(VmcsField field) {
  return std::find(kFields.begin(), kFields.end(), field) != kFields.end();
}

void SavePdptesToVmcs12(Vcpu& vcpu) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  VmcsImage& vmcs12 = vcpu.state.vmcs12;
  if (!L1UsesEpt(vmcs12) || !UsesPaePaging(vmcs12)) return;
  for (VmcsField field : kFields) vmcs12.Write(field, vmcs.Read(field));
}

void WritePdpteFields(Vcpu& vcpu, const Pdptes& pdptes) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  if (!UsesEpt(vmcs)) return;
  for (size_t n = 0; n < kFields.size(); ++n) vmcs.Write(kFields[n], pdptes[n]);
}

}  // namespace nvmx
