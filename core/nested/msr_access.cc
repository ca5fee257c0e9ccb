// SPDX-License-Identifier: Apache-2.0
#include "core/nested/msr_access.h"

#include "core/nested/apic_base.h"
#include "core/nested/msr_kinds.h"
#include "core/nested/mtrr_virtualization.h"
#include "core/nested/offered_capabilities.h"
#include "core/nested/preemption_timer.h"
#include "core/nested/tsc.h"
#include "core/nested/vmcs02_controls.h"
#include "core/x86/address.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/memory_type.h"
#include "core/x86/msr.h"

namespace nvmx {
namespace {

// SDM Vol. 4, Table 2-2 "IA-32 Architectural MSRs", IA32_EFER; Vol. 3A, 5.1.1 "Enabling paging":
// LME cannot change while paging is on. LMA is read-only and ignored.
bool WriteEfer(Vcpu& vcpu, uint64_t value) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  const uint64_t old = vmcs.Read(VmcsField::kGuestIa32Efer);
  if ((value & ~OfferedEfer(vcpu.state.offered)) != 0) return false;
  const bool paging = (vmcs.Read(VmcsField::kGuestCr0) & Cr0::kPg) != 0;
  if (paging && ((value ^ old) & Efer::kLme) != 0) return false;
  vmcs.Write(VmcsField::kGuestIa32Efer, (value & ~Efer::kLma) | (old & Efer::kLma));
  return true;
}

bool IsValidSwitchedValue(const Capabilities& capabilities, uint32_t msr, uint64_t value) {
  switch (static_cast<Msr>(msr)) {
    case Msr::IA32_PAT:
      return IsValidPat(value);
    case Msr::IA32_DEBUGCTL:
      return (value & ~DebugCtl::kArchitectural) == 0;
    case Msr::IA32_SYSENTER_ESP:
    case Msr::IA32_SYSENTER_EIP:
    case Msr::IA32_FS_BASE:
    case Msr::IA32_GS_BASE:
      return IsCanonical(value, static_cast<unsigned>(capabilities.linear_address_width));
    default:
      return true;
  }
}

// A capability MSR that reads 0 belongs to controls that are not offered: such an MSR does not
// exist for L1.
std::optional<uint64_t> ReadVmxCapability(const Capabilities& offered, uint32_t msr) {
  const std::optional<uint64_t> value = offered.Read(msr);
  return value == uint64_t{0} ? std::nullopt : value;
}

// An MSR list reads L1's counter.
uint64_t TscOfL1(Vcpu& vcpu) {
  const Vmcs01Inputs& inputs = vcpu.state.vmcs01_inputs;
  return TscView{inputs.tsc_multiplier, inputs.tsc_offset}.Read(vcpu.ports.clock.ReadTsc());
}

TscView TscViewOfCurrentVmcs(Vcpu& vcpu) {
  const Vmcs01Inputs inputs = ReadVmcs01Inputs(vcpu);
  return {inputs.tsc_multiplier, inputs.tsc_offset};
}

std::optional<uint64_t> ReadEmulatedMsr(Vcpu& vcpu, uint32_t msr) {
  switch (static_cast<Msr>(msr)) {
    case Msr::IA32_TIME_STAMP_COUNTER:
      return TscOfL1(vcpu);
    case Msr::IA32_APIC_BASE:
      return ReadApicBase(vcpu);
    case Msr::IA32_FEATURE_CONTROL:
      return FeatureControl::kLock | FeatureControl::kEnableVmxOutsideSmx;
    case Msr::IA32_BIOS_UPDT_TRIG:
      return std::nullopt;  // write-only
    case Msr::IA32_MTRRCAP:
      return kMtrrCap;
    default:
      break;
  }
  if (MtrrSettings::IsMtrr(msr)) return vcpu.state.mtrr.Read(msr);
  return ReadVmxCapability(vcpu.state.offered, msr);
}

bool WriteEmulatedMsr(Vcpu& vcpu, uint32_t msr, uint64_t value) {
  if (MtrrSettings::IsMtrr(msr)) return WriteMtrr(vcpu, msr, value);
  switch (static_cast<Msr>(msr)) {
    case Msr::IA32_TIME_STAMP_COUNTER:
      return WriteTscBesidePreemptionTimer(vcpu, value);
    case Msr::IA32_APIC_BASE:
      return WriteApicBase(vcpu, value);
    case Msr::IA32_BIOS_UPDT_TRIG:
      return true;  // An update that does nothing: a guest does not change the processor under L0.
    default:
      return false;  // MTRRCAP, the VMX capabilities, and a locked IA32_FEATURE_CONTROL are
                     // read-only.
  }
}

}  // namespace

std::optional<uint64_t> ReadGuestMsr(Vcpu& vcpu, uint32_t msr) {
  switch (KindOfMsr(msr)) {
    case MsrKind::kSwitched:
      return vcpu.ports.vmcs.Read(*SwitchedMsrField(msr));
    case MsrKind::kEmulated:
      return ReadEmulatedMsr(vcpu, msr);
    case MsrKind::kAbsent:
      return std::nullopt;
    case MsrKind::kShared:
      break;
  }
  return vcpu.ports.cpu.ReadMsr(msr);
}

std::optional<uint64_t> ReadMsrAsInstruction(Vcpu& vcpu, uint32_t msr) {
  if (msr == Index(Msr::IA32_TIME_STAMP_COUNTER)) {
    return TscViewOfCurrentVmcs(vcpu).Read(vcpu.ports.clock.ReadTsc());
  }
  return ReadGuestMsr(vcpu, msr);
}

bool WriteGuestMsr(Vcpu& vcpu, uint32_t msr, uint64_t value) {
  switch (KindOfMsr(msr)) {
    case MsrKind::kSwitched:
      if (msr == Index(Msr::IA32_EFER)) return WriteEfer(vcpu, value);
      if (!IsValidSwitchedValue(vcpu.state.offered, msr, value)) return false;
      vcpu.ports.vmcs.Write(*SwitchedMsrField(msr), value);
      return true;
    case MsrKind::kEmulated:
      return WriteEmulatedMsr(vcpu, msr, value);
    case MsrKind::kAbsent:
      return false;
    case MsrKind::kShared:
      break;
  }
  return vcpu.ports.cpu.WriteMsr(msr, value);
}

}  // namespace nvmx
