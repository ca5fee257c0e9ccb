// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_L1_CONTROL_REGISTERS_H_
#define NVMX_CORE_NESTED_L1_CONTROL_REGISTERS_H_

#include "core/nested/vcpu.h"

namespace nvmx {

// L1's access to a control register that exits from VMCS01, because it changes bits that are L0's
// (vmcs01.h) or because the processor cannot do without the exit. It acts as on a processor of
// L1's own: outside VMX operation L1 may change what it likes, in it the fixed bits raise #GP. SDM
// Vol. 2B, "MOV—Move to/from Control Registers", "CLTS", "LMSW"; Vol. 3A, 2.5 "Control Registers";
// Vol. 3C, 24.8 "Restrictions on VMX Operation".
void EmulateControlRegisterAccessOfL1(Vcpu& vcpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_L1_CONTROL_REGISTERS_H_
