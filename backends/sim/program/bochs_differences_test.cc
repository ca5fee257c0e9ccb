// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/bochs_differences.h"

#include <cstring>
#include <optional>
#include <vector>

#include "backends/sim/program/machine_differences_fixture.h"
#include "core/vmx/ept.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/interruption_info.h"
#include "core/vmx/msr_list.h"
#include "core/vmx/vm_instruction_error.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/msr.h"
#include "gtest/gtest.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

using lhv::Observation;
using lhv::ObservationKind;
using lhv::Operation;
using lhv::OperationKind;

class BochsDifferencesTest : public MachineDifferencesFixture {
 protected:
  static Observation Reason(ExitReason reason) {
    return Field(VmcsField::kExitReason, static_cast<uint64_t>(reason));
  }
  static Observation RefusedEntry() {
    return Field(VmcsField::kExitReason,
                 ExitReasonValue::EntryFailure(ExitReason::kVmEntryFailureInvalidGuestState).value);
  }
  static Observation Fault(uint32_t level) {
    return {.kind = ObservationKind::kFault, .level = level, .selector = 13, .extra = 1};
  }
  static Observation Done(uint32_t level) {
    return {.kind = ObservationKind::kDone, .level = level, .operation = 1};
  }
  static Operation Write(VmcsField field, uint64_t value) {
    return {.kind = OperationKind::kVmwrite, .selector = Encoding(field), .value = value};
  }
};

