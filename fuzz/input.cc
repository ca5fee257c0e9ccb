// SPDX-License-Identifier: Apache-2.0
#include "fuzz/input.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "backends/sim/program/generator/generator.h"
#include "backends/sim/program/generator/page_tables.h"
#include "core/vmx/controls.h"
#include "lhv/assembler.h"
#include "lhv/baseline.h"
#include "lhv/binary_program.h"
#include "lhv/layout.h"
#include "lhv/program_codec.h"

namespace nvmx::fuzz {
namespace {

using lhv::Operation;
using lhv::OperationKind;

constexpr TargetInformation kTargets[] = {
    {"msr_list", "the three MSR lists act on the core as on a processor", InputForm::kBehindEntry,
     1024, 16, 1, 4, 16},
    {"vmcs12_entry",
     "a VM entry that a processor accepts or refuses ends alike on the core, and L0 can enter "
     "VMCS02",
     InputForm::kBehindEntry, 1024, 24, 1, 4, 24},
    {"ept12", "L2's memory is what EPT12 says, whatever L1 changes and invalidates",
     InputForm::kBehindEptEntry, 2048, 16, 2, 4, 12},
    {"vmx_sequence", "VMX instructions in any order end as on a processor", InputForm::kBehindSetup,
     1024, 16, 1, 4, 12},
    {"exit_route", "what L2 does exits to L1 exactly if it would on a processor",
     InputForm::kBehindEntry, 2048, 16, 1, 4, 16},
    {"event",
     "injected events, interrupts and NMIs arrive where and when they would on a processor",
     InputForm::kBehindEntry, 1024, 16, 2, 4, 16},
    {"program", "a guest program sees the same on the core as on a processor, on two CPUs too",
     InputForm::kWholeProgram, 32768, 256, 6, 32, 256},
    {"schedule", "no schedule of CPUs and NMIs makes correct code fail", InputForm::kSchedule,
     1024},
    {"assembler", "any file is a program or an error that names place and rule", InputForm::kText,
     4096},
};

bool IsVmEntry(OperationKind kind) {
  return kind == OperationKind::kVmlaunch || kind == OperationKind::kVmresume;
}

// The VM entry of kBehindEntry: L2's first operation is VMCALL, and L2 goes on behind it.
void AppendFirstEntry(lhv::CpuProgram& cpu) {
  const Operation first[] = {
      {.kind = OperationKind::kVmlaunch},
      lhv::Vmwrite(VmcsField::kGuestRip, lhv::OperationAddress(lhv::kL2CodeBase, 1))};
  AppendL1(first, cpu.l1);
  cpu.l2.push_back({.kind = OperationKind::kVmcall});
}

// Behind the VM entry, so that the setup does not depend on the tables.
void AppendEpt(lhv::CpuProgram& cpu) {
  sim::Random random(0);
  sim::ProgramBuilder builder(0);
  const sim::Ept ept = sim::AddEptTables(builder, "ept");
  for (lhv::MemoryBlock& block : builder.Build(random).memory) {
    if (block.name == "ept") cpu.memory.push_back(std::move(block));
  }
  const auto set_controls = [&cpu](VmcsField field, uint64_t bits) {
    cpu.l1.push_back(
        {.kind = OperationKind::kVmwriteControl, .selector = Encoding(field), .value = bits});
  };
  set_controls(VmcsField::kPrimaryProcessorBasedControls,
               PrimaryProcessorBased::kActivateSecondaryControls);
  set_controls(VmcsField::kSecondaryProcessorBasedControls, Secondary::kEnableEpt);
  cpu.l1.push_back(lhv::Vmwrite(VmcsField::kEptPointer, ept.eptp));
}

lhv::GuestProgram MakeSetup(InputForm form) {
  lhv::GuestProgram program = sim::GeneratedSetup();
  lhv::CpuProgram& cpu = program.cpus[0];
  // The generator ends each program with operations of its own.
  cpu.l1.resize(cpu.run_begin);
  cpu.l2.clear();
  if (form != InputForm::kBehindSetup) AppendFirstEntry(cpu);
  if (form == InputForm::kBehindEptEntry) AppendEpt(cpu);
  cpu.run_begin = cpu.l1.size();
  return program;
}

void SetLines(lhv::CpuProgram& cpu) {
  cpu.l1_lines.assign(cpu.l1.size(), 0);
  cpu.l2_lines.assign(cpu.l2.size(), 0);
}

}  // namespace

std::span<const TargetInformation> AllTargets() { return kTargets; }

const TargetInformation* FindTarget(std::string_view name) {
  for (const TargetInformation& target : kTargets) {
    if (name == target.name) return &target;
  }
  return nullptr;
}

bool HasSetup(InputForm form) {
  return form == InputForm::kBehindEntry || form == InputForm::kBehindEptEntry ||
         form == InputForm::kBehindSetup;
}

const lhv::GuestProgram& SetupOf(InputForm form) {
  static const auto& behind_entry = *new lhv::GuestProgram(MakeSetup(InputForm::kBehindEntry));
  static const auto& behind_setup = *new lhv::GuestProgram(MakeSetup(InputForm::kBehindSetup));
  static const auto& behind_ept = *new lhv::GuestProgram(MakeSetup(InputForm::kBehindEptEntry));
  static const auto& nothing = *new lhv::GuestProgram;
  switch (form) {
    case InputForm::kBehindEntry:
      return behind_entry;
    case InputForm::kBehindSetup:
      return behind_setup;
    case InputForm::kBehindEptEntry:
      return behind_ept;
    default:
      return nothing;
  }
}

// --- Reading

// Keeps the vectors of the program that is there for what comes next.
class InputReader::Visitor final : public lhv::BinaryProgramVisitor {
 public:
  Visitor(InputReader& reader, bool whole) : reader_(reader), whole_(whole) {}

