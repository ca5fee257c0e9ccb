// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_GUEST_MODE_H_
#define NVMX_LHV_GUEST_MODE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "lhv/program.h"

namespace nvmx::lhv {

// A mode other than 64-bit mode that macro guest_mode puts L2 into. Its segments stay flat, with a
// base of 0 and 4 GBytes, so that the code and the memory of programs are where they always are.
struct GuestMode {
  const char* name;
  bool is_paged;
  uint64_t cr0;
  uint64_t cr4;
};

// The mode with this name, or nullptr.
const GuestMode* FindGuestMode(const std::string& name);
std::vector<std::string> GuestModeNames();

// Writes the control registers, IA32_EFER and the access rights of the code segment.
std::vector<Operation> GuestModeState(const GuestMode& mode);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_GUEST_MODE_H_
