// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/ept_of_program.h"

#include <cstring>
#include <vector>

#include "core/vmx/ept.h"
#include "core/vmx/vmcs_field.h"
#include "gtest/gtest.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

// Three levels of EPT12 in the window of CPU 0, whose last one maps the blocks of 2 MBytes that
// hold L2's code and handlers.
class EptOfProgramTest : public testing::Test {
 protected:
  static constexpr uint64_t kTables = 0x1'4000;
  static constexpr uint64_t kLargePageShift = 21;

  EptOfProgramTest() {
    program_.memory.push_back({"ept", kTables, std::vector<std::byte>(3 * 0x1000)});
    Put(0, 0, Table(1));
    Put(1, 0, Table(2));
    for (const uint64_t address :
         {lhv::kL2CodeBase, lhv::kL2HandlerBase, lhv::kL2BareHandlerBase}) {
      Put(2, address >> kLargePageShift, Page(address));
    }
    program_.l1.push_back({.kind = lhv::OperationKind::kVmwrite,
                           .selector = Encoding(VmcsField::kEptPointer),
                           .value = lhv::WindowOf(0) + kTables + 0x1E});
  }
  static uint64_t Table(uint64_t number) {
    return lhv::WindowOf(0) + kTables + number * 0x1000 + EptEntry::kPermissions;
  }
  static uint64_t Page(uint64_t address) {
    return address | EptEntry::kPermissions | EptEntry::kLarge;
  }
  void Put(uint64_t table, uint64_t index, uint64_t entry) {
    std::memcpy(program_.memory[0].bytes.data() + table * 0x1000 + index * sizeof entry, &entry,
                sizeof entry);
  }
  EptOfProgram Look() const { return LookAtEpt(program_, 0); }

  lhv::CpuProgram program_;
};

TEST_F(EptOfProgramTest, AnIdentityMappingOfOwnTablesIsFine) {
  EXPECT_FALSE(Look().names_foreign_table);
  EXPECT_FALSE(Look().moves_code);
}

TEST_F(EptOfProgramTest, ATableOutsideTheWindowIsForeign) {
  Put(1, 0, 0x4000'0000 | EptEntry::kPermissions);
  EXPECT_TRUE(Look().names_foreign_table);
}

TEST_F(EptOfProgramTest, ATableThatNoProcessorCanNameIsNot) {
  Put(1, 0, uint64_t{1} << 45 | EptEntry::kPermissions);
  EXPECT_FALSE(Look().names_foreign_table);
}

TEST_F(EptOfProgramTest, AnEntryThatIsNotPresentNamesNothing) {
  Put(1, 1, 0x4000'0000);
  EXPECT_FALSE(Look().names_foreign_table);
}

TEST_F(EptOfProgramTest, CodeAndHandlersCanBeMoved) {
  for (const uint64_t address : {lhv::kL2CodeBase, lhv::kL2HandlerBase, lhv::kL2BareHandlerBase}) {
    Put(2, address >> kLargePageShift, Page(address + 0x100'0000));
    EXPECT_TRUE(Look().moves_code) << address;
    Put(2, address >> kLargePageShift, Page(address));
  }
}

TEST_F(EptOfProgramTest, OtherMemoryIsNoCode) {
  Put(2, lhv::kL1CodeBase >> kLargePageShift, Page(0x100'0000));
  EXPECT_FALSE(Look().moves_code);
}

}  // namespace
}  // namespace nvmx::sim