TEST_F(BochsDifferencesTest, AFailedEntryOfBochsWritesExitInformation) {
  SeeExit(ExitReasonValue::EntryFailure(ExitReason::kVmEntryFailureInvalidGuestState).value);
  EXPECT_EQ(ExplainField(VmcsField::kVmExitInstructionLength, 0, 8), Explained::kStep);
  EXPECT_EQ(ExplainField(VmcsField::kVmExitInterruptionInformation, 0x8000'0B0E, 0),
            Explained::kStep);
  EXPECT_EQ(ExplainField(VmcsField::kExitQualification, 0, 2), Explained::kNot);
}

TEST_F(BochsDifferencesTest, AnMsrThatBochsLacksFaults) {
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

TEST_F(BochsDifferencesTest, AnNmiIsADeviationOnlyWhereThereAreNmis) {
  const Observation nmi{.kind = ObservationKind::kNmi, .level = 1, .selector = 2};
  const Observation next{.kind = ObservationKind::kDone, .level = 1};
  EXPECT_EQ(Explain(nmi, next), Explained::kNot);
  L1({{.kind = OperationKind::kSendNmi}});
  EXPECT_EQ(Explain(nmi, next), Explained::kParting);
  EXPECT_EQ(Explain(Field(VmcsField::kExitReason, static_cast<uint64_t>(ExitReason::kCpuid)), next),
            Explained::kNot);
}

TEST_F(BochsDifferencesTest, SysenterCsOfBochsHas16Bits) {
  const VmcsField field = VmcsField::kGuestIa32SysenterCs;
  EXPECT_EQ(ExplainField(field, 0xFFFF'FFFF, 0xFFFF), Explained::kStep);
  EXPECT_EQ(ExplainField(field, 0xFFFF'FFFF, 0xFFFE), Explained::kNot);
}

TEST_F(BochsDifferencesTest, BochsDoesNotCheckRip) {
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

TEST_F(BochsDifferencesTest, BochsKeepsAnInterruptUntilIfIsSet) {
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

TEST_F(BochsDifferencesTest, BochsGivesUpAtVmcallInRoot) {
  const Observation fails{.kind = ObservationKind::kVmfailValid,
                          .level = 1,
                          .selector = static_cast<uint64_t>(lhv::InstructionKind::kVmcall),
                          .value = 1};
  EXPECT_EQ(Explain(fails, std::nullopt, CpuEnd::kShutdown), Explained::kParting);
  EXPECT_EQ(Explain(fails, std::nullopt, CpuEnd::kComplete), Explained::kNot);
}

TEST_F(BochsDifferencesTest, VmcallInRootTakesTheLogAlong) {
  const Observation first = Done(1);
  log_ = {first,
          {.kind = ObservationKind::kVmfailValid,
           .level = 1,
           .selector = static_cast<uint64_t>(lhv::InstructionKind::kVmcall),
           .value = 1}};
  EXPECT_EQ(ExplainLoss(first), Explained::kParting);
  log_.pop_back();
  EXPECT_EQ(ExplainLoss(first), Explained::kNot);
}

TEST_F(BochsDifferencesTest, AnAdvanceByTheLengthOfAFailedEntryIsTheEndOfIt) {
  SeeExit(ExitReasonValue::EntryFailure(ExitReason::kVmEntryFailureInvalidGuestState).value);
  L1({{.kind = OperationKind::kObserveExit}, {.kind = OperationKind::kVmresume}});
  EXPECT_EQ(ExplainField(VmcsField::kGuestRip, 0, 8), Explained::kNot);
  L1({{.kind = OperationKind::kObserveExit}, {.kind = OperationKind::kAdvanceGuestRip}});
  EXPECT_EQ(ExplainField(VmcsField::kGuestRip, 0, 8), Explained::kParting);
}

TEST_F(BochsDifferencesTest, AListOfAnMsrThatBochsLacksFails) {
  const Observation failure =
      Field(VmcsField::kExitReason,
            ExitReasonValue::EntryFailure(ExitReason::kVmEntryFailureMsrLoading).value);
  MsrListEntry entry{.index = Index(Msr::IA32_PAT)};
  lhv::MemoryBlock list{"list", 0, std::vector<std::byte>(sizeof entry)};
  const auto with = [&](Msr msr) {
    entry.index = Index(msr);
    std::memcpy(list.bytes.data(), &entry, sizeof entry);
    program_.cpus[0].memory = {list};
    return Explain(Reason(ExitReason::kCpuid), failure);
  };
  EXPECT_EQ(with(Msr::IA32_PAT), Explained::kNot);
  EXPECT_EQ(with(Msr::IA32_DEBUGCTL), Explained::kParting);
}

TEST_F(BochsDifferencesTest, HighBitsOfPendingDebugExceptionsAreNotChecked) {
  const auto with = [this](uint64_t value) {
    L1({Write(VmcsField::kGuestPendingDebugExceptions, value)});
    return Explain(RefusedEntry(), Reason(ExitReason::kCpuid));
  };
  EXPECT_EQ(with(uint64_t{1} << 63), Explained::kParting);
  EXPECT_EQ(with(0x10), Explained::kNot);
}

TEST_F(BochsDifferencesTest, PerfGlobalCtrlIsNotChecked) {
  const Observation host{
      .kind = ObservationKind::kVmfailValid,
      .level = 1,
      .selector = static_cast<uint64_t>(lhv::InstructionKind::kVmlaunch),
      .value = static_cast<uint64_t>(VmInstructionError::kVmEntryWithInvalidHostStateFields)};
  EXPECT_EQ(Explain(RefusedEntry(), Reason(ExitReason::kCpuid)), Explained::kNot);
  L1({Write(VmcsField::kGuestIa32PerfGlobalCtrl, ~uint64_t{0})});
  EXPECT_EQ(Explain(RefusedEntry(), Reason(ExitReason::kCpuid)), Explained::kParting);
  L1({Write(VmcsField::kHostIa32PerfGlobalCtrl, ~uint64_t{0})});
  EXPECT_EQ(Explain(host, Reason(ExitReason::kCpuid)), Explained::kParting);
}

TEST_F(BochsDifferencesTest, ReservedBitsOfTscAuxDoNotFault) {
  const auto with = [this](Msr msr, uint64_t value) {
    L1({{.kind = OperationKind::kWrmsr, .selector = Index(msr), .value = value}});
    return Explain(Fault(1), Done(1));
  };
  EXPECT_EQ(with(Msr::IA32_TSC_AUX, uint64_t{1} << 32), Explained::kReferenceOnly);
  EXPECT_EQ(with(Msr::IA32_TSC_AUX, 1), Explained::kNot);
  EXPECT_EQ(with(Msr::IA32_PAT, uint64_t{1} << 32), Explained::kNot);
}

TEST_F(BochsDifferencesTest, ACounterThatIsNotThereReadsZero) {
  Observation read{.kind = ObservationKind::kReadValue, .level = 1};
  L1({{.kind = OperationKind::kRdpmc}});
  EXPECT_EQ(Explain(Fault(1), read), Explained::kStep);
  read.value = 1;
  EXPECT_EQ(Explain(Fault(1), read), Explained::kNot);
  L1({{.kind = OperationKind::kMovFromCr}});
  read.value = 0;
  EXPECT_EQ(Explain(Fault(1), read), Explained::kNot);
}

TEST_F(BochsDifferencesTest, BlockingIsLostWhereAnExceptionOrATripleFaultExits) {
  const VmcsField field = VmcsField::kGuestInterruptibilityState;
  for (const ExitReason reason : {ExitReason::kTripleFault, ExitReason::kExceptionOrNmi}) {
    SeeExit(reason);
    EXPECT_EQ(ExplainField(field, Interruptibility::kBlockingBySti, 0), Explained::kStep);
    EXPECT_EQ(ExplainField(field, Interruptibility::kBlockingByMovSs, 0), Explained::kStep);
    EXPECT_EQ(ExplainField(field, 0, Interruptibility::kBlockingBySti), Explained::kNot);
  }
  SeeExit(ExitReason::kCpuid);
  EXPECT_EQ(ExplainField(field, Interruptibility::kBlockingBySti, 0), Explained::kNot);
}

TEST_F(BochsDifferencesTest, BlockingByNmiIsKept) {
  const VmcsField field = VmcsField::kGuestInterruptibilityState;
  EXPECT_EQ(ExplainField(field, 0, Interruptibility::kBlockingByNmi), Explained::kStep);
  EXPECT_EQ(ExplainField(field, Interruptibility::kBlockingByNmi, 0), Explained::kNot);
}

TEST_F(BochsDifferencesTest, InitIsADeviationOnlyWhereThereIsOne) {
  EXPECT_EQ(Explain(Reason(ExitReason::kInitSignal), Reason(ExitReason::kCpuid)), Explained::kNot);
  L1({{.kind = OperationKind::kSendInit}});
  EXPECT_EQ(Explain(Reason(ExitReason::kInitSignal), Reason(ExitReason::kCpuid)),
            Explained::kParting);
  EXPECT_EQ(Explain(Reason(ExitReason::kCpuid), Reason(ExitReason::kInitSignal)),
            Explained::kParting);
  EXPECT_EQ(Explain(Reason(ExitReason::kCpuid), Reason(ExitReason::kHlt)), Explained::kNot);
}

TEST_F(BochsDifferencesTest, BochsGivesUpAtAnInjectionOfType7) {
  const auto with = [this](InterruptionType type) {
    L1({Write(VmcsField::kVmEntryInterruptionInformation,
              InterruptionInformation::Make(type, 0).value())});
    return Explain(Reason(ExitReason::kCpuid), std::nullopt, CpuEnd::kShutdown);
  };
  log_ = {Done(1)};
  EXPECT_EQ(with(InterruptionType::kOtherEvent), Explained::kParting);
  EXPECT_EQ(with(InterruptionType::kExternalInterrupt), Explained::kNot);
}

TEST_F(BochsDifferencesTest, AQualificationOfARegisterIsAnything) {
  SeeExit(ExitReason::kVmread);
  EXPECT_EQ(ExplainField(VmcsField::kExitQualification, 0, 0x1234), Explained::kStep);
  EXPECT_EQ(ExplainField(VmcsField::kExitQualification, 8, 0x1234), Explained::kNot);
  SeeExit(ExitReason::kVmclear);
  EXPECT_EQ(ExplainField(VmcsField::kExitQualification, 0, 0x1234), Explained::kNot);
}

TEST_F(BochsDifferencesTest, AnAccessToATableUnderEptFlagsIsAWriteAlone) {
  constexpr uint64_t kReadAndWrite = EptViolation::kRead | EptViolation::kWrite;
  SeeExit(ExitReason::kEptViolation);
  EXPECT_EQ(ExplainField(VmcsField::kExitQualification, kReadAndWrite, EptViolation::kWrite),
            Explained::kNot);
  L1({Write(VmcsField::kEptPointer, lhv::WindowOf(0) | Eptp::kAccessedAndDirty)});
  EXPECT_EQ(ExplainField(VmcsField::kExitQualification, kReadAndWrite, EptViolation::kWrite),
            Explained::kStep);
  EXPECT_EQ(ExplainField(VmcsField::kExitQualification, kReadAndWrite, EptViolation::kRead),
            Explained::kNot);
}

}  // namespace
}  // namespace nvmx::sim
