// SPDX-License-Identifier: Apache-2.0
//
// Decoding of operands, and L1's paging. SDM Vol. 3C, 28.2.5 "Information for VM Exits Due to
// Instruction Execution"; Vol. 3A, 5.5 "4-Level Paging and 5-Level Paging".
#include "core/nested/operand.h"

#include "core/nested/guest_paging.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/matchers.h"
#include "core/x86/control_registers.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using enum GeneralRegister;

constexpr uint64_t kValue = 0x1122'3344'5566'7788;
constexpr uint64_t kOperand = FakeVcpu::kOperand;
constexpr uint32_t kP = PageFaultErrorCode::kP;
constexpr uint32_t kWr = PageFaultErrorCode::kWr;

class OperandTest : public testing::Test {
 protected:
  void Describe(const InstructionOperands& operands) {
    VmcsImage& image = l1_.vmcs.current_image();
    image.Set<VmcsField::kVmExitInstructionInformation>(operands.InstructionInformation());
    image.Set<VmcsField::kExitQualification>(operands.displacement);
  }
  // Whether the operand is found at kOperand.
  bool IsAtOperand(const InstructionOperands& operands) {
    l1_.memory.Poke(kOperand, kValue);
    Describe(operands);
    const OperandResult result = ReadMemoryOperand(l1_.vcpu());
    return !result.fault && result.value == kValue;
  }

  FakeVcpu l1_;
};

TEST_F(OperandTest, TheDisplacementAloneIsAnAddress) {
  EXPECT_TRUE(IsAtOperand({.displacement = kOperand}));
}

TEST_F(OperandTest, EveryRegisterCanBeTheBase) {
  for (uint8_t n = 0; n < kGeneralRegisterCount; ++n) {
    const auto base = static_cast<GeneralRegister>(n);
    l1_.state.registers = {};
    l1_.vmcs.vmcs01().Set<VmcsField::kGuestRsp>(0);
    if (base == kRsp) {
      l1_.vmcs.vmcs01().Set<VmcsField::kGuestRsp>(kOperand - 8);
    } else {
      l1_.Register(base) = kOperand - 8;
    }
    EXPECT_TRUE(IsAtOperand({.displacement = 8, .base = base})) << Name(base);
  }
}

TEST_F(OperandTest, TheIndexIsScaled) {
  for (unsigned scaling = 0; scaling < 4; ++scaling) {
    l1_.Register(kRsi) = 0x10;
    EXPECT_TRUE(IsAtOperand({.displacement = kOperand - (uint64_t{0x10} << scaling),
                             .index = kRsi,
                             .scaling = scaling}));
  }
}

TEST_F(OperandTest, BaseIndexAndDisplacementAddModulo2To64) {
  l1_.Register(kR15) = kOperand;
  l1_.Register(kRdi) = 0x100;
  EXPECT_TRUE(IsAtOperand(
      {.displacement = uint64_t{0} - 0x800, .base = kR15, .index = kRdi, .scaling = 3}));
}

TEST_F(OperandTest, OnlyFsAndGsHaveABase) {
  VmcsImage& image = l1_.vmcs.vmcs01();
  for (VmcsField base : {VmcsField::kGuestEsBase, VmcsField::kGuestCsBase, VmcsField::kGuestSsBase,
                         VmcsField::kGuestDsBase}) {
    image.Write(base, 0x100);
  }
  image.Set<VmcsField::kGuestFsBase>(0x200);
  image.Set<VmcsField::kGuestGsBase>(0x300);
  for (SegmentRegister segment :
       {SegmentRegister::kEs, SegmentRegister::kCs, SegmentRegister::kSs, SegmentRegister::kDs}) {
    EXPECT_TRUE(IsAtOperand({.displacement = kOperand, .segment = segment})) << Name(segment);
  }
  EXPECT_TRUE(IsAtOperand({.displacement = kOperand - 0x200, .segment = SegmentRegister::kFs}));
  EXPECT_TRUE(IsAtOperand({.displacement = kOperand - 0x300, .segment = SegmentRegister::kGs}));
}

TEST_F(OperandTest, A32BitAddressSizeDropsTheUpperHalfBeforeTheSegmentBase) {
  l1_.Register(kRbx) = 0xFFFF'FFFF'0000'0000;
  EXPECT_TRUE(IsAtOperand({.displacement = kOperand, .base = kRbx, .address_size = 1}));
  l1_.vmcs.vmcs01().Set<VmcsField::kGuestGsBase>(uint64_t{0} - (uint64_t{1} << 32) + 0x1000);
  EXPECT_FALSE(IsAtOperand(
      {.displacement = kOperand - 0x1000, .segment = SegmentRegister::kGs, .address_size = 1}));
}

