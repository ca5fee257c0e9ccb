// SPDX-License-Identifier: Apache-2.0
//
// What MakeHandoff() writes, ReadBootInformation() reads.
#include "backends/vmx-hw/l0/handoff.h"

#include <cstring>
#include <memory>
#include <string>

#include "backends/vmx-hw/machine/testing_memory.h"
#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

constexpr uint32_t kAddress = 0x5000;

class HandoffTest : public testing::Test {
 protected:
  HandoffTest() : memory_(0x20000) {
    map_.Add({{0, 0x9F000}, MemoryKind::kRam});
    map_.Add({{0x100000, 0x4000'0000}, MemoryKind::kRam});
    map_.Add({{0x4000'0000, 0x4020'0000}, MemoryKind::kReserved});
  }

  bool Make(std::string_view command_line, std::span<const BootModule> modules) {
    if (!MakeHandoff(kAddress, command_line, map_, modules, *handoff_)) return false;
    for (size_t i = 0; i < Handoff::kBytes; ++i) memory_.Put(kAddress + i, handoff_->bytes[i]);
    return true;
  }
  BootInformationError Read() { return ReadBootInformation(memory_, kAddress, *read_); }

  TestMemory memory_;
  MemoryMap map_;
  std::unique_ptr<Handoff> handoff_ = std::make_unique<Handoff>();
  std::unique_ptr<BootInformation> read_ = std::make_unique<BootInformation>();
};

TEST_F(HandoffTest, CommandLineMapAndModulesAreReadAgain) {
  std::array<BootModule, 2> modules;
  memory_.PutText(0x100, "first module");
  ASSERT_TRUE(modules[0].command_line.CopyFrom(memory_, 0x100));
  modules[0].begin = 0x1000;
  modules[0].end = 0x1003;
  modules[1].begin = modules[1].end = 0x2000;
  ASSERT_TRUE(Make("suite=x", modules));
  ASSERT_EQ(Read(), BootInformationError::kNone);
  EXPECT_EQ(read_->command_line.view(), "suite=x");
  ASSERT_EQ(read_->Modules().size(), 2u);
  EXPECT_EQ(read_->modules[0].begin, 0x1000u);
  EXPECT_EQ(read_->modules[0].end, 0x1003u);
  EXPECT_EQ(read_->modules[0].command_line.view(), "first module");
  EXPECT_EQ(read_->modules[1].command_line.view(), "");
  ASSERT_EQ(read_->memory.Ranges().size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(read_->memory.Ranges()[i], map_.Ranges()[i]);
}

TEST_F(HandoffTest, WhatDoesNotFitIsRefused) {
  EXPECT_FALSE(Make(std::string(Handoff::kBytes, 'x'), {}));
  EXPECT_TRUE(Make(std::string(kLongestCommandLine, 'x'), {}));
  EXPECT_EQ(Read(), BootInformationError::kNone);
}

TEST_F(HandoffTest, DamageIsAnErrorAndNotAWildRead) {
  ASSERT_TRUE(Make("a", {}));
  TestMemory good = memory_;
  memory_.Put<uint32_t>(kAddress, 0);
  EXPECT_EQ(Read(), BootInformationError::kNoMemoryMap);
  memory_ = good;
  memory_.Put<uint32_t>(kAddress + 48, 0xFFFF'FFF0);
  EXPECT_EQ(Read(), BootInformationError::kDamagedMemoryMap);
  memory_ = good;
  memory_.Put<uint32_t>(kAddress + 20, 9);
  EXPECT_EQ(Read(), BootInformationError::kTooManyModules);
  memory_ = good;
  memory_.Put<uint32_t>(kAddress + 16, 0x7000'0000);
  EXPECT_EQ(Read(), BootInformationError::kCommandLineTooLong);
}

}  // namespace
}  // namespace nvmx::metal
