// SPDX-License-Identifier: Apache-2.0
//
// Operands outside 64-bit mode: segments, address sizes, operand sizes; and 128-bit operands.
// SDM Vol. 3A, chapter 6 "Protection"; Vol. 3C, 28.2.5 "Information for VM Exits Due to Instruction
// Execution".
#include "core/nested/operand.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/matchers.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using enum GeneralRegister;

constexpr uint64_t kOperand = FakeVcpu::kOperand;
constexpr uint64_t kValue = 0x1122'3344'5566'7788;
constexpr unsigned k16Bit = 0;
constexpr unsigned k32Bit = 1;
constexpr uint32_t kData = 0xC093;
constexpr uint32_t kReadOnlyData = 0xC091;
constexpr uint32_t kExpandDown = 0xC097;
constexpr uint32_t kCode = 0xC09B;
constexpr uint32_t kExecuteOnlyCode = 0xC099;

class OperandSegmentTest : public testing::Test {
 protected:
  // L1 is in 32-bit protected mode without paging, and its data segment starts at kOperand.
  OperandSegmentTest() {
    L1().Set<VmcsField::kGuestCr0>(Cr0::kPe);
    L1().Set<VmcsField::kGuestIa32Efer>(0);
    L1().Set<VmcsField::kGuestCsAccessRights>(kCode);
    UseSegment(kOperand, 0xFFF, kData);
    l1_.memory.Poke(kOperand + 0x10, kValue);
  }
  VmcsImage& L1() { return l1_.vmcs.vmcs01(); }
  void UseSegment(uint64_t base, uint32_t limit, uint32_t rights,
                  SegmentRegister name = SegmentRegister::kDs) {
    const auto put = [&](VmcsField of_es, uint64_t value) {
      L1().Write(
          static_cast<VmcsField>(static_cast<uint32_t>(of_es) + 2 * static_cast<uint32_t>(name)),
          value);
    };
    put(VmcsField::kGuestEsBase, base);
    put(VmcsField::kGuestEsLimit, limit);
    put(VmcsField::kGuestEsAccessRights, rights);
  }
  void Describe(const InstructionOperands& operands) {
    L1().Set<VmcsField::kVmExitInstructionInformation>(operands.InstructionInformation());
    L1().Set<VmcsField::kExitQualification>(operands.displacement);
  }
  std::optional<VmxOutcome> Read(uint64_t offset, SegmentRegister segment = SegmentRegister::kDs) {
    Describe({.displacement = offset, .segment = segment, .address_size = k32Bit});
    return ReadMemoryOperand(l1_.vcpu()).fault;
  }
  std::optional<VmxOutcome> Write(uint64_t offset, SegmentRegister segment = SegmentRegister::kDs) {
    Describe({.displacement = offset, .segment = segment, .address_size = k32Bit});
    return WriteMemoryOperand(l1_.vcpu(), kValue);
  }

  static constexpr VmxOutcome kGp = VmxOutcome::Fault(Vector::kGeneralProtection);
  static constexpr VmxOutcome kSs = VmxOutcome::Fault(Vector::kStackFault);
  FakeVcpu l1_;
};

TEST_F(OperandSegmentTest, EverySegmentHasABase) {
  for (uint8_t n = 0; n < 6; ++n) {
    const auto segment = static_cast<SegmentRegister>(n);
    if (segment == SegmentRegister::kCs) continue;
    UseSegment(kOperand, 0xFFF, kData, segment);
    Describe({.displacement = 0x10, .segment = segment, .address_size = k32Bit});
    EXPECT_EQ(ReadMemoryOperand(l1_.vcpu()).value, kValue) << Name(segment);
    UseSegment(0, 0, 0x10000, segment);
  }
}

TEST_F(OperandSegmentTest, BasePlusOffsetWrapsAroundAt4GBytes) {
  UseSegment(0xFFFFF000, 0xFFFFFFFF, kData);
  Describe({.displacement = kOperand + 0x1010, .address_size = k32Bit});
  EXPECT_EQ(ReadMemoryOperand(l1_.vcpu()).value, kValue);
}

TEST_F(OperandSegmentTest, TheLastByteMustBeWithinTheLimit) {
  EXPECT_EQ(Read(0xFF8), std::nullopt);
  EXPECT_EQ(Read(0xFF9), kGp);
  EXPECT_EQ(Write(0xFF9), kGp);
  EXPECT_EQ(Read(0xFFFFFFFF), kGp);
}

TEST_F(OperandSegmentTest, AnExpandDownSegmentBeginsBehindItsLimit) {
  UseSegment(kOperand - 0x1000, 0xFFF, kExpandDown);
  EXPECT_EQ(Read(0x1000), std::nullopt);
  EXPECT_EQ(Read(0xFFF), kGp);
  EXPECT_EQ(Read(0xFFFFFFF8), std::nullopt);
  EXPECT_EQ(Read(0xFFFFFFF9), kGp);
  UseSegment(kOperand - 0x1000, 0xFFF, kExpandDown & ~AccessRights::kDb);
  EXPECT_EQ(Read(0xFFF8), std::nullopt);
  EXPECT_EQ(Read(0xFFF9), kGp);
}

TEST_F(OperandSegmentTest, TheTypeDecidesWhatIsAllowed) {
  struct Case {
    uint32_t rights;
    bool reads, writes;
  };
  for (const Case& c : {Case{kData, true, true}, Case{kReadOnlyData, true, false},
                        Case{kCode, true, false}, Case{kExecuteOnlyCode, false, false},
                        Case{kData | AccessRights::kUnusable, false, false}}) {
    UseSegment(kOperand, 0xFFF, c.rights);
    EXPECT_EQ(Read(0x10), c.reads ? std::nullopt : std::optional(kGp)) << c.rights;
    EXPECT_EQ(Write(0x10), c.writes ? std::nullopt : std::optional(kGp)) << c.rights;
  }
}

