// SPDX-License-Identifier: Apache-2.0
#include "fuzz/mutator.h"

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <string>
#include <utility>

#include "backends/sim/machine/l0_memory.h"
#include "backends/sim/program/generator/generator.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/address.h"
#include "core/x86/control_registers.h"
#include "core/x86/msr.h"
#include "fuzz/bitmap_mutations.h"
#include "fuzz/input_memory.h"
#include "fuzz/own_part.h"
#include "fuzz/topical_mutations.h"
#include "fuzz/vmcs12_rounding.h"
#include "lhv/layout.h"
#include "lhv/operation_check.h"

namespace nvmx::fuzz {
namespace {

using lhv::CpuProgram;
using lhv::Operation;
using lhv::OperationKind;

constexpr size_t kPoolSize = 256;
constexpr uint64_t kMostInPiece = 6;  // operations in a row
constexpr uint64_t kWord = sizeof(uint64_t);

struct Topics {
  std::string_view target;
  std::initializer_list<const char*> topics;  // of the generator
};
const Topics kTopics[] = {
    {"msr_list", {"msr-lists"}},
    {"vmcs12_entry", {"controls", "guest-state", "host-state"}},
    {"ept12", {"ept", "invalidation"}},
    {"vmx_sequence", {"vmx-sequences", "operands", "shadowing"}},
    {"exit_route", {"bitmaps", "instructions", "controls"}},
    {"event", {"events", "nmis", "timers", "apic"}},
    {"program", {""}},
};

bool IsVmEntry(const Operation& operation) {
  return operation.kind == OperationKind::kVmlaunch || operation.kind == OperationKind::kVmresume;
}

// All that the operation does, if it ends well, is that L1 looks at something.
bool OnlyLooks(const Operation& operation) {
  return operation.kind == OperationKind::kVmread ||
         operation.kind == OperationKind::kObserveExit || operation.kind == OperationKind::kRdmsr ||
         operation.kind == OperationKind::kReadMemory;
}

// The VMWRITEs before the first VM entry come first, where a bench makes them by hand. Where one VM
// entry is all that matters nothing is left behind it.
void PutWritesFirst(const TargetInformation& target, CpuProgram& cpu) {
  const auto entry = std::find_if(cpu.l1.begin(), cpu.l1.end(), IsVmEntry);
  auto end = cpu.l1.begin();  // of the VMWRITEs so far
  for (auto operation = end; operation != entry; ++operation) {
    if (operation->kind != OperationKind::kVmwrite &&
        operation->kind != OperationKind::kVmwriteControl) {
      continue;
    }
    std::rotate(end, operation, operation + 1);
    ++end;
  }
  if (target.most_entries == 1 && entry != cpu.l1.end()) {
    cpu.l1.erase(entry + 1, cpu.l1.end());
  }
}

// Takes away what only makes the input slow. What L1 could look at is compared anyway where the
// target runs on a bench.
void Trim(const TargetInformation& target, CpuProgram& cpu) {
  const bool whole = target.form == InputForm::kWholeProgram;
  if (!whole) {
    std::erase_if(cpu.l1, [&](const Operation& operation) {
      return OnlyLooks(operation) && target.form != InputForm::kBehindSetup;
    });
  }
  size_t entries = 0;
  std::erase_if(cpu.l1, [&](const Operation& operation) {
    return IsVmEntry(operation) && ++entries > target.most_entries;
  });
  if (entries == 0 && target.form != InputForm::kBehindSetup && !whole) {
    cpu.l1.resize(std::min(cpu.l1.size(), target.most_l1_operations - 1));
    cpu.l1.push_back({.kind = OperationKind::kVmresume});
  }
  if (cpu.l1.size() > target.most_l1_operations) cpu.l1.resize(target.most_l1_operations);
  if (cpu.l2.size() > target.most_l2_operations) cpu.l2.resize(target.most_l2_operations);
  if (!whole && target.form != InputForm::kBehindSetup) PutWritesFirst(target, cpu);
  cpu.run_begin = std::min(cpu.run_begin, cpu.l1.size());
}

std::vector<lhv::GuestProgram> MakePool(const TargetInformation& target) {
  std::vector<lhv::GuestProgram> pool;
  for (const Topics& row : kTopics) {
    if (row.target != target.name) continue;
    for (uint64_t number = 0; number < kPoolSize; ++number) {
      const char* topic = row.topics.begin()[number % row.topics.size()];
      absl::StatusOr<lhv::GuestProgram> own =
          OwnPart(target.form, sim::GenerateProgram({.seed = 77, .topic = topic}, number));
      if (!own.ok()) continue;
      for (lhv::CpuProgram& cpu : own->cpus) Trim(target, cpu);
      if (EncodeInput(*own).size() <= target.max_bytes) pool.push_back(*std::move(own));
    }
  }
  return pool;
}

uint64_t MutateValue(uint64_t value, Random& random, const ByteMutator& mutate_bytes) {
  switch (random.Below(8)) {
    case 0:
      return random.Awkward(64);
    case 1:
      return random.OneIn(2) ? random.Awkward(32) : SomeAddressOfL0(random);
    case 2:
      return value + random.Of({uint64_t{1}, uint64_t{8}, uint64_t{16}, uint64_t{0x1000}});
    case 3:
      return value - random.Of({uint64_t{1}, uint64_t{8}, uint64_t{16}, uint64_t{0x1000}});
    case 4: {
      std::byte bytes[kWord];
      std::memcpy(bytes, &value, kWord);
      mutate_bytes(bytes, kWord, kWord);
      std::memcpy(&value, bytes, kWord);
      return value;
    }
    default:
      return value ^ random.Bit(random.OneIn(2) ? 16 : 64);
  }
}

// Bits that the field cannot hold have no form in the text of programs.
void KeepInForm(Operation& operation) {
  const bool writes_field =
      operation.kind == OperationKind::kVmwrite || operation.kind == OperationKind::kVmwriteControl;
  if (!writes_field) return;
  operation.value &=
      ValueMask(IsHigh(operation.selector) ? FieldWidth::k32 : Width(operation.selector));
}

void MutateOperation(Operation& operation, uint32_t level, Random& random,
                     const ByteMutator& mutate_bytes) {
  Operation changed = operation;
  const bool has_field =
      operation.kind == OperationKind::kVmread || operation.kind == OperationKind::kVmwrite;
  const bool has_msr =
      operation.kind == OperationKind::kRdmsr || operation.kind == OperationKind::kWrmsr;
  switch (random.Below(6)) {
    case 0:
      if (has_field) {
        changed.selector = Encoding(FieldAt(random.Below(kVmcsFieldCount)));
      } else if (has_msr) {
        changed.selector = SomeMsr(random);
      } else {
        changed.selector =
            random.OneIn(2)
                ? static_cast<uint32_t>(random.Below(16))
                : static_cast<uint32_t>(MutateValue(changed.selector, random, mutate_bytes));
      }
      break;
    case 1:
      if (operation.kind == OperationKind::kMovToCr && level == 2) {
        // One bit from what L2 has: anything else raises #GP before L0 has a part in it.
        changed.selector = random.OneIn(2) ? 0 : 4;
        changed.value = (changed.selector == 0 ? Cr0::kPe | Cr0::kEt | Cr0::kNe | Cr0::kPg
                                               : Cr4::kPae | Cr4::kVmxe) ^
                        random.Bit(32);
        break;
      }
      changed.extra = MutateValue(changed.extra, random, mutate_bytes);
      break;
    case 2:
      if ((changed.flags & lhv::kHasOperand) != 0) {
        changed.operand ^= random.Bit(64);
        break;
      }
      [[fallthrough]];
    default:
      changed.value = MutateValue(changed.value, random, mutate_bytes);
      break;
  }
  KeepInForm(changed);
  if (lhv::IsValidOperation(changed, level, 1)) operation = changed;
}

// Lets some operations in a row be repeated. The counter lies in memory that inputs have.
void InsertRepetition(std::vector<Operation>& code, size_t first, Random& random) {
  const size_t at = first + 1 + random.Below(code.size() - first);
  code.insert(code.begin() + static_cast<ptrdiff_t>(at),
              {.kind = OperationKind::kRepeat,
               .flags = lhv::kExtraIsWindowOffset,
               .selector = static_cast<uint32_t>(random.Between(2, 9)),
               .value = random.Between(1, at - first),
               .extra = kFirstInputMemory + random.Below(1024) * kWord});
}

void Insert(std::vector<Operation>& code, const Operation& operation, Random& random) {
  code.insert(code.begin() + static_cast<ptrdiff_t>(random.Below(code.size() + 1)), operation);
}

}  // namespace

uint64_t SomeAddressOfL0(Random& random) {
  return sim::L0Memory::BaseFor(sim::L0Memory::kMostWidth) + random.Below(8) * kPageSize;
}

// --- The mutator

ProgramMutator::ProgramMutator(const TargetInformation& target)
    : target_(target), pool_(MakePool(target)) {}

void ProgramMutator::Mutate(lhv::GuestProgram& own, Random& random,
                            const ByteMutator& mutate_bytes) const {
  if (own.cpus.empty() || random.OneIn(200)) own = Some(random);
  const uint64_t changes = random.OneIn(2) ? 1 : random.Between(2, 5);
  for (uint64_t i = 0; i < changes; ++i) MutateOnce(own, random, mutate_bytes);
  const std::string_view name = target_.name;
  if ((name == "vmcs12_entry" || name == "event" || name == "exit_route") && !random.OneIn(4)) {
    RoundVmcs12(target_.form, own.cpus[0], random);
  }
  for (CpuProgram& cpu : own.cpus) Trim(target_, cpu);
}

void ProgramMutator::MutateOnce(lhv::GuestProgram& own, Random& random,
                                const ByteMutator& mutate_bytes) const {
  CpuProgram& cpu = own.cpus[random.Below(own.cpus.size())];
  const std::string_view name = target_.name;
  if (name == "msr_list" && !random.OneIn(4)) return MutateMsrList(cpu, random, mutate_bytes);
  if (name == "ept12" && random.OneIn(2)) return MutateEpt(cpu, random);
  if (name == "exit_route" && random.OneIn(4)) return MutateBitmap(cpu, random);
  switch (random.Below(8)) {
    case 0: {
      const lhv::GuestProgram& from = Some(random);
      return InsertPiece(cpu, random.Of(std::span<const CpuProgram>(from.cpus)), random);
    }
    case 1:
      return RemovePiece(cpu, random);
    case 2:
      return MutateMemory(cpu, random, mutate_bytes);
    case 3:
      if (random.OneIn(2)) return ChangeField(target_.form, cpu, random);
      [[fallthrough]];
    default:
      return MutateCode(cpu, random, mutate_bytes);
  }
}

void ProgramMutator::MutateCode(CpuProgram& cpu, Random& random,
                                const ByteMutator& mutate_bytes) const {
  const uint32_t level = random.OneIn(2) ? 1 : 2;
  std::vector<Operation>& code = level == 1 ? cpu.l1 : cpu.l2;
  // The setup of a whole program stays mostly: without it nothing else is reached.
  const size_t first = level == 1 && !random.OneIn(16) ? std::min(cpu.run_begin, code.size()) : 0;
  if (code.size() == first) {
    const lhv::GuestProgram& from = Some(random);
    const std::vector<Operation>& source = level == 1 ? from.cpus[0].l1 : from.cpus[0].l2;
    if (!source.empty()) code.push_back(random.Of(std::span<const Operation>(source)));
    return;
  }
  const size_t at = first + random.Below(code.size() - first);
  switch (random.Below(8)) {
    case 0:
      code.erase(code.begin() + static_cast<ptrdiff_t>(at));
      if (level == 1 && at < cpu.run_begin) --cpu.run_begin;
      break;
    case 1:
      std::swap(code[at], code[first + random.Below(code.size() - first)]);
      break;
    case 2:
      if (level == 1 && random.OneIn(8)) {
        InsertRepetition(code, first, random);
      } else if (level == 2 || cpu.run_begin == 0) {
        Insert(code, code[at], random);
      }
      break;
    default:
      MutateOperation(code[at], level, random, mutate_bytes);
      break;
  }
}

void ProgramMutator::MutateMemory(CpuProgram& cpu, Random& random,
                                  const ByteMutator& mutate_bytes) const {
  if (cpu.memory.empty()) {
    return PutWord(cpu, kFirstInputMemory + random.Below(1024) * kWord, random.Awkward(64));
  }
  lhv::MemoryBlock& block = cpu.memory[random.Below(cpu.memory.size())];
  if (block.bytes.empty()) return;
  const size_t at = random.Below(block.bytes.size());
  switch (random.Below(6)) {
    case 0:
      // In place: a block that grows could reach the next.
      mutate_bytes(block.bytes.data(), block.bytes.size(), block.bytes.size());
      break;
    case 1:
      block.bytes.resize(at + 1);
      break;
    case 2:
      PutWord(cpu, (block.offset & ~(kWord - 1)) + random.Below(64) * kWord, random.Awkward(64));
      break;
    case 3:
      if (target_.form != InputForm::kWholeProgram && random.OneIn(4)) {
        block.bytes.clear();
        std::erase_if(cpu.memory, [](const lhv::MemoryBlock& b) { return b.bytes.empty(); });
      }
      break;
    default:
      block.bytes[at] ^= static_cast<std::byte>(random.Bit(8));
      break;
  }
}

void ProgramMutator::InsertPiece(CpuProgram& cpu, const CpuProgram& from, Random& random) const {
  // Some operations in a row, at the place where they were if that is possible; as often in the
  // place of others as between them.
  const bool in_place = random.OneIn(2);
  const auto take = [&](const std::vector<Operation>& source, std::vector<Operation>& code,
                        size_t first) {
    if (source.size() <= first || code.size() < first) return;
    const size_t begin = first + random.Below(source.size() - first);
    const size_t count = std::min<size_t>(random.Between(1, kMostInPiece), source.size() - begin);
    const size_t at = first + random.Below(code.size() - first + 1);
    if (in_place) {
      const auto place = code.begin() + static_cast<ptrdiff_t>(at);
      code.erase(place, place + static_cast<ptrdiff_t>(std::min(count, code.size() - at)));
    }
    code.insert(code.begin() + static_cast<ptrdiff_t>(at),
                source.begin() + static_cast<ptrdiff_t>(begin),
                source.begin() + static_cast<ptrdiff_t>(begin + count));
  };
  if (!random.OneIn(3)) take(from.l1, cpu.l1, std::max(cpu.run_begin, from.run_begin));
  if (!random.OneIn(3)) take(from.l2, cpu.l2, 0);
  if (!from.memory.empty() && random.OneIn(2)) {
    const lhv::MemoryBlock& block = from.memory[random.Below(from.memory.size())];
    for (uint64_t at = 0; at + kWord <= block.bytes.size() && at < 32 * kWord; at += kWord) {
      PutWord(cpu, block.offset + at, WordAt(from, block.offset + at));
    }
  }
}

// Without it inputs only grow, up to what their target allows, and get slow.
void ProgramMutator::RemovePiece(CpuProgram& cpu, Random& random) const {
  const bool of_l1 = random.OneIn(2);
  std::vector<Operation>& code = of_l1 ? cpu.l1 : cpu.l2;
  const size_t first = of_l1 ? std::min(cpu.run_begin, code.size()) : 0;
  if (code.size() == first) return;
  const size_t begin = first + random.Below(code.size() - first);
  const size_t count = std::min<size_t>(random.Between(1, kMostInPiece), code.size() - begin);
  const auto place = code.begin() + static_cast<ptrdiff_t>(begin);
  code.erase(place, place + static_cast<ptrdiff_t>(count));
}

void ProgramMutator::CrossOver(lhv::GuestProgram& a, const lhv::GuestProgram& b,
                               Random& random) const {
  if (a.cpus.empty() || b.cpus.empty()) return;
  CpuProgram& changed = a.cpus[random.Below(a.cpus.size())];
  InsertPiece(changed, b.cpus[random.Below(b.cpus.size())], random);
  RemovePiece(changed, random);
  for (CpuProgram& cpu : a.cpus) Trim(target_, cpu);
}

}  // namespace nvmx::fuzz
