// SPDX-License-Identifier: Apache-2.0
// Every program of the suites can be assembled, and says what must be observed.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include "gtest/gtest.h"
#include "lhv/assembler.h"
#include "lhv/program_codec.h"

namespace nvmx::lhv {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kMostCpus = 2;

std::map<std::string, std::string> Programs() {
  std::map<std::string, std::string> programs;
  for (const auto& entry : fs::recursive_directory_iterator("lhv/suites")) {
    if (entry.path().extension() != ".yaml") continue;
    std::ifstream file(entry.path());
    programs[entry.path().string()] = {std::istreambuf_iterator<char>(file),
                                       std::istreambuf_iterator<char>()};
  }
  return programs;
}

TEST(Suites, EveryProgramIsAssembledAndSaysWhatMustBeObserved) {
  const auto programs = Programs();
  EXPECT_GT(programs.size(), 300u);
  for (const auto& [path, text] : programs) {
    const auto program = Assemble(path, text, kMostCpus);
    ASSERT_TRUE(program.ok()) << program.status();
    for (const CpuProgram& cpu : program->cpus) {
      EXPECT_EQ(cpu.expected.has_value(), !cpu.l1.empty()) << path;
    }
  }
}

TEST(Suites, NamesAndCodesTellProgramsApart) {
  std::map<std::string, std::string> path_of_name;
  for (const auto& [path, text] : Programs()) {
    const auto program = Assemble(path, text, kMostCpus);
    ASSERT_TRUE(program.ok()) << program.status();
    const auto [found, is_new] = path_of_name.emplace(program->name, path);
    EXPECT_TRUE(is_new) << path << " and " << found->second << " are both called " << program->name;
  }
}

TEST(Suites, EveryProgramSurvivesItsBinaryForm) {
  for (const auto& [path, text] : Programs()) {
    const auto program = Assemble(path, text, kMostCpus);
    ASSERT_TRUE(program.ok()) << program.status();
    const auto decoded = DecodeProgram(EncodeProgram(*program));
    ASSERT_TRUE(decoded.ok()) << path << ": " << decoded.status();
    for (uint32_t cpu = 0; cpu < kMostCpus; ++cpu) {
      EXPECT_EQ(decoded->cpus[cpu].l1, program->cpus[cpu].l1) << path;
      EXPECT_EQ(decoded->cpus[cpu].l2, program->cpus[cpu].l2) << path;
    }
  }
}

}  // namespace
}  // namespace nvmx::lhv
