// SPDX-License-Identifier: Apache-2.0
//
// INVEPT, INVVPID and VMFUNC without L0.
#include "backends/sim/machine/testing/native_fixture.h"

namespace nvmx::sim {
namespace {

using enum VmInstructionError;

class InvalidationTest : public NativeTest {
 protected:
  static constexpr uint64_t kEptp = EntryFixture::kEptp;
  static constexpr uint64_t kNotCanonical = uint64_t{1} << 47;

  void Start() {
    EnterVmx();
    LoadVmcs();
  }
  void Invept(uint64_t type, uint64_t eptp) { Execute(Kind::kInvept, type, eptp); }
  void Invvpid(uint64_t type, uint64_t low, uint64_t linear = 0) {
    Execute(Kind::kInvvpid, type, low, linear);
  }
  // A mapping that only what is invalidated can drop.
  void Remember(MappingTag tag, uint64_t address, bool global = false) {
    cpu_.mmu().tlb().Insert(
        tag, address, {.physical = 0x1000, .page_shift = 12, .paging_shift = 12, .global = global});
  }
  bool Remembers(MappingTag tag, uint64_t address) {
    return cpu_.mmu().tlb().Find(tag, address) != nullptr;
  }
};

TEST_F(InvalidationTest, InveptTypesThatThereAreNotFail) {
  Start();
  for (uint64_t type : {uint64_t{0}, uint64_t{3}, uint64_t{1} << 32 | 1}) {
    Invept(type, kEptp);
    ExpectFail(kInvalidOperandToInveptInvvpid);
  }
}

TEST_F(InvalidationTest, InveptOfAnEptpThatCannotBeEnteredFails) {
  Start();
  Invept(1, kEptp | 0x100);
  ExpectFail(kInvalidOperandToInveptInvvpid);
  Invept(2, kEptp | 0x100);
  ExpectSuccess();
}

TEST_F(InvalidationTest, InveptDropsWhatBelongsToTheEp4ta) {
  Start();
  const MappingTag one = MappingTag::GuestPhysical(Eptp::Ep4ta(kEptp));
  const MappingTag combined = MappingTag::Combined(1, 0, Eptp::Ep4ta(kEptp));
  const MappingTag other = MappingTag::GuestPhysical(0x9000);
  for (MappingTag tag : {one, combined, other}) Remember(tag, 0x5000);
  Invept(1, kEptp);
  ExpectSuccess();
  EXPECT_FALSE(Remembers(one, 0x5000));
  EXPECT_FALSE(Remembers(combined, 0x5000));
  EXPECT_TRUE(Remembers(other, 0x5000));
  Invept(2, 0);
  EXPECT_FALSE(Remembers(other, 0x5000));
}

TEST_F(InvalidationTest, InvvpidFails) {
  Start();
  Invvpid(4, 1);
  ExpectFail(kInvalidOperandToInveptInvvpid);
  for (uint64_t type : {0, 1, 2, 3}) {
    Invvpid(type, 0x10001);
    ExpectFail(kInvalidOperandToInveptInvvpid);
  }
  for (uint64_t type : {0, 1, 3}) {
    Invvpid(type, 0);
    ExpectFail(kInvalidOperandToInveptInvvpid);
  }
  Invvpid(0, 1, kNotCanonical);
  ExpectFail(kInvalidOperandToInveptInvvpid);
  Invvpid(1, 1, kNotCanonical);
  ExpectSuccess();
  Invvpid(2, 0);
  ExpectSuccess();
}

TEST_F(InvalidationTest, InvvpidDropsWhatItsTypeSays) {
  Start();
  const MappingTag one = MappingTag::Linear(1, 0);
  const MappingTag two = MappingTag::Linear(2, 0);
  const auto remember_all = [&] {
    Remember(one, 0x5000);
    Remember(one, 0x6000, true);
    Remember(two, 0x5000);
  };
  remember_all();
  Invvpid(0, 1, 0x5000);
  EXPECT_FALSE(Remembers(one, 0x5000));
  EXPECT_TRUE(Remembers(one, 0x6000));
  remember_all();
  Invvpid(3, 1);
  EXPECT_FALSE(Remembers(one, 0x5000));
  EXPECT_TRUE(Remembers(one, 0x6000)) << "a global one";
  EXPECT_TRUE(Remembers(two, 0x5000));
  remember_all();
  Invvpid(1, 1);
  EXPECT_FALSE(Remembers(one, 0x6000));
  EXPECT_TRUE(Remembers(two, 0x5000));
  Invvpid(2, 0);
  EXPECT_FALSE(Remembers(two, 0x5000));
}

TEST_F(InvalidationTest, WithoutACurrentVmcsTheyFailWithoutANumber) {
  EnterVmx();
  Invept(3, 0);
  ExpectFailInvalid();
}

class WithoutInvalidation : public NativeTest {
 protected:
  static Capabilities Without() {
    Capabilities c = NativeCapabilities();
    c.ept_vpid_cap &= ~(EptVpidCap::kInvept | EptVpidCap::kInvvpid);
    return c;
  }
  WithoutInvalidation() : NativeTest(Without()) {}
};

TEST_F(WithoutInvalidation, TheyAreUndefined) {
  EnterVmx();
  Execute(Kind::kInvept, 2);
  ExpectFault(Vector::kInvalidOpcode);
  Execute(Kind::kInvvpid, 2);
  ExpectFault(Vector::kInvalidOpcode);
}

// --- Transitions

TEST_F(InvalidationTest, TransitionsWithoutAVpidDropTheMappingsOfVpid0) {
  Start();
  // An address that nothing here translates.
  constexpr uint64_t kElsewhere = uint64_t{1} << 45;
  const MappingTag root = MappingTag::Linear(0, 0);
  Remember(root, kElsewhere);
  Launch();
  EXPECT_FALSE(Remembers(root, kElsewhere));
  Remember(root, kElsewhere);
  ExitByVmcall();
  EXPECT_FALSE(Remembers(root, kElsewhere));
}

TEST_F(InvalidationTest, TransitionsWithAVpidDropNothing) {
  Start();
  UseSecondary(Secondary::kEnableVpid);
  Write(VmcsField::kVirtualProcessorIdentifier, 1);
  constexpr uint64_t kElsewhere = uint64_t{1} << 45;
  Remember(MappingTag::Linear(0, 0), kElsewhere);
  Remember(MappingTag::Linear(1, 0), kElsewhere);
  Launch();
  ExitByVmcall();
  EXPECT_TRUE(Remembers(MappingTag::Linear(0, 0), kElsewhere));
  EXPECT_TRUE(Remembers(MappingTag::Linear(1, 0), kElsewhere));
}

// --- VMFUNC. SDM Vol. 3C, 26.5.6 "VM Functions".

class VmfuncTest : public InvalidationTest {
 protected:
  static constexpr uint64_t kEptpList = kData;
  static constexpr uint64_t kPml4 = kWindow + 0x50000;
  static constexpr uint64_t kMapped = kPml4 | 3 << 3 | 6;

