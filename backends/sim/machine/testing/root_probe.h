// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_TESTING_ROOT_PROBE_H_
#define NVMX_BACKENDS_SIM_MACHINE_TESTING_ROOT_PROBE_H_

#include "core/nested/choreography.h"
#include "core/smp/quiesce.h"

namespace nvmx::sim {

// What a test wants to run in root operation, inside the core: called on a CPU's fiber before each
// VM entry.
class InRootOperation {
 public:
  virtual void Run(Vcpu& vcpu) = 0;

 protected:
  ~InRootOperation() = default;
};

// The core's choreography, with a call of the current object, if there is one, in front of each VM
// entry.
const Choreography& RootProbe();
// Makes an object the current one, or none.
void SetRootProbe(InRootOperation* probe);

// A quiesce protocol that writes IA32_STAR in NMI context, which nothing may: it is the interrupted
// code's.
const QuiesceProtocol& ImpureQuiesce();

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_TESTING_ROOT_PROBE_H_
