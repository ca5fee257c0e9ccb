// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_OFFERED_CAPABILITIES_H_
#define NVMX_CORE_NESTED_OFFERED_CAPABILITIES_H_

#include "core/vmx/capabilities.h"

namespace nvmx {

// What L1 is told that VMX can do, on a CPU that can do `hardware`: what both the CPU and this core
// support. Never more, so that whatever L1 is offered works. SDM Vol. 3D, Appendix A "VMX
// Capability Reporting Facility".
Capabilities OfferedCapabilities(const Capabilities& hardware);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_OFFERED_CAPABILITIES_H_
