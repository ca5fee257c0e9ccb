// SPDX-License-Identifier: Apache-2.0
//
// Descriptor tables, ports, time, XCR0, random numbers, CPUID. SDM Vol. 2; Vol. 3C, 26.3.
#include "backends/sim/machine/testing/native_fixture.h"
#include "core/x86/msr.h"

namespace nvmx::sim {
namespace {

using Primary = PrimaryProcessorBased;
using Kind = lhv::InstructionKind;

class SystemTest : public NativeTest {
 protected:
  void Start() {
    EnterVmx();
    LoadVmcs();
  }
  uint64_t In(uint8_t width, uint16_t port) {
    return Execute(lhv::Instruction{.kind = Kind::kIn, .width = width, .first = port}).value;
  }
  void Out(uint8_t width, uint16_t port, uint64_t value) {
    Execute(lhv::Instruction{.kind = Kind::kOut, .width = width, .first = port, .second = value});
  }
};

// --- Descriptor tables

TEST_F(SystemTest, LgdtLoadsWhatSgdtStores) {
  EXPECT_EQ(Execute(Kind::kSgdt, kData).value, kWindow + lhv::kGdtOffset);
  EXPECT_EQ(Get<uint16_t>(kData), kGuestGdtLimit);
  Put<uint16_t>(kData, 0x1F);
  EXPECT_TRUE(Execute(Kind::kLgdt, kData).completed);
  EXPECT_EQ(r().gdtr_limit, 0x1Fu);
  EXPECT_EQ(r().gdtr_base, kWindow + lhv::kGdtOffset);
}

// What follows the operand is not part of it.
TEST_F(SystemTest, SgdtStores32BitsOutside64BitMode) {
  r().cs.access_rights &= ~uint64_t{AccessRights::kL};
  Put<uint64_t>(kData + 6, ~uint64_t{0});
  EXPECT_EQ(Execute(Kind::kSgdt, kData).value, kWindow + lhv::kGdtOffset);
  EXPECT_EQ(Get<uint64_t>(kData + 6), ~uint64_t{0});
}

TEST_F(SystemTest, LidtRefusesABaseThatIsNotCanonical) {
  Put<uint16_t>(kData, 0xFFF);
  Put<uint64_t>(kData + 2, uint64_t{1} << 60);
  Execute(Kind::kLidt, kData);
  ExpectFault(Vector::kGeneralProtection);
}

TEST_F(SystemTest, LtrMakesTheTssBusy) {
  const uint64_t descriptor = kWindow + lhv::kGdtOffset + lhv::kTssSelector;
  const uint64_t busy = Get<uint64_t>(descriptor);
  constexpr uint64_t kBusy = uint64_t{1} << 41;
  Put<uint64_t>(descriptor, busy & ~kBusy);
  r().tr = {};
  EXPECT_TRUE(Execute(Kind::kLtr, lhv::kTssSelector).completed);
  EXPECT_EQ(Get<uint64_t>(descriptor), busy);
  EXPECT_EQ(r().tr.base, kWindow + lhv::kTssOffset);
  EXPECT_EQ(Execute(Kind::kStr).value, lhv::kTssSelector);
}

TEST_F(SystemTest, LtrRefusesABusyTssAndANullSelector) {
  Execute(Kind::kLtr, lhv::kTssSelector);
  ExpectFault(Vector::kGeneralProtection);
  EXPECT_EQ(cpu_.TopFrame(13).error_code, lhv::kTssSelector);
  cpu_.Jump(lhv::kL1CodeBase);
  Execute(Kind::kLtr, 0);
  ExpectFault(Vector::kGeneralProtection);
  EXPECT_EQ(cpu_.TopFrame(13).error_code, 0u);
}

TEST_F(SystemTest, LldtOfANullSelectorMakesLdtrUnusable) {
  r().ldtr = {8, 0x1000, 0xFF, 0x82};
  EXPECT_TRUE(Execute(Kind::kLldt, 0).completed);
  EXPECT_EQ(r().ldtr.access_rights, AccessRights::kUnusable);
  EXPECT_EQ(Execute(Kind::kSldt).value, 0u);
}

TEST_F(SystemTest, LldtRefusesWhatIsNoLdt) {
  Execute(Kind::kLldt, lhv::kDataSelector);
  ExpectFault(Vector::kGeneralProtection);
  EXPECT_EQ(cpu_.TopFrame(13).error_code, lhv::kDataSelector);
}

TEST_F(SystemTest, MovSsReloadsTheDescriptor) {
  r().ss.base = 0x1000;
  EXPECT_TRUE(Execute(Kind::kMovSs).completed);
  EXPECT_EQ(r().ss.base, 0u);
  EXPECT_EQ(state().blocking_by_mov_ss, 1u);
  Execute(Kind::kNop);
  EXPECT_EQ(state().blocking_by_mov_ss, 0u);
}

TEST_F(SystemTest, MovSsRefusesADescriptorThatIsNoStack) {
  r().ss.selector = lhv::kCodeSelector;
  Execute(Kind::kMovSs);
  ExpectFault(Vector::kGeneralProtection);
  EXPECT_EQ(cpu_.TopFrame(13).error_code, lhv::kCodeSelector);
}

// --- Ports

TEST_F(SystemTest, PortsHoldWhatWasWritten) {
  Out(4, 0x70, 0x44332211);
  EXPECT_EQ(In(1, 0x71), 0x22u);
  EXPECT_EQ(In(2, 0x72), 0x4433u);
  Out(1, 0x70, 0xAA);
  EXPECT_EQ(In(4, 0x70), 0x443322AAu);
}

TEST_F(SystemTest, PortsThatNothingAnswersReadAsAllOnes) {
  Out(2, 0xFF, 0x1234);
  EXPECT_EQ(In(2, 0xFF), 0xFF34u) << "the second byte lies behind the last";
  EXPECT_EQ(In(4, 0x3F8), 0xFFFFFFFFu);
}

TEST_F(SystemTest, AByteFromAPortLeavesTheRestOfRaxAlone) {
  Register(GeneralRegister::kRax) = 0x1122334455667788;
  In(1, 0x70);
  EXPECT_EQ(Register(GeneralRegister::kRax), 0x1122334455667700u);
}

// --- Time. 25.6.5 "Time-Stamp Counter Offset and Multiplier".

TEST_F(SystemTest, L2SeesTheTscScaledAndOffset) {
  Start();
  Or(VmcsField::kPrimaryProcessorBasedControls,
     Primary::kUseTscOffsetting | Primary::kUseMsrBitmaps);
  UseSecondary(Secondary::kUseTscScaling | Secondary::kEnableRdtscp);
  Write(VmcsField::kMsrBitmapAddress, kWindow + 0x40000);
  Write(VmcsField::kTscOffset, 1000);
  Write(VmcsField::kTscMultiplier, uint64_t{3} << 47);  // 1.5
  state().tsc = 100;
  Launch();
  EXPECT_EQ(Execute(Kind::kRdtsc).value, 1150u);
  state().plain.tsc_aux = 7;
  EXPECT_EQ(Execute(Kind::kRdtscp).value, 1150u);
  EXPECT_EQ(Register(GeneralRegister::kRcx), 7u);
  EXPECT_EQ(Execute(Kind::kRdmsr, Index(Msr::IA32_TIME_STAMP_COUNTER)).value, 1150u);
  EXPECT_EQ(cpu_.ReadTsc(), 100u);
}

TEST_F(SystemTest, WithoutOffsettingNothingIsScaled) {
  Start();
  UseSecondary(Secondary::kUseTscScaling);
  Write(VmcsField::kTscOffset, 1000);
  Write(VmcsField::kTscMultiplier, uint64_t{3} << 47);
  state().tsc = 100;
  Launch();
  EXPECT_EQ(Execute(Kind::kRdtsc).value, 100u);
}

// --- XCR0. SDM Vol. 1, 13.3.

TEST_F(SystemTest, Xcr0TakesWhatItHas) {
  r().cr4 |= Cr4::kOsxsave;
  for (uint64_t value : {1, 3, 7}) {
    EXPECT_TRUE(Execute(Kind::kXsetbv, 0, value).completed);
    EXPECT_EQ(Execute(Kind::kXgetbv, 0).value, value);
  }
}

class Xcr0Refuses : public SystemTest, public testing::WithParamInterface<uint64_t> {};
TEST_P(Xcr0Refuses, TheValue) {
  r().cr4 |= Cr4::kOsxsave;
  Execute(Kind::kXsetbv, 0, GetParam());
  ExpectFault(Vector::kGeneralProtection);
  EXPECT_EQ(state().xcr0, 1u);
}
INSTANTIATE_TEST_SUITE_P(Values, Xcr0Refuses, testing::Values(0, 2, 5, 8, uint64_t{1} << 63 | 1));

TEST_F(SystemTest, OtherXcrsAreNotThere) {
  r().cr4 |= Cr4::kOsxsave;
  Execute(Kind::kXgetbv, 1);
  ExpectFault(Vector::kGeneralProtection);
}

// --- INVPCID

TEST_F(SystemTest, InvpcidRefusesWhatItCannotMean) {
  const struct {
    uint64_t type, low, high;
  } kCases[] = {{4, 0, 0}, {2, 0x1000, 0}, {0, 0, uint64_t{1} << 60}, {1, 5, 0}};
  for (const auto& c : kCases) {
    cpu_.Jump(lhv::kL1CodeBase);
    Execute(Kind::kInvpcid, c.type, c.low, c.high);
    ExpectFault(Vector::kGeneralProtection);
  }
  cpu_.Jump(lhv::kL1CodeBase);
  EXPECT_TRUE(Execute(Kind::kInvpcid, 1, 0).completed);
}

// --- Random numbers

TEST_F(SystemTest, RandomNumbersAreAllDifferentAndSetTheCarryFlag) {
  const uint64_t first = Execute(Kind::kRdrand).value;
  EXPECT_EQ(r().rflags & Rflags::kArithmetic, Rflags::kCf);
  EXPECT_NE(Execute(Kind::kRdseed).value, first);
  state().random_numbers = 0;
  EXPECT_EQ(Execute(Kind::kRdseed).value, first) << "one sequence, and always the same";
}

// --- CPUID

TEST_F(SystemTest, CpuidShowsVmxAndWhatItsControlsAreFor) {
  constexpr uint32_t kVmx = 1u << 5;
  constexpr uint32_t kRdrand = 1u << 30;
  const CpuidRegisters leaf1 = cpu_.Cpuid(1, 0);
  EXPECT_EQ(leaf1.ecx & (kVmx | kRdrand), kVmx | kRdrand);
  Capabilities without = NativeCapabilities();
  without.procbased_ctls2 &= ~(uint64_t{Secondary::kRdrandExiting} << 32);
  const Processor other(memory_, platform_, without, {.native = true});
  EXPECT_EQ(other.Cpuid(1, 0).ecx & (kVmx | kRdrand), kVmx);
}

TEST_F(SystemTest, CpuidTellsOsxsaveAsCr4HasIt) {
  constexpr uint32_t kOsxsave = 1u << 27;
  EXPECT_EQ(cpu_.Cpuid(1, 0).ecx & kOsxsave, 0u);
  r().cr4 |= Cr4::kOsxsave;
  EXPECT_EQ(cpu_.Cpuid(1, 0).ecx & kOsxsave, kOsxsave);
}

TEST_F(SystemTest, CpuidTellsTheWidthOfAddresses) {
  EXPECT_EQ(cpu_.Cpuid(0x80000008, 0).eax, 40u | 48u << 8);
}

// --- What IA32_BIOS_UPDT_TRIG holds

TEST_F(SystemTest, TheTriggerOfMicrocodeUpdatesIsWriteOnly) {
  EXPECT_TRUE(cpu_.WriteMsr(Index(Msr::IA32_BIOS_UPDT_TRIG), 0x1000));
  EXPECT_EQ(cpu_.ReadMsr(Index(Msr::IA32_BIOS_UPDT_TRIG)), std::nullopt);
}

// --- What IA32_PERF_GLOBAL_CTRL holds

TEST_F(SystemTest, PerfGlobalCtrlHasABitForEachCounter) {
  const uint32_t msr = Index(Msr::IA32_PERF_GLOBAL_CTRL);
  EXPECT_TRUE(cpu_.WriteMsr(msr, uint64_t{7} << 32 | 0xF));
  EXPECT_FALSE(cpu_.WriteMsr(msr, 0x10));
  EXPECT_FALSE(cpu_.WriteMsr(msr, uint64_t{8} << 32));
  EXPECT_EQ(cpu_.ReadMsr(msr), uint64_t{7} << 32 | 0xF);
}

}  // namespace
}  // namespace nvmx::sim
