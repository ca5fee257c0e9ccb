// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_VMCS02_H_
#define NVMX_CORE_NESTED_VMCS02_H_

#include "core/nested/field_set.h"
#include "core/nested/vcpu.h"
#include "core/nested/vmcs01.h"

namespace nvmx {

// The translations between the three VMCSs. Which field goes where is the column `policy` of
// vmcs_fields.def.

// Brings VMCS02 up to date with VMCS12 and L0's own needs, for a VM entry whose checks VMCS12 has
// passed: writes what has changed since VMCS02 agreed last. VMCS01 is current on entry, VMCS02 at
// the end.
void BuildVmcs02(Vcpu& vcpu);

// The addresses that hardware uses, again, because EPT01 has changed. VMCS02 is current, L2 is
// about to run.
void TranslateAddressesAgain(Vcpu& vcpu);

// Whether VMCS02 has such addresses, for VMCS12.
bool HasTranslatedAddresses(const VmcsImage& vmcs12);

// VMCS02's guest state, as the exit left it, into VMCS12, or what of it L1 rarely looks at into the
// set of what is to be saved when L1 does (vmcs12.h). VMCS02 is current. SDM Vol. 3C, 28.3 "Saving
// Guest State".
void SaveGuestStateToVmcs12(Vcpu& vcpu);

// Whether VMCS02 still holds something for VMCS12 (vmcs12.h) that the next exit will not save: it is
// lost if L2 runs before CompleteVmcs12().
bool Vmcs02HoldsUnsavedState(const Vcpu& vcpu);

// VMCS12's guest state is as L1 wrote it, whatever a VM entry that failed has put into VMCS02.
void KeepGuestStateOfVmcs12(Vcpu& vcpu);

// VMCS02's exit information into VMCS12; VMCS02 is current. SDM Vol. 3C, 28.2 "Recording VM-Exit
// Information and Updating VM-Entry Control Fields".
void SaveExitInformationToVmcs12(Vcpu& vcpu);

// Exit information of an exit that has none, in place of what an earlier exit left. SDM Vol. 3C,
// 28.2.
void ClearExitInformation(VmcsImage& vmcs12);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_VMCS02_H_
