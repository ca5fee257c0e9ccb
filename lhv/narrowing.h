// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_NARROWING_H_
#define NVMX_LHV_NARROWING_H_

#include <cstdint>
#include <vector>

#include "lhv/program.h"

namespace nvmx::lhv {

// What CPU `cpu` performs at `level`, outside IA-32e mode, in place of an operation of a program
// for 64-bit mode: the operation itself where registers of 32 bits are enough for it; otherwise two
// halves (L1's VMWRITE of a 64-bit field, an access to eight bytes), the gate of that mode, or the
// host state of that mode.
std::vector<Operation> Narrowed(const Operation& operation, uint32_t level, uint32_t cpu);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_NARROWING_H_
