// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_L1_MODE_H_
#define NVMX_LHV_L1_MODE_H_

#include <cstdint>
#include <optional>
#include <string_view>

namespace nvmx::lhv {

// What a guest program's L1 runs in; the baseline's L2 runs in the same.
enum class L1Mode : uint8_t {
  k64Bit,  // 64-bit mode, 4-level paging
  k32Bit,  // protected mode outside IA-32e mode: flat segments of 32 bits, 32-bit paging
};

// The name of the machine whose L1 runs so.
constexpr const char* ArchOf(L1Mode mode) { return mode == L1Mode::k64Bit ? "x86_64" : "i386"; }
constexpr std::optional<L1Mode> L1ModeOfArch(std::string_view name) {
  for (const L1Mode mode : {L1Mode::k64Bit, L1Mode::k32Bit}) {
    if (name == ArchOf(mode)) return mode;
  }
  return std::nullopt;
}

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_L1_MODE_H_
