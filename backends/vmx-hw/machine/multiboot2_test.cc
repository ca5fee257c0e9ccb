// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/machine/multiboot2.h"

#include <memory>
#include <string>
#include <string_view>

#include "backends/vmx-hw/machine/testing_memory.h"
#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

constexpr uint64_t kAddress = 0x1000;
constexpr uint64_t kFirstTag = kAddress + 8;

class Multiboot2Test : public testing::Test {
 protected:
  Multiboot2Test() : memory_(0x10000) {}

  // Begins a tag; returns where what is in it goes.
  uint64_t Begin(uint32_t type, uint32_t bytes) {
    const uint64_t at = next_;
    memory_.Put<uint32_t>(at, type);
    memory_.Put<uint32_t>(at + 4, 8 + bytes);
    next_ = (at + 8 + bytes + 7) & ~uint64_t{7};
    return at + 8;
  }
  void PutText(uint32_t type, std::string_view text) {
    memory_.PutText(Begin(type, static_cast<uint32_t>(text.size()) + 1), text);
  }
  void PutModule(uint32_t begin, uint32_t end, std::string_view text) {
    const uint64_t at = Begin(3, 8 + static_cast<uint32_t>(text.size()) + 1);
    memory_.Put(at, begin);
    memory_.Put(at + 4, end);
    memory_.PutText(at + 8, text);
  }
  // Rows of 32 bytes: what is behind the known ones is for a later version.
  void PutMemoryMap() {
    const uint64_t at = Begin(6, 8 + 2 * 32);
    memory_.Put<uint32_t>(at, 32);
    memory_.Put<uint64_t>(at + 8, 0);
    memory_.Put<uint64_t>(at + 16, 0xA0000);
    memory_.Put<uint32_t>(at + 24, 1);
    memory_.Put<uint64_t>(at + 40, 0xFFFF'FFFF'FFFF'0000);
    memory_.Put<uint64_t>(at + 48, 0x20000);
    memory_.Put<uint32_t>(at + 56, 2);
  }
  void PutRsdp(uint32_t type, uint8_t revision, uint32_t rsdt, uint64_t xsdt) {
    const uint64_t at = Begin(type, revision < 2 ? 20 : 36);
    memory_.PutText(at, "RSD PTR ");
    memory_.Put(at + 15, revision);
    memory_.Put(at + 16, rsdt);
    if (revision >= 2) memory_.Put(at + 24, xsdt);
    memory_.FixSum(at, 20, at + 8);
  }
  BootInformationError Read() {
    Begin(0, 0);
    memory_.Put<uint32_t>(kAddress, static_cast<uint32_t>(next_ - kAddress));
    *read_ = {};
    return ReadMultiboot2Information(memory_, kAddress, *read_);
  }

  TestMemory memory_;
  uint64_t next_ = kFirstTag;
  std::unique_ptr<BootInformation> read_ = std::make_unique<BootInformation>();
};

TEST_F(Multiboot2Test, AllThatAnImageNeedsIsRead) {
  PutText(1, "cpus=2");
  PutText(2, "the boot loader's name");
  PutModule(0x2000, 0x2003, "first");
  PutModule(0x3000, 0x3000, "");
  PutMemoryMap();
  ASSERT_EQ(Read(), BootInformationError::kNone);
  EXPECT_EQ(read_->command_line.view(), "cpus=2");
  ASSERT_EQ(read_->Modules().size(), 2u);
  EXPECT_EQ(read_->modules[0].begin, 0x2000u);
  EXPECT_EQ(read_->modules[0].end, 0x2003u);
  EXPECT_EQ(read_->modules[0].command_line.view(), "first");
  EXPECT_EQ(read_->modules[1].begin, 0x3000u);
  EXPECT_EQ(read_->modules[1].command_line.view(), "");
  ASSERT_EQ(read_->memory.Ranges().size(), 2u);
  EXPECT_EQ(read_->memory.Ranges()[0], (MemoryRange{{0, 0xA0000}, MemoryKind::kRam}));
  EXPECT_EQ(read_->memory.Ranges()[1].range.end, ~uint64_t{0}) << "it does not wrap";
  EXPECT_FALSE(read_->acpi);
}

TEST_F(Multiboot2Test, TheNewerRsdpCounts) {
  for (const bool newer_first : {false, true}) {
    next_ = kFirstTag;
    PutMemoryMap();
    if (newer_first) PutRsdp(15, 2, 0x100, 0x200);
    PutRsdp(14, 0, 0x300, 0);
    if (!newer_first) PutRsdp(15, 2, 0x100, 0x200);
    ASSERT_EQ(Read(), BootInformationError::kNone);
    ASSERT_TRUE(read_->acpi);
    EXPECT_EQ(read_->acpi->rsdt, 0x100u);
    EXPECT_EQ(read_->acpi->xsdt, 0x200u);
  }
}

TEST_F(Multiboot2Test, TheOlderRsdpWillDo) {
  PutMemoryMap();
  PutRsdp(14, 0, 0x300, 0);
  ASSERT_EQ(Read(), BootInformationError::kNone);
  ASSERT_TRUE(read_->acpi);
  EXPECT_EQ(read_->acpi->rsdt, 0x300u);
  EXPECT_EQ(read_->acpi->xsdt, 0u);
}

TEST_F(Multiboot2Test, WithoutAMemoryMapItIsRefused) {
  PutText(1, "x");
  EXPECT_EQ(Read(), BootInformationError::kNoMemoryMap);
}

TEST_F(Multiboot2Test, TooManyModulesAndTooLongLinesAreRefused) {
  PutMemoryMap();
  const uint64_t behind_map = next_;
  for (size_t i = 0; i <= BootInformation::kMostModules; ++i) PutModule(0x2000, 0x2001, "m");
  EXPECT_EQ(Read(), BootInformationError::kTooManyModules);
  next_ = behind_map;
  PutText(1, std::string(kLongestCommandLine + 1, 'x'));
  EXPECT_EQ(Read(), BootInformationError::kCommandLineTooLong);
}

TEST_F(Multiboot2Test, DamageIsAnErrorAndNotAWildRead) {
  PutMemoryMap();
  ASSERT_EQ(Read(), BootInformationError::kNone);
  const TestMemory good = memory_;
  const auto read_with = [&](uint64_t address, uint32_t value) {
    memory_ = good;
    memory_.Put(address, value);
    *read_ = {};
    return ReadMultiboot2Information(memory_, kAddress, *read_);
  };
  EXPECT_EQ(read_with(kAddress, 0x7000'0000), BootInformationError::kDamagedTags);
  EXPECT_EQ(read_with(kAddress, 16), BootInformationError::kDamagedTags) << "no end";
  EXPECT_EQ(read_with(kFirstTag + 4, 4), BootInformationError::kDamagedTags);
  EXPECT_EQ(read_with(kFirstTag + 4, 0xFFFF'FFFF), BootInformationError::kDamagedTags);
  EXPECT_EQ(read_with(kFirstTag + 8, 8), BootInformationError::kDamagedMemoryMap);
  memory_ = good;
  next_ = kFirstTag;
  PutMemoryMap();
  PutModule(0x2000, 0x7000'0000, "m");
  EXPECT_EQ(Read(), BootInformationError::kDamagedModules);
}

}  // namespace
}  // namespace nvmx::metal
