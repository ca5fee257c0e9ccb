// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/hardware.h"

#include <algorithm>

#include "backends/vmx-hw/machine/cpu_instructions.h"
#include "core/vmx/controls.h"
#include "core/x86/msr.h"

namespace nvmx::metal {
namespace {

constexpr uint32_t kAddressWidthLeaf = 0x80000008;
constexpr uint32_t kStructuredFeaturesLeaf = 7;
constexpr uint32_t kLa57 = 1U << 16;
constexpr uint32_t kVmx = 1U << 5;

uint64_t ReadIfThere(Msr msr) { return TryReadMsr(Index(msr)).value_or(0); }

}  // namespace

bool HasVmx() { return (Cpuid(1).ecx & kVmx) != 0; }

Capabilities ReadCapabilities() {
  Capabilities c;
  c.basic = ReadIfThere(Msr::IA32_VMX_BASIC);
  c.pinbased_ctls = ReadIfThere(Msr::IA32_VMX_PINBASED_CTLS);
  c.procbased_ctls = ReadIfThere(Msr::IA32_VMX_PROCBASED_CTLS);
  c.exit_ctls = ReadIfThere(Msr::IA32_VMX_EXIT_CTLS);
  c.entry_ctls = ReadIfThere(Msr::IA32_VMX_ENTRY_CTLS);
  c.misc = ReadIfThere(Msr::IA32_VMX_MISC);
  c.cr0_fixed0 = ReadIfThere(Msr::IA32_VMX_CR0_FIXED0);
  c.cr0_fixed1 = ReadIfThere(Msr::IA32_VMX_CR0_FIXED1);
  c.cr4_fixed0 = ReadIfThere(Msr::IA32_VMX_CR4_FIXED0);
  c.cr4_fixed1 = ReadIfThere(Msr::IA32_VMX_CR4_FIXED1);
  c.vmcs_enum = ReadIfThere(Msr::IA32_VMX_VMCS_ENUM);
  c.procbased_ctls2 = ReadIfThere(Msr::IA32_VMX_PROCBASED_CTLS2);
  c.ept_vpid_cap = ReadIfThere(Msr::IA32_VMX_EPT_VPID_CAP);
  c.true_pinbased_ctls = ReadIfThere(Msr::IA32_VMX_TRUE_PINBASED_CTLS);
  c.true_procbased_ctls = ReadIfThere(Msr::IA32_VMX_TRUE_PROCBASED_CTLS);
  c.true_exit_ctls = ReadIfThere(Msr::IA32_VMX_TRUE_EXIT_CTLS);
  c.true_entry_ctls = ReadIfThere(Msr::IA32_VMX_TRUE_ENTRY_CTLS);
  c.vmfunc = ReadIfThere(Msr::IA32_VMX_VMFUNC);
  c.procbased_ctls3 = ReadIfThere(Msr::IA32_VMX_PROCBASED_CTLS3);
  c.exit_ctls2 = ReadIfThere(Msr::IA32_VMX_EXIT_CTLS2);
  c.physical_address_width = Cpuid(kAddressWidthLeaf).eax & 0xFF;
#ifndef __x86_64__
  // A host outside IA-32e mode has no guest in it.
  constexpr uint64_t kExit = uint64_t{VmExit::kHostAddressSpaceSize} << 32;
  constexpr uint64_t kEntry = uint64_t{VmEntry::kIa32eModeGuest} << 32;
  c.exit_ctls &= ~kExit;
  c.true_exit_ctls &= ~kExit;
  c.entry_ctls &= ~kEntry;
  c.true_entry_ctls &= ~kEntry;
#endif
  c.linear_address_width = (Cpuid(kStructuredFeaturesLeaf).ecx & kLa57) != 0 ? 57 : 48;
  return c;
}

MtrrSettings ReadMtrrs() {
  MtrrSettings m;
  const uint64_t capability = ReadIfThere(Msr::IA32_MTRRCAP);
  const auto variable =
      std::min<uint64_t>(capability & MtrrCap::kVcnt, uint64_t{kVariableMtrrCount});
  constexpr uint32_t kFirstFixed = Index(Msr::IA32_MTRR_FIX64K_00000);
  constexpr uint32_t kLastFixed = Index(Msr::IA32_MTRR_FIX4K_F8000);
  for (uint32_t msr = kFirstFixed; (capability & MtrrCap::kFix) != 0 && msr <= kLastFixed; ++msr) {
    if (MtrrSettings::IsMtrr(msr)) m.Write(msr, TryReadMsr(msr).value_or(0));
  }
  for (unsigned n = 0; n < variable; ++n) {
    m.Write(Index(MtrrPhysBase(n)), ReadIfThere(MtrrPhysBase(n)));
    m.Write(Index(MtrrPhysMask(n)), ReadIfThere(MtrrPhysMask(n)));
  }
  m.Write(Index(Msr::IA32_MTRR_DEF_TYPE), ReadIfThere(Msr::IA32_MTRR_DEF_TYPE));
  return m;
}

}  // namespace nvmx::metal
