// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/machine_differences.h"

#include <optional>

#include "backends/sim/program/machine_differences_fixture.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/interruption_info.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/msr.h"
#include "gtest/gtest.h"

namespace nvmx::sim {
namespace {

using lhv::Observation;
using lhv::ObservationKind;
using lhv::Operation;
using lhv::OperationKind;

using MachineDifferencesTest = MachineDifferencesFixture;

TEST_F(MachineDifferencesTest, AnInstructionLengthIsUndefinedUnlessAnInstructionExits) {
  SeeExit(ExitReason::kEptViolation);
  EXPECT_EQ(ExplainField(VmcsField::kVmExitInstructionLength, 0, 8), Explained::kStep);
  SeeExit(ExitReason::kCpuid);
  EXPECT_EQ(ExplainField(VmcsField::kVmExitInstructionLength, 8, 7), Explained::kNot);
}

TEST_F(MachineDifferencesTest, TheDeliveryOfASoftwareInterruptHasALength) {
  SeeExit(ExitReason::kEptViolation);
  log_.back().value =
      InterruptionInformation::Make(InterruptionType::kSoftwareInterrupt, 0x20).value();
  EXPECT_EQ(ExplainField(VmcsField::kVmExitInstructionLength, 2, 8), Explained::kNot);
}

TEST_F(MachineDifferencesTest, AddressesAreDefinedByExitsOfEpt) {
  SeeExit(ExitReason::kEptMisconfiguration);
  EXPECT_EQ(ExplainField(VmcsField::kGuestLinearAddress, 0, 0x1000), Explained::kStep);
  EXPECT_EQ(ExplainField(VmcsField::kGuestPhysicalAddress, 0, 0x1000), Explained::kNot);
  SeeExit(ExitReason::kVmcall);
  EXPECT_EQ(ExplainField(VmcsField::kGuestPhysicalAddress, 0, 0x1000), Explained::kStep);
}

TEST_F(MachineDifferencesTest, OfControlRegistersOnlyLmswHasALinearAddress) {
  SeeExit(ExitReason::kControlRegisterAccesses);
  log_.push_back(Field(VmcsField::kExitQualification, 0x18));  // MOV from CR8
  EXPECT_EQ(ExplainField(VmcsField::kGuestLinearAddress, 0, 0x1000), Explained::kStep);
  log_.back().value = 0x30;
  EXPECT_EQ(ExplainField(VmcsField::kGuestLinearAddress, 0, 0x1000), Explained::kNot);
}

TEST_F(MachineDifferencesTest, WhatEveryExitDefinesIsADifference) {
  SeeExit(ExitReason::kEptViolation);
  EXPECT_EQ(ExplainField(VmcsField::kExitQualification, 0x181, 0x182), Explained::kNot);
  EXPECT_EQ(ExplainField(VmcsField::kGuestRip, 0x2000'0000, 0x2000'0008), Explained::kNot);
}

TEST_F(MachineDifferencesTest, AnAdvanceByAnUndefinedLengthIsTheEndOfIt) {
  SeeExit(ExitReason::kEptViolation);
  L1({{.kind = OperationKind::kObserveExit}, {.kind = OperationKind::kVmresume}});
  EXPECT_EQ(ExplainField(VmcsField::kGuestRip, 0x2000'0000, 0x2000'0008), Explained::kNot);
  L1({{.kind = OperationKind::kObserveExit}, {.kind = OperationKind::kAdvanceGuestRip}});
  EXPECT_EQ(ExplainField(VmcsField::kGuestRip, 0x2000'0000, 0x2000'0008), Explained::kParting);
}

TEST_F(MachineDifferencesTest, AFieldOfMoreFeaturesIsThere) {
  const auto fails = [](lhv::InstructionKind kind, VmcsField field) {
    return Observation{.kind = ObservationKind::kVmfailValid,
                       .level = 1,
                       .selector = static_cast<uint64_t>(kind),
                       .value = 12,
                       .extra = Encoding(field)};
  };
  const Observation value{.kind = ObservationKind::kFieldValue,
                          .level = 1,
                          .selector = Encoding(VmcsField::kPleWindow)};
  EXPECT_EQ(Explain(fails(lhv::InstructionKind::kVmread, VmcsField::kPleWindow), value),
            Explained::kStep);
  EXPECT_EQ(Explain(fails(lhv::InstructionKind::kVmwrite, VmcsField::kPleWindow), std::nullopt),
            Explained::kReferenceOnly);
  EXPECT_EQ(Explain(fails(lhv::InstructionKind::kVmread, VmcsField::kGuestRip), value),
            Explained::kNot);
}

TEST_F(MachineDifferencesTest, XgetbvOfMoreThanXcr0NeedNotFault) {
  const Observation fault{.kind = ObservationKind::kFault, .level = 2, .selector = 13, .extra = 1};
  Observation read{.kind = ObservationKind::kReadValue,
                   .level = 2,
                   .selector = static_cast<uint64_t>(lhv::InstructionKind::kXgetbv),
                   .value = 1,
                   .extra = 1};
  EXPECT_EQ(Explain(fault, read), Explained::kStep);
  read.extra = 0;
  EXPECT_EQ(Explain(fault, read), Explained::kNot);
}

TEST_F(MachineDifferencesTest, ATableThatIsNotTheProgramsHoldsAnything) {
  const VmcsField field = VmcsField::kGuestRip;
  L1({{.kind = OperationKind::kVmwrite,
       .selector = Encoding(VmcsField::kEptPointer),
       .value = 0x1'1401E}});
  EXPECT_EQ(ExplainField(field, 1, 2), Explained::kNot);
  L1({{.kind = OperationKind::kVmwrite,
       .selector = Encoding(VmcsField::kEptPointer),
       .value = 0x1401E}});
  EXPECT_EQ(ExplainField(field, 1, 2), Explained::kParting);
}

TEST_F(MachineDifferencesTest, AWindowBehindL2sLastOperationOpensInTheImage) {
  const Observation done{.kind = ObservationKind::kDone, .level = 2, .operation = 1};
  const auto exit = [](ExitReason reason) {
    return Field(VmcsField::kExitReason, static_cast<uint64_t>(reason));
  };
  EXPECT_EQ(Explain(done, exit(ExitReason::kInterruptWindow)), Explained::kParting);
  EXPECT_EQ(Explain(done, exit(ExitReason::kCpuid)), Explained::kNot);
}

TEST_F(MachineDifferencesTest, TheWatchdogsNmiCanBecomeAnAbort) {
  const auto explain = [this](CpuEnd end) {
    const Observation next{.kind = ObservationKind::kInterrupt, .level = 2};
    return Explain(next, std::nullopt, end, end);
  };
  EXPECT_EQ(explain(CpuEnd::kHalted), Explained::kNot);
  L1({{.kind = OperationKind::kVmwrite,
       .selector = Encoding(VmcsField::kVmExitMsrLoadCount),
       .value = 1}});
  EXPECT_EQ(explain(CpuEnd::kHalted), Explained::kParting);
  EXPECT_EQ(explain(CpuEnd::kComplete), Explained::kNot);
}

}  // namespace
}  // namespace nvmx::sim