TEST_F(OperandTest, ANonCanonicalAddressIsGeneralProtection) {
  const uint64_t hole = uint64_t{1} << 47;
  for (SegmentRegister segment : {SegmentRegister::kDs, SegmentRegister::kSs}) {
    Describe({.displacement = hole, .segment = segment});
    EXPECT_EQ(ReadMemoryOperand(l1_.vcpu()).fault, VmxOutcome::Fault(Vector::kGeneralProtection));
    EXPECT_EQ(WriteMemoryOperand(l1_.vcpu(), 0), VmxOutcome::Fault(Vector::kGeneralProtection));
  }
  // The last of the eight bytes counts too.
  Describe({.displacement = hole - 4});
  EXPECT_EQ(ReadMemoryOperand(l1_.vcpu()).fault, VmxOutcome::Fault(Vector::kGeneralProtection));
}

// SDM Vol. 1, 3.3.7.1 "Canonical Addressing": overrides of ES, CS, SS and DS do nothing.
TEST_F(OperandTest, ANonCanonicalAddressByRspOrRbpIsAStackFault) {
  const uint64_t hole = uint64_t{1} << 47;
  l1_.vmcs.vmcs01().Set<VmcsField::kGuestRsp>(hole);
  l1_.Register(kRbp) = hole;
  l1_.Register(kRbx) = hole;
  struct Case {
    GeneralRegister base;
    SegmentRegister segment;
    Vector vector;
  };
  for (const Case& c : {Case{kRsp, SegmentRegister::kSs, Vector::kStackFault},
                        Case{kRbp, SegmentRegister::kSs, Vector::kStackFault},
                        Case{kRbp, SegmentRegister::kDs, Vector::kStackFault},
                        Case{kRsp, SegmentRegister::kFs, Vector::kGeneralProtection},
                        Case{kRbp, SegmentRegister::kGs, Vector::kGeneralProtection},
                        Case{kRbx, SegmentRegister::kSs, Vector::kGeneralProtection}}) {
    Describe({.base = c.base, .segment = c.segment});
    EXPECT_EQ(ReadMemoryOperand(l1_.vcpu()).fault, VmxOutcome::Fault(c.vector))
        << Name(c.base) << ' ' << Name(c.segment);
  }
  // As an index RBP is no stack register.
  Describe({.index = kRbp, .segment = SegmentRegister::kSs});
  EXPECT_EQ(ReadMemoryOperand(l1_.vcpu()).fault, VmxOutcome::Fault(Vector::kGeneralProtection));
}

TEST_F(OperandTest, APageFaultInTheStackSegmentIsAPageFault) {
  Describe({.displacement = FakeVcpu::kMemorySize, .segment = SegmentRegister::kSs});
  EXPECT_EQ(ReadMemoryOperand(l1_.vcpu()).fault, VmxOutcome::Fault(Vector::kPageFault, 0));
}

// Paging structures of their own, at 0x40000, for one page at kLinear.
class GuestPagingTest : public testing::Test {
 protected:
  static constexpr uint64_t kTables = 0x40000;
  static constexpr uint64_t kLinear = 0x0000'4080'C060'5000;  // index 129, 2, 1, 0x1805 of 4 KBytes
  static constexpr uint64_t kPresent = 1;
  static constexpr uint64_t kWritable = 2;
  static constexpr uint64_t kLarge = 0x80;

  GuestPagingTest() { l1_.vmcs.vmcs01().Set<VmcsField::kGuestCr3>(kTables | 0x18); }

  static uint64_t IndexAt(unsigned level, uint64_t linear) {
    return linear >> (12 + 9 * (level - 1)) & 0x1FF;
  }
  // The entry of a level (4: PML4E, 1: PTE) on the way to the linear address; its table is kTables
  // + (4 - level) pages.
  uint64_t EntryAddress(unsigned level, uint64_t linear = kLinear) {
    return kTables + (4 - level) * kPageSize + 8 * IndexAt(level, linear);
  }
  // Maps the linear address by a leaf at the level.
  void Map(unsigned leaf_level, uint64_t leaf, uint64_t linear = kLinear) {
    for (unsigned level = 4; level > leaf_level; --level) {
      l1_.memory.Poke(EntryAddress(level, linear),
                      (kTables + (5 - level) * kPageSize) | kPresent | kWritable);
    }
    l1_.memory.Poke(EntryAddress(leaf_level, linear), leaf);
  }
  void ExpectReads(uint64_t linear, uint64_t physical) {
    l1_.memory.Poke(physical, kValue);
    uint64_t value = 0;
    EXPECT_EQ(ReadLinearValue(l1_.vcpu(), linear, value), std::nullopt);
    EXPECT_EQ(value, kValue);
  }
  void ExpectReadFaults(uint64_t linear, uint64_t cr2) {
    uint64_t value = 0;
    EXPECT_EQ(ReadLinearValue(l1_.vcpu(), linear, value), VmxOutcome::Fault(Vector::kPageFault, 0));
    EXPECT_EQ(l1_.state.cr2, cr2);
  }

  FakeVcpu l1_;
};

TEST_F(GuestPagingTest, A4KBytePageIsFourLevelsDown) {
  Map(1, 0x50000 | kPresent);
  ExpectReads(kLinear + 0x123, 0x50123);
}