  void OnCpu(uint32_t cpu, uint32_t count, size_t l1, size_t run_begin, size_t l2) override {
    if (count > (whole_ ? kMostCpus : 1)) return Refuse("more CPUs than such an input has");
    if (l1 > reader_.most_operations_ || l2 > reader_.most_operations_) {
      return Refuse("more operations than an input has");
    }
    if (!whole_ && run_begin != 0) return Refuse("the setup of this form is not part of an input");
    reader_.program_.cpus.resize(count);
    cpu_ = &reader_.program_.cpus[cpu];
    cpu_->l1.clear();
    cpu_->l2.clear();
    cpu_->run_begin = run_begin;
    blocks_ = 0;
    if (cpu_->memory.size() > kKeptBlocks) cpu_->memory.resize(kKeptBlocks);
    for (lhv::MemoryBlock& block : cpu_->memory) block.bytes.clear();
  }
  void OnOperation(uint32_t level, const Operation& operation) override {
    if (cpu_ == nullptr) return;
    if (!whole_ && operation.kind == OperationKind::kSetHostRip) return;
    (level == 1 ? cpu_->l1 : cpu_->l2).push_back(operation);
  }
  void OnMemory(uint64_t offset, std::span<const std::byte> bytes) override {
    if (cpu_ == nullptr) return;
    if (!whole_ && offset < kFirstInputMemory) return Refuse("memory where the setup has its own");
    if (blocks_ == cpu_->memory.size()) cpu_->memory.emplace_back();
    lhv::MemoryBlock& block = cpu_->memory[blocks_++];
    block.offset = offset;
    block.bytes.assign(bytes.begin(), bytes.end());
  }
  // Behind the last run.
  void Finish() {
    for (lhv::CpuProgram& cpu : reader_.program_.cpus) {
      std::erase_if(cpu.memory, [](const lhv::MemoryBlock& block) { return block.bytes.empty(); });
    }
  }
  bool refused() const { return refused_; }

 private:
  static constexpr size_t kKeptBlocks = 64;

