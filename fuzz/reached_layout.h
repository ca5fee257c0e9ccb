// SPDX-License-Identifier: Apache-2.0
//
// Where the numbers of struct Reached lie, for readers in other languages.
#ifndef NVMX_FUZZ_REACHED_LAYOUT_H_
#define NVMX_FUZZ_REACHED_LAYOUT_H_

#include <cstddef>
#include <cstdint>

#include "fuzz/target.h"

namespace nvmx::fuzz {

struct ReachedNumbers {
  const char* name;
  size_t first;  // in numbers of 8 bytes
  size_t count;
};

#define NVMX_REACHED(member)                               \
  ReachedNumbers {                                         \
#member, offsetof(Reached, member) / sizeof(uint64_t), \
        sizeof(Reached::member) / sizeof(uint64_t)         \
  }
inline constexpr ReachedNumbers kReachedLayout[] = {
    NVMX_REACHED(executions),  NVMX_REACHED(invalid),   NVMX_REACHED(entered),
    NVMX_REACHED(unconfirmed), NVMX_REACHED(ambiguous), NVMX_REACHED(declared),
    NVMX_REACHED(left_open),   NVMX_REACHED(finds),     NVMX_REACHED(exits),
    NVMX_REACHED(failures),    NVMX_REACHED(vmfails),   NVMX_REACHED(vectors),
    NVMX_REACHED(rules),
};
#undef NVMX_REACHED

consteval bool IsWholeReached() {
  size_t next = 0;
  for (const ReachedNumbers& row : kReachedLayout) {
    if (row.first != next) return false;
    next += row.count;
  }
  return next * sizeof(uint64_t) == sizeof(Reached);
}
static_assert(IsWholeReached(), "a member of struct Reached is missing here");

}  // namespace nvmx::fuzz

#endif  // NVMX_FUZZ_REACHED_LAYOUT_H_
