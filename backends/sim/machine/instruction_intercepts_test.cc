// SPDX-License-Identifier: Apache-2.0
//
// Which instructions of L2 exit, by which control, and what they report. SDM Vol. 3C, 26.1
// "Instructions That Cause VM Exits"; 28.2.1; 28.2.5.
#include "backends/sim/machine/testing/native_fixture.h"
#include "core/x86/msr.h"

namespace nvmx::sim {
namespace {

using Primary = PrimaryProcessorBased;
using Kind = lhv::InstructionKind;

constexpr uint64_t kRbxIsRegister1 = uint64_t{3} << 3;
constexpr uint64_t kDsDisplacement =
    uint64_t{1} << 27 | uint64_t{1} << 22 | uint64_t{3} << 15 | uint64_t{2} << 7;
constexpr uint64_t kOperand = lhv::kWindowBase + 0x20000;

struct Intercept {
  const char* name;
  lhv::Instruction instruction;
  uint32_t primary;
  uint32_t secondary;
  ExitReason reason;
  uint64_t qualification = 0;
  uint64_t information = 0;
};

constexpr lhv::Instruction Plain(Kind kind, uint64_t first = 0) {
  return {.kind = kind, .first = first};
}
constexpr lhv::Instruction Numbered(Kind kind, uint8_t number, uint64_t first = 0) {
  return {.kind = kind, .width = number, .first = first};
}

// Table 28-3 "Exit Qualification for Control-Register Accesses": bits 11:8 are the register, RBX.
constexpr Intercept kIntercepts[] = {
    {"Hlt", Plain(Kind::kHlt), Primary::kHltExiting, 0, ExitReason::kHlt},
    {"Invlpg", Plain(Kind::kInvlpg, 0x12345), Primary::kInvlpgExiting, 0, ExitReason::kInvlpg,
     0x12345},
    {"Mwait", Plain(Kind::kMwait), Primary::kMwaitExiting, 0, ExitReason::kMwait},
    {"Rdpmc", Plain(Kind::kRdpmc), Primary::kRdpmcExiting, 0, ExitReason::kRdpmc},
    {"Rdtsc", Plain(Kind::kRdtsc), Primary::kRdtscExiting, 0, ExitReason::kRdtsc},
    {"Rdtscp", Plain(Kind::kRdtscp), Primary::kRdtscExiting, Secondary::kEnableRdtscp,
     ExitReason::kRdtscp},
    {"MovToCr3", Numbered(Kind::kMovToCr, 3, 0x5000), Primary::kCr3LoadExiting, 0,
     ExitReason::kControlRegisterAccesses, 0x303},
    {"MovFromCr3", Numbered(Kind::kMovFromCr, 3), Primary::kCr3StoreExiting, 0,
     ExitReason::kControlRegisterAccesses, 0x313},
    {"MovToCr8", Numbered(Kind::kMovToCr, 8, 3), Primary::kCr8LoadExiting, 0,
     ExitReason::kControlRegisterAccesses, 0x308},
    {"MovFromCr8", Numbered(Kind::kMovFromCr, 8), Primary::kCr8StoreExiting, 0,
     ExitReason::kControlRegisterAccesses, 0x318},
    {"MovToDr7", Numbered(Kind::kMovToDr, 7, 0x400), Primary::kMovDrExiting, 0, ExitReason::kMovDr,
     0x307},
    {"MovFromDr0", Numbered(Kind::kMovFromDr, 0), Primary::kMovDrExiting, 0, ExitReason::kMovDr,
     0x310},
    {"In", Numbered(Kind::kIn, 1, 0x70), Primary::kUnconditionalIoExiting, 0,
     ExitReason::kIoInstruction, 0x0070'0008},
    {"Out", Numbered(Kind::kOut, 4, 0xFFFC), Primary::kUnconditionalIoExiting, 0,
     ExitReason::kIoInstruction, 0xFFFC'0003},
    {"Monitor", Plain(Kind::kMonitor, kOperand), Primary::kMonitorExiting, 0, ExitReason::kMonitor},
    {"Pause", Plain(Kind::kPause), Primary::kPauseExiting, 0, ExitReason::kPause},
    {"Wbinvd", Plain(Kind::kWbinvd), 0, Secondary::kWbinvdExiting, ExitReason::kWbinvdOrWbnoinvd},
    {"Rdrand", Plain(Kind::kRdrand), 0, Secondary::kRdrandExiting, ExitReason::kRdrand, 0,
     kRbxIsRegister1 | 2 << 11},
    {"Rdseed", Plain(Kind::kRdseed), 0, Secondary::kRdseedExiting, ExitReason::kRdseed, 0,
     kRbxIsRegister1 | 2 << 11},
    {"Sgdt", Plain(Kind::kSgdt, kOperand), 0, Secondary::kDescriptorTableExiting,
     ExitReason::kAccessToGdtrOrIdtr, kOperand, kDsDisplacement},
    {"Sidt", Plain(Kind::kSidt, kOperand), 0, Secondary::kDescriptorTableExiting,
     ExitReason::kAccessToGdtrOrIdtr, kOperand, kDsDisplacement | 1 << 28},
    {"Lgdt", Plain(Kind::kLgdt, kOperand), 0, Secondary::kDescriptorTableExiting,
     ExitReason::kAccessToGdtrOrIdtr, kOperand, kDsDisplacement | 2 << 28},
    {"Lidt", Plain(Kind::kLidt, kOperand), 0, Secondary::kDescriptorTableExiting,
     ExitReason::kAccessToGdtrOrIdtr, kOperand, kDsDisplacement | 3 << 28},
    {"Sldt", Plain(Kind::kSldt), 0, Secondary::kDescriptorTableExiting,
     ExitReason::kAccessToLdtrOrTr, 0, kRbxIsRegister1 | 1 << 10},
    {"Str", Plain(Kind::kStr), 0, Secondary::kDescriptorTableExiting, ExitReason::kAccessToLdtrOrTr,
     0, kRbxIsRegister1 | 1 << 10 | 1 << 28},
    {"Lldt", Plain(Kind::kLldt), 0, Secondary::kDescriptorTableExiting,
     ExitReason::kAccessToLdtrOrTr, 0, kRbxIsRegister1 | 1 << 10 | 2 << 28},
};

class InterceptTest : public NativeTest, public testing::WithParamInterface<Intercept> {
 protected:
  void Start() {
    EnterVmx();
    LoadVmcs();
    // Whatever default1 made them.
    Clear(VmcsField::kPrimaryProcessorBasedControls,
          Primary::kCr3LoadExiting | Primary::kCr3StoreExiting);
    Put<uint64_t>(kOperand, 0xFFFF);
  }
};

TEST_P(InterceptTest, ExitsWithItsControl) {
  Start();
  Or(VmcsField::kPrimaryProcessorBasedControls, GetParam().primary);
  if (GetParam().secondary != 0) UseSecondary(GetParam().secondary);
  Launch();
  EXPECT_FALSE(Execute(GetParam().instruction).completed);
  ExpectExit(GetParam().reason);
  EXPECT_EQ(Read(VmcsField::kExitQualification), GetParam().qualification);
  EXPECT_EQ(Read(VmcsField::kVmExitInstructionInformation), GetParam().information);
  EXPECT_EQ(Read(VmcsField::kVmExitInstructionLength), lhv::kInstructionBytes);
  EXPECT_EQ(Read(VmcsField::kGuestRip), kL2Rip);
}

TEST_P(InterceptTest, CompletesWithoutIt) {
  Start();
  // What the instruction needs to be defined at all.
  if ((GetParam().secondary & Secondary::kEnableRdtscp) != 0) {
    UseSecondary(Secondary::kEnableRdtscp);
  }
  Launch();
  EXPECT_TRUE(Execute(GetParam().instruction).completed);
  EXPECT_TRUE(cpu_.in_non_root());
  EXPECT_EQ(cpu_.Rip(), kL2Rip + lhv::kInstructionBytes);
}

INSTANTIATE_TEST_SUITE_P(Instructions, InterceptTest, testing::ValuesIn(kIntercepts),
                         [](const auto& info) { return std::string(info.param.name); });

// --- 26.1.2 "Instructions That Cause VM Exits Unconditionally"

class Unconditional : public NativeTest {};

TEST_F(Unconditional, CpuidInvdAndXsetbv) {
  EnterVmx();
  LoadVmcs();
  Or(VmcsField::kGuestCr4, Cr4::kOsxsave);
  const struct {
    Kind kind;
    ExitReason reason;
  } kCases[] = {{Kind::kCpuid, ExitReason::kCpuid},
                {Kind::kInvd, ExitReason::kInvd},
                {Kind::kXsetbv, ExitReason::kXsetbv}};
  Launch();
  for (const auto& c : kCases) {
    Execute(c.kind);
    ExpectExit(c.reason);
    Execute(Kind::kVmresume);
  }
}

// --- INVPCID. 26.1.3; 28.2.5, "INVEPT, INVPCID, and INVVPID".

class Invpcid : public NativeTest {};

TEST_F(Invpcid, ExitsWithInvlpgExiting) {
  EnterVmx();
  LoadVmcs();
  Or(VmcsField::kPrimaryProcessorBasedControls, Primary::kInvlpgExiting);
  UseSecondary(Secondary::kEnableInvpcid);
  Launch();
  Execute(Kind::kInvpcid, 2);
  ExpectExit(ExitReason::kInvpcid);
  EXPECT_EQ(Read(VmcsField::kVmExitInstructionInformation), kDsDisplacement)
      << "the type is in RAX";
  EXPECT_EQ(Read(VmcsField::kExitQualification), PageBase(kWindow + lhv::kL2StackTop - 1));
  EXPECT_EQ(Register(GeneralRegister::kRax), 2u);
}

TEST_F(Invpcid, CompletesWithoutIt) {
  EnterVmx();
  LoadVmcs();
  UseSecondary(Secondary::kEnableInvpcid);
  Launch();
  EXPECT_TRUE(Execute(Kind::kInvpcid, 2).completed);
}

TEST_F(Invpcid, IsUndefinedUnlessItIsEnabled) {
  RunL2();
  Execute(Kind::kInvpcid, 2);
  ExpectFault(Vector::kInvalidOpcode, lhv::kL2HandlerBase);
}

// --- CR0 and CR4 by mask and read shadow. 26.1.3, "MOV to CR0", "MOV to CR4", "CLTS", "LMSW".

class Masks : public NativeTest {
 protected:
  void RunWith(uint64_t cr0_mask, uint64_t cr0_shadow) {
    EnterVmx();
    LoadVmcs();
    Write(VmcsField::kCr0GuestHostMask, cr0_mask);
    Write(VmcsField::kCr0ReadShadow, cr0_shadow);
    Launch();
  }
  static constexpr uint64_t kCr0 = Cr0::kPe | Cr0::kEt | Cr0::kNe | Cr0::kPg;
};

TEST_F(Masks, MovToCr0ExitsIfABitOfTheMaskDiffersFromTheShadow) {
  RunWith(Cr0::kTs, Cr0::kTs);
  Execute(lhv::Instruction{.kind = Kind::kMovToCr, .width = 0, .first = kCr0});
  ExpectExit(ExitReason::kControlRegisterAccesses);
  EXPECT_EQ(Read(VmcsField::kExitQualification), 0x300u);
}

TEST_F(Masks, MovToCr0ThatAgreesWithTheShadowLeavesBitsOfTheMaskAlone) {
  RunWith(Cr0::kTs, Cr0::kTs);
  Execute(
      lhv::Instruction{.kind = Kind::kMovToCr, .width = 0, .first = kCr0 | Cr0::kTs | Cr0::kMp});
  EXPECT_TRUE(last_.completed);
  EXPECT_EQ(r().cr0, kCr0 | Cr0::kMp);
}

TEST_F(Masks, MovFromCr0ReadsBitsOfTheMaskFromTheShadow) {
  RunWith(Cr0::kTs | Cr0::kPg, Cr0::kTs);
  EXPECT_EQ(Execute(lhv::Instruction{.kind = Kind::kMovFromCr, .width = 0}).value,
            (kCr0 & ~Cr0::kPg) | Cr0::kTs);
}

TEST_F(Masks, SmswReadsTheShadowToo) {
  RunWith(Cr0::kTs, Cr0::kTs);
  EXPECT_NE(Execute(Kind::kSmsw).value & Cr0::kTs, 0u);
}

TEST_F(Masks, ClearingTsExitsIfTheHostOwnsItAndShowsItSet) {
  RunWith(Cr0::kTs, Cr0::kTs);
  Execute(Kind::kClts);
  ExpectExit(ExitReason::kControlRegisterAccesses);
  EXPECT_EQ(Read(VmcsField::kExitQualification), 0x20u);
}

TEST_F(Masks, ClearingTsDoesNothingIfTheHostOwnsItAndShowsItClear) {
  EnterVmx();
  LoadVmcs();
  Write(VmcsField::kCr0GuestHostMask, Cr0::kTs);
  Write(VmcsField::kCr0ReadShadow, 0);
  Or(VmcsField::kGuestCr0, Cr0::kTs);
  Launch();
  EXPECT_TRUE(Execute(Kind::kClts).completed);
  EXPECT_NE(r().cr0 & Cr0::kTs, 0u);
}

TEST_F(Masks, LmswExitsIfMpEmOrTsOfTheMaskDiffers) {
  RunWith(Cr0::kMp, 0);
  Execute(Kind::kLmsw, Cr0::kPe | Cr0::kMp);
  ExpectExit(ExitReason::kControlRegisterAccesses);
  EXPECT_EQ(Read(VmcsField::kExitQualification), 0x0003'0030u) << "the source operand is reported";
}

TEST_F(Masks, LmswExitsIfItSetsPeOfTheMask) {
  RunWith(Cr0::kPe, 0);
  Execute(Kind::kLmsw, Cr0::kPe);
  ExpectExit(ExitReason::kControlRegisterAccesses);
}

TEST_F(Masks, LmswDoesNotExitIfItWouldClearPeOfTheMask) {
  RunWith(Cr0::kPe, Cr0::kPe);
  EXPECT_TRUE(Execute(Kind::kLmsw, 0).completed);
  EXPECT_NE(r().cr0 & Cr0::kPe, 0u);
}

TEST_F(Masks, MovToCr4ExitsIfABitOfTheMaskDiffersFromTheShadow) {
  EnterVmx();
  LoadVmcs();
  Write(VmcsField::kCr4GuestHostMask, Cr4::kVmxe);
  Write(VmcsField::kCr4ReadShadow, 0);
  Launch();
  Execute(lhv::Instruction{.kind = Kind::kMovToCr, .width = 4, .first = Cr4::kPae});
  EXPECT_TRUE(last_.completed) << "as the shadow has it";
  EXPECT_NE(r().cr4 & Cr4::kVmxe, 0u);
  EXPECT_EQ(Execute(lhv::Instruction{.kind = Kind::kMovFromCr, .width = 4}).value, Cr4::kPae);
  Execute(lhv::Instruction{.kind = Kind::kMovToCr, .width = 4, .first = Cr4::kPae | Cr4::kVmxe});
  ExpectExit(ExitReason::kControlRegisterAccesses);
  EXPECT_EQ(Read(VmcsField::kExitQualification), 0x304u);
}

TEST_F(Masks, MovToCr2NeverExits) {
  RunWith(~uint64_t{0}, 0);
  EXPECT_TRUE(
      Execute(lhv::Instruction{.kind = Kind::kMovToCr, .width = 2, .first = 0x1234}).completed);
  EXPECT_EQ(state().cr2, 0x1234u);
}

// --- CR3-target values. 25.6.7.

class Cr3Targets : public NativeTest, public testing::WithParamInterface<uint64_t> {};

TEST_P(Cr3Targets, OnlyThoseCountedDoNotExit) {
  EnterVmx();
  LoadVmcs();
  Or(VmcsField::kPrimaryProcessorBasedControls, Primary::kCr3LoadExiting);
  const uint64_t cr3 = Read(VmcsField::kGuestCr3);
  Write(VmcsField::kCr3TargetValue2, cr3);
  Write(VmcsField::kCr3TargetCount, GetParam());
  Launch();
  Execute(lhv::Instruction{.kind = Kind::kMovToCr, .width = 3, .first = cr3});
  EXPECT_EQ(cpu_.in_non_root(), GetParam() > 2);
}
INSTANTIATE_TEST_SUITE_P(Counts, Cr3Targets, testing::Values(0, 2, 3, 4));

// --- MSR bitmaps. 25.6.9.

class MsrBitmaps : public NativeTest {
 protected:
  static constexpr uint64_t kBitmap = kWindow + 0x40000;

  void RunWithBitmap() {
    EnterVmx();
    LoadVmcs();
    Or(VmcsField::kPrimaryProcessorBasedControls, Primary::kUseMsrBitmaps);
    Write(VmcsField::kMsrBitmapAddress, kBitmap);
    Launch();
  }
  void SetBit(uint64_t part, uint32_t bit) {
    const uint64_t byte = kBitmap + part * 1024 + bit / 8;
    Put<uint8_t>(byte, static_cast<uint8_t>(Get<uint8_t>(byte) | 1 << bit % 8));
  }
  bool Exits(Kind kind, uint32_t msr) {
    const uint64_t rip = cpu_.Rip();
    Execute(kind, msr);
    const bool exits = !cpu_.in_non_root();
    if (exits) {
      EXPECT_EQ(
          Read(VmcsField::kExitReason),
          static_cast<uint64_t>(kind == Kind::kRdmsr ? ExitReason::kRdmsr : ExitReason::kWrmsr));
      Execute(Kind::kVmresume);
    }
    cpu_.Jump(rip);
    return exits;
  }
};

TEST_F(MsrBitmaps, HaveOnePartForEachRangeAndDirection) {
  RunWithBitmap();
  const uint32_t low = Index(Msr::IA32_SYSENTER_CS);
  const uint32_t high = Index(Msr::IA32_STAR);
  const struct {
    Kind kind;
    uint32_t msr;
    uint64_t part;
    uint32_t bit;
  } kCases[] = {{Kind::kRdmsr, low, 0, low},
                {Kind::kRdmsr, high, 1, high - 0xC0000000},
                {Kind::kWrmsr, low, 2, low},
                {Kind::kWrmsr, high, 3, high - 0xC0000000}};
  for (const auto& c : kCases) {
    EXPECT_FALSE(Exits(c.kind, c.msr));
    SetBit(c.part, c.bit);
    EXPECT_TRUE(Exits(c.kind, c.msr));
  }
}

TEST_F(MsrBitmaps, DoNotCoverOtherRanges) {
  RunWithBitmap();
  EXPECT_TRUE(Exits(Kind::kRdmsr, 0x2000));
  EXPECT_TRUE(Exits(Kind::kWrmsr, 0xC0002000));
  EXPECT_TRUE(Exits(Kind::kRdmsr, 0x40000000));
}

TEST_F(MsrBitmaps, WithoutThemEveryAccessExits) {
  RunL2();
  EXPECT_TRUE(Exits(Kind::kRdmsr, Index(Msr::IA32_STAR)));
  EXPECT_TRUE(Exits(Kind::kWrmsr, 0xDEAD)) << "before it is looked at";
}

// --- I/O bitmaps. 25.6.4; 26.1.3, IN.

class IoBitmaps : public NativeTest {
 protected:
  static constexpr uint64_t kBitmapA = kWindow + 0x40000;
  static constexpr uint64_t kBitmapB = kWindow + 0x41000;

  void RunWithBitmaps() {
    EnterVmx();
    LoadVmcs();
    // The bitmaps win over the other control.
    Or(VmcsField::kPrimaryProcessorBasedControls,
       Primary::kUseIoBitmaps | Primary::kUnconditionalIoExiting);
    Write(VmcsField::kIoBitmapAAddress, kBitmapA);
    Write(VmcsField::kIoBitmapBAddress, kBitmapB);
    Launch();
  }
  bool Exits(uint16_t port, uint8_t width) {
    const uint64_t rip = cpu_.Rip();
    Execute(lhv::Instruction{.kind = Kind::kIn, .width = width, .first = port});
    const bool exits = !cpu_.in_non_root();
    if (exits) Execute(Kind::kVmresume);
    cpu_.Jump(rip);
    return exits;
  }
};

TEST_F(IoBitmaps, AnyByteOfTheAccessCounts) {
  RunWithBitmaps();
  Put<uint8_t>(kBitmapA + 0x73 / 8, 1 << 0x73 % 8);
  EXPECT_FALSE(Exits(0x72, 1));
  EXPECT_TRUE(Exits(0x73, 1));
  EXPECT_TRUE(Exits(0x70, 4));
  EXPECT_FALSE(Exits(0x6F, 4));
}

TEST_F(IoBitmaps, TheSecondIsForPortsFrom8000H) {
  RunWithBitmaps();
  Put<uint8_t>(kBitmapB, 1);
  EXPECT_TRUE(Exits(0x8000, 1));
  EXPECT_TRUE(Exits(0x7FFF, 2)) << "an access to both halves";
  EXPECT_FALSE(Exits(0x7FFF, 1));
}

TEST_F(IoBitmaps, AnAccessThatWrapsExits) {
  RunWithBitmaps();
  EXPECT_FALSE(Exits(0xFFFF, 1));
  EXPECT_TRUE(Exits(0xFFFF, 2));
}

// --- MWAIT reports whether the monitor hardware is armed.

TEST_F(Unconditional, MwaitTellsWhetherMonitorHasArmed) {
  EnterVmx();
  LoadVmcs();
  Or(VmcsField::kPrimaryProcessorBasedControls, Primary::kMwaitExiting);
  Launch();
  Execute(Kind::kMonitor, kData);
  Execute(Kind::kMwait);
  ExpectExit(ExitReason::kMwait);
  EXPECT_EQ(Read(VmcsField::kExitQualification), 1u);
  Execute(Kind::kVmresume);
  Execute(Kind::kMwait);
  EXPECT_EQ(Read(VmcsField::kExitQualification), 0u) << "VM exits and entries end it";
}

}  // namespace
}  // namespace nvmx::sim
