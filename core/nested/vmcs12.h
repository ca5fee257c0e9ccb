// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_VMCS12_H_
#define NVMX_CORE_NESTED_VMCS12_H_

#include <cstdint>

#include "core/nested/field_set.h"
#include "core/nested/vcpu.h"

namespace nvmx {

// Who has the newest value of a field of the current VMCS12. What L1 writes VMCS02 gets with the
// next entry: until then the field is in VcpuState::vmcs02_stale. What L2 leaves behind is saved
// into VMCS12 with the exit, but for the guest state that L1 rarely looks at: that stays in VMCS02,
// the field is in VcpuState::vmcs12_stale, and VcpuState::vmcs12 holds an older value of it. No
// field is in both.

// The guest state that an exit leaves in VMCS02.
extern const FieldSet kRarelyReadGuestState;

// The field as VMREAD reads it. VMCS01 is current.
uint64_t ReadVmcs12(Vcpu& vcpu, VmcsField field);

// The field is to hold this value, as VMWRITE writes it. VMCS01 is current.
void WriteVmcs12(Vcpu& vcpu, VmcsField field, uint64_t value);

// The same for VcpuState::vmcs12 alone; the shadow that L1 may have of it stays as it is.
void ChangeVmcs12(Vcpu& vcpu, VmcsField field, uint64_t value);

// Makes VcpuState::vmcs12 complete: saves what the last exit left in VMCS02. VMCS01 is current.
void CompleteVmcs12(Vcpu& vcpu);

// The same of those registers that a VM entry may replace, by its MSR list or because VMCS12 does
// not load them. VMCS02 is current.
void SaveRegistersThatEntryLoads(Vcpu& vcpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_VMCS12_H_
