// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/linux_image.h"

#include <cstdint>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

constexpr uint64_t kMByte = uint64_t{1} << 20;
constexpr size_t kSetupSectors = 2;
constexpr size_t kKernelOffset = (1 + kSetupSectors) * 512;
constexpr size_t kKernelBytes = 0x800;

class LinuxImageTest : public testing::Test {
 protected:
  LinuxImageTest() : file_(kKernelOffset + kKernelBytes) {
    memory_.Add({{kMByte, 64 * kMByte}, MemoryKind::kRam});
    Put<uint8_t>(0x1F1, kSetupSectors);
    Put<uint32_t>(0x1F4, kKernelBytes / 16);
    Put<uint8_t>(0x201, 0x6A);
    std::memcpy(file_.data() + 0x202, "HdrS", 4);
    Put<uint16_t>(0x206, 0x020F);
    Put<uint8_t>(0x211, 1);
    Put<uint32_t>(0x22C, 0x7FFFFFFF);
    Put<uint32_t>(0x230, 2 * kMByte);
    Put<uint8_t>(0x234, 1);
    Put<uint32_t>(0x238, 2047);
    Put<uint64_t>(0x258, 16 * kMByte);
    Put<uint32_t>(0x260, 8 * kMByte);
  }

  template <typename T>
  void Put(size_t at, T value) {
    std::memcpy(file_.data() + at, &value, sizeof value);
  }
  std::string_view Read() { return ReadLinuxImage(file_, memory_, image_); }

  std::vector<std::byte> file_;
  MemoryMap memory_;
  LinuxImage image_;
};

TEST_F(LinuxImageTest, PartsAndPreferredPlace) {
  ASSERT_EQ(Read(), "");
  EXPECT_EQ(image_.kernel_offset, kKernelOffset);
  EXPECT_EQ(image_.kernel_bytes, kKernelBytes);
  EXPECT_EQ(image_.header_bytes, 0x202u + 0x6A - 0x1F1);
  EXPECT_EQ(image_.memory, (AddressRange{16 * kMByte, 24 * kMByte}));
  EXPECT_EQ(image_.initrd_end, 0x80000000u);
  EXPECT_EQ(image_.longest_command_line, 2047u);
}

TEST_F(LinuxImageTest, WhatIsNoLinuxKernel) {
  constexpr std::string_view kWhy =
      "it is not a Linux kernel (bzImage): \"HdrS\" is missing at offset 202H";
  Put<char>(0x203, 'X');
  EXPECT_EQ(Read(), kWhy);
  Put<char>(0x203, 'd');
  file_.resize(0x263);
  EXPECT_EQ(Read(), kWhy);
  file_.clear();
  EXPECT_EQ(Read(), kWhy);
}

TEST_F(LinuxImageTest, WhatIsTooOld) {
  Put<uint16_t>(0x206, 0x0209);
  EXPECT_EQ(Read(), "its boot protocol is older than 2.10 (Linux 2.6.31)");
  Put<uint16_t>(0x206, 0x020A);
  EXPECT_EQ(Read(), "");
  Put<uint8_t>(0x211, 0x80);
  EXPECT_EQ(Read(), "it is a zImage, which is loaded below 1 MByte; build a bzImage");
}

TEST_F(LinuxImageTest, TheKernelLiesInTheFile) {
  Put<uint8_t>(0x1F1, 0);  // 4
  EXPECT_EQ(Read(), "it is not wholly in the file");
  Put<uint8_t>(0x1F1, 255);
  EXPECT_EQ(Read(), "it is not wholly in the file");
  Put<uint8_t>(0x1F1, kSetupSectors);
  Put<uint32_t>(0x1F4, kKernelBytes / 16 + 1);
  EXPECT_EQ(Read(), "it is not wholly in the file");
  Put<uint32_t>(0x1F4, 0);
  EXPECT_EQ(Read(), "it has no kernel behind its setup code");
}

TEST_F(LinuxImageTest, WhereItPrefersToLieOrElsewhere) {
  Put<uint64_t>(0x258, 60 * kMByte);
  ASSERT_EQ(Read(), "");
  EXPECT_EQ(image_.memory, (AddressRange{56 * kMByte, 64 * kMByte}));
  Put<uint64_t>(0x258, ~uint64_t{0} - kMByte);
  ASSERT_EQ(Read(), "");
  EXPECT_EQ(image_.memory.begin, 56 * kMByte);
  Put<uint32_t>(0x230, 3 * kMByte);
  EXPECT_EQ(Read(), "its alignment is not a power of 2");
  Put<uint8_t>(0x234, 0);
  EXPECT_EQ(Read(),
            "it cannot be moved, and the addresses that it wants are not L1's RAM below 4 GBytes");
  Put<uint64_t>(0x258, 56 * kMByte);
  EXPECT_EQ(Read(), "");
}

TEST_F(LinuxImageTest, WhatIsTooLarge) {
  Put<uint32_t>(0x260, 63 * kMByte);
  EXPECT_EQ(Read(), "it is too large for L1's RAM below 4 GBytes") << "its begin is aligned";
  Put<uint32_t>(0x260, 62 * kMByte);
  EXPECT_EQ(Read(), "");
  EXPECT_EQ(image_.memory.begin, 2 * kMByte);
}

TEST_F(LinuxImageTest, ItsMemoryHoldsAtLeastTheKernel) {
  Put<uint32_t>(0x260, 1);
  ASSERT_EQ(Read(), "");
  EXPECT_EQ(image_.memory.size(), kKernelBytes);
}

}  // namespace
}  // namespace nvmx::metal
