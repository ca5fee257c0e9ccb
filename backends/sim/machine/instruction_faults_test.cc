// SPDX-License-Identifier: Apache-2.0
//
// Faults of instructions, and which of them come before VM exits. SDM Vol. 2; Vol. 3C, 26.1.1
// "Relative Priority of Faults and VM Exits".
#include "backends/sim/machine/paging_format.h"
#include "backends/sim/machine/testing/native_fixture.h"
#include "core/x86/msr.h"

namespace nvmx::sim {
namespace {

using Primary = PrimaryProcessorBased;
using Kind = lhv::InstructionKind;

class FaultTest : public NativeTest {
 protected:
  // The guest's paging structures let CPL 3 use everything.
  void MapForUser() {
    for (uint64_t entry :
         {kWindow + lhv::kPageTableOffset, kWindow + lhv::kPageTableOffset + kPageSize}) {
      Put<uint64_t>(entry, Get<uint64_t>(entry) | PagingEntry::kUser);
    }
  }
  void GoToCpl3() {
    MapForUser();
    r().ss.access_rights |= AccessRights::kDpl;
    r().cs.access_rights |= AccessRights::kDpl;
  }
  void RunL2AtCpl3() {
    RunL2();
    GoToCpl3();
  }
  void ExpectGp() {
    ExpectFault(Vector::kGeneralProtection);
    EXPECT_EQ(cpu_.TopFrame(13).error_code, 0u);
    EXPECT_EQ(cpu_.TopFrame(13).rip, lhv::kL1CodeBase);
  }
};

// --- Privilege

constexpr Kind kPrivileged[] = {
    Kind::kHlt,  Kind::kRdmsr,  Kind::kWrmsr,  Kind::kMovToCr, Kind::kMovFromCr, Kind::kClts,
    Kind::kLmsw, Kind::kInvlpg, Kind::kWbinvd, Kind::kInvd,    Kind::kMovToDr,   Kind::kMovFromDr,
    Kind::kLgdt, Kind::kLidt,   Kind::kLldt,   Kind::kLtr,     Kind::kInvpcid};

class Privileged : public FaultTest, public testing::WithParamInterface<Kind> {};

TEST_P(Privileged, IsForCpl0) {
  GoToCpl3();
  Execute(GetParam());
  ExpectGp();
}

TEST_P(Privileged, FaultsBeforeItExits) {
  EnterVmx();
  LoadVmcs();
  Or(VmcsField::kPrimaryProcessorBasedControls, Primary::kHltExiting | Primary::kInvlpgExiting |
                                                    Primary::kCr3LoadExiting |
                                                    Primary::kCr3StoreExiting);
  UseSecondary(Secondary::kWbinvdExiting | Secondary::kDescriptorTableExiting |
               Secondary::kEnableInvpcid);
  Launch();
  GoToCpl3();
  Execute(GetParam());
  ExpectFault(Vector::kGeneralProtection, lhv::kL2HandlerBase);
}

INSTANTIATE_TEST_SUITE_P(Instructions, Privileged, testing::ValuesIn(kPrivileged));

TEST_F(FaultTest, MovDrExitsBeforeItFaults) {
  EnterVmx();
  LoadVmcs();
  Or(VmcsField::kPrimaryProcessorBasedControls, Primary::kMovDrExiting);
  Or(VmcsField::kGuestCr4, Cr4::kDe);
  Launch();
  GoToCpl3();
  Execute(lhv::Instruction{.kind = Kind::kMovToDr, .width = 4});
  ExpectExit(ExitReason::kMovDr);
}

TEST_F(FaultTest, MonitorAndMwaitAreUndefinedAboveCpl0) {
  GoToCpl3();
  Execute(Kind::kMonitor);
  ExpectFault(Vector::kInvalidOpcode);
}

TEST_F(FaultTest, RdtscIsForAllButWithTsd) {
  GoToCpl3();
  EXPECT_TRUE(Execute(Kind::kRdtsc).completed);
  r().cr4 |= Cr4::kTsd;
  cpu_.Jump(lhv::kL1CodeBase);
  Execute(Kind::kRdtsc);
  ExpectGp();
}

TEST_F(FaultTest, RdpmcIsForAllWithPce) {
  GoToCpl3();
  r().cr4 |= Cr4::kPce;
  EXPECT_TRUE(Execute(Kind::kRdpmc).completed);
  r().cr4 &= ~Cr4::kPce;
  cpu_.Jump(lhv::kL1CodeBase);
  Execute(Kind::kRdpmc);
  ExpectGp();
}

TEST_F(FaultTest, UmipKeepsDescriptorTablesFromUserMode) {
  GoToCpl3();
  EXPECT_TRUE(Execute(Kind::kStr).completed);
  r().cr4 |= Cr4::kUmip;
  cpu_.Jump(lhv::kL1CodeBase);
  Execute(Kind::kStr);
  ExpectGp();
}

TEST_F(FaultTest, CliAndStiNeedIopl) {
  GoToCpl3();
  Execute(Kind::kCli);
  ExpectGp();
}

TEST_F(FaultTest, WithIoplCliIsForUserMode) {
  GoToCpl3();
  r().rflags |= Rflags::kIopl;
  EXPECT_TRUE(Execute(Kind::kCli).completed);
}

// --- I/O permission. SDM Vol. 1, 19.5.2.

TEST_F(FaultTest, PortsNeedIoplOrTheMapInTheTss) {
  GoToCpl3();
  Execute(lhv::Instruction{.kind = Kind::kIn, .width = 1, .first = 0x70});
  ExpectGp();
}

TEST_F(FaultTest, TheMapInTheTssAllowsPorts) {
  GoToCpl3();
  constexpr uint64_t kMapBase = 0x68;
  const uint64_t tss = kWindow + lhv::kTssOffset;
  r().tr.limit = kMapBase + 0x2000;
  Put<uint16_t>(tss + 0x66, kMapBase);
  Put<uint16_t>(tss + kMapBase + 0x70 / 8, 0xFFFE);
  EXPECT_TRUE(Execute(lhv::Instruction{.kind = Kind::kIn, .width = 1, .first = 0x70}).completed);
  cpu_.Jump(lhv::kL1CodeBase);
  Execute(lhv::Instruction{.kind = Kind::kIn, .width = 2, .first = 0x70});
  ExpectGp();
}

TEST_F(FaultTest, ThePermissionMapComesBeforeTheVmExit) {
  EnterVmx();
  LoadVmcs();
  Or(VmcsField::kPrimaryProcessorBasedControls, Primary::kUnconditionalIoExiting);
  Launch();
  GoToCpl3();
  Execute(lhv::Instruction{.kind = Kind::kIn, .width = 1, .first = 0x70});
  ExpectFault(Vector::kGeneralProtection, lhv::kL2HandlerBase);
}

// --- Undefined opcodes

TEST_F(FaultTest, UndefinedOpcodes) {
  for (Kind kind : {Kind::kUd2, Kind::kGetsec, Kind::kRsm, Kind::kXgetbv, Kind::kXsetbv}) {
    cpu_.Jump(lhv::kL1CodeBase);
    Execute(kind);
    ExpectFault(Vector::kInvalidOpcode);
  }
}

TEST_F(FaultTest, AnUndefinedOpcodeComesBeforeTheVmExit) {
  RunL2();
  Execute(Kind::kXsetbv);
  ExpectFault(Vector::kInvalidOpcode, lhv::kL2HandlerBase);
}

TEST_F(FaultTest, RdtscpIsUndefinedInNonRootOperationUnlessItIsEnabled) {
  EXPECT_TRUE(Execute(Kind::kRdtscp).completed);
  RunL2();
  Execute(Kind::kRdtscp);
  ExpectFault(Vector::kInvalidOpcode, lhv::kL2HandlerBase);
}

TEST_F(FaultTest, ControlRegistersThatThereAreNot) {
  for (uint8_t number : {1, 5, 7, 9}) {
    cpu_.Jump(lhv::kL1CodeBase);
    Execute(lhv::Instruction{.kind = Kind::kMovFromCr, .width = number});
    ExpectFault(Vector::kInvalidOpcode);
  }
}

// --- Faults that come after VM exits

TEST_F(FaultTest, AVmExitComesBeforeTheFaultOfAnMsrThatThereIsNot) {
  RunL2();
  Execute(Kind::kRdmsr, 0xDEAD);
  ExpectExit(ExitReason::kRdmsr);
}

TEST_F(FaultTest, AnMsrThatThereIsNotIsAGeneralProtectionFault) {
  Execute(Kind::kRdmsr, 0xDEAD);
  ExpectGp();
}

TEST_F(FaultTest, AnMsrWithReservedBitsIsOneToo) {
  Execute(Kind::kWrmsr, Index(Msr::IA32_EFER), uint64_t{1} << 63);
  ExpectGp();
}

// --- Memory operands

TEST_F(FaultTest, AnAddressThatIsNotCanonical) {
  Execute(lhv::Instruction{.kind = Kind::kReadMemory, .width = 8, .first = uint64_t{1} << 62});
  ExpectGp();
}

TEST_F(FaultTest, AnAccessToMemoryThatIsNotMapped) {
  constexpr uint64_t kUnmapped = 0x4000'0000;
  Execute(lhv::Instruction{.kind = Kind::kWriteMemory, .width = 8, .first = kUnmapped});
  ExpectFault(Vector::kPageFault);
  EXPECT_EQ(cpu_.TopFrame(14).error_code, 2u);
  EXPECT_EQ(state().cr2, kUnmapped);
}

TEST_F(FaultTest, MisalignedAccessesOfUserModeWithAlignmentChecks) {
  GoToCpl3();
  r().cr0 |= Cr0::kAm;
  r().rflags |= Rflags::kAc;
  EXPECT_TRUE(
      Execute(lhv::Instruction{.kind = Kind::kReadMemory, .width = 4, .first = kData}).completed);
  cpu_.Jump(lhv::kL1CodeBase);
  Execute(lhv::Instruction{.kind = Kind::kReadMemory, .width = 4, .first = kData + 2});
  ExpectFault(Vector::kAlignmentCheck);
}

// --- Fetching

TEST_F(FaultTest, TheFetchOfAnInstructionIsTranslated) {
  cpu_.Jump(0x4000'0000);
  Execute(Kind::kNop);
  ExpectFault(Vector::kPageFault);
  EXPECT_EQ(state().cr2, 0x4000'0000u);
}

TEST_F(FaultTest, ARoundTripToOtherCode) {
  Put<uint32_t>(kData, 0xE3FF41);
  EXPECT_TRUE(Execute(Kind::kFetch, kData).completed);
  EXPECT_EQ(cpu_.Rip(), lhv::kL1CodeBase + lhv::kInstructionBytes);
}

// Outside 64-bit mode no instruction loads more than EIP.
TEST_F(FaultTest, OtherCodeOutside64BitModeIsBelow4GBytes) {
  r().cs.access_rights &= ~uint64_t{AccessRights::kL};
  Put<uint32_t>(kData, 0xE3FF41);
  EXPECT_TRUE(Execute(Kind::kFetch, uint64_t{1} << 40 | kData).completed);
}

TEST_F(FaultTest, OtherCodeThatIsNoJump) {
  Put<uint32_t>(kData, 0xE4FF41);
  Execute(Kind::kFetch, kData);
  ExpectFault(Vector::kInvalidOpcode);
  EXPECT_EQ(cpu_.TopFrame(6).rip, kData);
}

TEST_F(FaultTest, OtherCodeThatMayNotBeExecuted) {
  r().efer |= Efer::kNxe;
  const uint64_t pdpte = kWindow + lhv::kPageTableOffset + kPageSize + 8;
  Put<uint64_t>(pdpte, 0x83 | PagingEntry::kNoExecute);
  Execute(Kind::kFetch, 0x4000'0000 + kData);
  ExpectFault(Vector::kPageFault);
  EXPECT_EQ(cpu_.TopFrame(14).error_code, PageFaultErrorCode::kP | PageFaultErrorCode::kId);
}

TEST_F(FaultTest, OtherCodeAtAnAddressThatIsNotCanonical) {
  Execute(Kind::kFetch, uint64_t{1} << 62);
  ExpectGp();
}

}  // namespace
}  // namespace nvmx::sim
