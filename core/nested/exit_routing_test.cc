// SPDX-License-Identifier: Apache-2.0
//
// Whose an exit of L2 is. SDM Vol. 3C, 26.1 "Instructions That Cause VM Exits", 26.2 "Other Causes
// of VM Exits".
#include "core/nested/exit_routing.h"

#include <set>
#include <utility>

#include "core/vmx/bitmaps.h"
#include "core/vmx/controls.h"
#include "core/vmx/qualifications.h"
#include "core/x86/control_registers.h"
#include "gtest/gtest.h"

namespace nvmx {

void PrintTo(ExitOwner owner, std::ostream* os) { *os << (owner == ExitOwner::kL1 ? "L1" : "L0"); }

namespace {

using enum VmcsField;
constexpr ExitOwner kL1 = ExitOwner::kL1;
constexpr ExitOwner kL0 = ExitOwner::kL0;

class Bitmaps final : public GuestBitmaps {
 public:
  bool Bit(uint64_t bitmap, uint32_t bit) override { return bits_.contains({bitmap, bit}); }
  void Set(uint64_t bitmap, uint32_t bit) { bits_.insert({bitmap, bit}); }

 private:
  std::set<std::pair<uint64_t, uint32_t>> bits_;
};

class ExitRoutingTest : public testing::Test {
 protected:
  ExitOwner Owner(const L2Exit& exit) { return OwnerOf(exit, v_, bitmaps_); }
  ExitOwner Owner(ExitReason reason) { return Owner(L2Exit{.reason = reason}); }
  void Set(VmcsField field, uint64_t bits) { v_.Write(field, v_.Read(field) | bits); }
  void SetPrimary(uint32_t bits) { Set(kPrimaryProcessorBasedControls, bits); }
  void SetSecondary(uint32_t bits) {
    SetPrimary(PrimaryProcessorBased::kActivateSecondaryControls);
    Set(kSecondaryProcessorBasedControls, bits);
  }

