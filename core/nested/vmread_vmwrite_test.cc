// SPDX-License-Identifier: Apache-2.0
//
// VMREAD and VMWRITE. SDM Vol. 3C, 31.3 "VMX Instructions"; 25.11.2 "VMREAD, VMWRITE, and Encodings
// of VMCS Fields".
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/matchers.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using enum GeneralRegister;

const VmxOutcome kUnsupported =
    VmxOutcome::FailValid(VmInstructionError::kUnsupportedVmcsComponent);
const VmxOutcome kReadOnly =
    VmxOutcome::FailValid(VmInstructionError::kVmwriteToReadOnlyVmcsComponent);
constexpr uint64_t kValue = 0x1122'3344'5566'7788;

class VmreadVmwriteTest : public testing::Test {
 protected:
  VmreadVmwriteTest() { l1_.MakeCurrentVmcs12(VmcsImage()); }

  // VMREAD into RBX and VMWRITE from RBX; the encoding is in RCX.
  VmxOutcome Vmread(uint64_t encoding) {
    l1_.Register(kRcx) = encoding;
    return l1_.Execute(ExitReason::kVmread,
                       {.in_register = true, .register1 = kRbx, .register2 = kRcx});
  }
  VmxOutcome Vmwrite(uint64_t encoding, uint64_t value) {
    l1_.Register(kRcx) = encoding;
    l1_.Register(kRbx) = value;
    return l1_.Execute(ExitReason::kVmwrite,
                       {.in_register = true, .register1 = kRbx, .register2 = kRcx});
  }
  VmxOutcome Vmread(VmcsField field) { return Vmread(Encoding(field)); }
  VmxOutcome Vmwrite(VmcsField field, uint64_t value) { return Vmwrite(Encoding(field), value); }
  uint64_t Rbx() { return l1_.Register(kRbx); }
  VmcsImage& Vmcs12() { return l1_.state.vmcs12; }

  FakeVcpu l1_;
};

TEST_F(VmreadVmwriteTest, WithoutACurrentVmcsIsVmfailInvalid) {
  l1_.state.current_vmcs = kNoVmcs;
  EXPECT_EQ(Vmread(VmcsField::kGuestRip), VmxOutcome::FailInvalid());
  EXPECT_EQ(Vmwrite(VmcsField::kGuestRip, 1), VmxOutcome::FailInvalid());
  // Even of a field that does not exist.
  EXPECT_EQ(Vmread(0x7FFE), VmxOutcome::FailInvalid());
}

TEST_F(VmreadVmwriteTest, EveryRegisterCanHoldTheEncoding) {
  Vmcs12().Set<VmcsField::kGuestRip>(kValue);
  for (unsigned number = 0; number < 16; ++number) {
    const auto name = static_cast<GeneralRegister>(number);
    if (name == kRsp) continue;
    for (unsigned other = 0; other < 16; ++other) l1_.state.registers[other] = 0x7FFE;
    l1_.Register(name) = Encoding(VmcsField::kGuestRip);
    const GeneralRegister to = name == kRbx ? kRdx : kRbx;
    EXPECT_EQ(
        l1_.Execute(ExitReason::kVmread, {.in_register = true, .register1 = to, .register2 = name}),
        VmxOutcome::Succeed());
    EXPECT_EQ(l1_.Register(to), kValue) << "register " << number;
  }
}

TEST_F(VmreadVmwriteTest, WhatIsWrittenIsReadInTheWidthOfTheField) {
  EXPECT_EQ(Vmwrite(VmcsField::kGuestEsSelector, kValue), VmxOutcome::Succeed());
  EXPECT_EQ(Vmread(VmcsField::kGuestEsSelector), VmxOutcome::Succeed());
  EXPECT_EQ(Rbx(), 0x7788u);
  EXPECT_EQ(Vmwrite(VmcsField::kGuestEsLimit, kValue), VmxOutcome::Succeed());
  EXPECT_EQ(Vmread(VmcsField::kGuestEsLimit), VmxOutcome::Succeed());
  EXPECT_EQ(Rbx(), 0x55667788u);
  EXPECT_EQ(Vmwrite(VmcsField::kTscOffset, kValue), VmxOutcome::Succeed());
  EXPECT_EQ(Vmread(VmcsField::kTscOffset), VmxOutcome::Succeed());
  EXPECT_EQ(Rbx(), kValue);
  EXPECT_EQ(Vmwrite(VmcsField::kGuestRip, kValue), VmxOutcome::Succeed());
  EXPECT_EQ(Vmread(VmcsField::kGuestRip), VmxOutcome::Succeed());
  EXPECT_EQ(Rbx(), kValue);
}

