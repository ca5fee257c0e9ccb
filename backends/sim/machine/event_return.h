// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_EVENT_RETURN_H_
#define NVMX_BACKENDS_SIM_MACHINE_EVENT_RETURN_H_

#include <optional>

#include "backends/sim/machine/event.h"
#include "backends/sim/machine/mmu.h"
#include "backends/sim/machine/processor_state.h"
#include "backends/sim/machine/translation.h"

namespace nvmx::sim {

// IRET, with the operand size that the code at RIP has: IRETQ in 64-bit mode, otherwise IRETD or
// IRET by CS.D. Writes RIP, CS, SS, RSP, RFLAGS, and the data segments that the return makes
// unusable. Of the context `user` and `implicit` are not looked at. Blocking by NMI is the
// caller's. SDM Vol. 2A, "IRET/IRETD/IRETQ".
std::optional<EventFault> ReturnFromEvent(Mmu& mmu, const TranslationContext& context,
                                          SwitchedRegisters& registers);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_EVENT_RETURN_H_
