// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/startup_mailbox.h"

#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

TEST(StartupMailbox, IsEmptyUntilSomethingIsPostedAndWhenItIsTaken) {
  StartupMailbox mailbox;
  EXPECT_TRUE(mailbox.IsEmpty());
  mailbox.PostSipi(0);
  EXPECT_FALSE(mailbox.IsEmpty());
  const StartupMailbox::Contents contents = mailbox.Take();
  EXPECT_FALSE(contents.init);
  EXPECT_EQ(contents.sipi, 0);
  EXPECT_TRUE(mailbox.IsEmpty());
  EXPECT_EQ(mailbox.Take().sipi, std::nullopt);
}

TEST(StartupMailbox, ASipiBehindAnInitIsKeptAndOnlyTheFirst) {
  StartupMailbox mailbox;
  mailbox.PostInit();
  mailbox.PostSipi(0x9A);
  mailbox.PostSipi(0x65);
  const StartupMailbox::Contents contents = mailbox.Take();
  EXPECT_TRUE(contents.init);
  EXPECT_EQ(contents.sipi, 0x9A);
}

TEST(StartupMailbox, AnInitEndsWhatASipiBegan) {
  StartupMailbox mailbox;
  mailbox.PostSipi(0x9A);
  mailbox.PostInit();
  StartupMailbox::Contents contents = mailbox.Take();
  EXPECT_TRUE(contents.init);
  EXPECT_EQ(contents.sipi, std::nullopt);
  mailbox.PostInit();
  mailbox.PostSipi(0x65);
  contents = mailbox.Take();
  EXPECT_EQ(contents.sipi, 0x65);
}

}  // namespace
}  // namespace nvmx::metal
