// SPDX-License-Identifier: Apache-2.0
//
// VMXON, VMXOFF, VMCLEAR, VMPTRLD, VMPTRST and VMCALL without L0. SDM Vol. 3C, 31.3 "VMX
// Instructions".
#include "backends/sim/machine/paging_format.h"
#include "backends/sim/machine/testing/native_fixture.h"
#include "core/x86/address.h"

namespace nvmx::sim {
namespace {

using enum VmInstructionError;
using VmxOperation = NativeTest;
constexpr uint64_t kBeyondWidth = uint64_t{1} << 40;

// --- VMXON

TEST_F(VmxOperation, VmxonEntersRootOperationWithoutACurrentVmcs) {
  Execute(Kind::kVmxon, kVmxon);
  ExpectSuccess();
  EXPECT_EQ(state().operation, Operation::kRoot);
  EXPECT_EQ(state().current_vmcs_pointer, kNoVmcs);
}

TEST_F(VmxOperation, VmxonIsUndefinedWithoutVmxe) {
  r().cr4 &= ~Cr4::kVmxe;
  Execute(Kind::kVmxon, kVmxon);
  ExpectFault(Vector::kInvalidOpcode);
}

TEST_F(VmxOperation, VmxonIsUndefinedInCompatibilityMode) {
  r().cs.access_rights = 0xC09B;
  Execute(Kind::kVmxon, kVmxon);
  ExpectFault(Vector::kInvalidOpcode);
}

TEST_F(VmxOperation, VmxonWithARegisterIsUndefined) {
  Execute({.kind = Kind::kVmxon, .operand = {.kind = lhv::Operand::Kind::kRegister}});
  ExpectFault(Vector::kInvalidOpcode);
}

TEST_F(VmxOperation, VmxonFaultsIfCr0OrCr4IsNotOfVmxOperation) {
  r().cr0 &= ~Cr0::kNe;
  Execute(Kind::kVmxon, kVmxon);
  ExpectFault(Vector::kGeneralProtection);
  EXPECT_EQ(state().operation, Operation::kOff);
}

TEST_F(VmxOperation, VmxonOfABadAddressOrRegionIsVmfailInvalid) {
  for (uint64_t pointer : {kVmxon + 8, kBeyondWidth, kShadowVmcs, kData, kUnbacked}) {
    Execute(Kind::kVmxon, pointer);
    ExpectFailInvalid();
    EXPECT_EQ(state().operation, Operation::kOff) << std::hex << pointer;
  }
}

TEST_F(VmxOperation, ASecondVmxonFails) {
  EnterVmx();
  Execute(Kind::kVmxon, kVmxon);
  ExpectFailInvalid();
  LoadVmcs();
  Execute(Kind::kVmxon, kVmxon);
  ExpectFail(kVmxonInVmxRootOperation);
}

// --- Outside VMX operation, and at CPL 3

const lhv::InstructionKind kOthers[] = {
    lhv::InstructionKind::kVmxoff,   lhv::InstructionKind::kVmclear,
    lhv::InstructionKind::kVmptrld,  lhv::InstructionKind::kVmptrst,
    lhv::InstructionKind::kVmread,   lhv::InstructionKind::kVmwrite,
    lhv::InstructionKind::kVmlaunch, lhv::InstructionKind::kVmresume,
    lhv::InstructionKind::kVmcall,   lhv::InstructionKind::kInvept,
    lhv::InstructionKind::kInvvpid,  lhv::InstructionKind::kVmfunc};

class EachVmxInstruction : public NativeTest,
                           public testing::WithParamInterface<lhv::InstructionKind> {};

TEST_P(EachVmxInstruction, IsUndefinedOutsideVmxOperation) {
  Execute(GetParam(), kData);
  ExpectFault(Vector::kInvalidOpcode);
}

TEST_P(EachVmxInstruction, IsUndefinedInCompatibilityMode) {
  EnterVmx();
  r().cs.access_rights = 0xC09B;
  Execute(GetParam(), kData);
  ExpectFault(Vector::kInvalidOpcode);
}
INSTANTIATE_TEST_SUITE_P(Instructions, EachVmxInstruction, testing::ValuesIn(kOthers));

class EachPrivileged : public EachVmxInstruction {
 protected:
  void EnterUserMode() {
    // Everything is mapped by one page, which is not for user mode.
    const uint64_t pml4 = kWindow + lhv::kPageTableOffset;
    for (uint64_t entry : {pml4, pml4 + kPageSize}) {
      Put(entry, Get<uint64_t>(entry) | PagingEntry::kUser);
    }
    cpu_.mmu().tlb().Clear();
    r().cs = {lhv::kCodeSelector | 3, 0, 0xFFFFFFFF, 0xA0FB};
    r().ss = {lhv::kDataSelector | 3, 0, 0xFFFFFFFF, 0xC0F3};
    r().rsp = kWindow + lhv::kL1StackTop;
  }
};

TEST_P(EachPrivileged, FaultsAtCpl3InRootOperation) {
  EnterVmx();
  LoadVmcs();
  EnterUserMode();
  Execute(GetParam(), kData);
  ExpectFault(Vector::kGeneralProtection);
  EXPECT_FALSE(cpu_.in_non_root());
}

TEST_P(EachPrivileged, ExitsAtAnyCplInNonRootOperation) {
  RunL2();
  Execute(GetParam(), kData);
  EXPECT_FALSE(cpu_.in_non_root());
  EXPECT_EQ(cpu_.Rip(), kHostRip);
  EXPECT_EQ(Read(VmcsField::kVmExitInstructionLength), lhv::kInstructionBytes);
}
INSTANTIATE_TEST_SUITE_P(Instructions, EachPrivileged,
                         testing::ValuesIn(std::begin(kOthers), std::end(kOthers) - 1));

// --- VMXOFF

TEST_F(VmxOperation, VmxoffLeavesVmxOperation) {
  EnterVmx();
  LoadVmcs();
  Execute(Kind::kVmxoff);
  ExpectSuccess();
  EXPECT_EQ(state().operation, Operation::kOff);
  EnterVmx();
  Execute(Kind::kVmptrst, kData);
  EXPECT_EQ(Get<uint64_t>(kData), kNoVmcs);
}

TEST_F(VmxOperation, AVmcsThatIsActiveAtVmxoffKeepsItsFields) {
  EnterVmx();
  LoadVmcs();
  Execute(Kind::kVmxoff);
  EnterVmx();
  Execute(Kind::kVmptrld, kVmcs);
  EXPECT_EQ(Read(VmcsField::kHostRip), kHostRip);
}

// --- VMCLEAR

TEST_F(VmxOperation, VmclearOfTheCurrentVmcsLeavesNone) {
  EnterVmx();
  LoadVmcs();
  Execute(Kind::kVmclear, kOtherVmcs);
  ExpectSuccess();
  EXPECT_EQ(state().current_vmcs_pointer, kVmcs);
  Execute(Kind::kVmclear, kVmcs);
  ExpectSuccess();
  EXPECT_EQ(state().current_vmcs_pointer, kNoVmcs);
}

TEST_F(VmxOperation, VmclearFails) {
  EnterVmx();
  Execute(Kind::kVmclear, kVmcs + 4);
  ExpectFailInvalid();
  LoadVmcs();
  Execute(Kind::kVmclear, kVmcs + 4);
  ExpectFail(kVmclearWithInvalidPhysicalAddress);
  Execute(Kind::kVmclear, kBeyondWidth);
  ExpectFail(kVmclearWithInvalidPhysicalAddress);
  Execute(Kind::kVmclear, kVmxon);
  ExpectFail(kVmclearWithVmxonPointer);
}

TEST_F(VmxOperation, VmclearDoesNotLookAtTheRevisionIdentifier) {
  EnterVmx();
  Execute(Kind::kVmclear, kData);
  ExpectSuccess();
}

// --- VMPTRLD, VMPTRST

TEST_F(VmxOperation, VmptrldMakesCurrentAndVmptrstTellsWhich) {
  EnterVmx();
  Execute(Kind::kVmptrld, kVmcs);
  ExpectSuccess();
  EXPECT_EQ(Execute(Kind::kVmptrst, kData).value, kVmcs);
  ExpectSuccess();
  EXPECT_EQ(Get<uint64_t>(kData), kVmcs);
}

TEST_F(VmxOperation, VmptrldFails) {
  EnterVmx();
  LoadVmcs();
  Execute(Kind::kVmptrld, kOtherVmcs + 1);
  ExpectFail(kVmptrldWithInvalidPhysicalAddress);
  Execute(Kind::kVmptrld, kBeyondWidth);
  ExpectFail(kVmptrldWithInvalidPhysicalAddress);
  Execute(Kind::kVmptrld, kVmxon);
  ExpectFail(kVmptrldWithVmxonPointer);
  for (uint64_t wrong : {kData, kUnbacked}) {
    Execute(Kind::kVmptrld, wrong);
    ExpectFail(kVmptrldWithIncorrectVmcsRevisionIdentifier);
  }
  EXPECT_EQ(state().current_vmcs_pointer, kVmcs);
}

TEST_F(VmxOperation, VmptrldTakesAShadowVmcs) {
  EnterVmx();
  Execute(Kind::kVmptrld, kShadowVmcs);
  ExpectSuccess();
  EXPECT_EQ(state().current_vmcs_pointer, kShadowVmcs);
}

class WithoutShadowing : public NativeTest {
 protected:
  static Capabilities Without() {
    Capabilities c = NativeCapabilities();
    c.procbased_ctls2 &= ~(uint64_t{Secondary::kVmcsShadowing} << 32);
    return c;
  }
  WithoutShadowing() : NativeTest(Without()) {}
};

TEST_F(WithoutShadowing, VmptrldRefusesAShadowVmcs) {
  EnterVmx();
  LoadVmcs();
  Execute(Kind::kVmptrld, kShadowVmcs);
  ExpectFail(kVmptrldWithIncorrectVmcsRevisionIdentifier);
}

TEST_F(VmxOperation, APointerOperandThatIsNotMappedFaults) {
  EnterVmx();
  Execute({.kind = Kind::kVmptrld,
           .operand = {.kind = lhv::Operand::Kind::kMemory,
                       .shape = lhv::Operand::Shape::kBase,
                       .offset = uint64_t{1} << 40}});
  ExpectFault(Vector::kPageFault);
  EXPECT_EQ(state().cr2, uint64_t{1} << 40);
}

// SDM Vol. 1, 3.3.7.1 "Canonical Addressing": an SS override does nothing in 64-bit mode.
TEST_F(VmxOperation, APointerOperandThatIsNotCanonicalIsGeneralProtectionInAnySegment) {
  EnterVmx();
  for (SegmentRegister segment : {SegmentRegister::kDs, SegmentRegister::kSs}) {
    Execute({.kind = Kind::kVmptrst,
             .operand = {.kind = lhv::Operand::Kind::kMemory,
                         .shape = lhv::Operand::Shape::kBase,
                         .segment = segment,
                         .offset = uint64_t{1} << 60}});
    ExpectFault(Vector::kGeneralProtection);
  }
}

// --- VMCALL

TEST_F(VmxOperation, VmcallInRootOperationFails) {
  EnterVmx();
  Execute(Kind::kVmcall);
  ExpectFailInvalid();
  LoadVmcs();
  Execute(Kind::kVmcall);
  ExpectFail(kVmcallInVmxRootOperation);
}

}  // namespace
}  // namespace nvmx::sim
