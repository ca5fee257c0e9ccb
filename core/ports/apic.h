// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_PORTS_APIC_H_
#define NVMX_CORE_PORTS_APIC_H_

#include "core/ports/cpu.h"

namespace nvmx {

// The local APIC of this CPU, as far as L0 itself needs it. Everything else of it belongs to L1.
class Apic {
 public:
  // Sends an NMI to every other CPU (ICR: delivery mode NMI, shorthand all excluding self). Arrival
  // is not awaited.
  virtual void SendNmiToAllOthers() = 0;
  // Sends an NMI to the CPU with that index, another than this one. Arrival is not awaited.
  virtual void SendNmi(CpuIndex cpu) = 0;

 protected:
  ~Apic() = default;
};

}  // namespace nvmx

#endif  // NVMX_CORE_PORTS_APIC_H_
