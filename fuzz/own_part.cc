// SPDX-License-Identifier: Apache-2.0
#include "fuzz/own_part.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace nvmx::fuzz {
namespace {

using lhv::Operation;
using lhv::OperationKind;

std::byte SetupByte(InputForm form, uint64_t offset) {
  if (!HasSetup(form)) return std::byte{0};
  for (const lhv::MemoryBlock& block : SetupOf(form).cpus[0].memory) {
    if (offset >= block.offset && offset - block.offset < block.bytes.size()) {
      return block.bytes[offset - block.offset];
    }
  }
  return std::byte{0};
}

// The words of the block that the setup has not.
void AppendDifferent(const lhv::MemoryBlock& block, InputForm form,
                     std::vector<lhv::MemoryBlock>& memory) {
  constexpr size_t kWord = sizeof(uint64_t);
  if (HasSetup(form) && block.offset < kFirstInputMemory) return;
  bool open = false;
  for (size_t at = 0; at < block.bytes.size(); at += kWord) {
    const size_t end = std::min(at + kWord, block.bytes.size());
    bool differs = false;
    for (size_t i = at; i < end; ++i) {
      if (block.bytes[i] != SetupByte(form, block.offset + i)) differs = true;
    }
    if (differs) {
      if (!open) memory.push_back({.name = {}, .offset = block.offset + at, .bytes = {}});
      memory.back().bytes.insert(memory.back().bytes.end(), block.bytes.begin() + at,
                                 block.bytes.begin() + end);
    }
    open = differs;
  }
}

}  // namespace

absl::StatusOr<lhv::GuestProgram> OwnPart(InputForm form, const lhv::GuestProgram& program) {
  if (!HasSetup(form)) {
    lhv::GuestProgram own = program;
    for (lhv::CpuProgram& cpu : own.cpus) {
      std::vector<lhv::MemoryBlock> memory;
      for (const lhv::MemoryBlock& block : cpu.memory) AppendDifferent(block, form, memory);
      cpu.memory = std::move(memory);
    }
    return own;
  }
  if (program.cpus.size() != 1) {
    return absl::InvalidArgumentError("the program is not one of a single CPU");
  }
  if (program.l1_mode != lhv::L1Mode::k64Bit) {
    return absl::InvalidArgumentError("L1 of the program is outside IA-32e mode");
  }
  const lhv::CpuProgram& cpu = program.cpus[0];
  lhv::GuestProgram own;
  lhv::CpuProgram& part = own.cpus.emplace_back();
  // Behind the last operation of the baseline; a program without one has nothing that is kept.
  const std::vector<Operation>& setup = SetupOf(InputForm::kBehindSetup).cpus[0].l1;
  const Operation& last = setup.back();
  const auto is_last = [&](const Operation& operation) {
    return operation.kind == last.kind && operation.selector == last.selector;
  };
  const auto found = std::find_if(cpu.l1.begin(), cpu.l1.end(), is_last);
  if (found == cpu.l1.end()) {
    return absl::InvalidArgumentError("the program does not begin with the baseline");
  }
  for (auto operation = found + 1; operation != cpu.l1.end(); ++operation) {
    if (operation->kind == OperationKind::kSetHostRip) continue;
    part.l1.push_back(*operation);
    if (operation->kind == OperationKind::kRepeat) {
      // Those that are left out do not count.
      const auto begin = operation - std::min<ptrdiff_t>(static_cast<ptrdiff_t>(operation->value),
                                                         operation - (found + 1));
      const auto left_out = std::count_if(begin, operation, [](const Operation& o) {
        return o.kind == OperationKind::kSetHostRip;
      });
      uint64_t& repeated = part.l1.back().value;
      repeated = std::max<uint64_t>(1, repeated - static_cast<uint64_t>(left_out));
    }
    if (form != InputForm::kBehindSetup && operation->kind == OperationKind::kVmlaunch) {
      part.l1.back().kind = OperationKind::kVmresume;
    }
  }
  part.l2 = cpu.l2;
  for (const lhv::MemoryBlock& block : cpu.memory) AppendDifferent(block, form, part.memory);
  return own;
}

}  // namespace nvmx::fuzz
