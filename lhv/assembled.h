// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_ASSEMBLED_H_
#define NVMX_LHV_ASSEMBLED_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lhv/l1_mode.h"
#include "lhv/program.h"

namespace nvmx::lhv {

// Memory that the program finds filled when it starts. The rest of its window is zero.
struct MemoryBlock {
  std::string name;
  uint64_t offset = 0;  // in the window of the CPU
  std::vector<std::byte> bytes;
};

// What a program says that a CPU must observe, one observation a line; expectation.h tells how.
struct ExpectedObservation {
  std::string text;
  int line = 0;  // of the source, from 1

  friend bool operator==(const ExpectedObservation&, const ExpectedObservation&) = default;
};

// What one CPU does. Positions in l1_lines and l2_lines are those in l1 and l2.
struct CpuProgram {
  std::vector<MemoryBlock> memory;
  std::vector<Operation> l1;  // setup, then run
  size_t run_begin = 0;
  std::vector<Operation> l2;
  std::vector<int> l1_lines;  // the source line, from 1, that each operation comes from
  std::vector<int> l2_lines;
  // Nothing: the program does not say.
  std::optional<std::vector<ExpectedObservation>> expected;

  // Valid while this object lives unchanged.
  CpuProgramView View() const { return {l1, run_begin, l2}; }
};

struct GuestProgram {
  std::string name;
  std::vector<CpuProgram> cpus;  // one for each CPU of the machine; an empty one rests
  L1Mode l1_mode = L1Mode::k64Bit;
  bool says_l1_mode = false;  // the source does, not who assembled it
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_ASSEMBLED_H_
