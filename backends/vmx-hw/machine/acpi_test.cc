// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/machine/acpi.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "backends/vmx-hw/machine/testing_memory.h"
#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

constexpr uint64_t kRsdp = 0xF0010;
constexpr uint64_t kRsdt = 0x10000;
constexpr uint64_t kMadt = 0x11000;
constexpr uint32_t kMadtBytes = 44 + 8 + 8 + 12 + 16 + 8;

class AcpiTest : public testing::Test {
 protected:
  AcpiTest() : memory_(0x100000) {
    memory_.PutText(kRsdp, "RSD PTR ");
    memory_.Put<uint32_t>(kRsdp + 16, kRsdt);
    memory_.FixSum(kRsdp, 20, kRsdp + 8);
    memory_.PutText(kRsdt, "RSDT");
    memory_.Put<uint32_t>(kRsdt + 4, 36 + 8);
    memory_.Put<uint32_t>(kRsdt + 36, 0x12000);
    memory_.Put<uint32_t>(kRsdt + 40, kMadt);
    memory_.FixSum(kRsdt, 44, kRsdt + 9);
    memory_.PutText(kMadt, "APIC");
    memory_.Put<uint32_t>(kMadt + 4, kMadtBytes);
    uint64_t at = kMadt + 44;
    at = PutLocalApic(at, 3, 1);
    at = PutLocalApic(at, 4, 0);        // not enabled
    memory_.Put<uint16_t>(at, 0x0C01);  // an I/O APIC
    at += 12;
    memory_.Put<uint16_t>(at, 0x1009);  // a local x2APIC
    memory_.Put<uint32_t>(at + 4, 0x12345);
    memory_.Put<uint32_t>(at + 8, 1);
    at += 16;
    PutLocalApic(at, 7, 1);
    memory_.FixSum(kMadt, kMadtBytes, kMadt + 9);
  }

  uint64_t PutLocalApic(uint64_t at, uint8_t id, uint32_t flags) {
    memory_.Put<uint16_t>(at, 0x0800);
    memory_.Put<uint8_t>(at + 3, id);
    memory_.Put<uint32_t>(at + 4, flags);
    return at + 8;
  }
  std::vector<uint32_t> Found() {
    const ApicIds ids = FindApicIds(memory_, std::nullopt);
    return {ids.view().begin(), ids.view().end()};
  }

  TestMemory memory_;
};

TEST_F(AcpiTest, EnabledCpusInTheOrderOfTheTable) {
  EXPECT_EQ(Found(), (std::vector<uint32_t>{3, 0x12345, 7}));
}

TEST_F(AcpiTest, AWrongChecksumIsNoTable) {
  for (uint64_t table : {kRsdp + 8, kRsdt + 9, kMadt + 9}) {
    TestMemory before = memory_;
    memory_.Put<uint8_t>(table, *memory_.Read<uint8_t>(table) + 1);
    EXPECT_TRUE(Found().empty()) << table;
    memory_ = before;
  }
  EXPECT_EQ(Found().size(), 3u);
}

TEST_F(AcpiTest, SaysWhyThereIsNoCpuAndWhere) {
  const TestMemory good = memory_;
  const auto expect = [&](std::string_view problem, uint64_t table) {
    const ApicIds ids = FindApicIds(memory_, std::nullopt);
    EXPECT_EQ(ids.found, 0u) << problem;
    EXPECT_EQ(ids.problem, problem);
    EXPECT_EQ(ids.table, table) << problem;
    memory_ = good;
  };
  EXPECT_TRUE(FindApicIds(memory_, std::nullopt).problem.empty());
  memory_.Put<uint64_t>(kRsdp, 0);
  expect("there is no RSDP", 0);
  memory_.Put<uint8_t>(kRsdt + 9, *memory_.Read<uint8_t>(kRsdt + 9) + 1);
  expect("the table that names the others is damaged", kRsdt);
  memory_.PutText(kMadt, "XPIC");
  expect("the table that names the others names no MADT", kRsdt);
  memory_.Put<uint8_t>(kMadt + 9, *memory_.Read<uint8_t>(kMadt + 9) + 1);
  expect("the MADT is damaged", kMadt);
  memory_.Put<uint32_t>(kMadt + 4, 44);
  memory_.FixSum(kMadt, 44, kMadt + 9);
  expect("the MADT names no CPU that is enabled", kMadt);
}

TEST_F(AcpiTest, AnEntryOfNoLengthEndsTheTable) {
  memory_.Put<uint8_t>(kMadt + 44 + 8 + 1, 0);
  memory_.FixSum(kMadt, kMadtBytes, kMadt + 9);
  EXPECT_EQ(Found(), (std::vector<uint32_t>{3}));
}

TEST_F(AcpiTest, TablesThatLeadOutOfMemoryAreNoTables) {
  memory_.Put<uint32_t>(kMadt + 4, 0x7FFFFFFF);
  EXPECT_TRUE(Found().empty());
  memory_.Put<uint32_t>(kMadt + 4, 8);
  EXPECT_TRUE(Found().empty());
}

TEST_F(AcpiTest, TheExtendedBiosDataAreaComesFirst) {
  memory_.Put<uint16_t>(0x40E, 0x9F00);
  EXPECT_EQ(Found().size(), 3u) << "nothing there";
  memory_.PutText(0x9F010, "RSD PTR ");
  memory_.FixSum(0x9F010, 20, 0x9F010 + 8);
  EXPECT_TRUE(Found().empty()) << "it names no RSDT";
}

TEST_F(AcpiTest, TablesThatABootLoaderNamesComeFirst) {
  memory_.Put<uint64_t>(kRsdp, 0);  // as UEFI firmware leaves that place
  EXPECT_TRUE(Found().empty());
  EXPECT_EQ(FindApicIds(memory_, AcpiRoot{.rsdt = kRsdt}).found, 3u);
  EXPECT_EQ(FindApicIds(memory_, AcpiRoot{}).found, 0u);
}

TEST_F(AcpiTest, AnRsdpThatIsMadeIsFound) {
  constexpr uint64_t kEbda = 0x9E000;
  const AcpiRoot made{.rsdt = 0x1234'5678, .xsdt = 0x9'8765'4321};
  const auto rsdp = MakeRsdp(made);
  for (size_t i = 0; i < rsdp.size(); ++i) memory_.Put(kEbda + i, rsdp[i]);
  memory_.Put<uint16_t>(kEbdaSegmentAddress, kEbda >> 4);
  const auto found = FindAcpiRoot(memory_);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->rsdt, made.rsdt);
  EXPECT_EQ(found->xsdt, made.xsdt);
  unsigned sum = 0;
  for (std::byte b : rsdp) sum += std::to_integer<unsigned>(b);
  EXPECT_EQ(sum & 0xFF, 0u) << "the extended checksum";
}

TEST_F(AcpiTest, TheXsdtComesBeforeTheRsdt) {
  constexpr uint64_t kXsdt = 0x13000;
  memory_.PutText(kXsdt, "XSDT");
  memory_.Put<uint32_t>(kXsdt + 4, 36 + 8);
  memory_.Put<uint64_t>(kXsdt + 36, kMadt);
  memory_.FixSum(kXsdt, 44, kXsdt + 9);
  EXPECT_EQ(FindApicIds(memory_, AcpiRoot{.rsdt = 0, .xsdt = kXsdt}).found, 3u);
}

}  // namespace
}  // namespace nvmx::metal
