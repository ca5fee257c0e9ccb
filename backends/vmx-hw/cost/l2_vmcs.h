// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_COST_L2_VMCS_H_
#define NVMX_BACKENDS_VMX_HW_COST_L2_VMCS_H_

#include <cstdint>

namespace nvmx::metal {

// What L1 uses of VMX besides what it must.
struct VmcsOptions {
  bool ept = false;        // EPT, and a VPID
  bool msr_lists = false;  // three lists of kListedMsrs entries
  bool msr_bitmap = false;
};
inline constexpr unsigned kListedMsrs = 8;

// L2's memory that EPT12 maps in pages of 4 KBytes; all else is mapped in pages of 2 MBytes.
inline constexpr uint64_t kSmallPagesBegin = 0x1000'0000;
inline constexpr unsigned kSmallPageTables = 16;

// VMXON; stops with a message if the processor has no VMX.
void EnterVmx();
void LeaveVmx();

// Makes a VMCS current that has not been launched: L2 in the state in which L1 is, at `rip`, its
// exits go to `exit`.
void MakeVmcs(const VmcsOptions& options, void (*rip)(), void (*exit)());

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_COST_L2_VMCS_H_