  VmcsImage v_;
  Bitmaps bitmaps_;
};

// --- Each row of exit_reasons.def ---

struct Row {
  ExitReason reason;
  DefaultRoute route;
};
constexpr Row kRows[] = {
#define NVMX_EXIT_REASON(reason, number, name, route) {ExitReason::reason, DefaultRoute::route},
#include "core/vmx/exit_reasons.def"
#undef NVMX_EXIT_REASON
};

TEST_F(ExitRoutingTest, WhatAlwaysExitsIsL1s) {
  for (const Row& row : kRows) {
    if (row.route == DefaultRoute::kL1Always) EXPECT_EQ(Owner(row.reason), kL1) << Name(row.reason);
  }
}

TEST_F(ExitRoutingTest, WhatL1CannotHaveAskedForIsL0s) {
  for (const Row& row : kRows) {
    if (row.route == DefaultRoute::kL0 || row.route == DefaultRoute::kByEpt ||
        row.route == DefaultRoute::kVmEntryFailure) {
      EXPECT_EQ(Owner(row.reason), kL0) << Name(row.reason);
    }
  }
  EXPECT_EQ(Owner(static_cast<ExitReason>(35)), kL0);
}

// The control that asks for each exit of the route kByControl, as numbers: the field and the bit.
struct Asked {
  ExitReason reason;
  VmcsField field;
  unsigned bit;
};
constexpr Asked kAsked[] = {
    {ExitReason::kExternalInterrupt, kPinBasedControls, 0},
    {ExitReason::kInterruptWindow, kPrimaryProcessorBasedControls, 2},
    {ExitReason::kNmiWindow, kPrimaryProcessorBasedControls, 22},
    {ExitReason::kHlt, kPrimaryProcessorBasedControls, 7},
    {ExitReason::kInvlpg, kPrimaryProcessorBasedControls, 9},
    {ExitReason::kMwait, kPrimaryProcessorBasedControls, 10},
    {ExitReason::kRdpmc, kPrimaryProcessorBasedControls, 11},
    {ExitReason::kRdtsc, kPrimaryProcessorBasedControls, 12},
    {ExitReason::kRdtscp, kPrimaryProcessorBasedControls, 12},
    {ExitReason::kMovDr, kPrimaryProcessorBasedControls, 23},
    {ExitReason::kMonitorTrapFlag, kPrimaryProcessorBasedControls, 27},
    {ExitReason::kMonitor, kPrimaryProcessorBasedControls, 29},
    {ExitReason::kPause, kPrimaryProcessorBasedControls, 30},
    {ExitReason::kTprBelowThreshold, kPrimaryProcessorBasedControls, 21},
    {ExitReason::kInvpcid, kPrimaryProcessorBasedControls, 9},
    {ExitReason::kVmxPreemptionTimerExpired, kPinBasedControls, 6},
    {ExitReason::kApicAccess, kSecondaryProcessorBasedControls, 0},
    {ExitReason::kAccessToGdtrOrIdtr, kSecondaryProcessorBasedControls, 2},
    {ExitReason::kAccessToLdtrOrTr, kSecondaryProcessorBasedControls, 2},
    {ExitReason::kWbinvdOrWbnoinvd, kSecondaryProcessorBasedControls, 6},
    {ExitReason::kApicWrite, kSecondaryProcessorBasedControls, 8},
    {ExitReason::kVirtualizedEoi, kSecondaryProcessorBasedControls, 9},
    {ExitReason::kRdrand, kSecondaryProcessorBasedControls, 11},
    {ExitReason::kRdseed, kSecondaryProcessorBasedControls, 16},
};

TEST_F(ExitRoutingTest, ByControlItIsL1sIfL1HasAsked) {
  for (const Asked& row : kAsked) {
    v_ = VmcsImage();
    EXPECT_EQ(Owner(row.reason), kL0) << Name(row.reason);
    Set(row.field, uint64_t{1} << row.bit);
    if (row.field == kSecondaryProcessorBasedControls) {
      EXPECT_EQ(Owner(row.reason), kL0) << Name(row.reason) << ", not activated";
      SetPrimary(PrimaryProcessorBased::kActivateSecondaryControls);
    }
    EXPECT_EQ(Owner(row.reason), kL1) << Name(row.reason);
  }
}

TEST_F(ExitRoutingTest, EveryRowByControlIsTestedHere) {
  for (const Row& row : kRows) {
    if (row.route != DefaultRoute::kByControl) continue;
    bool tested = row.reason == ExitReason::kControlRegisterAccesses;
    for (const Asked& asked : kAsked) tested = tested || asked.reason == row.reason;
    if (tested) continue;
    // VMFUNC exits always; the others belong to features that are not offered.
    v_ = VmcsImage();
    SetPrimary(~0u);
    Set(kPinBasedControls, ~0u);
    Set(kSecondaryProcessorBasedControls, ~0u);
    EXPECT_EQ(Owner(row.reason), kL0) << Name(row.reason);
  }
}

TEST_F(ExitRoutingTest, APendingMtfExitThatL1InjectedIsL1s) {
  v_.Set<kVmEntryInterruptionInformation>(InterruptionInformation::MonitorTrapFlag().value());
  EXPECT_EQ(Owner(ExitReason::kMonitorTrapFlag), kL1);
}

// --- Control registers ---

class ControlRegisterRoutingTest : public ExitRoutingTest {
 protected:
  using Type = ControlRegisterAccess::Type;
  ExitOwner Access(Type type, unsigned control_register, uint64_t value, uint16_t source = 0) {
    return Owner(L2Exit{.reason = ExitReason::kControlRegisterAccesses,
                        .qualification = ControlRegisterAccess::Make(type, control_register,
                                                                     GeneralRegister::kRax, source)
                                             .value(),
                        .operand = value});
  }
  ExitOwner MovTo(unsigned control_register, uint64_t value) {
    return Access(Type::kMovTo, control_register, value);
  }
};

TEST_F(ControlRegisterRoutingTest, MovToCr0AndCr4AreL1sIfABitOfL1sDiffersFromItsShadow) {
  v_.Set<kCr0GuestHostMask>(Cr0::kTs);
  v_.Set<kCr0ReadShadow>(Cr0::kTs);
  EXPECT_EQ(MovTo(0, Cr0::kWp), kL1);
  EXPECT_EQ(MovTo(0, Cr0::kTs | Cr0::kWp), kL0);
  v_.Set<kCr4GuestHostMask>(Cr4::kPge);
  EXPECT_EQ(MovTo(4, Cr4::kPge), kL1);
  EXPECT_EQ(MovTo(4, Cr4::kSmxe), kL0);
}

TEST_F(ControlRegisterRoutingTest, MovToCr3IsL1sUnlessItIsATarget) {
  EXPECT_EQ(MovTo(3, 0x5000), kL0);
  SetPrimary(PrimaryProcessorBased::kCr3LoadExiting);
  EXPECT_EQ(MovTo(3, 0x5000), kL1);
  v_.Set<kCr3TargetValue1>(0x5000);
  v_.Set<kCr3TargetCount>(1);
  EXPECT_EQ(MovTo(3, 0x5000), kL1);
  v_.Set<kCr3TargetCount>(2);
  EXPECT_EQ(MovTo(3, 0x5000), kL0);
}

TEST_F(ControlRegisterRoutingTest, MovFromCr3IsL1sIfItAsked) {
  EXPECT_EQ(Access(Type::kMovFrom, 3, 0), kL0);
  SetPrimary(PrimaryProcessorBased::kCr3StoreExiting);
  EXPECT_EQ(Access(Type::kMovFrom, 3, 0), kL1);
}

TEST_F(ControlRegisterRoutingTest, Cr8IsL1s) {
  EXPECT_EQ(MovTo(8, 1), kL1);
  EXPECT_EQ(Access(Type::kMovFrom, 8, 0), kL1);
}

TEST_F(ControlRegisterRoutingTest, CltsIsL1sIfL1HasSetTsForL2) {
  v_.Set<kCr0GuestHostMask>(Cr0::kTs);
  EXPECT_EQ(Access(Type::kClts, 0, 0), kL0);
  v_.Set<kCr0ReadShadow>(Cr0::kTs);
  EXPECT_EQ(Access(Type::kClts, 0, 0), kL1);
  v_.Set<kCr0GuestHostMask>(0);
  EXPECT_EQ(Access(Type::kClts, 0, 0), kL0);
}

TEST_F(ControlRegisterRoutingTest, LmswIsL1sIfItSetsPeOrChangesMpEmOrTs) {
  v_.Set<kCr0GuestHostMask>(Cr0::kPe | Cr0::kEm);
  EXPECT_EQ(Access(Type::kLmsw, 0, 0, Cr0::kPe), kL1);
  v_.Set<kCr0ReadShadow>(Cr0::kPe);
  EXPECT_EQ(Access(Type::kLmsw, 0, 0, 0), kL0);
  EXPECT_EQ(Access(Type::kLmsw, 0, 0, Cr0::kEm), kL1);
  EXPECT_EQ(Access(Type::kLmsw, 0, 0, Cr0::kMp), kL0);
}

// --- Bitmaps ---

constexpr uint64_t kA = 0x1000;
constexpr uint64_t kB = 0x2000;

class IoRoutingTest : public ExitRoutingTest {
 protected:
  ExitOwner Io(uint16_t port, unsigned bytes) {
    return Owner(L2Exit{.reason = ExitReason::kIoInstruction,
                        .qualification = IoAccess::Make(port, bytes, /*in=*/true).value()});
  }
  void UseBitmaps() {
    SetPrimary(PrimaryProcessorBased::kUseIoBitmaps);
    v_.Set<kIoBitmapAAddress>(kA);
    v_.Set<kIoBitmapBAddress>(kB);
  }
};

TEST_F(IoRoutingTest, WithoutBitmapsTheUnconditionalExitCounts) {
  EXPECT_EQ(Io(0x80, 1), kL0);
  SetPrimary(PrimaryProcessorBased::kUnconditionalIoExiting);
  EXPECT_EQ(Io(0x80, 1), kL1);
  UseBitmaps();
  EXPECT_EQ(Io(0x80, 1), kL0);
}

TEST_F(IoRoutingTest, EachByteOfTheAccessHasABit) {
  UseBitmaps();
  bitmaps_.Set(kA, 0x83);
  EXPECT_EQ(Io(0x80, 4), kL1);
  EXPECT_EQ(Io(0x80, 2), kL0);
  EXPECT_EQ(Io(0x84, 4), kL0);
}

TEST_F(IoRoutingTest, BitmapBIsForThePortsFrom8000HOn) {
  UseBitmaps();
  bitmaps_.Set(kB, 0);
  EXPECT_EQ(Io(0x8000, 1), kL1);
  EXPECT_EQ(Io(0x0000, 1), kL0);
  EXPECT_EQ(Io(0x7FFF, 2), kL1);
}

TEST_F(IoRoutingTest, AnAccessThatWrapsAroundExits) {
  UseBitmaps();
  EXPECT_EQ(Io(0xFFFF, 1), kL0);
  EXPECT_EQ(Io(0xFFFF, 2), kL1);
}

class MsrRoutingTest : public ExitRoutingTest {
 protected:
  ExitOwner Msr(ExitReason reason, uint32_t msr) {
    return Owner(L2Exit{.reason = reason, .operand = msr});
  }
};

TEST_F(MsrRoutingTest, WithoutBitmapsEveryAccessIsL1s) {
  EXPECT_EQ(Msr(ExitReason::kRdmsr, 0x10), kL1);
  EXPECT_EQ(Msr(ExitReason::kWrmsr, 0x10), kL1);
}

TEST_F(MsrRoutingTest, TheBitDecides) {
  SetPrimary(PrimaryProcessorBased::kUseMsrBitmaps);
  v_.Set<kMsrBitmapAddress>(kA);
  bitmaps_.Set(kA, *MsrBitmapBit(0xC0000080, /*write=*/true));
  EXPECT_EQ(Msr(ExitReason::kWrmsr, 0xC0000080), kL1);
  EXPECT_EQ(Msr(ExitReason::kRdmsr, 0xC0000080), kL0);
  EXPECT_EQ(Msr(ExitReason::kWrmsr, 0xC0000081), kL0);
}

TEST_F(MsrRoutingTest, AnMsrThatTheBitmapDoesNotCoverIsL1s) {
  SetPrimary(PrimaryProcessorBased::kUseMsrBitmaps);
  EXPECT_EQ(Msr(ExitReason::kRdmsr, 0x2000), kL1);
  EXPECT_EQ(Msr(ExitReason::kRdmsr, 0x40000000), kL1);
}

class VmcsAccessRoutingTest : public ExitRoutingTest {
 protected:
  ExitOwner Access(ExitReason reason, uint64_t encoding) {
    return Owner(L2Exit{.reason = reason, .operand = encoding});
  }
  void UseShadowing() {
    SetSecondary(Secondary::kVmcsShadowing);
    v_.Set<kVmreadBitmapAddress>(kA);
    v_.Set<kVmwriteBitmapAddress>(kB);
  }
};

TEST_F(VmcsAccessRoutingTest, WithoutShadowingItIsL1s) {
  EXPECT_EQ(Access(ExitReason::kVmread, 0x681E), kL1);
  EXPECT_EQ(Access(ExitReason::kVmwrite, 0x681E), kL1);
}

TEST_F(VmcsAccessRoutingTest, TheBitOfTheEncodingDecides) {
  UseShadowing();
  bitmaps_.Set(kB, 0x681E);
  EXPECT_EQ(Access(ExitReason::kVmread, 0x681E), kL0);
  EXPECT_EQ(Access(ExitReason::kVmwrite, 0x681E), kL1);
  EXPECT_EQ(Access(ExitReason::kVmwrite, 0x681C), kL0);
}

TEST_F(VmcsAccessRoutingTest, AnEncodingWithOtherBitsIsL1s) {
  UseShadowing();
  EXPECT_EQ(Access(ExitReason::kVmread, 0x8000), kL1);
  EXPECT_EQ(Access(ExitReason::kVmread, uint64_t{1} << 63), kL1);
  EXPECT_EQ(Access(ExitReason::kVmread, 0x7FFF), kL0);
}

TEST_F(ExitRoutingTest, BitmapsOfFeaturesThatAreNotOfferedAreL0s) {
  for (const Row& row : kRows) {
    switch (row.reason) {
      case ExitReason::kIoInstruction:
      case ExitReason::kRdmsr:
      case ExitReason::kWrmsr:
      case ExitReason::kVmread:
      case ExitReason::kVmwrite:
        break;
      default:
        if (row.route == DefaultRoute::kByBitmap) EXPECT_EQ(Owner(row.reason), kL0);
    }
  }
}

// --- Exceptions: SDM Vol. 3C, 25.6.3 "Exception Bitmap" ---

class EventRoutingTest : public ExitRoutingTest {
 protected:
  ExitOwner Event(InterruptionInformation event, uint32_t error_code = 0) {
    return Owner(
        L2Exit{.reason = ExitReason::kExceptionOrNmi, .event = event, .error_code = error_code});
  }
  ExitOwner PageFault(uint32_t error_code) {
    return Event(InterruptionInformation::HardwareException(Vector::kPageFault), error_code);
  }
};

TEST_F(EventRoutingTest, AnExceptionIsL1sIfItsBitIsSet) {
  v_.Set<kExceptionBitmap>(1u << 13);
  EXPECT_EQ(Event(InterruptionInformation::HardwareException(Vector::kGeneralProtection)), kL1);
  EXPECT_EQ(Event(InterruptionInformation::HardwareException(Vector::kInvalidOpcode)), kL0);
}

TEST_F(EventRoutingTest, SoftwareExceptionsHaveBitsToo) {
  v_.Set<kExceptionBitmap>(1u << 3);
  EXPECT_EQ(Event(InterruptionInformation::Make(InterruptionType::kSoftwareException, 3)), kL1);
}

TEST_F(EventRoutingTest, AnNmiIsL0s) {
  v_.Set<kExceptionBitmap>(~0u);
  EXPECT_EQ(Event(InterruptionInformation::Nmi()), kL0);
}

TEST_F(EventRoutingTest, APageFaultIsL1sIfMatchAndBitAgree) {
  v_.Set<kPageFaultErrorCodeMask>(2);
  v_.Set<kPageFaultErrorCodeMatch>(2);
  EXPECT_EQ(PageFault(3), kL0);
  EXPECT_EQ(PageFault(1), kL1);
  v_.Set<kExceptionBitmap>(1u << 14);
  EXPECT_EQ(PageFault(3), kL1);
  EXPECT_EQ(PageFault(1), kL0);
}

}  // namespace
}  // namespace nvmx
