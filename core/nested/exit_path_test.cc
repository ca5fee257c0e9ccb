// SPDX-License-Identifier: Apache-2.0
//
// The law of the exit path: between taking an NMI as a VM exit and acknowledging it, nothing
// happens that can wait.
#include <algorithm>

#include "core/nested/choreography.h"
#include "core/nested/hypervisor.h"
#include "core/testing/builders.h"
#include "core/testing/core_objects.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/mock_ports.h"
#include "core/vmx/interruption_info.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using testing::_;
using testing::Contains;
using testing::ElementsAre;
using testing::InSequence;
using testing::Not;
using testing::Return;
using testing::StartsWith;
using testing::StrictMock;

constexpr uint32_t kLstar = Index(Msr::IA32_LSTAR);

class ExitPathTest : public testing::Test {
 protected:
  ExitPathTest() : l1_(2) {
    l1_.cpu.msrs() = {{kLstar, 0}};
    VmcsImage v = ValidVmcs12(l1_.state.offered);
    const MsrList list = l1_.PutMsrList(FakeVcpu::kExitLoadList,
                                        {{kLstar, 0, 1}, {Index(MtrrPhysBase(0)), 0, 0x100006}});
    v.Set<VmcsField::kVmExitMsrLoadAddress>(list.address.value);
    v.Set<VmcsField::kVmExitMsrLoadCount>(list.count);
    l1_.RunL2(v);
  }
  // CPU 1 quiesces: it holds both locks, and lets this CPU go on when it stands still.
  void OtherCpuQuiesces() {
    QuiesceCells& cells = l1_.system.quiesce;
    cells.lock.Acquire(other_);
    l1_.system.print_lock.Acquire(other_);
    cells.initiator.Store(other_, other_.Index() + 1);
    l1_.cpu.WhileWaiting([this, &cells](const SpinCondition& condition) {
      if (condition.cell == &cells.resume_signal) {
        cells.initiator.Store(other_, 0);
        cells.resume_signal.Store(other_, 1);
      }
    });
  }

  FakeVcpu l1_;
  EventLog others_log_;
  FakeCpu other_{1, others_log_};
};

TEST_F(ExitPathTest, AnNmiExitOfL2IsAcknowledgedBeforeAnythingElse) {
  OtherCpuQuiesces();
  l1_.NmiExit();
  l1_.log.resize(std::min<size_t>(l1_.log.size(), 8));
  EXPECT_THAT(l1_.log, ElementsAre("VMREAD Exit reason", "VMREAD VM-exit interruption information",
                                   "load quiesce_initiator", "add quiesce_acknowledged",
                                   "trace NmiAcknowledged", "spin quiesce_resume_signal=1",
                                   "INVEPT", "add quiesce_resumed"));
  EXPECT_TRUE(l1_.L2Runs());
  EXPECT_EQ(l1_.cpu.unblock_nmi_calls(), 1);
  EXPECT_FALSE(l1_.cpu.nmi_blocked());
}

TEST_F(ExitPathTest, AnNmiExitOfL1IsAcknowledgedBeforeAnythingElse) {
  l1_.OthersAnswerQuiesce();
  l1_.Exit(ExitReason::kCpuid);  // to L1; runs the MSR list
  l1_.log.clear();
  OtherCpuQuiesces();
  l1_.NmiExit();
  ASSERT_GE(l1_.log.size(), 4u);
  l1_.log.resize(4);
  EXPECT_THAT(l1_.log, ElementsAre("VMREAD Exit reason", "VMREAD VM-exit interruption information",
                                   "load quiesce_initiator", "add quiesce_acknowledged"));
}

TEST_F(ExitPathTest, AnNmiExitTakesNoLockAndPrintsNothing) {
  OtherCpuQuiesces();
  l1_.NmiExit();
  EXPECT_THAT(l1_.log, Not(Contains(StartsWith("acquire"))));
  EXPECT_THAT(l1_.log, Not(Contains("trace LogLine")));
  EXPECT_EQ(l1_.cpu.msrs()[kLstar], 0u);
}

TEST_F(ExitPathTest, AGuestsNmiIsNotedAndUnblockedBeforeItIsWorkedOn) {
  l1_.OthersAnswerQuiesce();
  l1_.NmiExit();
  const auto unblocked = std::find(l1_.log.begin(), l1_.log.end(), "unblock NMI");
  ASSERT_NE(unblocked, l1_.log.end());
  const EventLog before(l1_.log.begin(), unblocked);
  EXPECT_THAT(before, ElementsAre("VMREAD Exit reason", "VMREAD VM-exit interruption information",
                                  "load quiesce_initiator", "load guest_nmis_pending",
                                  "add guest_nmis_pending", "trace NmiToGuest"));
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(l1_.cpu.msrs()[kLstar], 1u);
}

TEST_F(ExitPathTest, AnNmiLatchedDuringTheNmiExitIsSettledWhenBlockingEnds) {
  l1_.OthersAnswerQuiesce();
  l1_.cpu.SetNmiBlocked(true);
  l1_.cpu.SendNmi();
  l1_.NmiExit();
  EXPECT_EQ(l1_.trace.Count(TraceKind::kNmiToGuest), 2);
  EXPECT_EQ(l1_.trace.Count(TraceKind::kNmiExitToL1), 1);
  EXPECT_EQ(l1_.own.guest_nmis_pending.Peek(), 1u);
}

