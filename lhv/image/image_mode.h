// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_IMAGE_IMAGE_MODE_H_
#define NVMX_LHV_IMAGE_IMAGE_MODE_H_

#include <cstddef>
#include <cstdint>

#include "lhv/l1_mode.h"

namespace nvmx::lhv {

// What this code itself is compiled for: guest programs run in the mode of their interpreter.
inline constexpr bool kImageIs64Bit = sizeof(uintptr_t) == 8;
inline constexpr L1Mode kImageMode = kImageIs64Bit ? L1Mode::k64Bit : L1Mode::k32Bit;

// What an interrupt or exception without a change of CPL pushes: RIP, CS, RFLAGS, and in 64-bit
// mode RSP and SS. SDM Vol. 3A, 6.12.1 "Exception- or Interrupt-Handler Procedures", 6.14.2 "64-Bit
// Mode Stack Frame".
constexpr size_t FrameWords(L1Mode mode) { return mode == L1Mode::k64Bit ? 5 : 3; }
constexpr size_t WordBytes(L1Mode mode) { return mode == L1Mode::k64Bit ? 8 : 4; }

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_IMAGE_IMAGE_MODE_H_
