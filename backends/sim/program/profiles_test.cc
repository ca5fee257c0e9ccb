// SPDX-License-Identifier: Apache-2.0
//
// The first law on processors that can do less than the simulated one: every program of the suites
// looks the same on the core as on the reference, whether or not the processor has what it is
// about.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backends/sim/profiles/profile.h"
#include "backends/sim/program/campaign.h"
#include "backends/sim/program/comparison.h"
#include "backends/sim/program/difference_text.h"
#include "backends/sim/program/program_files.h"
#include "backends/sim/program/program_needs.h"
#include "core/nested/offered_capabilities.h"
#include "gtest/gtest.h"

namespace nvmx::sim {
namespace {

class ProfilesTest : public testing::TestWithParam<ProfileFile> {
 protected:
  ProfilesTest() {
    const absl::StatusOr<Profile> profile = ReadProfile(GetParam().path, GetParam().text);
    EXPECT_TRUE(profile.ok()) << profile.status();
    hardware_ = SimulatedCapabilities(profile->capabilities);
  }

  Capabilities hardware_;
};

TEST_P(ProfilesTest, L0CanRunThere) {
  EXPECT_EQ(MissingForL0(hardware_), std::vector<std::string>{});
}

TEST_P(ProfilesTest, EveryProgramLooksTheSameOnTheCoreAndOnTheReference) {
  const absl::StatusOr<std::vector<std::string>> files = ProgramFiles({"lhv/suites"});
  ASSERT_TRUE(files.ok()) << files.status();
  ASSERT_GE(files->size(), 500u);
  std::map<size_t, std::unique_ptr<Comparer>> comparers;
  Comparison comparison;
  size_t in_l2 = 0;
  for (const std::string& file : *files) {
    const absl::StatusOr<lhv::GuestProgram> program = LoadProgram(file, 0);
    ASSERT_TRUE(program.ok()) << program.status();
    std::unique_ptr<Comparer>& comparer = comparers[program->cpus.size()];
    if (!comparer) {
      comparer = std::make_unique<Comparer>(static_cast<uint32_t>(program->cpus.size()),
                                            *FindVariant("correct"), hardware_);
    }
    comparer->Compare(*program, comparison);
    EXPECT_FALSE(comparison.IsDefect()) << file << "\n" << DifferenceText(*program, comparison);
    Reached reached;
    reached.Add(comparison.keep);
    in_l2 += reached.entered_l2;
  }
  // Were the processor refused everything, all would look the same.
  EXPECT_GE(in_l2, 400u);
}

INSTANTIATE_TEST_SUITE_P(All, ProfilesTest,
                         testing::ValuesIn(ProfileFiles().begin(), ProfileFiles().end()),
                         [](const testing::TestParamInfo<ProfileFile>& info) {
                           std::string name = info.param.name;
                           for (char& c : name) {
                             if (c == '-') c = '_';
                           }
                           return name;
                         });

}  // namespace
}  // namespace nvmx::sim