  void Refuse(const char* why) {
    reader_.error_ = why;
    refused_ = true;
    cpu_ = nullptr;
  }

  InputReader& reader_;
  const bool whole_;
  lhv::CpuProgram* cpu_ = nullptr;
  size_t blocks_ = 0;
  bool refused_ = false;
};

const lhv::GuestProgram* InputReader::Read(std::span<const std::byte> bytes) {
  if (!read_.empty() && std::ranges::equal(bytes, read_)) return &program_;
  read_.clear();
  const bool whole = form_ == InputForm::kWholeProgram;
  Visitor visitor(*this, whole);
  const lhv::BinaryProgramError error = lhv::ReadBinaryProgram(bytes, visitor);
  if (visitor.refused()) return nullptr;
  if (error != lhv::BinaryProgramError::kNone) {
    error_ = lhv::Name(error);
    return nullptr;
  }
  // With no CPU the visitor has seen nothing, and an older program would be there still.
  if (bytes[lhv::kBinaryHeaderBytes - 1] == std::byte{0}) {
    error_ = "a program without a CPU";
    return nullptr;
  }
  program_.l1_mode = lhv::L1ModeOf(bytes);
  if (!whole && program_.l1_mode != lhv::L1Mode::k64Bit) {
    error_ = "an L1 outside IA-32e mode, where the setup of this form is for 64-bit mode";
    return nullptr;
  }
  visitor.Finish();
  read_.assign(bytes.begin(), bytes.end());
  return &program_;
}

// --- Writing

namespace {

class InputWriter {
 public:
  std::vector<std::byte> Write(const lhv::GuestProgram& own) {
    for (const char letter : lhv::kBinaryMagic) Put(static_cast<uint8_t>(letter), 1);
    const bool is_64bit = own.l1_mode == lhv::L1Mode::k64Bit;
    Put(is_64bit ? lhv::kBinaryVersion : lhv::kBinaryVersionOf32Bits, 1);
    Put(own.cpus.size(), 1);
    for (const lhv::CpuProgram& cpu : own.cpus) PutCpu(cpu);
    return std::move(bytes_);
  }

 private:
  // Memory as it is: zeros too, which may lie over something else.
  void PutCpu(const lhv::CpuProgram& cpu) {
    std::vector<const lhv::MemoryBlock*> blocks;
    for (const lhv::MemoryBlock& block : cpu.memory) {
      if (!block.bytes.empty()) blocks.push_back(&block);
    }
    std::sort(blocks.begin(), blocks.end(),
              [](const auto* a, const auto* b) { return a->offset < b->offset; });
    for (const size_t count : {cpu.l1.size(), cpu.run_begin, cpu.l2.size(), blocks.size()}) {
      Put(count, 2);
    }
    for (const Operation& operation : cpu.l1) PutOperation(operation);
    for (const Operation& operation : cpu.l2) PutOperation(operation);
    for (const lhv::MemoryBlock* block : blocks) {
      Put(block->offset, 4);
      Put(block->bytes.size(), 4);
      bytes_.insert(bytes_.end(), block->bytes.begin(), block->bytes.end());
    }
  }

  void PutOperation(const Operation& operation) {
    Put(static_cast<uint64_t>(operation.kind), 1);
    Put((operation.flags & lhv::kBinaryFlags) |
            (operation.selector != 0 ? lhv::kBinaryHasSelector : 0) |
            (operation.value != 0 ? lhv::kBinaryHasValue : 0) |
            (operation.extra != 0 ? lhv::kBinaryHasExtra : 0) |
            (operation.operand != 0 ? lhv::kBinaryHasOperand : 0),
        1);
    if (operation.selector != 0) Put(operation.selector, sizeof operation.selector);
    for (const uint64_t part : {operation.value, operation.extra, operation.operand}) {
      if (part != 0) Put(part, sizeof part);
    }
  }

