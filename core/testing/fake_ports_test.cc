// SPDX-License-Identifier: Apache-2.0
#include "core/testing/fake_ports.h"

#include <utility>

#include "core/smp/lock.h"
#include "core/smp/shared.h"
#include "core/testing/builders.h"
#include "core/testing/mock_ports.h"
#include "core/testing/port_contract_gtest.h"
#include "gmock/gmock.h"
#include "gtest/gtest-spi.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using testing::ElementsAre;
using testing::Return;

class FakeMachine final : public ContractMachine {
 public:
  FakeMachine() {
    cpu_0_.msrs() = {{kWritable, 0}, {kReadOnly, 7}};
    cpu_0_.read_only_msrs() = {kReadOnly};
    cpu_0_.SetNmiHandler([this] { ++nmis_taken_; });
  }

  void Run(const OnCpu& on_cpu_0) override { on_cpu_0(ports_0_); }
  void RunBoth(const OnCpu& on_cpu_0, const OnCpu& on_cpu_1) override {
    bool has_run = false;
    cpu_0_.WhileWaiting([&](const SpinCondition&) {
      if (!std::exchange(has_run, true)) on_cpu_1(ports_1_);
    });
    on_cpu_0(ports_0_);
  }
  void BlockNmisAndSendOne() override {
    cpu_0_.SetNmiBlocked(true);
    cpu_0_.SendNmi();
  }
  int NmisTaken() override { return nmis_taken_; }
  uint32_t WritableMsr() override { return kWritable; }
  uint32_t AbsentMsr() override { return kWritable + 1; }
  uint32_t ReadOnlyMsr() override { return kReadOnly; }
  uint64_t MemoryEnd() override { return memory_.size(); }

 private:
  static constexpr uint32_t kWritable = Index(Msr::IA32_LSTAR);
  static constexpr uint32_t kReadOnly = Index(Msr::IA32_MTRRCAP);

  EventLog log_;
  FakeCpu cpu_0_{0, log_};
  FakeCpu cpu_1_{1, log_};
  FakeVmcs vmcs_0_{BuildHardwareCapabilities(), log_};
  FakeVmcs vmcs_1_{BuildHardwareCapabilities(), log_};
  FakeGuestMemory memory_{0x10000, log_};
  FakeApic apic_{log_};
  FakeClock clock_{log_};
  FakeTrace trace_{log_};
  Ports ports_0_{cpu_0_, vmcs_0_, memory_, apic_, clock_, trace_};
  Ports ports_1_{cpu_1_, vmcs_1_, memory_, apic_, clock_, trace_};
  int nmis_taken_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Fakes, PortContractTest, EachCheckOn<FakeMachine>(), NameOfCheck);

// A machine that breaks every promise about MSRs is found out.
class MachineWithoutMsrs final : public ContractMachine {
 public:
  void Run(const OnCpu& on_cpu_0) override { machine_.Run(on_cpu_0); }
  void RunBoth(const OnCpu& on_cpu_0, const OnCpu& on_cpu_1) override {
    machine_.RunBoth(on_cpu_0, on_cpu_1);
  }
  void BlockNmisAndSendOne() override { machine_.BlockNmisAndSendOne(); }
  int NmisTaken() override { return machine_.NmisTaken(); }
  uint32_t WritableMsr() override { return machine_.AbsentMsr(); }
  uint32_t AbsentMsr() override { return machine_.WritableMsr(); }
  uint32_t ReadOnlyMsr() override { return machine_.WritableMsr(); }
  uint64_t MemoryEnd() override { return machine_.MemoryEnd(); }

 private:
  FakeMachine machine_;
};

class CountedFailures final : public ContractReport {
 public:
  void Fail(const char*, uint64_t, uint64_t) override { ++count; }
  int count = 0;
};

TEST(PortContractItself, ReportsWhatIsNotKept) {
  int broken = 0;
  for (const ContractCheck& check : PortContract()) {
    MachineWithoutMsrs machine;
    CountedFailures failures;
    check.run(machine, failures);
    if (failures.count != 0) ++broken;
  }
  EXPECT_EQ(broken, 3);
}

TEST(FakePortsTest, TheLogTellsTheOrderOfCallsAcrossPorts) {
  EventLog log;
  FakeCpu cpu(0, log);
  FakeVmcs vmcs(BuildHardwareCapabilities(), log);
  FakeApic apic(log);
  Shared cell("cell");
  vmcs.Read(VmcsField::kExitReason);
  cell.Add(cpu, 1);
  apic.SendNmiToAllOthers();
  cell.SpinUntilEquals(cpu, 1);
  cpu.ReadMsr(0xC0000080);
  EXPECT_THAT(log, ElementsAre("VMREAD Exit reason", "add cell", "NMI to all others", "spin cell=1",
                               "RDMSR C0000080"));
}

TEST(FakePortsTest, AWaitThatNobodyEndsFailsTheTestAndReturns) {
  static EventLog log;
  static FakeCpu cpu(0, log);
  static Lock lock("lock");
  lock.Acquire(cpu);
  EXPECT_NONFATAL_FAILURE(lock.Acquire(cpu), "waits for ever: acquire lock");
  lock.Release(cpu);
}

TEST(FakePortsTest, AnAccessToAFieldThatTheCpuDoesNotHaveFailsTheTest) {
  static EventLog log;
  Capabilities without_ept = BuildHardwareCapabilities();
  without_ept.procbased_ctls2 = 0;
  static FakeVmcs vmcs(without_ept, log);
  EXPECT_NONFATAL_FAILURE(vmcs.Read(VmcsField::kEptPointer), "EPT pointer");
  EXPECT_NONFATAL_FAILURE(vmcs.Write(VmcsField::kEptPointer, 0), "EPT pointer");
}

TEST(FakePortsTest, ARemovedPageIsNotBackedAndItsNeighboursAre) {
  EventLog log;
  FakeGuestMemory memory(0x10000, log);
  memory.RemovePage(0x5678);
  uint64_t value = 0;
  EXPECT_FALSE(memory.ReadValue(GuestPhysicalAddress{0x5000}, value));
  EXPECT_FALSE(memory.ReadValue(GuestPhysicalAddress{0x4FFC}, value));
  EXPECT_TRUE(memory.ReadValue(GuestPhysicalAddress{0x4FF8}, value));
  EXPECT_TRUE(memory.ReadValue(GuestPhysicalAddress{0x6000}, value));
}

TEST(MockPortsTest, AMockStandsForAPort) {
  MockCpu cpu;
  EXPECT_CALL(cpu, ReadMsr(0x10)).WillOnce(Return(std::optional<uint64_t>(5)));
  Cpu& port = cpu;
  EXPECT_EQ(port.ReadMsr(0x10), 5u);
}

}  // namespace
}  // namespace nvmx
