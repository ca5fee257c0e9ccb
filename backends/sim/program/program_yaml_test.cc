// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/program_yaml.h"

#include "backends/sim/program/generator/generator.h"
#include "gtest/gtest.h"
#include "lhv/assembler.h"
#include "lhv/layout.h"
#include "lhv/operation_text.h"

namespace nvmx::sim {
namespace {

// Addresses in the window are written as numbers, and blocks without what is zero at their end.
lhv::CpuProgram Normal(lhv::CpuProgram program) {
  for (std::vector<lhv::Operation>* code : {&program.l1, &program.l2}) {
    for (lhv::Operation& operation : *code) {
      if ((operation.flags & lhv::kValueIsWindowOffset) != 0) {
        operation.value += lhv::WindowOf(0);
        operation.flags &= static_cast<uint16_t>(~lhv::kValueIsWindowOffset);
      }
      if ((operation.flags & lhv::kOperandIsWindowOffset) != 0) {
        operation.operand += lhv::WindowOf(0);
        operation.flags &= static_cast<uint16_t>(~lhv::kOperandIsWindowOffset);
      }
      const bool writes = operation.kind == lhv::OperationKind::kWriteMemory ||
                          operation.kind == lhv::OperationKind::kOut;
      if (writes && operation.selector < 8) {
        operation.extra &= (uint64_t{1} << operation.selector * 8) - 1;
      }
      // What the instruction of the operation does not use.
      switch (operation.kind) {
        case lhv::OperationKind::kVmread:
          operation.value = operation.extra = 0;
          break;
        case lhv::OperationKind::kReadMemory:
        case lhv::OperationKind::kIn:
          operation.extra = 0;
          break;
        default:
          break;
      }
    }
  }
  for (lhv::MemoryBlock& block : program.memory) {
    while (!block.bytes.empty() && block.bytes.back() == std::byte{0}) block.bytes.pop_back();
  }
  return program;
}

void ExpectSame(const lhv::CpuProgram& program, const std::vector<lhv::Operation>& found,
                const std::vector<lhv::Operation>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_TRUE(found[i] == expected[i])
        << i << ": " << lhv::OperationText(program, found[i]) << " is not "
        << lhv::OperationText(program, expected[i]) << ", flags " << expected[i].flags << ", value "
        << expected[i].value << ", extra " << expected[i].extra;
  }
}

class ProgramYamlTest : public testing::TestWithParam<uint64_t> {};

TEST_P(ProgramYamlTest, AGeneratedProgramComesBackFromItsText) {
  const lhv::GuestProgram program = GenerateProgram({.seed = 5, .topic = ""}, GetParam());
  const std::string text = ProgramYaml(program);
  const absl::StatusOr<lhv::GuestProgram> again = lhv::Assemble("generated.yaml", text, 1);
  ASSERT_TRUE(again.ok()) << again.status() << "\n" << text;
  const lhv::CpuProgram expected = Normal(program.cpus[0]);
  const lhv::CpuProgram found = Normal(again->cpus[0]);
  EXPECT_EQ(found.run_begin, expected.run_begin);
  ExpectSame(found, found.l1, expected.l1);
  ExpectSame(found, found.l2, expected.l2);
  ASSERT_EQ(found.memory.size(), expected.memory.size());
  for (size_t i = 0; i < found.memory.size(); ++i) {
    EXPECT_EQ(found.memory[i].offset, expected.memory[i].offset);
    EXPECT_EQ(found.memory[i].bytes, expected.memory[i].bytes);
  }
}

INSTANTIATE_TEST_SUITE_P(Generated, ProgramYamlTest, testing::Range<uint64_t>(0, 200));

}  // namespace
}  // namespace nvmx::sim
