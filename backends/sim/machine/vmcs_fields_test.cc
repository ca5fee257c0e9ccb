// SPDX-License-Identifier: Apache-2.0
//
// VMREAD and VMWRITE without L0, VMCS shadowing, and what VM exits say of operands.
#include "backends/sim/machine/testing/native_fixture.h"

namespace nvmx::sim {
namespace {

using enum VmInstructionError;
using lhv::Operand;

class VmcsFields : public NativeTest {
 protected:
  uint64_t Vmread(uint64_t encoding) { return Execute(Kind::kVmread, encoding).value; }
  static uint64_t Code(VmcsField field) { return Encoding(field); }
};

TEST_F(VmcsFields, NeedACurrentVmcs) {
  EnterVmx();
  Vmread(Code(VmcsField::kGuestRip));
  ExpectFailInvalid();
  Execute(Kind::kVmwrite, Code(VmcsField::kGuestRip), 1);
  ExpectFailInvalid();
}

TEST_F(VmcsFields, AreWrittenAndRead) {
  EnterVmx();
  LoadVmcs();
  Execute(Kind::kVmwrite, Code(VmcsField::kGuestRip), 0x123456789ABCDEF0);
  ExpectSuccess();
  EXPECT_EQ(Vmread(Code(VmcsField::kGuestRip)), 0x123456789ABCDEF0u);
  ExpectSuccess();
}

TEST_F(VmcsFields, AreAsWideAsTheyAre) {
  EnterVmx();
  LoadVmcs();
  Execute(Kind::kVmwrite, Code(VmcsField::kGuestCsSelector), ~uint64_t{0});
  EXPECT_EQ(Vmread(Code(VmcsField::kGuestCsSelector)), 0xFFFFu);
  Execute(Kind::kVmwrite, Code(VmcsField::kExceptionBitmap), ~uint64_t{0});
  EXPECT_EQ(Vmread(Code(VmcsField::kExceptionBitmap)), 0xFFFFFFFFu);
}

TEST_F(VmcsFields, HaveAHighHalfIf64BitsWide) {
  EnterVmx();
  LoadVmcs();
  Execute(Kind::kVmwrite, Code(VmcsField::kTscOffset), 0x1111111122222222);
  EXPECT_EQ(Vmread(Code(VmcsField::kTscOffset) | 1), 0x11111111u);
  Execute(Kind::kVmwrite, Code(VmcsField::kTscOffset) | 1, 0xFFFFFFFF33333333);
  EXPECT_EQ(Vmread(Code(VmcsField::kTscOffset)), 0x3333333322222222u);
  Vmread(Code(VmcsField::kGuestRip) | 1);
  ExpectFail(kUnsupportedVmcsComponent);
}

TEST_F(VmcsFields, ThatAreNotThereFail) {
  EnterVmx();
  LoadVmcs();
  for (uint64_t encoding :
       {uint64_t{0x0012}, uint64_t{0x7000}, Code(VmcsField::kGuestRip) | uint64_t{1} << 32,
        Code(VmcsField::kGuestRip) | 1 << 12, Code(VmcsField::kGuestIa32Pkrs)}) {
    Vmread(encoding);
    ExpectFail(kUnsupportedVmcsComponent);
    Execute(Kind::kVmwrite, encoding, 1);
    ExpectFail(kUnsupportedVmcsComponent);
  }
}

TEST_F(VmcsFields, OfExitInformationCanBeWritten) {
  EnterVmx();
  LoadVmcs();
  Execute(Kind::kVmwrite, Code(VmcsField::kExitReason), 5);
  ExpectSuccess();
  EXPECT_EQ(Vmread(Code(VmcsField::kExitReason)), 5u);
}

class WithoutVmwriteToAny : public NativeTest {
 protected:
  static Capabilities Without() {
    Capabilities c = NativeCapabilities();
    c.misc &= ~VmxMisc::kVmwriteToAnyField;
    return c;
  }
  WithoutVmwriteToAny() : NativeTest(Without()) {}
};

TEST_F(WithoutVmwriteToAny, ExitInformationIsReadOnly) {
  EnterVmx();
  LoadVmcs();
  Execute(Kind::kVmwrite, Encoding(VmcsField::kExitReason), 5);
  ExpectFail(kVmwriteToReadOnlyVmcsComponent);
  EXPECT_EQ(Read(VmcsField::kExitReason), 0u);
}

TEST_F(VmcsFields, HaveOperandsInAnyRegisterOrInMemory) {
  EnterVmx();
  LoadVmcs();
  const uint64_t rip = Code(VmcsField::kGuestRip);
  for (GeneralRegister name :
       {GeneralRegister::kRax, GeneralRegister::kRcx, GeneralRegister::kR9}) {
    const Operand in_register{.kind = Operand::Kind::kRegister, .general_register = name};
    const uint64_t value = 0x1000 + static_cast<uint64_t>(name);
    Execute({.kind = Kind::kVmwrite, .first = rip, .second = value, .operand = in_register});
    ExpectSuccess();
    EXPECT_EQ(Read(VmcsField::kGuestRip), value);
    EXPECT_EQ(Execute({.kind = Kind::kVmread, .first = rip, .operand = in_register}).value, value);
    EXPECT_EQ(Register(name), value);
  }
  const Operand in_memory{.kind = Operand::Kind::kMemory, .offset = kData};
  Put<uint64_t>(kData, 0x5555);
  Execute({.kind = Kind::kVmwrite, .first = rip, .operand = in_memory});
  EXPECT_EQ(Read(VmcsField::kGuestRip), 0x5555u);
  Write(VmcsField::kGuestRip, 0x6666);
  EXPECT_EQ(Execute({.kind = Kind::kVmread, .first = rip, .operand = in_memory}).value, 0x6666u);
  EXPECT_EQ(Get<uint64_t>(kData), 0x6666u);
}

TEST_F(VmcsFields, OperandInMemoryThatFaultsChangesNothing) {
  EnterVmx();
  LoadVmcs();
  const Operand not_mapped{
      .kind = Operand::Kind::kMemory, .shape = Operand::Shape::kBase, .offset = uint64_t{1} << 40};
  Execute({.kind = Kind::kVmwrite, .first = Code(VmcsField::kGuestRip), .operand = not_mapped});
  ExpectFault(Vector::kPageFault);
  EXPECT_EQ(Read(VmcsField::kGuestRip), kL2Rip);
  Execute({.kind = Kind::kVmread, .first = Code(VmcsField::kGuestRip), .operand = not_mapped});
  ExpectFault(Vector::kPageFault);
}

// --- What VM exits say of operands. SDM Vol. 3C, 28.2.1, 28.2.5.

struct Encoded {
  const char* name;
  lhv::Instruction instruction;
  uint64_t qualification, information;
};
void PrintTo(const Encoded& e, std::ostream* out) { *out << e.name; }

constexpr uint64_t k64 = uint64_t{2} << 7;
constexpr uint64_t k32 = uint64_t{1} << 7;
constexpr uint64_t kDs = uint64_t{3} << 15;
constexpr uint64_t kFs = uint64_t{4} << 15;
constexpr uint64_t kNoIndex = uint64_t{1} << 22;
constexpr uint64_t kNoBase = uint64_t{1} << 27;
constexpr uint64_t kRdiIndex = uint64_t{7} << 18;
constexpr uint64_t kRsiBase = uint64_t{6} << 23;
constexpr uint64_t kRspBase = uint64_t{4} << 23;
constexpr uint64_t kTarget = lhv::kWindowBase + 0x20000;

constexpr lhv::Instruction Vmptrst(Operand::Shape shape, bool address_32 = false,
                                   SegmentRegister segment = SegmentRegister::kDs) {
  return {.kind = lhv::InstructionKind::kVmptrst,
          .operand = {.kind = Operand::Kind::kMemory,
                      .shape = shape,
                      .segment = segment,
                      .has_32_bit_address = address_32,
                      .offset = kTarget}};
}

const Encoded kEncoded[] = {
    {"default",
     {.kind = lhv::InstructionKind::kVmptrst, .first = kTarget},
     kTarget,
     k64 | kDs | kNoIndex | kNoBase},
    {"displacement", Vmptrst(Operand::Shape::kDisplacement), kTarget,
     k64 | kDs | kNoIndex | kNoBase},
    {"base", Vmptrst(Operand::Shape::kBase), 0, k64 | kDs | kNoIndex | kRsiBase},
    {"base and displacement", Vmptrst(Operand::Shape::kBaseDisplacement), ~uint64_t{0x1F},
     k64 | kDs | kNoIndex | kRsiBase},
    {"index and displacement", Vmptrst(Operand::Shape::kIndexDisplacement), 0x40,
     k64 | kDs | 2 | kRdiIndex | kNoBase},
    {"base, index and displacement", Vmptrst(Operand::Shape::kBaseIndexDisplacement), 0x40,
     k64 | kDs | 3 | kRdiIndex | kRsiBase},
    {"RSP and displacement", Vmptrst(Operand::Shape::kRspDisplacement),
     kTarget - (lhv::kWindowBase + lhv::kL2StackTop), k64 | kDs | kNoIndex | kRspBase},
    {"32-bit address", Vmptrst(Operand::Shape::kBase, true), 0, k32 | kDs | kNoIndex | kRsiBase},
    {"FS", Vmptrst(Operand::Shape::kDisplacement, false, SegmentRegister::kFs), kTarget,
     k64 | kFs | kNoIndex | kNoBase},
    {"VMREAD",
     {.kind = lhv::InstructionKind::kVmread, .first = 0x681E},
     0,
     uint64_t{3} << 3 | 1 << 10},
    {"VMWRITE to RAX",
     {.kind = lhv::InstructionKind::kVmwrite,
      .first = 0x681E,
      .operand = {.kind = Operand::Kind::kRegister, .general_register = GeneralRegister::kRax}},
     0,
     1 << 10 | uint64_t{1} << 28},
    {"VMREAD of memory",
     {.kind = lhv::InstructionKind::kVmread,
      .first = 0x681E,
      .operand = {.kind = Operand::Kind::kMemory, .offset = kTarget}},
     kTarget,
     k64 | kDs | kNoIndex | kNoBase},
    {"INVEPT",
     {.kind = lhv::InstructionKind::kInvept, .first = 1},
     lhv::kWindowBase + lhv::kL2StackTop - 0x1000,
     k64 | kDs | kNoIndex | kNoBase},
    {"VMXOFF", {.kind = lhv::InstructionKind::kVmxoff}, 0, 0},
    {"VMLAUNCH", {.kind = lhv::InstructionKind::kVmlaunch}, 0, 0},
};

class OperandOfExit : public NativeTest, public testing::WithParamInterface<Encoded> {};

TEST_P(OperandOfExit, IsDescribed) {
  RunL2();
  Execute(GetParam().instruction);
  EXPECT_EQ(Read(VmcsField::kExitQualification), GetParam().qualification);
  EXPECT_EQ(Read(VmcsField::kVmExitInstructionInformation), GetParam().information);
  EXPECT_EQ(Read(VmcsField::kVmExitInstructionLength), lhv::kInstructionBytes);
}
INSTANTIATE_TEST_SUITE_P(Operands, OperandOfExit, testing::ValuesIn(kEncoded));

class AddressedOperand : public NativeTest, public testing::WithParamInterface<Encoded> {};

TEST_P(AddressedOperand, IsWhereItIsWanted) {
  EnterVmx();
  LoadVmcs();
  Execute(GetParam().instruction);
  EXPECT_EQ(Get<uint64_t>(kTarget), kVmcs);
}
INSTANTIATE_TEST_SUITE_P(Operands, AddressedOperand,
                         testing::ValuesIn(std::begin(kEncoded), std::begin(kEncoded) + 9));

TEST_F(VmcsFields, FsHasABaseIn64BitMode) {
  EnterVmx();
  LoadVmcs();
  r().fs.base = 0x100;
  Execute(Vmptrst(Operand::Shape::kBase, false, SegmentRegister::kFs));
  EXPECT_EQ(Get<uint64_t>(kTarget + 0x100), kVmcs);
}

// --- VMCS shadowing. SDM Vol. 3C, 26.1.3, VMREAD and VMWRITE; 25.10 "VMCS Types: Ordinary and
// Shadow".

class Shadowing : public VmcsFields {
 protected:
  static constexpr uint64_t kReadBitmap = kData;
  static constexpr uint64_t kWriteBitmap = kData + 0x1000;