TEST_F(OperandSegmentTest, InTheStackSegmentItIsAStackFault) {
  UseSegment(kOperand, 0xFFF, kData, SegmentRegister::kSs);
  EXPECT_EQ(Read(0xFF9, SegmentRegister::kSs), kSs);
  UseSegment(kOperand, 0xFFF, kReadOnlyData, SegmentRegister::kSs);
  EXPECT_EQ(Write(0x10, SegmentRegister::kSs), kSs);
}

TEST_F(OperandSegmentTest, SegmentsOf64BitModeHaveNoLimitAndNoRights) {
  FakeVcpu in_64_bit_mode;
  VmcsImage& image = in_64_bit_mode.vmcs.vmcs01();
  image.Set<VmcsField::kGuestDsAccessRights>(AccessRights::kUnusable);
  image.Set<VmcsField::kVmExitInstructionInformation>(
      InstructionOperands{}.InstructionInformation());
  image.Set<VmcsField::kExitQualification>(kOperand);
  EXPECT_EQ(ReadMemoryOperand(in_64_bit_mode.vcpu()).fault, std::nullopt);
  EXPECT_EQ(WriteMemoryOperand(in_64_bit_mode.vcpu(), 1), std::nullopt);
}

// In compatibility mode segments are those of protected mode.
TEST_F(OperandSegmentTest, CompatibilityModeHasLimits) {
  FakeVcpu compatible;
  VmcsImage& image = compatible.vmcs.vmcs01();
  image.Set<VmcsField::kGuestCsAccessRights>(kCode);
  image.Set<VmcsField::kGuestDsAccessRights>(kData);
  image.Set<VmcsField::kGuestDsLimit>(kOperand + 6);
  image.Set<VmcsField::kVmExitInstructionInformation>(
      InstructionOperands{.address_size = k32Bit}.InstructionInformation());
  image.Set<VmcsField::kExitQualification>(kOperand);
  EXPECT_EQ(ReadMemoryOperand(compatible.vcpu()).fault, kGp);
  image.Set<VmcsField::kGuestDsLimit>(kOperand + 7);
  EXPECT_EQ(ReadMemoryOperand(compatible.vcpu()).fault, std::nullopt);
}

TEST_F(OperandSegmentTest, A16BitAddressDropsWhatIsAbove) {
  l1_.Register(kRbx) = 0xABCD'FFFF;
  Describe({.displacement = 0x11, .base = kRbx, .address_size = k16Bit});
  EXPECT_EQ(ReadMemoryOperand(l1_.vcpu()).value, kValue);
}

// --- Operand sizes ---

TEST_F(OperandSegmentTest, Outside64BitModeAValueHas32Bits) {
  Describe({.displacement = 0x10, .address_size = k32Bit});
  EXPECT_EQ(ReadValueOperand(l1_.vcpu()).value, 0x55667788u);
  EXPECT_EQ(WriteValueOperand(l1_.vcpu(), 0xAAAA'BBBB'CCCC'DDDD), std::nullopt);
  EXPECT_EQ(l1_.memory.Peek<uint64_t>(kOperand + 0x10), 0x11223344'CCCCDDDDu);
}

TEST_F(OperandSegmentTest, Outside64BitModeOnly4BytesMustBeWithinTheLimit) {
  Describe({.displacement = 0xFFC, .address_size = k32Bit});
  EXPECT_EQ(ReadValueOperand(l1_.vcpu()).fault, std::nullopt);
  EXPECT_EQ(WriteValueOperand(l1_.vcpu(), 0), std::nullopt);
  Describe({.displacement = 0xFFD, .address_size = k32Bit});
  EXPECT_EQ(ReadValueOperand(l1_.vcpu()).fault, kGp);
}

TEST_F(OperandSegmentTest, Outside64BitModeRegistersHave32Bits) {
  l1_.Register(kRcx) = kValue;
  l1_.Register(kRdx) = kValue;
  Describe({.in_register = true, .register1 = kRcx, .register2 = kRdx});
  EXPECT_EQ(ReadValueOperand(l1_.vcpu()).value, 0x55667788u);
  EXPECT_EQ(RegisterOperand(l1_.vcpu()), 0x55667788u);
  EXPECT_EQ(WriteValueOperand(l1_.vcpu(), 0xAAAA'BBBB'CCCC'DDDD), std::nullopt);
  EXPECT_EQ(l1_.Register(kRcx), 0xCCCCDDDDu);
}

TEST_F(OperandSegmentTest, ADescriptorHas128Bits) {
  l1_.memory.Poke(kOperand + 0x18, uint64_t{0x99});
  Describe({.displacement = 0x10, .address_size = k32Bit});
  const DescriptorResult result = ReadDescriptorOperand(l1_.vcpu());
  EXPECT_EQ(result.fault, std::nullopt);
  EXPECT_EQ(result.low, kValue);
  EXPECT_EQ(result.high, 0x99u);
  Describe({.displacement = 0xFF0, .address_size = k32Bit});
  EXPECT_EQ(ReadDescriptorOperand(l1_.vcpu()).fault, std::nullopt);
  Describe({.displacement = 0xFF1, .address_size = k32Bit});
  EXPECT_EQ(ReadDescriptorOperand(l1_.vcpu()).fault, kGp);
}

}  // namespace
}  // namespace nvmx
