// SPDX-License-Identifier: Apache-2.0
//
// The first law, for programs that nobody wrote.
#include <string>

#include "backends/sim/program/campaign.h"
#include "gtest/gtest.h"

namespace nvmx::sim {
namespace {

CampaignResult Campaign(uint64_t seed, uint64_t count) {
  CampaignOptions options;
  options.generator.seed = seed;
  options.count = count;
  return RunCampaign(options);
}

TEST(GeneratedTest, ProgramsLookTheSameOnTheCoreAndOnTheReference) {
  const CampaignResult result = Campaign(1, 20'000);
  for (const ProgramFinding& finding : result.findings) {
    ADD_FAILURE() << finding.count << " programs like number " << finding.number
                  << " of seed 1 differ: " << finding.signature
                  << "\nnvmx generate --compare --seed 1 --first " << finding.number
                  << " tells more";
  }
}

// That nothing was found means something only if the programs get far.
TEST(GeneratedTest, ProgramsReachWhatTheyAreFor) {
  const CampaignResult result = Campaign(2, 5'000);
  const Reached& reached = result.reached;
  EXPECT_EQ(reached.programs, 5'000u);
  EXPECT_GT(reached.entered_l2, 3'000u);
  EXPECT_GT(reached.entry_failures, 100u);
  for (const int reason : {0, 2, 7, 8, 10, 12, 18, 23, 25, 28, 30, 31, 32, 37, 43, 44, 48, 49, 52, 59,
                           62}) {
    EXPECT_GT(reached.exits[static_cast<size_t>(reason)], 0u) << "exit reason " << reason;
  }
  for (const int number : {2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 15, 28}) {
    EXPECT_GT(reached.vmfails[static_cast<size_t>(number)], 0u) << "VM-instruction error " << number;
  }
  EXPECT_GT(reached.failures[33], 0u);
  EXPECT_GT(reached.failures[34], 0u);
  EXPECT_GT(result.likenesses.at(Likeness::kSame), 4'500u) << "most programs have one right log";
}

}  // namespace
}  // namespace nvmx::sim
