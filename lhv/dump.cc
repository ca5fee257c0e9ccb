// SPDX-License-Identifier: Apache-2.0
#include "lhv/dump.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "lhv/operation_text.h"

namespace nvmx::lhv {
namespace {

// What a person tells programs apart by; the addresses in qwords differ from CPU to CPU.
bool SameProgram(const CpuProgram& a, const CpuProgram& b) {
  const auto same_block = [](const MemoryBlock& x, const MemoryBlock& y) {
    return x.name == y.name && x.offset == y.offset && x.bytes.size() == y.bytes.size();
  };
  return a.l1 == b.l1 && a.l2 == b.l2 && a.run_begin == b.run_begin && a.l1_lines == b.l1_lines &&
         a.l2_lines == b.l2_lines &&
         std::equal(a.memory.begin(), a.memory.end(), b.memory.begin(), b.memory.end(), same_block);
}

void AppendOperations(const CpuProgram& program, const std::vector<Operation>& operations,
                      const std::vector<int>& lines, size_t begin, size_t end, std::string& text) {
  for (size_t i = begin; i < end; ++i) {
    absl::StrAppendFormat(&text, "    #%-4d line %-4d %s\n", i, lines[i],
                          OperationText(program, operations[i]));
  }
}

void AppendCpu(const CpuProgram& program, std::string& text) {
  if (!program.memory.empty()) absl::StrAppend(&text, "  memory\n");
  for (const MemoryBlock& block : program.memory) {
    absl::StrAppendFormat(&text, "    window+0x%05x %6d bytes %s\n", block.offset,
                          block.bytes.size(), block.name);
  }
  absl::StrAppend(&text, "  setup of L1\n");
  AppendOperations(program, program.l1, program.l1_lines, 0, program.run_begin, text);
  absl::StrAppend(&text, "  run of L1\n");
  AppendOperations(program, program.l1, program.l1_lines, program.run_begin, program.l1.size(),
                   text);
  absl::StrAppend(&text, "  L2\n");
  AppendOperations(program, program.l2, program.l2_lines, 0, program.l2.size(), text);
}

}  // namespace

std::string Dump(const GuestProgram& program) {
  std::string text = absl::StrCat(program.name, "\n");
  for (size_t first = 0; first < program.cpus.size();) {
    size_t end = first + 1;
    while (end < program.cpus.size() && SameProgram(program.cpus[first], program.cpus[end])) ++end;
    absl::StrAppend(&text, "cpu ", first);
    if (end - first > 1) absl::StrAppend(&text, " to ", end - 1);
    absl::StrAppend(&text, "\n");
    AppendCpu(program.cpus[first], text);
    first = end;
  }
  return text;
}

}  // namespace nvmx::lhv
