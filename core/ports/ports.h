// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_PORTS_PORTS_H_
#define NVMX_CORE_PORTS_PORTS_H_

#include "core/ports/apic.h"
#include "core/ports/clock.h"
#include "core/ports/cpu.h"
#include "core/ports/guest_memory.h"
#include "core/ports/trace.h"
#include "core/ports/vmcs.h"

namespace nvmx {

// The abstract machine, as one CPU of L0 sees it.
struct Ports {
  Cpu& cpu;
  Vmcs& vmcs;
  GuestMemory& memory;
  Apic& apic;
  Clock& clock;
  Trace& trace;
};

}  // namespace nvmx

#endif  // NVMX_CORE_PORTS_PORTS_H_
