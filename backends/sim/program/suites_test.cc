// SPDX-License-Identifier: Apache-2.0
// The reference against what the suites say must be observed.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include "backends/sim/program/native_machine.h"
#include "gtest/gtest.h"
#include "lhv/assembler.h"
#include "lhv/expected_observations.h"

namespace nvmx::sim {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kCpus = 2;

std::map<std::string, lhv::GuestProgram> Programs() {
  std::map<std::string, lhv::GuestProgram> programs;
  for (const auto& entry : fs::recursive_directory_iterator("lhv/suites")) {
    if (entry.path().extension() != ".yaml") continue;
    std::ifstream file(entry.path());
    const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    auto program = lhv::Assemble(entry.path().string(), text, kCpus);
    EXPECT_TRUE(program.ok()) << program.status();
    if (program.ok()) programs[entry.path().string()] = *std::move(program);
  }
  return programs;
}

// All programs on one machine, which must not remember the one before.
void ExpectWhatTheSuitesSay(TlbPolicy policy) {
  NativeMachine machine(kCpus, policy);
  ProgramResult result;
  for (const auto& [path, program] : Programs()) {
    machine.Run(program, result);
    for (uint32_t cpu = 0; cpu < kCpus; ++cpu) {
      if (!program.cpus[cpu].expected) continue;
      const auto failure =
          lhv::CompareWithExpected(*program.cpus[cpu].expected, result.cpus[cpu].log);
      EXPECT_FALSE(failure.has_value())
          << path << ":" << failure->line << ": CPU " << cpu << ": " << failure->text;
    }
  }
}

TEST(Suites, TheReferenceGivesWhatTheySayIfItKeepsTranslations) {
  ExpectWhatTheSuitesSay(TlbPolicy::kKeep);
}

TEST(Suites, TheReferenceGivesWhatTheySayIfItKeepsNone) {
  ExpectWhatTheSuitesSay(TlbPolicy::kEvictAtOnce);
}

}  // namespace
}  // namespace nvmx::sim
