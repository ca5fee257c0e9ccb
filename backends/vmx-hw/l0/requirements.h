// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_L0_REQUIREMENTS_H_
#define NVMX_BACKENDS_VMX_HW_L0_REQUIREMENTS_H_

#include <cstdint>
#include <span>
#include <string_view>

#include "core/vmx/capabilities.h"
#include "core/x86/msr.h"

namespace nvmx::metal {

// Whether IA32_FEATURE_CONTROL lets VMXON succeed outside SMX operation; a register that is not
// locked will be. What a person should know if not, else empty. SDM Vol. 3C, 24.7 "Enabling and
// Entering VMX Operation".
std::string_view WhyVmxIsOff(bool cpuid_has_vmx, uint64_t feature_control);

// Something that this L0 needs: bits that are all 1 in a VMX capability MSR.
struct Requirement {
  std::string_view name;  // for a person
  Msr msr;
  uint64_t bits;
};
// All, in the order in which a person should hear of them. scripts/preflight has the same list.
std::span<const Requirement> Requirements();

// The first of them that the processor lacks, for a person; empty if none.
std::string_view WhatIsMissing(const Capabilities& hardware);

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_REQUIREMENTS_H_
