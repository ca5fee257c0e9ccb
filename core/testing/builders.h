// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_TESTING_BUILDERS_H_
#define NVMX_CORE_TESTING_BUILDERS_H_

#include "core/vmx/capabilities.h"
#include "core/vmx/vmcs_image.h"

namespace nvmx {

// The VMX capability MSRs of a Skylake CPU.
constexpr Capabilities BuildHardwareCapabilities() {
  Capabilities cpu;
  cpu.basic = 0x00DA'0400'0000'0004;
  cpu.pinbased_ctls = 0x0000'007F'0000'0016;
  cpu.procbased_ctls = 0xFFF9'FFFE'0401'E172;
  cpu.exit_ctls = 0x01FF'FFFF'0003'6DFF;
  cpu.entry_ctls = 0x0003'FFFF'0000'11FF;
  cpu.misc = 0x0000'0000'7004'C1E7;
  cpu.cr0_fixed0 = 0x0000'0000'8000'0021;
  cpu.cr0_fixed1 = 0x0000'0000'FFFF'FFFF;
  cpu.cr4_fixed0 = 0x0000'0000'0000'2000;
  cpu.cr4_fixed1 = 0x0000'0000'0037'27FF;
  cpu.procbased_ctls2 = 0x021F'FCFF'0000'0000;
  cpu.ept_vpid_cap = 0x0000'0F01'0673'4141;
  cpu.true_pinbased_ctls = 0x0000'007F'0000'0016;
  cpu.true_procbased_ctls = 0xFFF9'FFFE'0400'6172;
  cpu.true_exit_ctls = 0x01FF'FFFF'0003'6DFB;
  cpu.true_entry_ctls = 0x0003'FFFF'0000'11FB;
  cpu.vmfunc = VmFunction::kEptpSwitching;
  cpu.physical_address_width = 39;
  cpu.linear_address_width = 48;
  cpu.vmcs_enum = MakeVmcsEnum(cpu);
  return cpu;
}

// What L1 is offered on that CPU.
Capabilities BuildOfferedCapabilities();

// A VMCS12 that every check of VM entry accepts: a 64-bit L1 host and a 64-bit L2, with the
// 1-setting of "NMI exiting", "virtual NMIs" and of all controls that switch IA32_PAT, IA32_EFER
// and the debug registers; no MSR list; L2 takes interrupts. L1's and L2's registers differ
// wherever both are in it, so that a mix-up shows.
VmcsImage ValidVmcs12(const Capabilities& offered);

}  // namespace nvmx

#endif  // NVMX_CORE_TESTING_BUILDERS_H_
