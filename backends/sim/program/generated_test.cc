// SPDX-License-Identifier: Apache-2.0
//
// The first law, for programs that nobody wrote.
#include <string>

#include "backends/sim/program/campaign.h"
#include "gtest/gtest.h"

namespace nvmx::sim {
namespace {

constexpr uint64_t kPrograms = 8'000;

const CampaignResult& Slice() {
  static const CampaignResult& result = *new CampaignResult([] {
    CampaignOptions options;
    options.generator.seed = 1;
    options.count = kPrograms;
    return RunCampaign(options);
  }());
  return result;
}

void ExpectNoFindings(const CampaignResult& result) {
  for (const ProgramFinding& finding : result.findings) {
    ADD_FAILURE() << finding.count << " programs like number " << finding.number
                  << " of seed 1 differ: " << finding.signature
                  << "\nnvmx generate --compare --seed 1 --first " << finding.number
                  << " tells more";
  }
}

TEST(GeneratedTest, ProgramsLookTheSameOnTheCoreAndOnTheReference) { ExpectNoFindings(Slice()); }

TEST(GeneratedTest, ProgramsLookTheSameWithAShadowVmcs) {
  CampaignOptions options;
  options.generator.seed = 1;
  options.count = kPrograms;
  options.l1_has_shadow_vmcs = true;
  ExpectNoFindings(RunCampaign(options));
}

// That nothing was found means something only if the programs get far.
TEST(GeneratedTest, ProgramsReachWhatTheyAreFor) {
  const Reached& reached = Slice().reached;
  EXPECT_EQ(reached.programs, kPrograms);
  EXPECT_GT(reached.entered_l2, kPrograms / 2);
  EXPECT_GT(reached.entry_failures, kPrograms / 50);
  for (const int reason : {0,  1,  2,  3,  7,  8,  10, 12, 13, 14, 15, 16, 18, 19, 20, 21,
                           22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 36, 37, 39, 40, 43,
                           44, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 57, 58, 59, 61, 62}) {
    EXPECT_GT(reached.exits[static_cast<size_t>(reason)], 0u) << "exit reason " << reason;
  }
  for (const int number : {2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 15, 26, 28}) {
    EXPECT_GT(reached.vmfails[static_cast<size_t>(number)], 0u)
        << "VM-instruction error " << number;
  }
  EXPECT_GT(reached.failures[33], 0u);
  EXPECT_GT(reached.failures[34], 0u);
  EXPECT_GT(Slice().likenesses.at(Likeness::kSame), kPrograms * 9 / 10)
      << "most programs have one right log";
}

}  // namespace
}  // namespace nvmx::sim
