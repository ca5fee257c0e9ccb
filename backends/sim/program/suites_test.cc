// SPDX-License-Identifier: Apache-2.0
//
// The first law, for every program of the suites: what a program sees on the core is what it sees
// on the reference. And what the programs say that must be seen is seen on both.
#include <algorithm>
#include <cctype>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/sim/program/comparison.h"
#include "backends/sim/program/difference_text.h"
#include "backends/sim/program/program_files.h"
#include "gtest/gtest.h"
#include "lhv/expected_observations.h"

namespace nvmx::sim {
namespace {

constexpr char kSuites[] = "lhv/suites";

std::vector<std::string> AllFiles() {
  const absl::StatusOr<std::vector<std::string>> files = ProgramFiles({kSuites});
  return files.ok() ? *files : std::vector<std::string>{};
}

void ExpectWhatTheProgramSays(const lhv::GuestProgram& program, const ProgramResult& result,
                              const char* machine) {
  for (size_t cpu = 0; cpu < program.cpus.size(); ++cpu) {
    if (!program.cpus[cpu].expected) continue;
    const std::optional<lhv::ExpectationFailure> failure =
        lhv::CompareWithExpected(*program.cpus[cpu].expected, result.cpus[cpu].log);
    EXPECT_FALSE(failure.has_value())
        << machine << ", CPU " << cpu << ", line " << (failure ? failure->line : 0) << ": "
        << (failure ? failure->text : "");
  }
}

// How a test's machines are.
struct Setting {
  lhv::L1Mode mode = lhv::L1Mode::k64Bit;
  bool has_shadow_vmcs = false;
};

class SuitesTest : public testing::TestWithParam<std::string> {
 protected:
  // The machines of the programs before, for each number of CPUs: a run leaves nothing behind.
  using Comparers = std::map<size_t, std::unique_ptr<Comparer>>;

  void ExpectNoDefect(Comparers& comparers, const Setting& setting) {
    absl::StatusOr<lhv::GuestProgram> program = LoadProgram(GetParam(), 0, setting.mode);
    ASSERT_TRUE(program.ok()) << program.status();
    program_ = *std::move(program);
    std::unique_ptr<Comparer>& comparer = comparers[program_.cpus.size()];
    if (!comparer) {
      comparer = std::make_unique<Comparer>(static_cast<uint32_t>(program_.cpus.size()));
      if (setting.has_shadow_vmcs) comparer->nested().GiveShadowVmcs();
    }
    comparer->Compare(program_, comparison_);
    EXPECT_FALSE(comparison_.IsDefect()) << DifferenceText(program_, comparison_);
  }

  lhv::GuestProgram program_;
  Comparison comparison_;
};

TEST_P(SuitesTest, LooksTheSameOnTheCoreAndOnTheReference) {
  static auto& comparers = *new Comparers;
  ASSERT_NO_FATAL_FAILURE(ExpectNoDefect(comparers, {}));
  // Where the core differs by declaration, the program says what is seen on the core.
  if (comparison_.likeness != Likeness::kDeclared) {
    ExpectWhatTheProgramSays(program_, comparison_.keep, "sim-native");
    ExpectWhatTheProgramSays(program_, comparison_.evict, "sim-native without translations");
  }
  ExpectWhatTheProgramSays(program_, comparison_.nested, "sim-nested");
}

TEST_P(SuitesTest, LooksTheSameWithAShadowVmcs) {
  static auto& comparers = *new Comparers;
  ExpectNoDefect(comparers, {.has_shadow_vmcs = true});
}

// Whatever becomes of it there: a program for 64-bit mode is another one outside IA-32e mode.
TEST_P(SuitesTest, LooksTheSameWithAnL1Of32Bits) {
  static auto& comparers = *new Comparers;
  ExpectNoDefect(comparers, {.mode = lhv::L1Mode::k32Bit});
}

// Were there no files, nothing would be tested.
TEST(SuitesDirectoryTest, IsThere) { EXPECT_GE(AllFiles().size(), 30u); }

INSTANTIATE_TEST_SUITE_P(Files, SuitesTest, testing::ValuesIn(AllFiles()),
                         [](const testing::TestParamInfo<std::string>& info) {
                           std::string name = info.param.substr(sizeof kSuites);
                           std::replace_if(
                               name.begin(), name.end(),
                               [](char c) {
                                 return std::isalnum(static_cast<unsigned char>(c)) == 0;
                               },
                               '_');
                           return name;
                         });

}  // namespace
}  // namespace nvmx::sim
