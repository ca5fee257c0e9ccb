// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/program_yaml.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "backends/sim/program/generator/generator.h"
#include "core/vmx/vmcs_field.h"
#include "gtest/gtest.h"
#include "lhv/assembler.h"
#include "lhv/layout.h"
#include "lhv/operand.h"
#include "lhv/operation_sequence.h"
#include "lhv/operation_text.h"

namespace nvmx::sim {
namespace {

// What is zero at the end of a block is not written.
std::vector<std::byte> WithoutZerosAtTheEnd(std::vector<std::byte> bytes) {
  while (!bytes.empty() && bytes.back() == std::byte{0}) bytes.pop_back();
  return bytes;
}

// Accesses of memory and ports use as much of the value as they are wide.
uint64_t ValueMaskOf(const lhv::Instruction& instruction) {
  const bool writes = instruction.kind == lhv::InstructionKind::kWriteMemory ||
                      instruction.kind == lhv::InstructionKind::kOut;
  return writes && instruction.width < 8 ? (uint64_t{1} << instruction.width * 8) - 1
                                         : ~uint64_t{0};
}

// The same instructions.
void ExpectSame(const lhv::CpuProgram& program, const std::vector<lhv::Operation>& found,
                const std::vector<lhv::Operation>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    SCOPED_TRACE(absl::StrCat("#", i, " ", lhv::OperationText(program, found[i]), " for ",
                              lhv::OperationText(program, expected[i])));
    ASSERT_EQ(lhv::InstructionCount(found[i]), lhv::InstructionCount(expected[i]));
    for (size_t number = 0; number < lhv::InstructionCount(found[i]); ++number) {
      const lhv::Instruction a = lhv::InstructionAt(found[i], number, {});
      const lhv::Instruction b = lhv::InstructionAt(expected[i], number, {});
      ASSERT_EQ(a.kind, b.kind);
      ASSERT_EQ(a.width, b.width);
      ASSERT_EQ(a.first, b.first);
      // With its operand in memory the instruction has no other.
      if (a.operand.kind != lhv::Operand::Kind::kMemory) {
        ASSERT_EQ(a.second & ValueMaskOf(a), b.second & ValueMaskOf(a));
      }
      ASSERT_EQ(a.third, b.third);
      ASSERT_EQ(lhv::PackOperand(a.operand), lhv::PackOperand(b.operand));
    }
  }
}

class ProgramYamlTest : public testing::TestWithParam<uint64_t> {};

TEST_P(ProgramYamlTest, AGeneratedProgramComesBackFromItsText) {
  const lhv::GuestProgram program = GenerateProgram({.seed = 5, .topic = ""}, GetParam());
  const std::string text = ProgramYaml(program);
  const absl::StatusOr<lhv::GuestProgram> again = lhv::Assemble("generated.yaml", text, 1);
  ASSERT_TRUE(again.ok()) << again.status() << "\n" << text;
  const lhv::CpuProgram& expected = program.cpus[0];
  const lhv::CpuProgram& found = again->cpus[0];
  EXPECT_EQ(found.run_begin, expected.run_begin);
  ExpectSame(found, found.l1, expected.l1);
  ExpectSame(found, found.l2, expected.l2);
  ASSERT_EQ(found.memory.size(), expected.memory.size());
  for (size_t i = 0; i < found.memory.size(); ++i) {
    EXPECT_EQ(found.memory[i].offset, expected.memory[i].offset);
    EXPECT_EQ(WithoutZerosAtTheEnd(found.memory[i].bytes),
              WithoutZerosAtTheEnd(expected.memory[i].bytes));
  }
}

// The memory of the CPU's window that the program finds.
std::vector<std::byte> MemoryOf(const lhv::CpuProgram& cpu) {
  std::vector<std::byte> memory(0x1000);
  for (const lhv::MemoryBlock& block : cpu.memory) {
    std::copy(block.bytes.begin(), block.bytes.end(),
              memory.begin() + static_cast<ptrdiff_t>(block.offset));
  }
  return memory;
}

std::vector<std::byte> AllOf(size_t count, int value) {
  return std::vector<std::byte>(count, static_cast<std::byte>(value));
}

void ExpectSameMemoryFromItsText(std::vector<lhv::MemoryBlock> memory) {
  lhv::GuestProgram program;
  program.name = "memory";
  program.cpus.resize(1);
  program.cpus[0].memory = std::move(memory);
  const std::string text = ProgramYaml(program);
  const absl::StatusOr<lhv::GuestProgram> again = lhv::Assemble("memory.yaml", text, 1);
  ASSERT_TRUE(again.ok()) << again.status() << "\n" << text;
  EXPECT_EQ(MemoryOf(again->cpus[0]), MemoryOf(program.cpus[0])) << text;
}

TEST(ProgramYamlMemoryTest, ABlockComesBackWhateverItsLength) {
  for (const size_t length : {1, 3, 7, 8, 9, 16, 21}) {
    SCOPED_TRACE(length);
    ExpectSameMemoryFromItsText({{"a", 0x100, AllOf(length, 0x5A)}});
  }
}

TEST(ProgramYamlMemoryTest, WhatALaterBlockLiesOverIsTheLaterBlocks) {
  const lhv::MemoryBlock large{"large", 0x100, AllOf(32, 1)};
  for (const uint64_t offset : {0xF8, 0x100, 0x10B, 0x118, 0x11C}) {
    SCOPED_TRACE(offset);
    ExpectSameMemoryFromItsText({large, {"small", offset, AllOf(12, 0)}});
    ExpectSameMemoryFromItsText({{"small", offset, AllOf(12, 2)}, large});
  }
}

TEST(ProgramYamlEntryTest, AnAddressThatIsWrittenIsInTheWindow) {
  const lhv::GuestProgram program =
      *lhv::Assemble("address.yaml",
                     "name: address\ncpus: [{memory: {page: {bytes: 4096}}, "
                     "run: [{write_memory: {address: page, width: 8, value: page}}]}]\n",
                     1);
  const lhv::CpuProgram& cpu = program.cpus[0];
  ASSERT_NE(cpu.l1[0].flags & lhv::kExtraIsWindowOffset, 0);
  const std::string text = ProgramYaml(program);
  const absl::StatusOr<lhv::GuestProgram> again = lhv::Assemble("again.yaml", text, 1);
  ASSERT_TRUE(again.ok()) << again.status() << "\n" << text;
  const lhv::Operation& found = again->cpus[0].l1[0];
  EXPECT_EQ(found.extra, cpu.l1[0].extra + lhv::WindowOf(0)) << text;
}

// Of a program from a fuzzer the operation that writes HOST_RIP is the last of the setup.
TEST(ProgramYamlEntryTest, AnEntryThatTheRunBeginsWithKeepsItsHostRip) {
  lhv::GuestProgram program =
      *lhv::Assemble("entry.yaml", "name: entry\ncpus: [{run: [nop, vmlaunch, nop]}]\n", 1);
  lhv::CpuProgram& cpu = program.cpus[0];
  ASSERT_EQ(cpu.l1[2].kind, lhv::OperationKind::kVmlaunch);
  cpu.run_begin = 2;
  const std::string text = ProgramYaml(program);
  const absl::StatusOr<lhv::GuestProgram> again = lhv::Assemble("again.yaml", text, 1);
  ASSERT_TRUE(again.ok()) << again.status() << "\n" << text;
  ExpectSame(cpu, again->cpus[0].l1, cpu.l1);
}

// A fuzzer can take the VM entry behind it away, or put another one there.
TEST(ProgramYamlEntryTest, AHostRipThatIsNotThatOfTheNextEntryIsWritten) {
  lhv::GuestProgram program =
      *lhv::Assemble("entry.yaml", "name: entry\ncpus: [{run: [nop, vmlaunch, vmresume]}]\n", 1);
  std::vector<lhv::Operation>& l1 = program.cpus[0].l1;
  ASSERT_EQ(l1[1].kind, lhv::OperationKind::kSetHostRip);
  ASSERT_EQ(l1[3].kind, lhv::OperationKind::kSetHostRip);
  l1[1].value = 4;
  l1.erase(l1.begin() + 4);
  const absl::StatusOr<lhv::GuestProgram> again =
      lhv::Assemble("again.yaml", ProgramYaml(program), 1);
  ASSERT_TRUE(again.ok()) << again.status();
  ExpectSame(program.cpus[0], again->cpus[0].l1, l1);
}

constexpr char kFor32Bits[] = R"(
name: for i386
arch: i386
cpus:
  - memory: {vmxon: {bytes: 4096}, vmcs: {bytes: 4096}, page: {bytes: 4096}, idt: {bytes: 4096}}
    setup: [enter_vmx: vmxon, baseline_vmcs: vmcs, set_handler: {vector: 2, idt: idt}]
    run:
      - vmwrite: {field: TSC_OFFSET, value: 0x123456789}
      - vmwrite: {field: MSR_BITMAP_ADDRESS, address_of: page}
      - write_memory: {address: page, value: 0x123456789}
      - vmlaunch
    l2: [vmwrite: {field: TSC_OFFSET, value: 1}, vmcall]
)";

