// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_L0_REQUIREMENTS_H_
#define NVMX_BACKENDS_VMX_HW_L0_REQUIREMENTS_H_

#include <cstdint>
#include <string_view>

#include "core/vmx/capabilities.h"

namespace nvmx::metal {

// Whether IA32_FEATURE_CONTROL lets VMXON succeed outside SMX operation; a register that is not
// locked will be. What a person should know if not, else empty. SDM Vol. 3C, 24.7 "Enabling and
// Entering VMX Operation".
std::string_view WhyVmxIsOff(bool cpuid_has_vmx, uint64_t feature_control);

// What this L0 needs and the processor lacks, for a person; empty if nothing.
std::string_view WhatIsMissing(const Capabilities& hardware);

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_REQUIREMENTS_H_
