// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/linux_handoff.h"

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

constexpr uint32_t kAddress = 0x7000'2000;
constexpr uint64_t kInitrdEnd = 0x8000'0000;

class LinuxHandoffTest : public testing::Test {
 protected:
  LinuxHandoffTest() : file_(0x400, std::byte{0xA5}) {
    image_.header_bytes = 0x26C - kLinuxHeader;
    image_.initrd_end = kInitrdEnd;
    image_.longest_command_line = 2047;
    memory_.Add({{0, 0x9F000}, MemoryKind::kRam});
    memory_.Add({{0x100000, 0x1'4000'0000}, MemoryKind::kRam});
    memory_.Add({{0x7FE0'0000, 0x8000'0000}, MemoryKind::kReserved});
  }

  std::string_view Make(std::string_view command_line, const AddressRange& initrd) {
    return MakeLinuxHandoff(kAddress, {file_, image_, command_line, initrd, memory_}, *handoff_);
  }
  template <typename T>
  T At(size_t offset) const {
    T value;
    std::memcpy(&value, handoff_->bytes.data() + offset, sizeof value);
    return value;
  }

  std::vector<std::byte> file_;
  LinuxImage image_;
  MemoryMap memory_;
  std::unique_ptr<LinuxHandoff> handoff_ = std::make_unique<LinuxHandoff>();
};

TEST_F(LinuxHandoffTest, TheHeaderIsTheFilesButForWhatALoaderFillsIn) {
  ASSERT_EQ(Make("", {0x1000, 0x1234}), "");
  EXPECT_EQ(At<uint8_t>(kLinuxHeader - 1), 0u);
  EXPECT_EQ(At<uint8_t>(kLinuxHeader), 0xA5u);
  EXPECT_EQ(At<uint8_t>(0x26B), 0xA5u);
  EXPECT_EQ(At<uint8_t>(0x26C), 0u);
  EXPECT_EQ(At<uint8_t>(0x210), 0xFFu);
  EXPECT_EQ(At<uint32_t>(0x218), 0x1000u);
  EXPECT_EQ(At<uint32_t>(0x21C), 0x234u);
  EXPECT_EQ(At<uint64_t>(0x250), 0u);
}

TEST_F(LinuxHandoffTest, TheCommandLineEndsWithZeroWhereThePointerLeads) {
  ASSERT_EQ(Make("console=ttyS0 quiet", {0, 0}), "");
  const uint32_t at = At<uint32_t>(0x228) - kAddress;
  EXPECT_GE(at, LinuxHandoff::kGdtOffset + LinuxHandoff::kGdtLimit + 1u);
  EXPECT_STREQ(reinterpret_cast<const char*>(handoff_->bytes.data() + at), "console=ttyS0 quiet");
}

TEST_F(LinuxHandoffTest, TheMemoryMapIsL1s) {
  ASSERT_EQ(Make("", {0, 0}), "");
  ASSERT_EQ(At<uint8_t>(0x1E8), 3u);
  for (size_t n = 0; n < 3; ++n) {
    const MemoryRange& range = memory_.Ranges()[n];
    EXPECT_EQ(At<uint64_t>(0x2D0 + 20 * n), range.range.begin);
    EXPECT_EQ(At<uint64_t>(0x2D8 + 20 * n), range.range.size());
    EXPECT_EQ(At<uint32_t>(0x2E0 + 20 * n), static_cast<uint32_t>(range.kind));
  }
}

TEST_F(LinuxHandoffTest, TheGdtHasFlatSegments) {
  ASSERT_EQ(Make("", {0, 0}), "");
  EXPECT_EQ(At<uint64_t>(LinuxHandoff::kGdtOffset), 0u);
  EXPECT_EQ(At<uint64_t>(LinuxHandoff::kGdtOffset + 0x10), 0x00CF9B000000FFFFu);
  EXPECT_EQ(At<uint64_t>(LinuxHandoff::kGdtOffset + 0x18), 0x00CF93000000FFFFu);
}

TEST_F(LinuxHandoffTest, WhatTheKernelCannotTakeIsRefused) {
  EXPECT_EQ(Make(std::string(2047, 'x'), {0, kInitrdEnd}), "");
  EXPECT_EQ(Make(std::string(2048, 'x'), {0, 0}), "its command line is longer than it can take");
  image_.longest_command_line = ~uint32_t{0};
  EXPECT_EQ(Make(std::string(LinuxHandoff::kBytes, 'x'), {0, 0}),
            "its command line is longer than it can take");
  EXPECT_EQ(Make("", {0, kInitrdEnd + 1}), "its initrd lies too high for it");
}

}  // namespace
}  // namespace nvmx::metal
