// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_MTRR_VIRTUALIZATION_H_
#define NVMX_CORE_NESTED_MTRR_VIRTUALIZATION_H_

#include <cstdint>

#include "core/nested/vcpu.h"

namespace nvmx {

// L1's write of an MTRR, but for its effect on EPT01: that waits for CommitMemoryTypes(), so that a
// list of many MTRRs stops the machine once. False, and nothing changed, if WRMSR would raise #GP.
// May print a line: not in NMI context. SDM Vol. 3A, 12.11 "Memory Type Range Registers (MTRRs)".
bool WriteMtrr(Vcpu& vcpu, uint32_t msr, uint64_t value);

// Makes EPT01's memory types follow the MTRRs again, for all CPUs at once: stops the others,
// changes the types, drops cached translations, resumes. Does nothing if no MTRR changed since the
// last time. Takes locks and waits.
void CommitMemoryTypes(Vcpu& vcpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_MTRR_VIRTUALIZATION_H_