  // EPT that maps the first GByte to itself.
  void WriteEpt() {
    constexpr uint64_t kAll = 7;
    constexpr uint64_t kLarge = uint64_t{1} << 7 | uint64_t{6} << 3;
    Put<uint64_t>(kPml4, (kPml4 + 0x1000) | kAll);
    Put<uint64_t>(kPml4 + 0x1000, kAll | kLarge);
  }
  void RunL2WithVmfunc() {
    Start();
    WriteEpt();
    UseSecondary(Secondary::kEnableEpt | Secondary::kEnableVmFunctions);
    Write(VmcsField::kEptPointer, kMapped);
    Write(VmcsField::kVmFunctionControls, VmFunction::kEptpSwitching);
    Write(VmcsField::kEptpListAddress, kEptpList);
    Launch();
  }
  void ExpectVmfuncExit() {
    ExpectExit(ExitReason::kVmfunc);
    EXPECT_EQ(Read(VmcsField::kVmExitInstructionLength), lhv::kInstructionBytes);
    EXPECT_EQ(Read(VmcsField::kExitQualification), 0u);
  }
};

TEST_F(VmfuncTest, IsUndefinedUnlessEnabled) {
  RunL2();
  Execute(Kind::kVmfunc, 0, 0);
  ExpectFault(Vector::kInvalidOpcode, lhv::kL2HandlerBase);
}

TEST_F(VmfuncTest, IsUndefinedAbove63) {
  RunL2WithVmfunc();
  Execute(Kind::kVmfunc, 64, 0);
  ExpectFault(Vector::kInvalidOpcode, lhv::kL2HandlerBase);
}

TEST_F(VmfuncTest, OfAFunctionThatIsOffExits) {
  RunL2WithVmfunc();
  Execute(Kind::kVmfunc, 1, 0);
  ExpectVmfuncExit();
}

TEST_F(VmfuncTest, SwitchesTheEptp) {
  // The same page of EPT entries, by its uncacheable memory type told apart.
  constexpr uint64_t kOther = kMapped & ~uint64_t{7};
  Put<uint64_t>(kEptpList + 8, kOther);
  RunL2WithVmfunc();
  Execute(Kind::kVmfunc, 0, 1);
  EXPECT_TRUE(last_.completed);
  EXPECT_EQ(cpu_.Rip(), kL2Rip + lhv::kInstructionBytes);
  EXPECT_EQ(Read(VmcsField::kEptPointer), kOther);
}

TEST_F(VmfuncTest, ToAnEptpThatIsNotValidExits) {
  Put<uint64_t>(kEptpList + 16, kMapped | 0x100);
  RunL2WithVmfunc();
  Execute(Kind::kVmfunc, 0, 2);
  ExpectVmfuncExit();
  EXPECT_EQ(Read(VmcsField::kEptPointer), kMapped);
}

TEST_F(VmfuncTest, BeyondTheListExits) {
  RunL2WithVmfunc();
  Execute(Kind::kVmfunc, 0, 512);
  ExpectVmfuncExit();
}

}  // namespace
}  // namespace nvmx::sim
