// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_MSR_LISTS_H_
#define NVMX_CORE_NESTED_MSR_LISTS_H_

#include <cstdint>

#include "core/nested/vcpu.h"
#include "core/x86/address.h"

namespace nvmx {

// The three lists of MSRs in L1's memory that VM entries and VM exits between L1 and L2 process. L0
// does it in software, entry by entry, in order, as the processor does: L1's list never reaches the
// processor, because the entries that L0 emulates would then act on L0, and a list with one bad
// entry would be seen to act as no processor acts.
//
// An entry whose processing fails ends the list; what the earlier ones did stays done (SDM Vol. 3C,
// 27.4 "Loading MSRs", 28.4 "Saving MSRs", 28.6 "Loading MSRs"). MTRRs that a list wrote take
// effect in EPT01 once, at the end of the list.
struct MsrList {
  GuestPhysicalAddress address;
  uint32_t count;
};

// Number of the entry that failed, counted from 1; 0 if all succeeded.
using FailedMsrListEntry = uint32_t;

// VM-entry MSR-load list. VMCS02 is current and holds L2's state. Takes locks and waits if the list
// names MTRRs.
FailedMsrListEntry LoadMsrsOnEntry(Vcpu& vcpu, const MsrList& list);

// VM-exit MSR-store list. VMCS02 is current and holds the state at the exit.
FailedMsrListEntry StoreMsrsOnExit(Vcpu& vcpu, const MsrList& list);

// VM-exit MSR-load list. VMCS01 is current and L1's host state is in it. Takes locks and waits like
// LoadMsrsOnEntry.
FailedMsrListEntry LoadMsrsOnExit(Vcpu& vcpu, const MsrList& list);

// Whether VM entry accepts a list with this address and count: 16-byte aligned, within the
// physical-address width first byte to last, and no longer than IA32_VMX_MISC recommends; an empty
// list is always good. A longer list, whose effect the SDM leaves undefined, is refused. SDM Vol.
// 3C, 27.2.1.2 "VM-Exit Control Fields", 27.2.1.3 "VM-Entry Control Fields", A.6 "Miscellaneous
// Data".
bool IsAcceptableMsrList(const Capabilities& capabilities, uint64_t address, uint64_t count);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_MSR_LISTS_H_
