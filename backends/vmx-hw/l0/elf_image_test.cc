// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/elf_image.h"

#include <cstdint>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

constexpr size_t kHeaders = 52;
constexpr size_t kMultiboot = 0x100;
constexpr size_t kFileBytes = 0x400;

class ElfImageTest : public testing::Test {
 protected:
  ElfImageTest() : file_(kFileBytes) {
    memory_.Add({{0x100000, 0x200000}, MemoryKind::kRam});
    const uint8_t identification[] = {0x7F, 'E', 'L', 'F', 1, 1, 1};
    std::memcpy(file_.data(), identification, sizeof identification);
    Put<uint16_t>(16, 2);
    Put<uint16_t>(18, 3);
    Put<uint32_t>(24, 0x100010);  // entry
    Put<uint32_t>(28, kHeaders);
    Put<uint16_t>(42, 32);
    Put<uint16_t>(44, 2);
    PutSegment(0, {1, 0x200, 0x100000, 0x100, 0x100});
    PutSegment(1, {1, 0x300, 0x101000, 0x80, 0x1000});
    PutMultiboot(3);
  }

  struct Segment {
    uint32_t type, offset, address, file_bytes, memory_bytes;
  };
  void PutSegment(size_t index, const Segment& s) {
    const size_t at = kHeaders + 32 * index;
    Put(at, s.type);
    Put(at + 4, s.offset);
    Put(at + 12, s.address);
    Put(at + 16, s.file_bytes);
    Put(at + 20, s.memory_bytes);
  }
  void PutMultiboot(uint32_t flags) {
    Put<uint32_t>(kMultiboot, 0x1BADB002);
    Put<uint32_t>(kMultiboot + 4, flags);
    Put<uint32_t>(kMultiboot + 8, 0 - (0x1BADB002 + flags));
  }
  template <typename T>
  void Put(size_t at, T value) {
    std::memcpy(file_.data() + at, &value, sizeof value);
  }
  std::string_view Read() { return ReadElfImage(file_, memory_, image_); }

  std::vector<std::byte> file_;
  MemoryMap memory_;
  ElfImage image_;
};

TEST_F(ElfImageTest, EntryAndSegments) {
  ASSERT_EQ(Read(), "");
  EXPECT_EQ(image_.entry, 0x100010u);
  ASSERT_EQ(image_.Segments().size(), 2u);
  EXPECT_EQ(image_.segments[1].file_offset, 0x300u);
  EXPECT_EQ(image_.segments[1].file_bytes, 0x80u);
  EXPECT_EQ(image_.segments[1].memory, (AddressRange{0x101000, 0x102000}));
}

TEST_F(ElfImageTest, WhatIsNoElfFile) {
  Put<uint8_t>(4, 2);
  EXPECT_EQ(Read(), "it is not a 32-bit ELF file");
  file_.clear();
  EXPECT_EQ(Read(), "it is not a 32-bit ELF file");
}

TEST_F(ElfImageTest, WhatIsForAnotherMachine) {
  Put<uint16_t>(18, 62);
  EXPECT_EQ(Read(), "it is not an executable for 32-bit x86");
}

TEST_F(ElfImageTest, MultibootHeader) {
  Put<uint32_t>(kMultiboot + 8, 0);
  EXPECT_EQ(Read(), "it has no multiboot 1 header");
  PutMultiboot(1 << 16);
  EXPECT_EQ(Read(), "its multiboot header has load addresses");
  PutMultiboot(4);
  EXPECT_EQ(Read(), "its multiboot header demands what L0 does not give");
  PutMultiboot(0);
  EXPECT_EQ(Read(), "");
}

TEST_F(ElfImageTest, SegmentsLieInTheFileAndInRam) {
  PutSegment(1, {1, 0x300, 0x101000, 0x101, 0x1000});
  EXPECT_EQ(Read(), "a segment is not wholly in the file");
  PutSegment(1, {1, 0x300, 0x101000, 0x80, 0x7F});
  EXPECT_EQ(Read(), "a segment is not wholly in the file");
  PutSegment(1, {1, 0x300, 0x1FF001, 0x80, 0x1000});
  EXPECT_EQ(Read(), "a segment wants addresses that are not L1's RAM");
  PutSegment(1, {1, 0x300, 0xFFFFF000, 0x80, 0x2000});
  EXPECT_EQ(Read(), "a segment wants addresses that are not L1's RAM");
  PutSegment(1, {1, 0x300, 0x1000FF, 0x80, 0x1000});
  EXPECT_EQ(Read(), "two of its segments overlap");
  PutSegment(1, {1, 0x300, 0x100100, 0x80, 0x1000});
  EXPECT_EQ(Read(), "");
}

TEST_F(ElfImageTest, ProgramHeaders) {
  Put<uint32_t>(28, kFileBytes - 31);
  EXPECT_EQ(Read(), "its program headers are not in the file");
  Put<uint32_t>(28, kHeaders);
  PutSegment(0, {2, 0, 0, 0, 0});
  PutSegment(1, {2, 0, 0, 0, 0});
  EXPECT_EQ(Read(), "it has nothing to load");
}

}  // namespace
}  // namespace nvmx::metal
