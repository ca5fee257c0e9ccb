// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_OBSERVATION_TEXT_H_
#define NVMX_LHV_OBSERVATION_TEXT_H_

#include <string>

#include "lhv/observation.h"

namespace nvmx::lhv {

// One readable line without its newline, such as "L1 #7: RDMSR IA32_PAT = 0x7040600070406".
std::string ToString(const Observation& observation);
// The same without level and operation: "RDMSR IA32_PAT = 0x7040600070406".
std::string EventText(const Observation& observation);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_OBSERVATION_TEXT_H_
