// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_EVENT_DELIVERY_H_
#define NVMX_BACKENDS_SIM_MACHINE_EVENT_DELIVERY_H_

#include <optional>

#include "backends/sim/machine/event.h"
#include "backends/sim/machine/mmu.h"
#include "backends/sim/machine/processor_state.h"
#include "backends/sim/machine/translation.h"

namespace nvmx::sim {

// Delivers the event through the IDT that IDTR names, in the mode that the registers are in, and
// writes RIP, CS, SS, RSP and RFLAGS (from virtual-8086 mode ES, DS, FS and GS too). Of the context
// `user` and `implicit` are not looked at. Blocking, CR2, DR6 and the activity state are the
// caller's. SDM Vol. 3A, 7.12 "Exception and Interrupt Handling", 7.14 "Exception and Interrupt
// Handling in 64-bit Mode"; Vol. 2A, "INT n/INTO/INT3/INT1".
std::optional<EventFault> DeliverEvent(Mmu& mmu, const TranslationContext& context,
                                       const Event& event, SwitchedRegisters& registers);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_EVENT_DELIVERY_H_