TEST_F(VmreadVmwriteTest, TheHighHalfOfA64BitFieldIsItsBits63To32) {
  Vmcs12().Set<VmcsField::kTscOffset>(kValue);
  const uint64_t high = Encoding(VmcsField::kTscOffset) + 1;
  EXPECT_EQ(Vmread(high), VmxOutcome::Succeed());
  EXPECT_EQ(Rbx(), 0x11223344u);
  EXPECT_EQ(Vmwrite(high, 0xFFFF'FFFF'AABB'CCDD), VmxOutcome::Succeed());
  EXPECT_EQ(Vmcs12().Get<VmcsField::kTscOffset>(), 0xAABB'CCDD'5566'7788u);
}

TEST_F(VmreadVmwriteTest, EveryOfferedFieldCanBeReadAndNoOther) {
  for (const VmcsFieldInformation& row : kVmcsFields) {
    EXPECT_EQ(Vmread(row.field),
              Exists(row.field, l1_.state.offered) ? VmxOutcome::Succeed() : kUnsupported)
        << row.name;
  }
}

TEST_F(VmreadVmwriteTest, EveryOfferedFieldThatIsNotReadOnlyCanBeWritten) {
  l1_.state.offered.misc &= ~VmxMisc::kVmwriteToAnyField;
  for (const VmcsFieldInformation& row : kVmcsFields) {
    const VmxOutcome expected = !Exists(row.field, l1_.state.offered) ? kUnsupported
                                : Type(row.field) == FieldType::kReadOnlyData
                                    ? kReadOnly
                                    : VmxOutcome::Succeed();
    EXPECT_EQ(Vmwrite(row.field, 1), expected) << row.name;
  }
}

TEST_F(VmreadVmwriteTest, WithTheOfferEveryFieldCanBeWritten) {
  for (const VmcsFieldInformation& row : kVmcsFields) {
    EXPECT_EQ(Vmwrite(row.field, 1),
              Exists(row.field, l1_.state.offered) ? VmxOutcome::Succeed() : kUnsupported)
        << row.name;
  }
}

TEST_F(VmreadVmwriteTest, AFieldOfAFeatureThatIsNotOfferedIsUnsupported) {
  EXPECT_EQ(Vmread(VmcsField::kTertiaryProcessorBasedControls), kUnsupported);
  Capabilities offered = l1_.state.offered;
  offered.procbased_ctls2 = 0;
  SetOffered(l1_.state, offered);
  EXPECT_EQ(Vmread(VmcsField::kEptPointer), kUnsupported);
  EXPECT_EQ(Vmwrite(VmcsField::kEptPointer, 1), kUnsupported);
}

TEST_F(VmreadVmwriteTest, AnEncodingThatIsNoFieldIsUnsupported) {
  EXPECT_EQ(Vmread(Encoding(VmcsField::kGuestRip) + 1), kUnsupported);  // high, not of 64 bits
  EXPECT_EQ(Vmread(Encoding(VmcsField::kGuestRip) | 1u << 12), kUnsupported);  // reserved bit
  EXPECT_EQ(Vmread(Encoding(VmcsField::kGuestRip) | 1u << 15), kUnsupported);
  EXPECT_EQ(Vmread(0x7FFE), kUnsupported);
}

TEST_F(VmreadVmwriteTest, Bits63To32OfTheEncodingCount) {
  const uint64_t encoding = Encoding(VmcsField::kGuestRip) | uint64_t{1} << 32;
  EXPECT_EQ(Vmread(encoding), kUnsupported);
  EXPECT_EQ(Vmwrite(encoding, 1), kUnsupported);
}

TEST_F(VmreadVmwriteTest, AReadOnlyFieldIsVmfail13AndIsNotChanged) {
  l1_.state.offered.misc &= ~VmxMisc::kVmwriteToAnyField;
  Vmcs12().Set<VmcsField::kExitReason>(7);
  EXPECT_EQ(Vmwrite(VmcsField::kExitReason, 9), kReadOnly);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kExitReason>(), 7u);
  l1_.state.offered.misc |= VmxMisc::kVmwriteToAnyField;
  EXPECT_EQ(Vmwrite(VmcsField::kExitReason, 9), VmxOutcome::Succeed());
  EXPECT_EQ(Vmcs12().Get<VmcsField::kExitReason>(), 9u);
}

TEST_F(VmreadVmwriteTest, AFailureIsFoundInTheVmInstructionErrorField) {
  EXPECT_EQ(Vmread(0x7FFE), kUnsupported);
  EXPECT_EQ(Vmread(VmcsField::kVmInstructionError), VmxOutcome::Succeed());
  EXPECT_EQ(Rbx(), 12u);
}

TEST_F(VmreadVmwriteTest, OperandsInMemoryAre64Bits) {
  const InstructionOperands memory{.register2 = kRcx, .displacement = FakeVcpu::kOperand};
  Vmcs12().Set<VmcsField::kGuestEsSelector>(0x1234);
  l1_.memory.Poke(FakeVcpu::kOperand, ~uint64_t{0});
  l1_.Register(kRcx) = Encoding(VmcsField::kGuestEsSelector);
  EXPECT_EQ(l1_.Execute(ExitReason::kVmread, memory), VmxOutcome::Succeed());
  EXPECT_EQ(l1_.memory.Peek<uint64_t>(FakeVcpu::kOperand), 0x1234u);

  l1_.memory.Poke(FakeVcpu::kOperand, kValue);
  l1_.Register(kRcx) = Encoding(VmcsField::kGuestRip);
  EXPECT_EQ(l1_.Execute(ExitReason::kVmwrite, memory), VmxOutcome::Succeed());
  EXPECT_EQ(Vmcs12().Get<VmcsField::kGuestRip>(), kValue);
}

TEST_F(VmreadVmwriteTest, AFaultOfTheMemoryOperandIsL1sAndHasNoEffect) {
  const InstructionOperands memory{.register2 = kRcx, .displacement = FakeVcpu::kMemorySize};
  l1_.Register(kRcx) = Encoding(VmcsField::kGuestRip);
  EXPECT_EQ(l1_.Execute(ExitReason::kVmread, memory),
            VmxOutcome::Fault(Vector::kPageFault, PageFaultErrorCode::kWr));
  EXPECT_EQ(l1_.state.cr2, FakeVcpu::kMemorySize);
  EXPECT_EQ(l1_.Execute(ExitReason::kVmwrite, memory), VmxOutcome::Fault(Vector::kPageFault, 0));
  EXPECT_EQ(Vmcs12().Get<VmcsField::kGuestRip>(), 0u);
}

TEST_F(VmreadVmwriteTest, RspIsTheOneInVmcs01) {
  l1_.vmcs.vmcs01().Set<VmcsField::kGuestRsp>(kValue);
  l1_.Register(kRcx) = Encoding(VmcsField::kGuestRip);
  const InstructionOperands rsp{.in_register = true, .register1 = kRsp, .register2 = kRcx};
  EXPECT_EQ(l1_.Execute(ExitReason::kVmwrite, rsp), VmxOutcome::Succeed());
  EXPECT_EQ(Vmcs12().Get<VmcsField::kGuestRip>(), kValue);
  Vmcs12().Set<VmcsField::kGuestRip>(0x9999);
  EXPECT_EQ(l1_.Execute(ExitReason::kVmread, rsp), VmxOutcome::Succeed());
  EXPECT_EQ(l1_.vmcs.vmcs01().Get<VmcsField::kGuestRsp>(), 0x9999u);
}

}  // namespace
}  // namespace nvmx