lhv::CpuProgram& FirstCpu(lhv::GuestProgram& program) { return program.cpus[0]; }

TEST(ProgramYamlModeTest, AProgramForI386ComesBackFromItsText) {
  lhv::GuestProgram program = *lhv::Assemble("i386.yaml", kFor32Bits, 1);
  const std::string text = ProgramYaml(program);
  absl::StatusOr<lhv::GuestProgram> again = lhv::Assemble("again.yaml", text, 1);
  ASSERT_TRUE(again.ok()) << again.status() << "\n" << text;
  EXPECT_EQ(again->l1_mode, lhv::L1Mode::k32Bit);
  EXPECT_EQ(FirstCpu(*again).run_begin, FirstCpu(program).run_begin);
  ExpectSame(FirstCpu(*again), FirstCpu(*again).l1, FirstCpu(program).l1);
  ExpectSame(FirstCpu(*again), FirstCpu(*again).l2, FirstCpu(program).l2);
}

// When a program is made small, one half of a VMWRITE can be left.
TEST(ProgramYamlModeTest, OneHalfOfAVmwriteComesBackAsOneInstruction) {
  lhv::GuestProgram program = *lhv::Assemble("i386.yaml", kFor32Bits, 1);
  std::vector<lhv::Operation>& l1 = FirstCpu(program).l1;
  const auto tsc_offset = l1.begin() + static_cast<ptrdiff_t>(FirstCpu(program).run_begin);
  ASSERT_EQ(tsc_offset->selector, Encoding(VmcsField::kTscOffset));
  l1.erase(tsc_offset + 1);
  FirstCpu(program).l1_lines.resize(l1.size());
  const absl::StatusOr<lhv::GuestProgram> again =
      lhv::Assemble("again.yaml", ProgramYaml(program), 1);
  ASSERT_TRUE(again.ok()) << again.status();
  ASSERT_EQ(again->cpus[0].l1.size(), l1.size());
  const lhv::Operation& found = again->cpus[0].l1[FirstCpu(program).run_begin];
  EXPECT_EQ(found.selector, Encoding(VmcsField::kTscOffset));
  EXPECT_EQ(found.value, 0x23456789);
}

// Then --l1_arch cannot make another of it, and for a program that says nothing it can.
TEST(ProgramYamlModeTest, TheModeIsWrittenIfTheProgramSaysIt) {
  const std::string rest = "cpus: [{run: [nop]}]\n";
  const auto text = [&rest](const std::string& head) {
    return ProgramYaml(*lhv::Assemble("f.yaml", head + rest, 1));
  };
  EXPECT_TRUE(absl::StrContains(text("name: a\narch: x86_64\n"), "arch: x86_64\n"));
  EXPECT_FALSE(absl::StrContains(text("name: a\n"), "arch"));
}

INSTANTIATE_TEST_SUITE_P(Generated, ProgramYamlTest, testing::Range<uint64_t>(0, 200));
// A displacement has 32 bits.
INSTANTIATE_TEST_SUITE_P(OperandFarAway, ProgramYamlTest, testing::Values(263));

}  // namespace
}  // namespace nvmx::sim
