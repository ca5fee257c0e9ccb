// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_HOST_STATE_H_
#define NVMX_CORE_NESTED_HOST_STATE_H_

#include <cstdint>
#include <optional>

#include "core/nested/vcpu.h"
#include "core/vmx/vmx_abort.h"
#include "core/x86/control_registers.h"

namespace nvmx {

// The bits of CR0 that VM entries and VM exits load. ET, CD, NW and the reserved ones stay as they
// are. SDM Vol. 3C, 27.3.2.1 "Loading Guest Control Registers, Debug Registers, and MSRs", 28.5.1.
inline constexpr uint64_t kLoadedBitsOfCr0 =
    Cr0::kPe | Cr0::kMp | Cr0::kEm | Cr0::kTs | Cr0::kNe | Cr0::kWp | Cr0::kAm | Cr0::kPg;

// L1 as VMCS12's host state describes it, into VMCS01, which becomes current; what VM exits do not
// load stays as the guest of the VMCS that was current left it. Blocking by NMI is the caller's. If
// the exit cannot complete, the VMX abort that it ends in. SDM Vol. 3C, 28.5 "Loading Host State".
std::optional<VmxAbort> LoadHostStateIntoVmcs01(Vcpu& vcpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_HOST_STATE_H_
