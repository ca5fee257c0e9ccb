// SPDX-License-Identifier: Apache-2.0
//
// The bitmaps of L1's memory that decide about VM exits: which bit of which page stands for what.
// Bit n of a bitmap is bit n % 8 of its byte n / 8.
#ifndef NVMX_CORE_VMX_BITMAPS_H_
#define NVMX_CORE_VMX_BITMAPS_H_

#include <cstdint>
#include <optional>

#include "core/x86/msr.h"

namespace nvmx {

// The bit of the MSR-bitmap page that an RDMSR or WRMSR of the MSR looks at. Nothing if the bitmap
// does not cover the MSR: then the instruction exits. SDM Vol. 3C, 25.6.9 "MSR-Bitmap Address".
constexpr std::optional<uint32_t> MsrBitmapBit(uint32_t msr, bool write) {
  constexpr uint32_t kHighMsrs = 1024 * 8;
  constexpr uint32_t kWrites = 2048 * 8;
  const uint32_t base = write ? kWrites : 0;
  if (msr <= kMsrBitmapLowLast) return base + msr;
  if (msr >= kMsrBitmapHighFirst && msr <= kMsrBitmapHighLast) {
    return base + kHighMsrs + (msr - kMsrBitmapHighFirst);
  }
  return std::nullopt;
}

// I/O bitmap A has a bit for each port below 8000H, B for the others. SDM Vol. 3C, 25.6.4
// "I/O-Bitmap Addresses".
inline constexpr uint32_t kPortsOfIoBitmap = 0x8000;

// Bits 14:0 of a field encoding are its bit in the VMREAD and VMWRITE bitmaps; an encoding with
// other bits always exits. SDM Vol. 3C, 25.6.15 "VMCS Shadowing Bitmap Addresses".
inline constexpr uint64_t kVmcsBitmapEncodings = 0x7FFF;

}  // namespace nvmx

#endif  // NVMX_CORE_VMX_BITMAPS_H_
