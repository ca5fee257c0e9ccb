// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_XCR0_H_
#define NVMX_CORE_NESTED_XCR0_H_

#include <cstdint>

#include "core/nested/vcpu.h"

namespace nvmx {

// Whether XCR0 can hold the value on a CPU that supports these state components (CPUID.(EAX=0DH,
// ECX=0):EDX:EAX). SDM Vol. 1, 13.3 "Enabling the XSAVE Feature Set and XSAVE-Enabled Features".
bool IsValidXcr0(uint64_t value, uint64_t supported);

// XSETBV by L1, which always exits. SDM Vol. 2D, "XSETBV".
void EmulateXsetbvOfL1(Vcpu& vcpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_XCR0_H_
