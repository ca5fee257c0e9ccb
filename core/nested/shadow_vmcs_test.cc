// SPDX-License-Identifier: Apache-2.0
//
// VMREAD and VMWRITE by L2 with VMCS shadowing. SDM Vol. 3C, 25.10 "VMCS Types: Ordinary and
// Shadow"; 31.3, "VMREAD", "VMWRITE".
#include "core/nested/shadow_vmcs.h"

#include "core/nested/vmcs12_region.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/rflags.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using enum GeneralRegister;
using enum VmcsField;

constexpr uint64_t kVmreadBitmap = 0x30000;
constexpr uint64_t kVmwriteBitmap = 0x31000;
constexpr uint64_t kShadow = 0x32000;
constexpr uint64_t kLength = 3;
constexpr uint64_t kValue = 0x1122'3344'5566'7788;

class ShadowVmcsTest : public testing::Test {
 protected:
  ShadowVmcsTest() {
    v_.Set<kPrimaryProcessorBasedControls>(v_.Get<kPrimaryProcessorBasedControls>() |
                                           PrimaryProcessorBased::kActivateSecondaryControls);
    v_.Set<kSecondaryProcessorBasedControls>(Secondary::kVmcsShadowing);
    v_.Set<kVmreadBitmapAddress>(kVmreadBitmap);
    v_.Set<kVmwriteBitmapAddress>(kVmwriteBitmap);
    v_.Set<kVmcsLinkPointer>(kShadow);
    VmcsImage shadow;
    shadow.Set<kGuestRip>(kValue);
    l1_.memory.Poke(kShadow, Vmcs12Region{kVmcs12Revision | kShadowVmcsIndicator, 0, 0, shadow});
  }
  // L2's paging maps its memory to itself, as L1's does.
  void Run() {
    v_.Set<kGuestCr3>(FakeVcpu::kPml4);
    l1_.RunL2(v_);
    rip_ = L2().Get<kGuestRip>();
  }
  void Execute(ExitReason instruction, uint64_t encoding, const InstructionOperands& operands) {
    L2().Set<kVmExitInstructionLength>(kLength);
    L2().Set<kVmExitInstructionInformation>(operands.InstructionInformation());
    l1_.Register(kRcx) = encoding;
    l1_.Exit(instruction, operands.displacement);
  }
  void Vmread(uint64_t encoding) { Execute(ExitReason::kVmread, encoding, kInRbx); }
  void Vmwrite(uint64_t encoding, uint64_t value) {
    l1_.Register(kRbx) = value;
    Execute(ExitReason::kVmwrite, encoding, kInRbx);
  }
  void ExpectFlags(uint64_t flags) {
    EXPECT_TRUE(l1_.L2Runs());
    EXPECT_EQ(L2().Get<kGuestRip>(), rip_ + kLength);
    EXPECT_EQ(L2().Get<kGuestRflags>() & Rflags::kArithmetic, flags);
  }
  VmcsImage& L2() { return l1_.vmcs.vmcs02(); }
  VmcsImage Shadow() { return l1_.memory.Peek<Vmcs12Region>(kShadow).fields; }

  static constexpr InstructionOperands kInRbx{
      .in_register = true, .register1 = kRbx, .register2 = kRcx};
  static constexpr InstructionOperands kInMemory{.register2 = kRcx,
                                                 .displacement = FakeVcpu::kOperand};

  FakeVcpu l1_;
  VmcsImage v_ = ValidVmcs12(l1_.state.offered);
  uint64_t rip_ = 0;
};

TEST_F(ShadowVmcsTest, L2ReadsTheShadowVmcs) {
  Run();
  Vmread(Encoding(kGuestRip));
  ExpectFlags(0);
  EXPECT_EQ(l1_.Register(kRbx), kValue);
}