TEST_F(ExitPathTest, AnotherExitDoesNotAcknowledgeARequest) {
  OtherCpuQuiesces();
  l1_.cpu.WhileWaiting([this](const SpinCondition& condition) {
    // The other CPU cannot go on without this one's NMI, which arrives while this one waits for a
    // lock.
    if (condition.cell != &l1_.system.print_lock.cell()) return;
    l1_.cpu.WhileWaiting([this](const SpinCondition& inner) {
      if (inner.cell == &l1_.system.quiesce.resume_signal) {
        l1_.system.quiesce.initiator.Store(other_, 0);
        l1_.system.quiesce.resume_signal.Store(other_, 1);
      }
    });
    EXPECT_EQ(l1_.system.quiesce.acknowledged.Peek(), 0u);
    l1_.cpu.SendNmi();
    EXPECT_EQ(l1_.system.quiesce.acknowledged.Peek(), 1u);
    l1_.system.print_lock.Release(other_);
    l1_.system.quiesce.lock.Release(other_);
    l1_.OthersAnswerQuiesce();
  });
  l1_.Exit(ExitReason::kCpuid);
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(l1_.system.quiesce.resumed.Peek(), 1u);
}

TEST_F(ExitPathTest, AnExceptionExitIsNoNmiExit) {
  VmcsImage& l2 = l1_.vmcs.vmcs02();
  l2.Set<VmcsField::kExitReason>(0);
  const auto is_nmi = [&](uint32_t information) {
    l2.Set<VmcsField::kVmExitInterruptionInformation>(information);
    return IsNmiExit(l1_.vmcs);
  };
  EXPECT_TRUE(is_nmi(InterruptionInformation::Nmi().value()));
  EXPECT_FALSE(is_nmi(InterruptionInformation::Nmi().value() & ~InterruptionInformation::kValid));
  EXPECT_FALSE(is_nmi(InterruptionInformation::HardwareException(Vector::kPageFault).value()));
  l2.Set<VmcsField::kExitReason>(1);
  EXPECT_FALSE(is_nmi(InterruptionInformation::Nmi().value()));
}

// The rules of VM entry lack one then: L1 gets the failure as its own, and somebody has to hear of
// it.
TEST_F(ExitPathTest, AnEntryThatTheProcessorRefusesIsL1sFailureAndReported) {
  constexpr uint32_t kFailure = 1u << 31 | 33;
  l1_.OthersAnswerQuiesce();
  VmcsImage& l2 = l1_.vmcs.vmcs02();
  l2.Set<VmcsField::kExitReason>(kFailure);
  l2.Set<VmcsField::kExitQualification>(3);
  HandleVmExit(l1_.vcpu(), RawExit::FromHardware(VmcsRole::kVmcs02));
  EXPECT_FALSE(l1_.L2Runs());
  EXPECT_EQ(l1_.state.vmcs12.Get<VmcsField::kExitReason>(), kFailure);
  EXPECT_EQ(l1_.state.vmcs12.Get<VmcsField::kExitQualification>(), 3u);
  EXPECT_EQ(l1_.trace.Count(TraceKind::kAssertionFailed), 1);
}

// With ports that refuse every call that is not named here: no lock, no memory, no write to a VMCS.
TEST(SettleExitTest, TouchesTheExitReasonTheInterruptionInformationAndTheCellsOnly) {
  StrictMock<MockCpu> cpu;
  StrictMock<MockVmcs> vmcs;
  StrictMock<MockGuestMemory> memory;
  StrictMock<MockApic> apic;
  StrictMock<MockClock> clock;
  StrictMock<MockTrace> trace;
  System system(2);
  CpuCells own;
  VcpuState state;
  InitializeVcpuState(state, BuildOfferedCapabilities());
  Vcpu vcpu{{cpu, vmcs, memory, apic, clock, trace},
            system,
            own,
            state,
            CoreQuiesce(),
            CoreChoreography(),
            CoreEmbedder()};
  EventLog log;
  FakeCpu other(1, log);
  system.quiesce.initiator.Store(other, 2);
  const auto access = [](const SharedCell& cell, SharedOperation operation) {
    return testing::AllOf(testing::Field(&SharedAccess::cell, &cell),
                          testing::Field(&SharedAccess::operation, operation));
  };
  EXPECT_CALL(cpu, Index()).WillRepeatedly(Return(0));
  InSequence order;
  EXPECT_CALL(vmcs, Read(VmcsField::kExitReason)).WillOnce(Return(0));
  EXPECT_CALL(vmcs, Read(VmcsField::kVmExitInterruptionInformation)).WillOnce(Return(0x80000202));
  EXPECT_CALL(cpu, BeforeSharedAccess(access(system.quiesce.initiator, SharedOperation::kLoad)));
  EXPECT_CALL(cpu, BeforeSharedAccess(access(system.quiesce.acknowledged, SharedOperation::kAdd)));
  EXPECT_CALL(trace, Record(TraceKind::kNmiAcknowledged, 1, _));
  EXPECT_CALL(cpu, SpinUntil(testing::Field(&SpinCondition::cell, &system.quiesce.resume_signal)));
  EXPECT_CALL(cpu, Invalidate(Invalidation{}));
  EXPECT_CALL(cpu, BeforeSharedAccess(access(system.quiesce.resumed, SharedOperation::kAdd)));
  EXPECT_CALL(cpu, UnblockNmi());
  EXPECT_FALSE(SettleExit(vcpu, RawExit::FromHardware(VmcsRole::kVmcs02)).has_value());
}

TEST(HostNmiTest, InRootTheNmiIsSettledAndNothingIsUnblocked) {
  FakeVcpu l1;
  HandleHostNmi(l1.vcpu());
  EXPECT_THAT(l1.log, ElementsAre("load quiesce_initiator", "load guest_nmis_pending",
                                  "add guest_nmis_pending", "trace NmiToGuest"));
}

}  // namespace
}  // namespace nvmx
