// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_NESTED_ENTRY_H_
#define NVMX_CORE_NESTED_NESTED_ENTRY_H_

#include "core/nested/vcpu.h"
#include "core/vmx/outcomes.h"

namespace nvmx {

// VMLAUNCH or VMRESUME by L1, which runs at CPL 0 in VMX root operation. VMCS01 is current.
// kEntered: VMCS02 is current and L2 runs next. kFail: L1 goes on behind the instruction, nothing
// changed. kEntryFailure: L1's host state has been loaded and VMCS12 tells the reason. SDM Vol. 3C,
// chapter 27 "VM Entries".
EntryOutcome EnterL2(Vcpu& vcpu, bool launch);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_NESTED_ENTRY_H_
