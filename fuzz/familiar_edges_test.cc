// SPDX-License-Identifier: Apache-2.0
#include "fuzz/familiar_edges.h"

#include <array>

#include "gtest/gtest.h"

namespace nvmx::fuzz {
namespace {

constexpr int kThousands = 5000;

class FamiliarEdgesTest : public testing::Test {
 protected:
  // An execution that takes these edges, and what libFuzzer sees of it.
  std::array<uint8_t, 4> Execute(const std::array<uint8_t, 4>& taken) {
    counters_ = taken;
    edges_.Hide();
    return counters_;
  }

  std::array<uint8_t, 4> counters_{};
  FamiliarEdges edges_{counters_};
};

TEST_F(FamiliarEdgesTest, AnEdgeIsShownUntilItHasBeenTakenThousandsOfTimes) {
  const std::array<uint8_t, 4> taken{1, 0, 7, 0};
  for (int i = 0; i < kThousands / 2; ++i) ASSERT_EQ(Execute(taken), taken) << i;
  for (int i = 0; i < kThousands / 2; ++i) Execute(taken);
  EXPECT_EQ(Execute(taken), (std::array<uint8_t, 4>{}));
}

TEST_F(FamiliarEdgesTest, AnEdgeIsShownHoweverOftenOthersAreTaken) {
  for (int i = 0; i < kThousands; ++i) Execute({1, 1, 1, 0});
  EXPECT_EQ(Execute({1, 1, 1, 3}), (std::array<uint8_t, 4>{0, 0, 0, 3}));
}

TEST_F(FamiliarEdgesTest, OnceHiddenAnEdgeStaysSo) {
  for (int i = 0; i < 2 * kThousands; ++i) Execute({1, 0, 0, 0});
  for (int i = 0; i < kThousands; ++i) ASSERT_EQ(Execute({1, 0, 0, 0})[0], 0) << i;
}

}  // namespace
}  // namespace nvmx::fuzz
