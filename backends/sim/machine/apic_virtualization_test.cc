// SPDX-License-Identifier: Apache-2.0
//
// The virtual TPR: through CR8, the APIC-access page, and IA32_X2APIC_TPR. SDM Vol. 3C, 30.1.2 "TPR
// Virtualization", 30.3, 30.4, 30.5.
#include "backends/sim/machine/testing/native_fixture.h"
#include "core/x86/msr.h"

namespace nvmx::sim {
namespace {

using Primary = PrimaryProcessorBased;
using Kind = lhv::InstructionKind;

class ApicTest : public NativeTest {
 protected:
  static constexpr uint64_t kVirtualApic = kWindow + 0x40000;
  static constexpr uint64_t kVtpr = kVirtualApic + 0x80;
  static constexpr uint64_t kAccessPage = kWindow + 0x41000;
  static constexpr uint64_t kTpr = kAccessPage + 0x80;

  void Start(uint32_t secondary = 0, bool shadow = true) {
    EnterVmx();
    LoadVmcs();
    if (shadow) {
      Or(VmcsField::kPrimaryProcessorBasedControls, Primary::kUseTprShadow);
      Write(VmcsField::kVirtualApicAddress, kVirtualApic);
    }
    if (secondary != 0) UseSecondary(secondary);
    Write(VmcsField::kApicAccessAddress, kAccessPage);
    Put<uint32_t>(kVtpr, 0x50);
  }
  lhv::InstructionEnd ReadMemory(uint64_t address, uint8_t width) {
    return Execute(lhv::Instruction{.kind = Kind::kReadMemory, .width = width, .first = address});
  }
  lhv::InstructionEnd WriteMemory(uint64_t address, uint8_t width, uint64_t value) {
    return Execute(lhv::Instruction{
        .kind = Kind::kWriteMemory, .width = width, .first = address, .second = value});
  }
  lhv::InstructionEnd WriteCr8(uint64_t value) {
    return Execute(lhv::Instruction{.kind = Kind::kMovToCr, .width = 8, .first = value});
  }
  void ExpectApicAccess(uint64_t qualification) {
    ExpectExit(ExitReason::kApicAccess);
    EXPECT_EQ(Read(VmcsField::kExitQualification), qualification);
  }
};

// --- CR8. 30.3.

TEST_F(ApicTest, WithTheShadowCr8IsTheVirtualTpr) {
  Start();
  Launch();
  EXPECT_EQ(Execute(lhv::Instruction{.kind = Kind::kMovFromCr, .width = 8}).value, 5u);
  EXPECT_TRUE(WriteCr8(9).completed);
  EXPECT_EQ(Get<uint32_t>(kVtpr), 0x90u);
  EXPECT_EQ(state().tpr, 0u) << "the real one is as it was";
}

TEST_F(ApicTest, ATprBelowTheThresholdExitsBehindTheInstruction) {
  Start();
  Write(VmcsField::kTprThreshold, 5);
  Launch();
  EXPECT_TRUE(WriteCr8(5).completed);
  EXPECT_EQ(cpu_.NextEvent({}), BoundaryEvent::kNone);
  EXPECT_TRUE(WriteCr8(4).completed);
  ASSERT_EQ(cpu_.NextEvent({}), BoundaryEvent::kTprBelowThreshold);
  cpu_.Take(BoundaryEvent::kTprBelowThreshold, {});
  ExpectExit(ExitReason::kTprBelowThreshold);
  EXPECT_EQ(Read(VmcsField::kGuestRip), kL2Rip + 2 * lhv::kInstructionBytes);
}

// --- The APIC-access page. 30.4; 28.2.1, table "Exit Qualification for APIC-Access VM Exits".

TEST_F(ApicTest, AccessesToThePageExit) {
  Start(Secondary::kVirtualizeApicAccesses);
  Launch();
  EXPECT_FALSE(ReadMemory(kAccessPage + 0x20, 4).completed);
  ExpectApicAccess(0x0020);
  Execute(Kind::kVmresume);
  EXPECT_FALSE(WriteMemory(kAccessPage + 0x300, 4, 1).completed);
  ExpectApicAccess(0x1300);
}

TEST_F(ApicTest, AFetchFromThePageExits) {
  Start(Secondary::kVirtualizeApicAccesses);
  Launch();
  Execute(Kind::kFetch, kAccessPage + 0x10);
  ExpectApicAccess(0x2010);
}

TEST_F(ApicTest, DeliveryThroughThePageExits) {
  Start(Secondary::kVirtualizeApicAccesses);
  Write(VmcsField::kGuestRsp, kAccessPage + 0x100);
  Launch();
  Execute(Kind::kUd2);
  ExpectApicAccess(0x30F8);
  EXPECT_EQ(Read(VmcsField::kIdtVectoringInformation),
            InterruptionInformation::HardwareException(Vector::kInvalidOpcode).value());
}

TEST_F(ApicTest, ReadsOfTheTprComeFromTheVirtualApicPage) {
  Start(Secondary::kVirtualizeApicAccesses);
  Launch();
  EXPECT_EQ(ReadMemory(kTpr, 4).value, 0x50u);
  EXPECT_EQ(ReadMemory(kTpr, 1).value, 0x50u);
}

TEST_F(ApicTest, WritesOfTheTprGoThere) {
  Start(Secondary::kVirtualizeApicAccesses);
  Write(VmcsField::kTprThreshold, 5);
  Launch();
  EXPECT_TRUE(WriteMemory(kTpr, 4, 0xFFFFFF40).completed);
  EXPECT_EQ(Get<uint32_t>(kVtpr), 0x40u) << "bytes 3:1 are cleared";
  EXPECT_EQ(cpu_.NextEvent({}), BoundaryEvent::kTprBelowThreshold);
}

TEST_F(ApicTest, AccessesToTheTprThatAreTooWideExit) {
  Start(Secondary::kVirtualizeApicAccesses);
  Launch();
  ReadMemory(kTpr, 8);
  ExpectApicAccess(0x0080);
}

TEST_F(ApicTest, WithoutTheShadowTheTprExitsToo) {
  Start(Secondary::kVirtualizeApicAccesses, false);
  Launch();
  ReadMemory(kTpr, 4);
  ExpectApicAccess(0x0080);
}

TEST_F(ApicTest, WithoutItsControlThePageIsLikeAnyOther) {
  Start();
  Put<uint32_t>(kTpr, 7);
  Launch();
  EXPECT_EQ(ReadMemory(kTpr, 4).value, 7u);
}

// --- IA32_X2APIC_TPR. 30.5.

TEST_F(ApicTest, InX2ApicModeTheTprMsrIsVirtual) {
  Start(Secondary::kVirtualizeX2ApicMode);
  Or(VmcsField::kPrimaryProcessorBasedControls, Primary::kUseMsrBitmaps);
  Write(VmcsField::kMsrBitmapAddress, kWindow + 0x42000);
  Launch();
  const uint32_t tpr = Index(Msr::IA32_X2APIC_TPR);
  EXPECT_EQ(Execute(Kind::kRdmsr, tpr).value, 0x50u);
  EXPECT_TRUE(Execute(Kind::kWrmsr, tpr, 0x33).completed);
  EXPECT_EQ(Get<uint32_t>(kVtpr), 0x33u);
  Execute(Kind::kWrmsr, tpr, 0x100);
  ExpectFault(Vector::kGeneralProtection, lhv::kL2HandlerBase);
}

TEST_F(ApicTest, OtherMsrsOfTheX2ApicAreNotThere) {
  Start(Secondary::kVirtualizeX2ApicMode);
  Or(VmcsField::kPrimaryProcessorBasedControls, Primary::kUseMsrBitmaps);
  Write(VmcsField::kMsrBitmapAddress, kWindow + 0x42000);
  Launch();
  Execute(Kind::kRdmsr, Index(Msr::IA32_X2APIC_APICID));
  ExpectFault(Vector::kGeneralProtection, lhv::kL2HandlerBase);
}

}  // namespace
}  // namespace nvmx::sim
