// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/pieces.h"

#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

constexpr uint64_t kPage = L0Layout::kLargePage;

std::vector<std::pair<uint64_t, uint64_t>> PiecesOf(uint64_t address, uint64_t bytes) {
  std::vector<std::pair<uint64_t, uint64_t>> pieces;
  ForEachPiece(address, bytes,
               [&pieces](uint64_t offset, uint64_t size) { pieces.emplace_back(offset, size); });
  return pieces;
}

TEST(Pieces, OfWhatIsInOnePageThereIsOne) {
  EXPECT_THAT(PiecesOf(3 * kPage + 5, 10), ElementsAre(Pair(0, 10)));
  EXPECT_THAT(PiecesOf(3 * kPage, kPage), ElementsAre(Pair(0, kPage)));
  EXPECT_THAT(PiecesOf(3 * kPage, 0), IsEmpty());
}

TEST(Pieces, EachPageBeginsOne) {
  EXPECT_THAT(PiecesOf(3 * kPage - 1, kPage + 2),
              ElementsAre(Pair(0, 1), Pair(1, kPage), Pair(kPage + 1, 1)));
}

}  // namespace
}  // namespace nvmx::metal
