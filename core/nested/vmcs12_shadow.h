// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_VMCS12_SHADOW_H_
#define NVMX_CORE_NESTED_VMCS12_SHADOW_H_

#include "core/nested/vcpu.h"
#include "core/vmx/vmcs_field.h"

namespace nvmx {

// A shadow VMCS for L1: hardware serves VMREAD and VMWRITE of the fields that hypervisors touch
// with every exit, without one. While L1 is in root operation with a current VMCS12, VMCS01 has
// "VMCS shadowing" and a link pointer to the shadow; at all other times both are off, and the
// instructions exit. The shadow then has the newest values of the fields that L1 may write, and
// what VMCS12 has of the others. SDM Vol. 3C, 25.6.15 "VMCS Shadowing Bitmap Addresses"; 31.3,
// "VMREAD", "VMWRITE".
//
// That L1 uses VMCS shadowing for its own guests is another matter (shadow_vmcs.h).

// Makes the bitmaps, if there is to be a shadow. VMCS01 is current.
void InitializeShadowing(Vcpu& vcpu);

// Whether L1's VMREAD, or VMREAD and VMWRITE, of the field do not exit.
bool IsShadowed(VmcsField field);
bool IsShadowedForWrite(VmcsField field);

// What L1 has written comes into VMCS12. VMCS01 is current.
void FetchFromShadow(Vcpu& vcpu);

// VMCS12's values go into the shadow, which is current at the end, if it is on.
void StoreIntoShadow(Vcpu& vcpu);

// L1 has a current VMCS12 now, or none any more. VMCS01 is current.
void BeginShadowing(Vcpu& vcpu);
void EndShadowing(Vcpu& vcpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_VMCS12_SHADOW_H_
