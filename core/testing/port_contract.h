// SPDX-License-Identifier: Apache-2.0
//
// What every implementation of the ports promises, as tests. A backend includes this header in one
// of its tests and instantiates PortContractTest with a function that makes a machine of its own:
//
//   INSTANTIATE_TEST_SUITE_P(Simulator, PortContractTest, testing::Values(&MakeSimulator));
#ifndef NVMX_CORE_TESTING_PORT_CONTRACT_H_
#define NVMX_CORE_TESTING_PORT_CONTRACT_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "core/ports/ports.h"
#include "core/smp/lock.h"
#include "core/smp/shared.h"
#include "gtest/gtest.h"

namespace nvmx {

// A machine of two CPUs under test.
class ContractMachine {
 public:
  virtual ~ContractMachine() = default;

  // Runs the function on CPU 0, in root, NMIs not blocked, VMCS01 current. Returns when it has
  // returned.
  virtual void Run(std::function<void(Ports&)> on_cpu_0) = 0;
  // The same while CPU 1 runs another one: at the latest when CPU 0 waits.
  virtual void RunBoth(std::function<void(Ports&)> on_cpu_0,
                       std::function<void(Ports&)> on_cpu_1) = 0;
  // Called by on_cpu_0: blocks NMIs on CPU 0, as an NMI exit does, and sends it one more.
  virtual void BlockNmisAndSendOne() = 0;
  // How many NMIs CPU 0 has taken in root.
  virtual int NmisTaken() = 0;

  // An MSR whose 64 bits RDMSR and WRMSR read and write; one that neither accepts; one that only
  // RDMSR accepts.
  virtual uint32_t WritableMsr() = 0;
  virtual uint32_t AbsentMsr() = 0;
  virtual uint32_t ReadOnlyMsr() = 0;
  // The first address that is not backed by memory. At least two pages below it are.
  virtual uint64_t MemoryEnd() = 0;
};

using MakeContractMachine = std::unique_ptr<ContractMachine> (*)();

class PortContractTest : public testing::TestWithParam<MakeContractMachine> {
 protected:
  PortContractTest() : machine_(GetParam()()) {}
  ContractMachine& machine() { return *machine_; }