TEST_F(ShadowVmcsTest, L2WritesTheShadowVmcsInTheWidthOfTheField) {
  Run();
  Vmwrite(Encoding(kGuestEsSelector), kValue);
  ExpectFlags(0);
  EXPECT_EQ(Shadow().Read(kGuestEsSelector), 0x7788u);
  EXPECT_EQ(Shadow().Read(kGuestRip), kValue);
}

TEST_F(ShadowVmcsTest, TheHighHalfIsBits63To32) {
  Run();
  Vmwrite(Encoding(kTscOffset), kValue);
  rip_ += kLength;
  Vmwrite(Encoding(kTscOffset) + 1, 0xAABBCCDD);
  ExpectFlags(0);
  EXPECT_EQ(Shadow().Read(kTscOffset), 0xAABB'CCDD'5566'7788u);
  rip_ += kLength;
  Vmread(Encoding(kTscOffset) + 1);
  EXPECT_EQ(l1_.Register(kRbx), 0xAABBCCDDu);
}

TEST_F(ShadowVmcsTest, ASetBitIsL1sExit) {
  l1_.memory.Poke(kVmreadBitmap + 0x681E / 8, static_cast<uint8_t>(1u << 0x681E % 8));
  Run();
  Vmread(Encoding(kGuestRip));
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(l1_.state.vmcs12.Get<kExitReason>(), 23u);
}

TEST_F(ShadowVmcsTest, WithoutALinkedVmcsIsVmfailInvalid) {
  v_.Set<kVmcsLinkPointer>(~uint64_t{0});
  Run();
  Vmread(Encoding(kGuestRip));
  ExpectFlags(Rflags::kCf);
}

TEST_F(ShadowVmcsTest, AFieldThatIsNotOfferedIsVmfail12) {
  Run();
  Vmread(Encoding(kTertiaryProcessorBasedControls));
  ExpectFlags(Rflags::kZf);
  EXPECT_EQ(l1_.state.vmcs12.Get<kVmInstructionError>(), 12u);
}

TEST_F(ShadowVmcsTest, AReadOnlyFieldIsVmfail13) {
  l1_.state.offered.misc &= ~VmxMisc::kVmwriteToAnyField;
  Run();
  Vmwrite(Encoding(kExitReason), 1);
  ExpectFlags(Rflags::kZf);
  EXPECT_EQ(l1_.state.vmcs12.Get<kVmInstructionError>(), 13u);
}

TEST_F(ShadowVmcsTest, AboveCpl0IsGeneralProtection) {
  Run();
  L2().Set<kGuestSsAccessRights>(L2().Get<kGuestSsAccessRights>() | AccessRights::kDpl);
  Vmread(Encoding(kGuestRip));
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_EQ(L2().Get<kGuestRip>(), rip_);
  EXPECT_TRUE(InterruptionInformation(L2().Get<kVmEntryInterruptionInformation>())
                  .IsHardwareException(Vector::kGeneralProtection));
}

TEST_F(ShadowVmcsTest, AnOperandInMemoryIsL2s) {
  Run();
  Execute(ExitReason::kVmread, Encoding(kGuestRip), kInMemory);
  ExpectFlags(0);
  EXPECT_EQ(l1_.memory.Peek<uint64_t>(FakeVcpu::kOperand), kValue);
  rip_ += kLength;
  l1_.memory.Poke(FakeVcpu::kOperand, uint64_t{0x99});
  Execute(ExitReason::kVmwrite, Encoding(kGuestRsp), kInMemory);
  ExpectFlags(0);
  EXPECT_EQ(Shadow().Read(kGuestRsp), 0x99u);
}

TEST_F(ShadowVmcsTest, APageFaultOfTheOperandIsL2sAndChangesCr2Then) {
  Run();
  l1_.state.cr2 = 0x4444;
  Execute(ExitReason::kVmread, Encoding(kGuestRip),
          {.register2 = kRcx, .displacement = FakeVcpu::kMemorySize});
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_TRUE(InterruptionInformation(L2().Get<kVmEntryInterruptionInformation>())
                  .IsHardwareException(Vector::kPageFault));
  EXPECT_EQ(l1_.state.cr2, FakeVcpu::kMemorySize);
}

TEST_F(ShadowVmcsTest, APageFaultOfTheSourceWritesNothing) {
  Run();
  Execute(ExitReason::kVmwrite, Encoding(kGuestRip),
          {.register2 = kRcx, .displacement = FakeVcpu::kMemorySize});
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_TRUE(InterruptionInformation(L2().Get<kVmEntryInterruptionInformation>())
                  .IsHardwareException(Vector::kPageFault));
  EXPECT_EQ(l1_.state.cr2, FakeVcpu::kMemorySize);
  EXPECT_EQ(Shadow().Read(kGuestRip), kValue);
}

TEST_F(ShadowVmcsTest, APageFaultThatL1InterceptsLeavesCr2) {
  v_.Set<kExceptionBitmap>(1u << 14);
  Run();
  l1_.state.cr2 = 0x4444;
  Execute(ExitReason::kVmread, Encoding(kGuestRip),
          {.register2 = kRcx, .displacement = FakeVcpu::kMemorySize});
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(l1_.state.vmcs12.Get<kExitQualification>(), FakeVcpu::kMemorySize);
  EXPECT_EQ(l1_.state.cr2, 0x4444u);
}

// --- With EPT in VMCS12 the operand is behind it ---

class ShadowVmcsWithEptTest : public ShadowVmcsTest {
 protected:
  ShadowVmcsWithEptTest() {
    v_.Set<kSecondaryProcessorBasedControls>(Secondary::kVmcsShadowing | Secondary::kEnableEpt);
    v_.Set<kEptPointer>(0x40000 | 3 << 3 | 6);
    l1_.memory.Poke(0x40000, uint64_t{0x41000 | 7});
    l1_.memory.Poke(0x41000, uint64_t{0x42000 | 7});
    l1_.memory.Poke(0x42000, uint64_t{0x43000 | 7});
    // Page by page, to itself; the page of the operand to another one.
    for (uint64_t page = 0; page < 0x20; ++page) MapPage(page, page << 12);
    MapPage(FakeVcpu::kOperand >> 12, 0x50000);
  }
  void MapPage(uint64_t page, uint64_t to, uint64_t rights = 7) {
    l1_.memory.Poke(0x43000 + 8 * page, to | 6 << 3 | rights);
  }
};

TEST_F(ShadowVmcsWithEptTest, TheOperandIsWhereEpt12Leads) {
  Run();
  Execute(ExitReason::kVmread, Encoding(kGuestRip), kInMemory);
  ExpectFlags(0);
  EXPECT_EQ(l1_.memory.Peek<uint64_t>(0x50000), kValue);
  EXPECT_EQ(l1_.memory.Peek<uint64_t>(FakeVcpu::kOperand), 0u);
}

TEST_F(ShadowVmcsWithEptTest, AViolationByTheOperandIsL1s) {
  MapPage(FakeVcpu::kOperand >> 12, 0x50000, 1);
  Run();
  Execute(ExitReason::kVmread, Encoding(kGuestRip), kInMemory);
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(l1_.state.vmcs12.Get<kExitReason>(), 48u);
  EXPECT_EQ(l1_.state.vmcs12.Get<kGuestPhysicalAddress>(), FakeVcpu::kOperand);
  EXPECT_EQ(l1_.state.vmcs12.Get<kExitQualification>(), 0x18Au);
  EXPECT_EQ(l1_.state.vmcs12.Get<kGuestLinearAddress>(), FakeVcpu::kOperand);
  EXPECT_EQ(l1_.memory.Peek<uint64_t>(0x50000), 0u);
}

// The length and the information of the instruction are not those of an EPT violation. SDM Vol. 3C,
// 28.2.5 "Information for VM Exits Due to Instruction Execution".
TEST_F(ShadowVmcsWithEptTest, AViolationByTheOperandTellsNothingOfTheInstruction) {
  MapPage(FakeVcpu::kOperand >> 12, 0x50000, 1);
  Run();
  Execute(ExitReason::kVmread, Encoding(kGuestRip), kInMemory);
  EXPECT_EQ(l1_.state.vmcs12.Get<kExitReason>(), 48u);
  EXPECT_EQ(l1_.state.vmcs12.Get<kVmExitInstructionLength>(), 0u);
  EXPECT_EQ(l1_.state.vmcs12.Get<kVmExitInstructionInformation>(), 0u);
}

// As where L1 executes it.
TEST_F(ShadowVmcsWithEptTest, TheSourceIsReadBeforeTheFieldIsLookedAt) {
  constexpr uint64_t kNoField = 0x6830;
  MapPage(FakeVcpu::kOperand >> 12, 0x50000, 0);
  Run();
  Execute(ExitReason::kVmwrite, kNoField, kInMemory);
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(l1_.state.vmcs12.Get<kExitReason>(), 48u);
}

// But a field that is not there gives nothing to store.
TEST_F(ShadowVmcsWithEptTest, AFieldThatIsNotThereLeavesTheDestinationAlone) {
  constexpr uint64_t kNoField = 0x6830;
  MapPage(FakeVcpu::kOperand >> 12, 0x50000, 0);
  Run();
  Execute(ExitReason::kVmread, kNoField, kInMemory);
  ExpectFlags(Rflags::kZf);
}

TEST_F(ShadowVmcsWithEptTest, AViolationOnTheSecondPageLeavesTheFirst) {
  constexpr uint64_t kAcross = FakeVcpu::kOperand + 0x1000 - 4;
  MapPage((FakeVcpu::kOperand >> 12) + 1, 0x51000, 1);
  Run();
  Execute(ExitReason::kVmread, Encoding(kGuestRip), {.register2 = kRcx, .displacement = kAcross});
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(l1_.state.vmcs12.Get<kExitReason>(), 48u);
  EXPECT_EQ(l1_.state.vmcs12.Get<kGuestLinearAddress>(), kAcross + 4);
  EXPECT_EQ(l1_.memory.Peek<uint32_t>(0x50FFC), 0u);
}

TEST_F(ShadowVmcsWithEptTest, AViolationByAPagingStructureIsNotToTheFinalAddress) {
  MapPage(FakeVcpu::kPml4 >> 12, FakeVcpu::kPml4, 0);
  Run();
  Execute(ExitReason::kVmread, Encoding(kGuestRip), kInMemory);
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(l1_.state.vmcs12.Get<kExitQualification>(), 0x81u);
  EXPECT_EQ(l1_.state.vmcs12.Get<kGuestLinearAddress>(), FakeVcpu::kOperand);
  EXPECT_EQ(l1_.state.vmcs12.Get<kGuestPhysicalAddress>() & ~uint64_t{0xFFF}, FakeVcpu::kPml4);
}

TEST_F(ShadowVmcsWithEptTest, WithFlagsInEptAPagingStructureIsWritten) {
  v_.Set<kEptPointer>(v_.Get<kEptPointer>() | Eptp::kAccessedAndDirty);
  MapPage(FakeVcpu::kPml4 >> 12, FakeVcpu::kPml4, 1);
  Run();
  Execute(ExitReason::kVmwrite, Encoding(kGuestRip), kInMemory);
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(l1_.state.vmcs12.Get<kExitQualification>(), 0x8Bu);
}

TEST_F(ShadowVmcsWithEptTest, WithFlagsInEptTheOperandItselfIsRead) {
  v_.Set<kEptPointer>(v_.Get<kEptPointer>() | Eptp::kAccessedAndDirty);
  MapPage(FakeVcpu::kOperand >> 12, 0x50000, 1);
  Run();
  Execute(ExitReason::kVmwrite, Encoding(kGuestRip), kInMemory);
  ExpectFlags(0);
}

}  // namespace
}  // namespace nvmx
