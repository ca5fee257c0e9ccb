// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_SMP_NMI_H_
#define NVMX_CORE_SMP_NMI_H_

#include "core/smp/quiesce.h"

namespace nvmx {

// Whose an NMI was.
enum class NmiOwner : uint8_t { kL0, kGuest };

// A processor holds at most one NMI in its latch (SDM Vol. 3A, 6.7.1 "Handling Multiple NMIs"); one
// more may be on its way into the handler.
inline constexpr uint64_t kMaxGuestNmisPending = 2;

// Finds out whose an NMI is that this CPU just took, in root or as a VM exit, and settles it: a
// quiesce is acknowledged and waited for, a guest's NMI is noted as pending for the exit path to
// deliver. Runs in NMI context or with NMIs still blocked after an NMI exit: takes no lock, prints
// nothing, touches no VMCS.
//
// The kind of an NMI cannot be read off the NMI. What decides is whether a request is open: so a
// guest's NMI that comes first acknowledges, and the quiesce's own NMI, coming later, is passed to
// the guest in its place. The guest still gets as many as were sent, except where the processor's
// latch merged two.
NmiOwner SettleNmi(SmpContext& context, const QuiesceProtocol& protocol);

}  // namespace nvmx

#endif  // NVMX_CORE_SMP_NMI_H_
