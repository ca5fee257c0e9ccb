// SPDX-License-Identifier: Apache-2.0
//
// What the processor that runs this has.
#ifndef NVMX_BACKENDS_VMX_HW_L0_HARDWARE_H_
#define NVMX_BACKENDS_VMX_HW_L0_HARDWARE_H_

#include "core/vmx/capabilities.h"
#include "core/x86/mtrr.h"

namespace nvmx::metal {

bool HasVmx();
// Of a processor that has VMX.
Capabilities ReadCapabilities();
MtrrSettings ReadMtrrs();

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_HARDWARE_H_
