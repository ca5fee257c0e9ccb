// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/nmi_blocking.h"

#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

TEST(NmiBlockingTest, WhatTheGuestWasEnteredWithIsItsOwn) {
  NmiBlocking blocking;
  EXPECT_FALSE(blocking.AfterExit(false));
  EXPECT_FALSE(blocking.platform_blocks());
  EXPECT_TRUE(blocking.AfterExit(true)) << "nothing was blocked before";
  ASSERT_TRUE(blocking.platform_blocks());
  blocking.BeforeEntry(/*blocked=*/true, /*injects_nmi=*/false);
  EXPECT_TRUE(blocking.AfterExit(true));
}

TEST(NmiBlockingTest, BlockingThatOutlivesItsGuestIsNotTheNextOnes) {
  NmiBlocking blocking;
  ASSERT_TRUE(blocking.AfterExit(true));
  blocking.BeforeEntry(/*blocked=*/false, /*injects_nmi=*/false);
  EXPECT_FALSE(blocking.AfterExit(true));
  EXPECT_TRUE(blocking.platform_blocks()) << "and it goes on";
  blocking.BeforeEntry(false, false);
  EXPECT_FALSE(blocking.AfterExit(true));
}

TEST(NmiBlockingTest, AnInjectedNmiBlocks) {
  NmiBlocking blocking;
  ASSERT_TRUE(blocking.AfterExit(true));
  blocking.BeforeEntry(false, /*injects_nmi=*/true);
  EXPECT_TRUE(blocking.AfterExit(true));
}

TEST(NmiBlockingTest, AnIretOfAnyGuestEndsIt) {
  NmiBlocking blocking;
  ASSERT_TRUE(blocking.AfterExit(true));
  blocking.BeforeEntry(false, false);
  EXPECT_FALSE(blocking.AfterExit(false));
  EXPECT_FALSE(blocking.platform_blocks());
  EXPECT_TRUE(blocking.AfterExit(true)) << "by an NMI that was injected since";
}

}  // namespace
}  // namespace nvmx::metal
