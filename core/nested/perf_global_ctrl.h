// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_PERF_GLOBAL_CTRL_H_
#define NVMX_CORE_NESTED_PERF_GLOBAL_CTRL_H_

#include <cstdint>

#include "core/ports/cpu.h"

namespace nvmx {

// The bits of IA32_PERF_GLOBAL_CTRL that are not reserved on this CPU: one for each counter that
// CPUID reports. SDM Vol. 3B, 20.2.2 "Architectural Performance Monitoring Version 2"; Vol. 2A,
// "CPUID", leaf 0AH.
uint64_t PerfGlobalCtrlBits(Cpu& cpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_PERF_GLOBAL_CTRL_H_
