// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_VMCS02_H_
#define NVMX_CORE_NESTED_VMCS02_H_

#include "core/nested/vcpu.h"

namespace nvmx {

// The translations between the three VMCSs. Which field goes where is the column `policy` of
// vmcs_fields.def.

// Sets the controls of VMCS01, which is current: how L0 runs L1. Host and guest state are the
// backend's.
void InitializeVmcs01Controls(Vcpu& vcpu);

// Fills VMCS02 from VMCS12 and L0's own needs, for a VM entry whose checks VMCS12 has passed.
// VMCS01 is current on entry, VMCS02 at the end.
void BuildVmcs02(Vcpu& vcpu);

// VMCS02's guest state, as the exit left it, into VMCS12; VMCS02 is current. SDM Vol. 3C, 28.3
// "Saving Guest State".
void SaveGuestStateToVmcs12(Vcpu& vcpu);

// VMCS02's exit information into VMCS12; VMCS02 is current. SDM Vol. 3C, 28.2 "Recording VM-Exit
// Information and Updating VM-Entry Control Fields".
void SaveExitInformationToVmcs12(Vcpu& vcpu);

// Exit information of an exit that has none, in place of what an earlier exit left. SDM Vol. 3C,
// 28.2.
void ClearExitInformation(VmcsImage& vmcs12);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_VMCS02_H_