 private:
  std::unique_ptr<ContractMachine> machine_;
};

TEST_P(PortContractTest, MakeCurrentChangesTheRoleThatCurrentReturns) {
  machine().Run([](Ports& ports) {
    EXPECT_EQ(ports.vmcs.Current(), VmcsRole::kVmcs01);
    ports.vmcs.MakeCurrent(VmcsRole::kVmcs02);
    EXPECT_EQ(ports.vmcs.Current(), VmcsRole::kVmcs02);
    ports.vmcs.MakeCurrent(VmcsRole::kVmcs01);
    EXPECT_EQ(ports.vmcs.Current(), VmcsRole::kVmcs01);
  });
}

TEST_P(PortContractTest, TheTwoVmcssHoldTheirFieldsApart) {
  machine().Run([](Ports& ports) {
    ports.vmcs.Write(VmcsField::kGuestRip, 0x1111);
    ports.vmcs.MakeCurrent(VmcsRole::kVmcs02);
    ports.vmcs.Write(VmcsField::kGuestRip, 0x2222);
    EXPECT_EQ(ports.vmcs.Read(VmcsField::kGuestRip), 0x2222u);
    ports.vmcs.MakeCurrent(VmcsRole::kVmcs01);
    EXPECT_EQ(ports.vmcs.Read(VmcsField::kGuestRip), 0x1111u);
  });
}

TEST_P(PortContractTest, VmwriteIgnoresBitsAboveTheWidthOfTheField) {
  machine().Run([](Ports& ports) {
    const uint64_t all_ones = ~uint64_t{0};
    ports.vmcs.Write(VmcsField::kGuestEsSelector, all_ones);
    EXPECT_EQ(ports.vmcs.Read(VmcsField::kGuestEsSelector), 0xFFFFu);
    ports.vmcs.Write(VmcsField::kGuestEsLimit, all_ones);
    EXPECT_EQ(ports.vmcs.Read(VmcsField::kGuestEsLimit), 0xFFFFFFFFu);
    ports.vmcs.Write(VmcsField::kTscOffset, all_ones);
    EXPECT_EQ(ports.vmcs.Read(VmcsField::kTscOffset), all_ones);
    ports.vmcs.Write(VmcsField::kGuestRsp, all_ones);
    EXPECT_EQ(ports.vmcs.Read(VmcsField::kGuestRsp), all_ones);
  });
}

TEST_P(PortContractTest, MemoryReturnsWhatWasWrittenAndNothingBesideItChanges) {
  machine().Run([this](Ports& ports) {
    const GuestPhysicalAddress base{machine().MemoryEnd() - 2 * kPageSize};
    ASSERT_TRUE(ports.memory.WriteValue(base, uint64_t{0}));
    ASSERT_TRUE(ports.memory.WriteValue(base + 8, ~uint64_t{0}));
    ASSERT_TRUE(ports.memory.WriteValue(base + 3, uint16_t{0xABCD}));
    uint64_t low = 0;
    uint64_t high = 0;
    ASSERT_TRUE(ports.memory.ReadValue(base, low));
    ASSERT_TRUE(ports.memory.ReadValue(base + 8, high));
    EXPECT_EQ(low, 0xABCD000000u);
    EXPECT_EQ(high, ~uint64_t{0});
  });
}

TEST_P(PortContractTest, AnAccessMayCrossAPageBoundary) {
  machine().Run([this](Ports& ports) {
    const GuestPhysicalAddress across{machine().MemoryEnd() - kPageSize - 3};
    ASSERT_TRUE(ports.memory.WriteValue(across, uint64_t{0x1122334455667788}));
    uint64_t value = 0;
    ASSERT_TRUE(ports.memory.ReadValue(across, value));
    EXPECT_EQ(value, 0x1122334455667788u);
    uint8_t first_of_second_page = 0;
    ASSERT_TRUE(ports.memory.ReadValue(across + 3, first_of_second_page));
    EXPECT_EQ(first_of_second_page, 0x55);
  });
}

TEST_P(PortContractTest, AnAccessUpToTheEndOfMemoryIsBackedAndOneByteBeyondIsNot) {
  machine().Run([this](Ports& ports) {
    const GuestPhysicalAddress last{machine().MemoryEnd() - 8};
    uint64_t value = 0;
    EXPECT_TRUE(ports.memory.WriteValue(last, uint64_t{5}));
    EXPECT_TRUE(ports.memory.ReadValue(last, value));
    EXPECT_EQ(value, 5u);
    EXPECT_FALSE(ports.memory.ReadValue(last + 1, value));
    EXPECT_FALSE(ports.memory.ReadValue(GuestPhysicalAddress{machine().MemoryEnd()}, value));
    EXPECT_FALSE(ports.memory.ReadValue(GuestPhysicalAddress{~uint64_t{0}}, value));
    EXPECT_FALSE(ports.memory.ReadValue(GuestPhysicalAddress{~uint64_t{0} - 7}, value));
  });
}

TEST_P(PortContractTest, AnAccessThatIsNotWhollyBackedChangesNothing) {
  machine().Run([this](Ports& ports) {
    const GuestPhysicalAddress last{machine().MemoryEnd() - 8};
    ASSERT_TRUE(ports.memory.WriteValue(last, uint64_t{5}));
    EXPECT_FALSE(ports.memory.WriteValue(last + 4, ~uint64_t{0}));
    uint64_t value = 0;
    ASSERT_TRUE(ports.memory.ReadValue(last, value));
    EXPECT_EQ(value, 5u);
    value = 7;
    EXPECT_FALSE(ports.memory.ReadValue(last + 4, value));
    EXPECT_EQ(value, 7u);
  });
}

TEST_P(PortContractTest, AWritableMsrKeepsWhatItWasGiven) {
  machine().Run([this](Ports& ports) {
    const uint32_t msr = machine().WritableMsr();
    for (uint64_t value : {uint64_t{0}, uint64_t{0x123456789000}, uint64_t{1} << 40}) {
      EXPECT_TRUE(ports.cpu.WriteMsr(msr, value));
      EXPECT_EQ(ports.cpu.ReadMsr(msr), value);
    }
  });
}

TEST_P(PortContractTest, AnAbsentMsrCanNeitherBeReadNorWritten) {
  machine().Run([this](Ports& ports) {
    EXPECT_EQ(ports.cpu.ReadMsr(machine().AbsentMsr()), std::nullopt);
    EXPECT_FALSE(ports.cpu.WriteMsr(machine().AbsentMsr(), 0));
    EXPECT_EQ(ports.cpu.ReadMsr(machine().AbsentMsr()), std::nullopt);
  });
}

TEST_P(PortContractTest, AReadOnlyMsrIsNotChangedByAWrite) {
  machine().Run([this](Ports& ports) {
    const std::optional<uint64_t> before = ports.cpu.ReadMsr(machine().ReadOnlyMsr());
    ASSERT_TRUE(before.has_value());
    EXPECT_FALSE(ports.cpu.WriteMsr(machine().ReadOnlyMsr(), *before + 1));
    EXPECT_EQ(ports.cpu.ReadMsr(machine().ReadOnlyMsr()), before);
  });
}

TEST_P(PortContractTest, TheTimeStampCounterDoesNotGoBack) {
  machine().Run([](Ports& ports) {
    const uint64_t first = ports.clock.ReadTsc();
    EXPECT_LE(first, ports.clock.ReadTsc());
  });
}

TEST_P(PortContractTest, CpusAreNumberedFromZero) {
  std::vector<CpuIndex> indices;
  Shared done("done");
  machine().RunBoth(
      [&](Ports& ports) {
        indices.push_back(ports.cpu.Index());
        done.SpinUntilEquals(ports.cpu, 1);
      },
      [&](Ports& ports) {
        indices.push_back(ports.cpu.Index());
        done.Store(ports.cpu, 1);
      });
  EXPECT_EQ(indices, (std::vector<CpuIndex>{0, 1}));
}

TEST_P(PortContractTest, SharedStoreAndAddAreSeenByLoad) {
  Shared cell("cell");
  machine().Run([&](Ports& ports) {
    EXPECT_EQ(cell.Load(ports.cpu), 0u);
    cell.Store(ports.cpu, 5);
    cell.Add(ports.cpu, 2);
    EXPECT_EQ(cell.Load(ports.cpu), 7u);
    cell.Add(ports.cpu, ~uint64_t{0});
    EXPECT_EQ(cell.Load(ports.cpu), 6u);
  });
}

TEST_P(PortContractTest, SpinUntilReturnsAtOnceIfTheConditionHolds) {
  Shared cell("cell");
  machine().Run([&](Ports& ports) {
    cell.Store(ports.cpu, 3);
    cell.SpinUntilEquals(ports.cpu, 3);
    EXPECT_EQ(cell.Load(ports.cpu), 3u);
  });
}

TEST_P(PortContractTest, SpinUntilReturnsOnceAnotherCpuMadeTheConditionHold) {
  Shared cell("cell");
  bool returned = false;
  machine().RunBoth(
      [&](Ports& ports) {
        cell.SpinUntilEquals(ports.cpu, 2);
        EXPECT_EQ(cell.Load(ports.cpu), 2u);
        returned = true;
      },
      [&](Ports& ports) {
        cell.Store(ports.cpu, 1);
        EXPECT_FALSE(returned);
        cell.Store(ports.cpu, 2);
      });
  EXPECT_TRUE(returned);
}

TEST_P(PortContractTest, ALockHasOneHolderAtATime) {
  Lock lock("lock");
  Shared inside("inside");
  machine().Run([&](Ports& ports) {
    lock.Acquire(ports.cpu);
    EXPECT_EQ(lock.cell().Peek(), 1u);
    lock.Release(ports.cpu);
    EXPECT_EQ(lock.cell().Peek(), 0u);
  });
  Shared taken("taken");
  machine().RunBoth(
      [&](Ports& ports) {
        taken.SpinUntilEquals(ports.cpu, 1);
        lock.Acquire(ports.cpu);
        EXPECT_EQ(inside.Load(ports.cpu), 0u);
        lock.Release(ports.cpu);
      },
      [&](Ports& ports) {
        lock.Acquire(ports.cpu);
        EXPECT_EQ(lock.cell().Peek(), 2u);
        inside.Store(ports.cpu, 1);
        taken.Store(ports.cpu, 1);
        inside.Store(ports.cpu, 0);
        lock.Release(ports.cpu);
      });
  EXPECT_EQ(lock.cell().Peek(), 0u);
}

TEST_P(PortContractTest, UnblockNmiLetsTheLatchedNmiInBeforeItReturns) {
  machine().Run([this](Ports& ports) {
    machine().BlockNmisAndSendOne();
    EXPECT_EQ(machine().NmisTaken(), 0);
    ports.cpu.UnblockNmi();
    EXPECT_EQ(machine().NmisTaken(), 1);
    ports.cpu.UnblockNmi();
    EXPECT_EQ(machine().NmisTaken(), 1);
  });
}

}  // namespace nvmx

#endif  // NVMX_CORE_TESTING_PORT_CONTRACT_H_
