// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/machine_differences.h"

#include <optional>
#include <string>
#include <vector>

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

class MachineDifferencesTest : public testing::Test {
 protected:
  MachineDifferencesTest() { program_.cpus.resize(1); }

  static Observation Field(VmcsField field, uint64_t value, uint64_t operation = 0) {
    return {.kind = ObservationKind::kVmExit,
            .level = 1,
            .operation = operation,
            .selector = Encoding(field),
            .value = value};
  }
  // L1 has seen an exit.
  void SeeExit(uint32_t reason, uint64_t operation = 0) {
    log_.push_back(Field(VmcsField::kExitReason, reason, operation));
    log_.push_back(Field(VmcsField::kVmExitInterruptionInformation, 0, operation));
    log_.push_back(Field(VmcsField::kIdtVectoringInformation, 0, operation));
  }
  void SeeExit(ExitReason reason) { SeeExit(static_cast<uint32_t>(reason)); }
  void L1(std::vector<Operation> operations) { program_.cpus[0].l1 = std::move(operations); }

  // What becomes of a difference behind what has been seen. `reason`: of the row.
  Explained Explain(std::optional<Observation> reference, std::optional<Observation> machine,
                    CpuEnd end = CpuEnd::kComplete) {
    const Difference difference{0, log_.size(), reference, machine, CpuEnd::kComplete, end};
    const Capabilities hardware = SimulatedCapabilities();
    for (const MachineDifference& row : AllMachineDifferences()) {
      const Explained explained = row.matches({program_, hardware, difference, log_, log_});
      if (explained != Explained::kNot) return explained;
    }
    return Explained::kNot;
  }
  Explained ExplainField(VmcsField field, uint64_t reference, uint64_t machine) {
    return Explain(Field(field, reference), Field(field, machine));
  }

  lhv::GuestProgram program_;
  std::vector<Observation> log_;
};

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

TEST_F(MachineDifferencesTest, AFailedEntryOfBochsWritesExitInformation) {
  SeeExit(ExitReasonValue::EntryFailure(ExitReason::kVmEntryFailureInvalidGuestState).value);
  EXPECT_EQ(ExplainField(VmcsField::kVmExitInstructionLength, 0, 8), Explained::kStep);
  EXPECT_EQ(ExplainField(VmcsField::kVmExitInterruptionInformation, 0x8000'0B0E, 0),
            Explained::kStep);
  EXPECT_EQ(ExplainField(VmcsField::kExitQualification, 0, 2), Explained::kNot);
}

TEST_F(MachineDifferencesTest, AnMsrThatBochsLacksFaults) {
  const uint32_t missing = Index(Msr::IA32_DEBUGCTL);
  const Observation fault{.kind = ObservationKind::kFault, .level = 1, .selector = 13, .extra = 1};
  const Observation next{.kind = ObservationKind::kDone, .level = 1, .operation = 1};
  L1({{.kind = OperationKind::kRdmsr, .selector = missing}});
  const Observation value{.kind = ObservationKind::kMsrValue, .level = 1, .selector = missing};
  EXPECT_EQ(Explain(value, fault), Explained::kStep);
  L1({{.kind = OperationKind::kWrmsr, .selector = missing}});
  EXPECT_EQ(Explain(next, fault), Explained::kMachineOnly);
  L1({{.kind = OperationKind::kWrmsr, .selector = Index(Msr::IA32_PAT)}});
  EXPECT_EQ(Explain(next, fault), Explained::kNot);
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

TEST_F(MachineDifferencesTest, AnNmiIsADeviationOnlyWhereThereAreNmis) {
  const Observation nmi{.kind = ObservationKind::kNmi, .level = 1, .selector = 2};
  const Observation next{.kind = ObservationKind::kDone, .level = 1};
  EXPECT_EQ(Explain(nmi, next), Explained::kNot);
  L1({{.kind = OperationKind::kSendNmi}});
  EXPECT_EQ(Explain(nmi, next), Explained::kParting);
  EXPECT_EQ(Explain(Field(VmcsField::kExitReason, static_cast<uint64_t>(ExitReason::kCpuid)), next),
            Explained::kNot);
}

TEST_F(MachineDifferencesTest, SysenterCsOfBochsHas16Bits) {
  const VmcsField field = VmcsField::kGuestIa32SysenterCs;
  EXPECT_EQ(ExplainField(field, 0xFFFF'FFFF, 0xFFFF), Explained::kStep);
  EXPECT_EQ(ExplainField(field, 0xFFFF'FFFF, 0xFFFE), Explained::kNot);
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

TEST_F(MachineDifferencesTest, BochsDoesNotCheckRip) {
  const Observation failure =
      Field(VmcsField::kExitReason,
            ExitReasonValue::EntryFailure(ExitReason::kVmEntryFailureInvalidGuestState).value);
  const Observation fault{.kind = ObservationKind::kFault, .level = 2, .selector = 13, .extra = 1};
  EXPECT_EQ(Explain(failure, fault), Explained::kNot);
  L1({{.kind = OperationKind::kVmwrite,
       .selector = Encoding(VmcsField::kGuestRip),
       .value = uint64_t{1} << 63}});
  EXPECT_EQ(Explain(failure, fault), Explained::kParting);
}

TEST_F(MachineDifferencesTest, BochsKeepsAnInterruptUntilIfIsSet) {
  const auto reason = [](ExitReason exit) {
    return Field(VmcsField::kExitReason, static_cast<uint64_t>(exit));
  };
  EXPECT_EQ(Explain(reason(ExitReason::kExternalInterrupt), reason(ExitReason::kHlt)),
            Explained::kNot);
  L1({{.kind = OperationKind::kSendInterrupt}});
  EXPECT_EQ(Explain(reason(ExitReason::kExternalInterrupt), reason(ExitReason::kHlt)),
            Explained::kParting);
  EXPECT_EQ(Explain(reason(ExitReason::kHlt), reason(ExitReason::kExternalInterrupt)),
            Explained::kNot);
}

TEST_F(MachineDifferencesTest, BochsGivesUpAtVmcallInRoot) {
  const Observation fails{.kind = ObservationKind::kVmfailValid,
                          .level = 1,
                          .selector = static_cast<uint64_t>(lhv::InstructionKind::kVmcall),
                          .value = 1};
  EXPECT_EQ(Explain(fails, std::nullopt, CpuEnd::kShutdown), Explained::kParting);
  EXPECT_EQ(Explain(fails, std::nullopt, CpuEnd::kComplete), Explained::kNot);
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

}  // namespace
}  // namespace nvmx::sim
