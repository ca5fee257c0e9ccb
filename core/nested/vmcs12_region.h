// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_VMCS12_REGION_H_
#define NVMX_CORE_NESTED_VMCS12_REGION_H_

#include <cstdint>

#include "core/nested/vcpu.h"
#include "core/vmx/vmx_abort.h"

namespace nvmx {

// The VMCS12 region in L1's memory: what VMPTRLD reads and VMCLEAR writes. Format of our own,
// within the 4096 bytes that IA32_VMX_BASIC announces; only the first 8 bytes are architectural
// (SDM Vol. 3C, 25.2 "Format of the VMCS Region").
struct Vmcs12Region {
  uint32_t revision;
  uint32_t abort_indicator;
  uint64_t launched;
  VmcsImage fields;
};
static_assert(sizeof(Vmcs12Region) <= 4096);

// The revision identifier that L1 must put into VMXON and VMCS regions: "nvmx" with a version of
// the format.
inline constexpr uint32_t kVmcs12Revision = 0x6E760001;

// Makes the VMCS12 at the address current: reads it from L1's memory after the present one, if any,
// was written back. False if L1's memory does not back it.
bool LoadVmcs12(Vcpu& vcpu, uint64_t address);

// Writes the current VMCS12 back to L1's memory; there is no current one afterwards. Nothing if
// there is none.
void WriteBackVmcs12(Vcpu& vcpu);

// VMCLEAR of a VMCS12 that is not current: sets its launch state to clear in L1's memory.
void ClearLaunchState(Vcpu& vcpu, uint64_t address);

// SDM Vol. 3C, 28.7 "VMX Aborts": the indicator goes to byte offset 4 of the region, nothing else
// is written.
void WriteVmxAbortIndicator(Vcpu& vcpu, VmxAbort indicator);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_VMCS12_REGION_H_
