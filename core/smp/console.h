// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_SMP_CONSOLE_H_
#define NVMX_CORE_SMP_CONSOLE_H_

#include <cstdint>

#include "core/smp/system.h"

namespace nvmx {

// The lines that L0 writes for a person. Numbers, not strings: the core has no text.
enum class LogLine : uint8_t {
  kMtrrWrite,           // L1 wrote an MTRR; argument: MSR index
  kMemoryTypesChanged,  // EPT01's memory types follow the MTRRs again; argument: the writing CPU's
                        // index
  kUnhandledNmiExit,    // an NMI exit from L2 met code that cannot handle it
  kNmiTaken,            // an NMI was taken; argument: the CPU's index
};

// Writes one whole line. Takes the print lock: never call it in NMI context, nor between taking an
// NMI as a VM exit and acknowledging it. A CPU that does so waits for a lock whose holder waits for
// that acknowledgement.
void PrintLine(SmpContext& context, LogLine line, uint64_t argument);

}  // namespace nvmx

#endif  // NVMX_CORE_SMP_CONSOLE_H_
