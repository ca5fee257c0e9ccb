// SPDX-License-Identifier: Apache-2.0
//
// What control and debug registers accept, and what follows from writing them. SDM Vol. 2B, "MOV-
// Move to/from Control Registers", "MOV-Move to/from Debug Registers"; Vol. 3A, 2.5, 4.10.4.1;
// Vol. 3C, 24.8 "Restrictions on VMX Operation".
#include "backends/sim/machine/testing/native_fixture.h"

namespace nvmx::sim {
namespace {

using Kind = lhv::InstructionKind;

constexpr uint64_t kCr0 = Cr0::kPe | Cr0::kEt | Cr0::kNe | Cr0::kPg;
constexpr uint64_t kCr4 = Cr4::kPae | Cr4::kVmxe;

class ControlRegisterTest : public NativeTest {
 protected:
  bool Move(uint8_t number, uint64_t value) {
    cpu_.Jump(lhv::kL1CodeBase);
    r().rsp = kWindow + lhv::kL1StackTop;
    const bool completed =
        Execute(lhv::Instruction{.kind = Kind::kMovToCr, .width = number, .first = value})
            .completed;
    if (!completed) ExpectFault(Vector::kGeneralProtection);
    return completed;
  }
  bool MoveToDr(uint8_t number, uint64_t value) {
    cpu_.Jump(lhv::kL1CodeBase);
    return Execute(lhv::Instruction{.kind = Kind::kMovToDr, .width = number, .first = value})
        .completed;
  }
  uint64_t DebugRegister(uint8_t number) {
    cpu_.Jump(lhv::kL1CodeBase);
    return Execute(lhv::Instruction{.kind = Kind::kMovFromDr, .width = number}).value;
  }
};

TEST_F(ControlRegisterTest, Cr0IgnoresWhatIsReservedBelowBit32AndRefusesWhatIsAbove) {
  EXPECT_TRUE(Move(0, kCr0 | uint64_t{1} << 20));
  EXPECT_EQ(r().cr0, kCr0);
  EXPECT_FALSE(Move(0, kCr0 | uint64_t{1} << 32));
}

TEST_F(ControlRegisterTest, Cr0RefusesCombinationsThatThereAreNot) {
  EXPECT_FALSE(Move(0, kCr0 & ~Cr0::kPe)) << "paging without protection";
  EXPECT_FALSE(Move(0, kCr0 | Cr0::kNw)) << "not write-through without cache disable";
  EXPECT_TRUE(Move(0, kCr0 | Cr0::kNw | Cr0::kCd));
}

TEST_F(ControlRegisterTest, PagingCannotBeTurnedOffIn64BitMode) {
  EXPECT_FALSE(Move(0, kCr0 & ~Cr0::kPg));
}

TEST_F(ControlRegisterTest, PagingDecidesAboutLongMode) {
  constexpr uint64_t kCode32 = 0xC09B;
  r().cs.access_rights = kCode32;
  EXPECT_TRUE(
      Execute(lhv::Instruction{.kind = Kind::kMovToCr, .width = 0, .first = kCr0 & ~Cr0::kPg})
          .completed);
  EXPECT_EQ(r().efer & (Efer::kLma | Efer::kLme), Efer::kLme);
  EXPECT_TRUE(
      Execute(lhv::Instruction{.kind = Kind::kMovToCr, .width = 0, .first = kCr0}).completed);
  EXPECT_NE(r().efer & Efer::kLma, 0u);
}

TEST_F(ControlRegisterTest, VmxOperationFixesBits) {
  EXPECT_TRUE(Move(0, kCr0 & ~Cr0::kNe));
  EXPECT_TRUE(Move(4, kCr4 & ~Cr4::kVmxe));
  EXPECT_TRUE(Move(0, kCr0));
  EXPECT_TRUE(Move(4, kCr4));
  EnterVmx();
  EXPECT_FALSE(Move(0, kCr0 & ~Cr0::kNe));
  EXPECT_FALSE(Move(4, kCr4 & ~Cr4::kVmxe));
}

TEST_F(ControlRegisterTest, NonRootOperationFixesThemToo) {
  RunL2();
  Execute(lhv::Instruction{.kind = Kind::kMovToCr, .width = 0, .first = kCr0 & ~Cr0::kNe});
  ExpectFault(Vector::kGeneralProtection, lhv::kL2HandlerBase);
}

TEST_F(ControlRegisterTest, Cr4RefusesBitsThatTheProcessorDoesNotHave) {
  EXPECT_FALSE(Move(4, kCr4 | uint64_t{1} << 40));
  EXPECT_FALSE(Move(4, kCr4 | Cr4::kPks));
}

TEST_F(ControlRegisterTest, Cr4KeepsPaeInLongMode) { EXPECT_FALSE(Move(4, Cr4::kVmxe)); }

TEST_F(ControlRegisterTest, PcidsNeedAnEmptyPcidInCr3) {
  const uint64_t cr3 = r().cr3;
  EXPECT_TRUE(Move(3, cr3 | 1));
  EXPECT_FALSE(Move(4, kCr4 | Cr4::kPcide));
  EXPECT_TRUE(Move(3, cr3));
  EXPECT_TRUE(Move(4, kCr4 | Cr4::kPcide));
  EXPECT_TRUE(Move(3, cr3 | uint64_t{1} << 63)) << "which then says what to keep";
  EXPECT_EQ(r().cr3, cr3);
}

TEST_F(ControlRegisterTest, Cr3RefusesBitsBeyondThePhysicalAddressWidth) {
  EXPECT_FALSE(Move(3, r().cr3 | uint64_t{1} << 40));
  EXPECT_FALSE(Move(3, r().cr3 | uint64_t{1} << 63)) << "without PCIDs";
}

TEST_F(ControlRegisterTest, MovToCr3DropsTranslations) {
  const uint64_t pdpte = kWindow + lhv::kPageTableOffset + kPageSize + 8;
  const lhv::Instruction read{.kind = Kind::kReadMemory, .width = 1, .first = 0x4000'0000};
  Put<uint64_t>(pdpte, 0x83);
  EXPECT_TRUE(Execute(read).completed);
  Put<uint64_t>(pdpte, 0);
  EXPECT_TRUE(Execute(read).completed) << "it is remembered";
  EXPECT_TRUE(Move(3, r().cr3));
  EXPECT_FALSE(Execute(read).completed);
}

TEST_F(ControlRegisterTest, InvlpgDropsOnePage) {
  const uint64_t pdpte = kWindow + lhv::kPageTableOffset + kPageSize + 8;
  const lhv::Instruction read{.kind = Kind::kReadMemory, .width = 1, .first = 0x4000'0000};
  Put<uint64_t>(pdpte, 0x83);
  EXPECT_TRUE(Execute(read).completed);
  Put<uint64_t>(pdpte, 0);
  EXPECT_TRUE(Execute(Kind::kInvlpg, 0x4000'0000).completed);
  EXPECT_FALSE(Execute(read).completed);
}

TEST_F(ControlRegisterTest, Cr8IsTheClassOfTheTpr) {
  EXPECT_TRUE(Move(8, 0xA));
  EXPECT_EQ(state().tpr, 0xA0u);
  EXPECT_EQ(Execute(lhv::Instruction{.kind = Kind::kMovFromCr, .width = 8}).value, 0xAu);
  EXPECT_FALSE(Move(8, 0x10));
}

// --- PAE paging. SDM Vol. 3A, 4.4.1 "PDPTE Registers".

class PaeTest : public ControlRegisterTest {
 protected:
  static constexpr uint64_t kPdpt = kWindow + 0x50000;
  void MakePae() {
    r().efer = 0;
    r().cs.access_rights = 0xC09B;
  }
};

TEST_F(PaeTest, MovToCr3LoadsThePdptes) {
  MakePae();
  // As far as PAE paging maps the code, it is where the old table was.
  Put<uint64_t>(kPdpt, (kPdpt + kPageSize) | 1);
  for (uint64_t entry = 0; entry < 512; ++entry) {
    Put<uint64_t>(kPdpt + kPageSize + 8 * entry, entry << 21 | 0x83);
  }
  r().pdptes[0] = (kPdpt + kPageSize) | 1;
  Put<uint64_t>(kPdpt + 8, 0x6001);
  EXPECT_TRUE(
      Execute(lhv::Instruction{.kind = Kind::kMovToCr, .width = 3, .first = kPdpt}).completed);
  EXPECT_EQ(r().pdptes[1], 0x6001u);
}

TEST_F(PaeTest, APdpteWithReservedBitsIsRefused) {
  MakePae();
  Put<uint64_t>(kPdpt, (kPdpt + kPageSize) | 1);
  for (uint64_t entry = 0; entry < 512; ++entry) {
    Put<uint64_t>(kPdpt + kPageSize + 8 * entry, entry << 21 | 0x83);
  }
  r().pdptes[0] = (kPdpt + kPageSize) | 1;
  Put<uint64_t>(kPdpt + 8, 0x6003);
  const uint64_t before = r().cr3;
  EXPECT_FALSE(
      Execute(lhv::Instruction{.kind = Kind::kMovToCr, .width = 3, .first = kPdpt}).completed);
  EXPECT_EQ(r().cr3, before);
}

// --- Debug registers

TEST_F(ControlRegisterTest, Dr4AndDr5AreDr6AndDr7WithoutDebugExtensions) {
  EXPECT_TRUE(MoveToDr(5, Dr7::kInit | 1));
  EXPECT_EQ(DebugRegister(7), Dr7::kInit | 1);
  r().cr4 |= Cr4::kDe;
  EXPECT_FALSE(MoveToDr(5, Dr7::kInit));
  ExpectFault(Vector::kInvalidOpcode);
}

TEST_F(ControlRegisterTest, DebugRegistersHaveFixedBits) {
  EXPECT_TRUE(MoveToDr(6, 0));
  EXPECT_EQ(DebugRegister(6), Dr6::kInit);
  EXPECT_TRUE(MoveToDr(7, 0xFFFFDFFF));
  EXPECT_EQ(DebugRegister(7), 0xFFFF07FFu);
  EXPECT_FALSE(MoveToDr(7, uint64_t{1} << 32));
  ExpectFault(Vector::kGeneralProtection);
}

TEST_F(ControlRegisterTest, BreakpointAddressesHave64Bits) {
  EXPECT_TRUE(MoveToDr(2, ~uint64_t{0}));
  EXPECT_EQ(DebugRegister(2), ~uint64_t{0});
}

}  // namespace
}  // namespace nvmx::sim
