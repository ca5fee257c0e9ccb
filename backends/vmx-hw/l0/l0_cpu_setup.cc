// SPDX-License-Identifier: Apache-2.0
//
// How a CPU of L0 comes into VMX operation.
#include "backends/vmx-hw/l0/enter_guest.h"
#include "backends/vmx-hw/l0/l0_cpu.h"
#include "backends/vmx-hw/l0/vmx_instructions.h"
#include "backends/vmx-hw/machine/console.h"
#include "backends/vmx-hw/machine/cpu_instructions.h"
#include "backends/vmx-hw/machine/cpus.h"
#include "backends/vmx-hw/machine/power.h"
#include "core/nested/init_sipi.h"
#include "core/nested/offered_capabilities.h"
#include "core/nested/vmcs01.h"
#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"
#include "core/x86/msr.h"

namespace nvmx::metal {
namespace {

constexpr uint32_t kXsave = 1U << 26;

void WriteRevision(void* region, const Capabilities& hardware) {
  *static_cast<uint32_t*>(region) =
      static_cast<uint32_t>(hardware.basic & VmxBasic::kRevisionIdentifier);
}

// SDM Vol. 3C, 24.7, 24.8.
void AllowVmx(const Capabilities& hardware) {
  const uint64_t feature_control = metal::ReadMsr(Index(Msr::IA32_FEATURE_CONTROL));
  if ((feature_control & FeatureControl::kLock) == 0) {
    metal::WriteMsr(Index(Msr::IA32_FEATURE_CONTROL),
                    feature_control | FeatureControl::kEnableVmxOutsideSmx | FeatureControl::kLock);
  }
  WriteCr0((ReadCr0() | hardware.cr0_fixed0) & hardware.cr0_fixed1);
  uint64_t cr4 = ReadCr4() | Cr4::kVmxe;
  // L1's XCR0 is written by L0.
  if ((metal::Cpuid(1).ecx & kXsave) != 0) cr4 |= Cr4::kOsxsave;
  WriteCr4((cr4 | hardware.cr4_fixed0) & hardware.cr4_fixed1);
}

}  // namespace

void L0Cpu::EnterVmxOperation(const Capabilities& hardware, const MtrrSettings& memory_types) {
  hardware_ = hardware;
  InitializeVcpuState(state_, OfferedCapabilities(hardware));
  state_.mtrr = memory_types;
  AllowVmx(hardware);
  const uint64_t vmxon_region = shared_.layout.VmxOffset(index_);
  WriteRevision(shared_.layout.At<void>(vmxon_region), hardware);
  if (!Vmxon(shared_.layout.PhysicalOf(vmxon_region))) {
    metal::Write(Text() << "L0: CPU " << index_ << ":\n");
    Stop("VMXON fails; is another hypervisor active?");
  }
  if (hardware.SupportsSecondary(Secondary::kVmcsShadowing)) InitializeVmcs(VmcsRole::kShadow);
  InitializeVmcs(VmcsRole::kVmcs02);
  InitializeVmcs(VmcsRole::kVmcs01);

  InitializeVmcs01Controls(vcpu_);
  InterceptIcr();
  Write(VmcsField::kSecondaryProcessorBasedControls,
        Read(VmcsField::kSecondaryProcessorBasedControls) | Secondary::kEnableEpt |
            Secondary::kUnrestrictedGuest);
  Write(VmcsField::kEptPointer, shared_.ept01.pointer());
  Write(VmcsField::kGuestIa32Pat, metal::ReadMsr(nvmx::Index(Msr::IA32_PAT)));
  // As INIT leaves a CPU: in wait-for-SIPI.
  HandleInitOfL1(vcpu_);
  DeliverLatchedInit(vcpu_);
}

void L0Cpu::InitializeVmcs(VmcsRole role) {
  auto* region = shared_.layout.At<uint32_t>(VmcsOffset(role));
  WriteRevision(region, hardware_);
  if (role == VmcsRole::kShadow) *region |= kShadowVmcsIndicator;
  if (!Vmclear(shared_.layout.PhysicalOf(VmcsOffset(role)))) Panic("VMCLEAR fails");
  MakeCurrent(role);
  // What a VMCS holds at first is not defined. Fields that are absent or cannot be written refuse.
  constexpr VmcsField kFields[] = {
#define NVMX_VMCS_FIELD(field, encoding, name, existence, policy) VmcsField::field,
#include "core/vmx/vmcs_fields.def"
#undef NVMX_VMCS_FIELD
  };
  for (VmcsField field : kFields) Vmwrite(static_cast<uint32_t>(field), 0);
  Write(VmcsField::kVmcsLinkPointer, kNoVmcs);
  if (role != VmcsRole::kShadow) WriteHostState();
}

void L0Cpu::WriteHostState() {
  const struct {
    VmcsField field;
    uint64_t value;
  } kState[] = {
      {VmcsField::kHostCsSelector, kCodeSelector},
      {VmcsField::kHostSsSelector, kDataSelector},
      {VmcsField::kHostDsSelector, kDataSelector},
      {VmcsField::kHostEsSelector, kDataSelector},
      {VmcsField::kHostTrSelector, kTssSelector},
      {VmcsField::kHostCr0, ReadCr0()},
      {VmcsField::kHostCr3, ReadCr3()},
      {VmcsField::kHostCr4, ReadCr4()},
      {VmcsField::kHostGsBase, reinterpret_cast<uintptr_t>(&CpuAt(index_))},
      {VmcsField::kHostTrBase, TssBaseOf(index_)},
      {VmcsField::kHostGdtrBase, GdtBaseOf(index_)},
      {VmcsField::kHostIdtrBase, IdtBase()},
      {VmcsField::kHostIa32Pat, metal::ReadMsr(nvmx::Index(Msr::IA32_PAT))},
      {VmcsField::kHostIa32Efer, metal::ReadMsr(nvmx::Index(Msr::IA32_EFER))},
      {VmcsField::kHostRip, reinterpret_cast<uintptr_t>(&GuestExit)},
  };
  for (const auto& row : kState) Write(row.field, row.value);
}

}  // namespace nvmx::metal
