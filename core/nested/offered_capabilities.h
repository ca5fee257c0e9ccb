// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_OFFERED_CAPABILITIES_H_
#define NVMX_CORE_NESTED_OFFERED_CAPABILITIES_H_

#include "core/vmx/capabilities.h"
#include "core/vmx/controls.h"
#include "core/x86/efer.h"

namespace nvmx {

// What L1 is told that VMX can do, on a CPU that can do `hardware`: what both the CPU and this core
// support. Never more, so that whatever L1 is offered works. SDM Vol. 3D, Appendix A "VMX
// Capability Reporting Facility".
Capabilities OfferedCapabilities(const Capabilities& hardware);

// Whether L1 and L2 can be in IA-32e mode: where L0 itself is not, its VM exits could not leave it.
constexpr bool OffersIa32eMode(const Capabilities& offered) {
  return offered.SupportsVmEntry(VmEntry::kIa32eModeGuest);
}
// The bits of IA32_EFER that are not reserved.
constexpr uint64_t OfferedEfer(const Capabilities& offered) {
  return OffersIa32eMode(offered) ? Efer::kDefined : Efer::kDefined & ~(Efer::kLme | Efer::kLma);
}

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_OFFERED_CAPABILITIES_H_
