// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/generator/program_builder.h"

#include <algorithm>
#include <cstring>

#include "core/vmx/controls.h"
#include "core/x86/address.h"
#include "lhv/baseline.h"
#include "lhv/exit_fields.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

using lhv::Operation;
using lhv::OperationKind;

// Where a page ends up that asked for no place; those of the setup come first.
constexpr uint64_t kFirstFreeOffset =
    ProgramBuilder::kData + ProgramBuilder::kDataPages * kPageSize;

lhv::MemoryBlock Pages(const std::string& name, uint64_t offset, size_t pages) {
  return {.name = name, .offset = offset, .bytes = std::vector<std::byte>(pages * kPageSize)};
}

std::vector<Operation> MakeSetup() {
  std::vector<Operation> setup =
      lhv::EnterVmx({ProgramBuilder::kVmxonRegion, lhv::kValueIsWindowOffset});
  const std::vector<Operation> baseline =
      lhv::BaselineVmcs({ProgramBuilder::kVmcsRegion, lhv::kValueIsWindowOffset}, 0);
  setup.insert(setup.end(), baseline.begin(), baseline.end());
  return setup;
}

// What BaselineVmcs() asks for in a control field.
uint64_t BaselineControls(VmcsField field) {
  for (const Operation& operation : ProgramBuilder::Setup()) {
    if (operation.kind == OperationKind::kVmwriteControl && operation.selector == Encoding(field)) {
      return operation.value;
    }
  }
  return 0;
}

}  // namespace

const std::vector<Operation>& ProgramBuilder::Setup() {
  static const auto& setup = *new std::vector<Operation>(MakeSetup());
  return setup;
}

ProgramBuilder::ProgramBuilder(uint32_t cpu)
    : cpu_(cpu),
      next_offset_(kFirstFreeOffset),
      controls_{{VmcsField::kPinBasedControls, 0, false},
                {VmcsField::kPrimaryProcessorBasedControls, 0, false},
                {VmcsField::kSecondaryProcessorBasedControls, 0, false},
                {VmcsField::kVmExitControls, 0, false},
                {VmcsField::kVmEntryControls, 0, false}} {
  memory_.reserve(16);
  memory_.push_back(Pages("vmxon", kVmxonRegion, 1));
  memory_.push_back(Pages("vmcs", kVmcsRegion, 1));
  memory_.push_back(Pages("data", kData, kDataPages));
  for (Controls& controls : controls_) controls.bits = BaselineControls(controls.field);
}

uint64_t ProgramBuilder::AddPages(const std::string& name, size_t pages) {
  const uint64_t offset = next_offset_;
  next_offset_ += pages * kPageSize;
  memory_.push_back(Pages(name, offset, pages));
  return offset;
}

std::span<std::byte> ProgramBuilder::BytesAt(uint64_t offset) {
  for (lhv::MemoryBlock& block : memory_) {
    if (offset >= block.offset && offset - block.offset < block.bytes.size()) {
      return std::span(block.bytes).subspan(offset - block.offset);
    }
  }
  return {};
}

void ProgramBuilder::Put64(uint64_t offset, uint64_t value) {
  std::memcpy(BytesAt(offset).data(), &value, sizeof value);
}

uint64_t ProgramBuilder::Get64(uint64_t offset) {
  uint64_t value = 0;
  std::memcpy(&value, BytesAt(offset).data(), sizeof value);
  return value;
}

uint64_t ProgramBuilder::AddressOf(uint64_t offset) const { return lhv::WindowOf(cpu_) + offset; }

void ProgramBuilder::BeforeEntry(size_t round, const Operation& operation) {
  WantRounds(round + 1);
  between_[std::min(round, kMaxRounds - 1)].push_back(operation);
}

Operation ProgramBuilder::Write(VmcsField field, uint64_t value, uint16_t flags) {
  // What a field cannot hold has no form in the text of programs.
  return lhv::Vmwrite(field, value & ValueMask(field), flags);
}

Operation ProgramBuilder::WriteOffset(VmcsField field, uint64_t offset) {
  return lhv::Vmwrite(field, offset, lhv::kValueIsWindowOffset);
}

ProgramBuilder::Controls& ProgramBuilder::ControlsOf(VmcsField field) {
  for (Controls& controls : controls_) {
    if (controls.field == field) return controls;
  }
  return controls_[0];
}