  void Put(uint64_t value, size_t width) {
    const size_t at = bytes_.size();
    bytes_.resize(at + width);
    std::memcpy(bytes_.data() + at, &value, width);
  }

  std::vector<std::byte> bytes_;
};

}  // namespace

std::vector<std::byte> EncodeInput(const lhv::GuestProgram& own) {
  return InputWriter().Write(own);
}

// --- Whole programs

void AppendL1(std::span<const Operation> own, std::vector<Operation>& l1) {
  std::vector<size_t> begins;  // where what stands for each operation begins
  for (const Operation& operation : own) {
    begins.push_back(l1.size());
    if (IsVmEntry(operation.kind)) {
      l1.push_back({.kind = OperationKind::kSetHostRip, .value = l1.size() + 2});
    }
    l1.push_back(operation);
    if (operation.kind != OperationKind::kRepeat) continue;
    const size_t at = begins.size() - 1;
    // More than there are: what is before the input is not repeated.
    const size_t first = at - std::min<size_t>(operation.value, at);
    l1.back().value = std::max<size_t>(1, begins[at] - begins[first]);
  }
}

namespace {

// Puts the bytes where blocks are already, and the rest into blocks of its own.
void LayOver(const lhv::MemoryBlock& block, std::vector<lhv::MemoryBlock>& memory) {
  lhv::MemoryBlock rest{.name = {}, .offset = block.offset, .bytes = {}};
  const auto take_rest = [&] {
    if (!rest.bytes.empty()) memory.push_back(std::move(rest));
    rest = {};
  };
  const size_t count = memory.size();
  for (size_t i = 0; i < block.bytes.size(); ++i) {
    const uint64_t offset = block.offset + i;
    size_t below = 0;
    while (below < count && (offset < memory[below].offset ||
                             offset - memory[below].offset >= memory[below].bytes.size())) {
      ++below;
    }
    if (below < count) {
      memory[below].bytes[offset - memory[below].offset] = block.bytes[i];
      take_rest();
      continue;
    }
    if (rest.bytes.empty()) rest.offset = offset;
    rest.bytes.push_back(block.bytes[i]);
  }
  take_rest();
}

}  // namespace

lhv::GuestProgram WholeProgram(InputForm form, const lhv::GuestProgram& own) {
  lhv::GuestProgram program = HasSetup(form) ? SetupOf(form) : own;
  if (HasSetup(form) && !own.cpus.empty()) {
    lhv::CpuProgram& cpu = program.cpus[0];
    AppendL1(own.cpus[0].l1, cpu.l1);
    cpu.l2.insert(cpu.l2.end(), own.cpus[0].l2.begin(), own.cpus[0].l2.end());
    for (const lhv::MemoryBlock& block : own.cpus[0].memory) LayOver(block, cpu.memory);
  }
  for (lhv::CpuProgram& cpu : program.cpus) {
    for (lhv::MemoryBlock& block : cpu.memory) {
      if (block.name.empty()) block.name = absl::StrCat("at_0x", absl::Hex(block.offset));
    }
    SetLines(cpu);
  }
  return program;
}

absl::StatusOr<lhv::GuestProgram> DecodeProgramInput(InputForm form,
                                                     std::span<const std::byte> bytes) {
  switch (form) {
    case InputForm::kSchedule:
      return absl::InvalidArgumentError("the input is a schedule, not a guest program");
    case InputForm::kText: {
      constexpr size_t kMagic = sizeof lhv::kBinaryMagic;
      if (bytes.size() >= kMagic && std::memcmp(bytes.data(), lhv::kBinaryMagic, kMagic) == 0) {
        return lhv::DecodeProgram(bytes);
      }
      const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      return lhv::Assemble("input", text, 1);
    }
    default:
      break;
  }
  InputReader reader(form);
  const lhv::GuestProgram* own = reader.Read(bytes);
  if (own == nullptr) return absl::InvalidArgumentError(reader.error());
  return WholeProgram(form, *own);
}

}  // namespace nvmx::fuzz