  void RunL2WithShadow(uint64_t link = kShadowVmcs) {
    EnterVmx();
    Execute(Kind::kVmclear, kShadowVmcs);
    Execute(Kind::kVmptrld, kShadowVmcs);
    Execute(Kind::kVmwrite, Code(VmcsField::kGuestRsp), 0x5AD0);
    LoadVmcs();
    UseSecondary(Secondary::kVmcsShadowing);
    Write(VmcsField::kVmreadBitmapAddress, kReadBitmap);
    Write(VmcsField::kVmwriteBitmapAddress, kWriteBitmap);
    Write(VmcsField::kVmcsLinkPointer, link);
    Launch();
  }
};

TEST_F(Shadowing, VmreadAndVmwriteInL2GoToTheShadowVmcs) {
  RunL2WithShadow();
  EXPECT_EQ(Vmread(Code(VmcsField::kGuestRsp)), 0x5AD0u);
  ExpectSuccess();
  Execute(Kind::kVmwrite, Code(VmcsField::kGuestRsp), 0x5AD1);
  ExpectSuccess();
  ExitByVmcall();
  EXPECT_EQ(Read(VmcsField::kGuestRsp), kWindow + lhv::kL2StackTop);
  Execute(Kind::kVmptrld, kShadowVmcs);
  EXPECT_EQ(Read(VmcsField::kGuestRsp), 0x5AD1u);
}

TEST_F(Shadowing, ABitInTheBitmapMakesAnExit) {
  const uint64_t field = Code(VmcsField::kGuestRsp);
  Put<uint8_t>(kReadBitmap + field / 8, 1 << field % 8);
  RunL2WithShadow();
  Execute(Kind::kVmwrite, field, 1);
  ExpectSuccess();
  Vmread(field + 2);
  ExpectSuccess();
  Vmread(field);
  ExpectExit(ExitReason::kVmread);
}

TEST_F(Shadowing, TheTwoBitmapsAreApart) {
  const uint64_t field = Code(VmcsField::kGuestRsp);
  Put<uint8_t>(kWriteBitmap + field / 8, 1 << field % 8);
  RunL2WithShadow();
  Vmread(field);
  ExpectSuccess();
  Execute(Kind::kVmwrite, field, 1);
  ExpectExit(ExitReason::kVmwrite);
}

TEST_F(Shadowing, AFieldAboveTheBitmapMakesAnExit) {
  RunL2WithShadow();
  Vmread(Code(VmcsField::kGuestRsp) | 0x8000);
  ExpectExit(ExitReason::kVmread);
}

TEST_F(Shadowing, WithoutALinkEveryAccessIsVmfailInvalid) {
  RunL2WithShadow(kNoVmcs);
  Vmread(Code(VmcsField::kGuestRsp));
  ExpectFailInvalid();
}

TEST_F(Shadowing, AFieldThatIsNotThereIsVmfailValid) {
  RunL2WithShadow();
  Vmread(0x7000);
  ExpectFail(kUnsupportedVmcsComponent);
}

TEST_F(Shadowing, AShadowVmcsCannotBeEntered) {
  EnterVmx();
  LoadVmcs(kShadowVmcs);
  Execute(Kind::kVmlaunch);
  ExpectFailInvalid();
}

}  // namespace
}  // namespace nvmx::sim