void ProgramBuilder::SetControls(VmcsField field, uint64_t bits) {
  Controls& controls = ControlsOf(field);
  controls.bits |= bits;
  controls.changed = true;
  if (field == VmcsField::kSecondaryProcessorBasedControls) {
    SetControls(VmcsField::kPrimaryProcessorBasedControls,
                PrimaryProcessorBased::kActivateSecondaryControls);
  }
}

void ProgramBuilder::ClearControls(VmcsField field, uint64_t bits) {
  Controls& controls = ControlsOf(field);
  controls.bits &= ~bits;
  controls.changed = true;
}

void ProgramBuilder::WantRounds(size_t rounds) {
  rounds_ = std::max(rounds_, std::min(rounds, kMaxRounds));
}

lhv::CpuProgram ProgramBuilder::Build(Random& random) {
  lhv::CpuProgram program;
  program.memory = std::move(memory_);
  program.l1.reserve(Setup().size() + prelude_.size() + epilogue_.size() + 64);
  program.l1 = Setup();
  program.run_begin = program.l1.size();
  // Before what a topic writes raw into a control field.
  for (const Controls& controls : controls_) {
    if (!controls.changed) continue;
    program.l1.push_back({.kind = OperationKind::kVmwriteControl,
                          .selector = Encoding(controls.field),
                          .value = controls.bits});
  }
  // A run that begins with a VM entry would have its first operation in the setup (lhv/README.md),
  // and the setup is to be the same for all.
  if (program.l1.size() == program.run_begin) prelude_.insert(prelude_.begin(), Operation{});
  AppendL1(prelude_, program);
  AppendRounds(random, program);
  AppendL1(epilogue_, program);
  program.l2 = std::move(l2_);
  // What L2 does last is to leave.
  program.l2.push_back({.kind = OperationKind::kVmcall});
  program.l1_lines.assign(program.l1.size(), 0);
  program.l2_lines.assign(program.l2.size(), 0);
  return program;
}

void ProgramBuilder::AppendL1(const std::vector<Operation>& operations, lhv::CpuProgram& program) {
  for (const Operation& operation : operations) {
    if (operation.kind == OperationKind::kVmlaunch || operation.kind == OperationKind::kVmresume) {
      // The VM exit continues behind the VM entry.
      program.l1.push_back({.kind = OperationKind::kSetHostRip, .value = program.l1.size() + 2});
    }
    program.l1.push_back(operation);
  }
}

void ProgramBuilder::AppendRounds(Random& random, lhv::CpuProgram& program) {
  for (size_t round = 0; round < rounds_; ++round) {
    AppendL1(between_[round], program);
    if (round > 0) {
      // Behind the instruction that exited, if it was one; or somewhere else in L2, for exits that
      // would come again at once.
      if (random.OneIn(3)) {
        program.l1.push_back(
            Write(VmcsField::kGuestRip,
                  lhv::OperationAddress(lhv::kL2CodeBase, random.Below(l2_.size() + 1))));
      } else if (!random.OneIn(8)) {
        program.l1.push_back({.kind = OperationKind::kAdvanceGuestRip});
      }
    }
    AppendEntry(round == 0, random, program);
  }
}

void ProgramBuilder::AppendEntry(bool first, Random& random, lhv::CpuProgram& program) {
  // Sometimes the other of the two, which fails.
  const bool launch = random.OneIn(32) ? !first : first;
  // Sometimes with events blocked by MOV SS, in which it fails too.
  const Operation entry{.kind = launch ? OperationKind::kVmlaunch : OperationKind::kVmresume};
  if (random.OneIn(48)) {
    program.l1.push_back(
        Write(VmcsField::kHostRip, lhv::OperationAddress(lhv::kL1CodeBase, program.l1.size() + 3)));
    program.l1.push_back({.kind = OperationKind::kMovSs});
    program.l1.push_back(entry);
  } else {
    AppendL1({entry}, program);
  }
  program.l1.push_back(
      {.kind = OperationKind::kObserveExit,
       .selector = random.OneIn(3) ? lhv::kEveryExitField : lhv::kDefaultExitFields});
}

}  // namespace nvmx::sim
