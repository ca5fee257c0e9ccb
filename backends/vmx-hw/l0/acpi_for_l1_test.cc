// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/acpi_for_l1.h"

#include "backends/vmx-hw/machine/testing_memory.h"
#include "core/x86/address.h"
#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

constexpr AddressRange kLowRam{0, 0x87000};
constexpr uint64_t kHighestPage = 0x86000;

MemoryMap MapWith(const AddressRange& ram) {
  MemoryMap map;
  map.Add({ram, MemoryKind::kRam});
  map.Add({{0x100000, 0x4000'0000}, MemoryKind::kRam});
  return map;
}

TEST(TakeEbdaPage, IsTheHighestPageThatIsFreeAndThenReserved) {
  MemoryMap map = MapWith(kLowRam);
  EXPECT_EQ(TakeEbdaPage({}, map), kHighestPage);
  EXPECT_FALSE(map.IsRam({kHighestPage, kHighestPage + 1}));
  EXPECT_TRUE(map.IsRam({0, kHighestPage}));

  const AddressRange module{kHighestPage + 10, kHighestPage + 20};
  map = MapWith(kLowRam);
  EXPECT_EQ(TakeEbdaPage({&module, 1}, map), kHighestPage - kPageSize);
}

TEST(TakeEbdaPage, IsNotWhereABiosHasItsData) {
  MemoryMap map = MapWith({0, kPageSize});
  EXPECT_FALSE(TakeEbdaPage({}, map));
  EXPECT_TRUE(map.IsRam({0, kPageSize})) << "nothing changed";
}

TEST(TakeEbdaPage, NeedsRamForTheSegment) {
  MemoryMap map = MapWith({kPageSize, kLowRam.end});
  EXPECT_FALSE(TakeEbdaPage({}, map));
}

TEST(MakeEbda, LeadsToTheRoot) {
  TestMemory memory(0x100000);
  const AcpiRoot root{.rsdt = 0x7777'0000, .xsdt = 0x7777'1000};
  const Ebda ebda = MakeEbda(kHighestPage, root);
  for (size_t i = 0; i < ebda.rsdp.size(); ++i) memory.Put(kHighestPage + i, ebda.rsdp[i]);
  EXPECT_FALSE(FindAcpiRoot(memory));
  memory.Put(kEbdaSegmentAddress, ebda.segment);
  const auto found = FindAcpiRoot(memory);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->rsdt, root.rsdt);
  EXPECT_EQ(found->xsdt, root.xsdt);
}

}  // namespace
}  // namespace nvmx::metal
