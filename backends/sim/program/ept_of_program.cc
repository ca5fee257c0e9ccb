// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/ept_of_program.h"

#include <algorithm>

#include "backends/sim/program/laid_out_memory.h"
#include "core/vmx/ept.h"
#include "core/vmx/vmcs_field.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

class Walk {
 public:
  Walk(const lhv::CpuProgram& program, uint32_t cpu)
      : memory_(program, cpu),
        code_{{lhv::CodeOf(cpu, lhv::kL2CodeBase), lhv::kCodeBytesPerCpu},
              {lhv::HandlersOf(cpu, lhv::kL2HandlerBase), lhv::kHandlerBytesPerCpu},
              {lhv::HandlersOf(cpu, lhv::kL2BareHandlerBase), lhv::kHandlerBytesPerCpu}} {}

  // `address`: the first guest-physical address that the structure decides about.
  void Look(uint64_t table, unsigned level, uint64_t address) {
    if (memory_.IsForeign(table)) {
      found_.names_foreign_table = true;
      return;
    }
    for (unsigned n = 0; n < kEptEntries; ++n) {
      const uint64_t entry = memory_.Word(table + n * sizeof(uint64_t));
      if ((entry & EptEntry::kPermissions) == 0) continue;
      const uint64_t bytes = uint64_t{1} << EptLevelShift(level);
      const uint64_t mapped = address + n * bytes;
      const bool is_leaf =
          level == kEptLevelPte || (level <= kEptLevelPdpte && (entry & EptEntry::kLarge) != 0);
      if (!is_leaf) {
        Look(entry & EptEntry::kAddress, level - 1, mapped);
      } else if ((entry & EptEntry::kAddress & ~(bytes - 1)) != mapped && HasCode(mapped, bytes)) {
        found_.moves_code = true;
      }
    }
  }
  const EptOfProgram& found() const { return found_; }

 private:
  struct Range {
    uint64_t first, bytes;
  };
  bool HasCode(uint64_t address, uint64_t bytes) const {
    return std::any_of(std::begin(code_), std::end(code_), [&](const Range& range) {
      return address < range.first + range.bytes && range.first < address + bytes;
    });
  }

  const LaidOutMemory memory_;
  const Range code_[3];
  EptOfProgram found_;
};

}  // namespace

EptOfProgram LookAtEpt(const lhv::CpuProgram& program, uint32_t cpu) {
  Walk walk(program, cpu);
  for (const lhv::Operation& o : program.l1) {
    if (o.kind != lhv::OperationKind::kVmwrite || o.selector != Encoding(VmcsField::kEptPointer)) {
      continue;
    }
    const bool in_window = (o.flags & lhv::kValueIsWindowOffset) != 0;
    const uint64_t eptp = o.value + (in_window ? lhv::WindowOf(cpu) : 0);
    walk.Look(Eptp::Ep4ta(eptp), std::min(kMostEptLevels, Eptp::WalkLength(eptp)), 0);
  }
  return walk.found();
}

}  // namespace nvmx::sim
