// SPDX-License-Identifier: Apache-2.0
#include "core/nested/perf_global_ctrl.h"

namespace nvmx {
namespace {

constexpr uint32_t kLeaf = 0xA;
constexpr unsigned kFirstFixedCounter = 32;

constexpr uint64_t Ones(unsigned count) {
  return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
}

}  // namespace

uint64_t PerfGlobalCtrlBits(Cpu& cpu) {
  const CpuidRegisters leaf = cpu.Cpuid(kLeaf, 0);
  const unsigned version = leaf.eax & 0xFF;
  if (version < 2) return 0;
  const unsigned general = leaf.eax >> 8 & 0xFF;
  const unsigned fixed = leaf.edx & 0x1F;
  return Ones(general) | Ones(fixed) << kFirstFixedCounter;
}

}  // namespace nvmx