TEST_F(GuestPagingTest, A2MBytePageIsALeafOfThePageDirectory) {
  Map(2, 0x200000 | kPresent | kLarge);
  ExpectReads(kLinear + 8, 0x200000 + (kLinear & 0x1FFFFF) + 8);
}

TEST_F(GuestPagingTest, A1GBytePageIsALeafOfThePdpt) {
  Map(3, 0 | kPresent | kLarge);
  const uint64_t linear = (kLinear & ~uint64_t{0x3FFFFFFF}) | 0x51000;
  ExpectReads(linear, 0x51000);
}

TEST_F(GuestPagingTest, BitsOfALargeLeafBelowItsSizeAreNoAddress) {
  constexpr uint64_t kPatOfLargePage = 0x1000;
  Map(2, 0x200000 | kPatOfLargePage | kPresent | kLarge);
  const uint64_t linear = kLinear & ~kPatOfLargePage;
  ExpectReads(linear, 0x200000 + (linear & 0x1FFFFF));
}

TEST_F(GuestPagingTest, BitsAboveThePhysicalAddressWidthAreNoAddress) {
  constexpr uint64_t kExecuteDisable = uint64_t{1} << 63;
  Map(1, kExecuteDisable | 0x50000 | kPresent);
  ExpectReads(kLinear, 0x50000);
}

TEST_F(GuestPagingTest, AnEntryThatIsNotPresentFaultsAtEveryLevel) {
  for (unsigned level = 4; level >= 1; --level) {
    Map(1, 0x50000 | kPresent | kWritable);
    l1_.memory.Poke(EntryAddress(level), kWritable);
    ExpectReadFaults(kLinear + 4, kLinear + 4);
    EXPECT_EQ(WriteLinearValue(l1_.vcpu(), kLinear, uint64_t{0}),
              VmxOutcome::Fault(Vector::kPageFault, kWr));
  }
}

TEST_F(GuestPagingTest, AWriteToAReadOnlyPageFaultsAtEveryLevelIfWriteProtectIsOn) {
  VmcsImage& image = l1_.vmcs.vmcs01();
  for (unsigned level = 4; level >= 1; --level) {
    Map(1, 0x50000 | kPresent | kWritable);
    const uint64_t entry = l1_.memory.Peek<uint64_t>(EntryAddress(level));
    l1_.memory.Poke(EntryAddress(level), entry & ~kWritable);
    image.Set<VmcsField::kGuestCr0>(image.Get<VmcsField::kGuestCr0>() | Cr0::kWp);
    EXPECT_EQ(WriteLinearValue(l1_.vcpu(), kLinear, uint64_t{0}),
              VmxOutcome::Fault(Vector::kPageFault, kP | kWr));
    EXPECT_EQ(l1_.state.cr2, kLinear);
    ExpectReads(kLinear, 0x50000);
    image.Set<VmcsField::kGuestCr0>(image.Get<VmcsField::kGuestCr0>() & ~Cr0::kWp);
    EXPECT_EQ(WriteLinearValue(l1_.vcpu(), kLinear, uint64_t{7}), std::nullopt);
    EXPECT_EQ(l1_.memory.Peek<uint64_t>(0x50000), 7u);
  }
}

TEST_F(GuestPagingTest, AnOperandMayCrossIntoAnotherPage) {
  Map(1, 0x50000 | kPresent | kWritable);
  Map(1, 0x60000 | kPresent | kWritable, kLinear + kPageSize);
  EXPECT_EQ(WriteLinearValue(l1_.vcpu(), kLinear + 0xFFD, kValue), std::nullopt);
  EXPECT_EQ(l1_.memory.Peek<uint8_t>(0x50FFF), 0x66);
  EXPECT_EQ(l1_.memory.Peek<uint8_t>(0x60000), 0x55);
  uint64_t value = 0;
  EXPECT_EQ(ReadLinearValue(l1_.vcpu(), kLinear + 0xFFD, value), std::nullopt);
  EXPECT_EQ(value, kValue);
}

TEST_F(GuestPagingTest, AFaultOnTheSecondPageLeavesTheFirstAlone) {
  Map(1, 0x50000 | kPresent | kWritable);
  l1_.memory.Poke(0x50FF8, ~uint64_t{0});
  EXPECT_EQ(WriteLinearValue(l1_.vcpu(), kLinear + 0xFFC, uint64_t{0}),
            VmxOutcome::Fault(Vector::kPageFault, kWr));
  EXPECT_EQ(l1_.state.cr2, kLinear + kPageSize);
  EXPECT_EQ(l1_.memory.Peek<uint64_t>(0x50FF8), ~uint64_t{0});
  ExpectReadFaults(kLinear + 0xFFC, kLinear + kPageSize);
}

TEST_F(GuestPagingTest, WhereNoMemoryAnswersAllOnesAreRead) {
  Map(1, FakeVcpu::kMemorySize | kPresent);
  uint64_t value = 0;
  EXPECT_EQ(ReadLinearValue(l1_.vcpu(), kLinear, value), std::nullopt);
  EXPECT_EQ(value, ~uint64_t{0});
}

}  // namespace
}  // namespace nvmx
