// SPDX-License-Identifier: Apache-2.0
//
// The bootable image fills the machine's part of a window as the simulated machine does.
#include <cstddef>
#include <vector>

#include "backends/sim/machine/guest_tables.h"
#include "gtest/gtest.h"
#include "lhv/image/machine_tables.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

TEST(ImageTables, AreThoseOfTheSimulatedMachine) {
  constexpr uint32_t kCpus = 2;
  for (uint32_t cpu = 0; cpu < kCpus; ++cpu) {
    Memory memory(kCpus);
    WriteGuestTables(memory, cpu);
    std::vector<uint8_t> bytes(lhv::WindowOf(kCpus));
    lhv::WriteMachineTables(bytes.data(), cpu, 0);
    for (uint64_t address = lhv::WindowOf(cpu); address < lhv::WindowOf(cpu + 1); ++address) {
      ASSERT_EQ(bytes[address], memory.Load<uint8_t>(address)) << std::hex << address;
    }
  }
}

TEST(ImageTables, MapWhatLiesBeyondInTheFourthGByteAlone) {
  constexpr uint64_t kDirectory = 0x500'0000;
  std::vector<uint8_t> without(lhv::WindowOf(1)), with(lhv::WindowOf(1));
  lhv::WriteMachineTables(without.data(), 0, 0);
  lhv::WriteMachineTables(with.data(), 0, kDirectory);
  const uint64_t entry = lhv::WindowOf(0) + lhv::kPageTableOffset + 0x1000 + 3 * 8;
  for (uint64_t address = lhv::WindowOf(0); address < lhv::WindowOf(1); ++address) {
    if (address >= entry && address < entry + 8) continue;
    ASSERT_EQ(with[address], without[address]) << std::hex << address;
  }
  EXPECT_EQ(with[entry + 3], kDirectory >> 24);
  EXPECT_EQ(without[entry], 0);
}

}  // namespace
}  // namespace nvmx::sim
