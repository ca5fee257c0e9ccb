// SPDX-License-Identifier: Apache-2.0
#include "core/testing/port_contract.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <optional>

#include "core/smp/lock.h"
#include "core/smp/shared.h"
#include "core/x86/address.h"

namespace nvmx {
namespace {

// The text of the expression is what a person gets to see.
#define NVMX_EXPECT(found, wanted) Expect(report, #found, found, wanted)

void Expect(ContractReport& report, const char* what, uint64_t found, uint64_t wanted) {
  if (found != wanted) report.Fail(what, found, wanted);
}
uint64_t Number(VmcsRole role) { return static_cast<uint64_t>(role); }

void MakeCurrentChangesTheRole(ContractMachine& machine, ContractReport& report) {
  machine.Run([&](Ports& ports) {
    NVMX_EXPECT(Number(ports.vmcs.Current()), Number(VmcsRole::kVmcs01));
    ports.vmcs.MakeCurrent(VmcsRole::kVmcs02);
    NVMX_EXPECT(Number(ports.vmcs.Current()), Number(VmcsRole::kVmcs02));
    ports.vmcs.MakeCurrent(VmcsRole::kVmcs01);
    NVMX_EXPECT(Number(ports.vmcs.Current()), Number(VmcsRole::kVmcs01));
  });
}

void TheTwoVmcssHoldTheirFieldsApart(ContractMachine& machine, ContractReport& report) {
  machine.Run([&](Ports& ports) {
    ports.vmcs.Write(VmcsField::kGuestRip, 0x1111);
    ports.vmcs.MakeCurrent(VmcsRole::kVmcs02);
    ports.vmcs.Write(VmcsField::kGuestRip, 0x2222);
    NVMX_EXPECT(ports.vmcs.Read(VmcsField::kGuestRip), 0x2222);
    ports.vmcs.MakeCurrent(VmcsRole::kVmcs01);
    NVMX_EXPECT(ports.vmcs.Read(VmcsField::kGuestRip), 0x1111);
  });
}

void VmwriteIgnoresBitsAboveTheWidth(ContractMachine& machine, ContractReport& report) {
  machine.Run([&](Ports& ports) {
    const uint64_t all_ones = ~uint64_t{0};
    ports.vmcs.Write(VmcsField::kGuestEsSelector, all_ones);
    NVMX_EXPECT(ports.vmcs.Read(VmcsField::kGuestEsSelector), 0xFFFF);
    ports.vmcs.Write(VmcsField::kGuestEsLimit, all_ones);
    NVMX_EXPECT(ports.vmcs.Read(VmcsField::kGuestEsLimit), 0xFFFFFFFF);
    ports.vmcs.Write(VmcsField::kTscOffset, all_ones);
    NVMX_EXPECT(ports.vmcs.Read(VmcsField::kTscOffset), all_ones);
    ports.vmcs.Write(VmcsField::kGuestRsp, all_ones);
    NVMX_EXPECT(ports.vmcs.Read(VmcsField::kGuestRsp), machine.NaturalWidth());
  });
}

void MemoryChangesWhereItIsWritten(ContractMachine& machine, ContractReport& report) {
  machine.Run([&](Ports& ports) {
    const GuestPhysicalAddress base{machine.MemoryEnd() - 2 * kPageSize};
    NVMX_EXPECT(ports.memory.WriteValue(base, uint64_t{0}), true);
    NVMX_EXPECT(ports.memory.WriteValue(base + 8, ~uint64_t{0}), true);
    NVMX_EXPECT(ports.memory.WriteValue(base + 3, uint16_t{0xABCD}), true);
    uint64_t low = 0;
    uint64_t high = 0;
    NVMX_EXPECT(ports.memory.ReadValue(base, low), true);
    NVMX_EXPECT(ports.memory.ReadValue(base + 8, high), true);
    NVMX_EXPECT(low, 0xABCD000000);
    NVMX_EXPECT(high, ~uint64_t{0});
  });
}

void AnAccessMayCrossAPageBoundary(ContractMachine& machine, ContractReport& report) {
  machine.Run([&](Ports& ports) {
    const GuestPhysicalAddress across{machine.Seam() - 3};
    NVMX_EXPECT(ports.memory.WriteValue(across, uint64_t{0x1122334455667788}), true);
    uint64_t value = 0;
    NVMX_EXPECT(ports.memory.ReadValue(across, value), true);
    NVMX_EXPECT(value, 0x1122334455667788);
    uint8_t first_of_second_page = 0;
    NVMX_EXPECT(ports.memory.ReadValue(across + 3, first_of_second_page), true);
    NVMX_EXPECT(first_of_second_page, 0x55);
  });
}

void MemoryEndsWhereItEnds(ContractMachine& machine, ContractReport& report) {
  machine.Run([&](Ports& ports) {
    const GuestPhysicalAddress end{machine.MemoryEnd()};
    const GuestPhysicalAddress last{end.value - 8};
    uint64_t value = 0;
    NVMX_EXPECT(ports.memory.WriteValue(last, uint64_t{5}), true);
    NVMX_EXPECT(ports.memory.ReadValue(last, value), true);
    NVMX_EXPECT(value, 5);
    NVMX_EXPECT(ports.memory.ReadValue(last + 1, value), false);
    NVMX_EXPECT(ports.memory.ReadValue(end, value), false);
    NVMX_EXPECT(ports.memory.ReadValue(GuestPhysicalAddress{~uint64_t{0}}, value), false);
    NVMX_EXPECT(ports.memory.ReadValue(GuestPhysicalAddress{~uint64_t{0} - 7}, value), false);
  });
}

void AnAccessThatIsNotWhollyBackedChangesNothing(ContractMachine& machine, ContractReport& report) {
  machine.Run([&](Ports& ports) {
    const GuestPhysicalAddress last{machine.MemoryEnd() - 8};
    NVMX_EXPECT(ports.memory.WriteValue(last, uint64_t{5}), true);
    NVMX_EXPECT(ports.memory.WriteValue(last + 4, ~uint64_t{0}), false);
    uint64_t value = 0;
    NVMX_EXPECT(ports.memory.ReadValue(last, value), true);
    NVMX_EXPECT(value, 5);
    value = 7;
    NVMX_EXPECT(ports.memory.ReadValue(last + 4, value), false);
    NVMX_EXPECT(value, 7);
  });
}

void CompareExchangeChangesWhatIsExpected(ContractMachine& machine, ContractReport& report) {
  machine.Run([&](Ports& ports) {
    const GuestPhysicalAddress last{machine.MemoryEnd() - 8};
    uint64_t value = 0;
    NVMX_EXPECT(ports.memory.WriteValue(last, uint64_t{5}), true);
    NVMX_EXPECT(ports.memory.CompareExchange(last, 4, 6), false);
    NVMX_EXPECT(ports.memory.ReadValue(last, value), true);
    NVMX_EXPECT(value, 5);
    NVMX_EXPECT(ports.memory.CompareExchange(last, 5, 6), true);
    NVMX_EXPECT(ports.memory.ReadValue(last, value), true);
    NVMX_EXPECT(value, 6);
    NVMX_EXPECT(ports.memory.CompareExchange(last + 8, 0, 0), false);
  });
}

void AWritableMsrKeepsWhatItWasGiven(ContractMachine& machine, ContractReport& report) {
  machine.Run([&](Ports& ports) {
    const uint32_t msr = machine.WritableMsr();
    for (const uint64_t value : {uint64_t{0}, uint64_t{0x123456789000}, uint64_t{1} << 40}) {
      NVMX_EXPECT(ports.cpu.WriteMsr(msr, value), true);
      const std::optional<uint64_t> found = ports.cpu.ReadMsr(msr);
      NVMX_EXPECT(found.has_value(), true);
      NVMX_EXPECT(found.value_or(~value), value);
    }
  });
}

void AnAbsentMsrCanNeitherBeReadNorWritten(ContractMachine& machine, ContractReport& report) {
  machine.Run([&](Ports& ports) {
    NVMX_EXPECT(ports.cpu.ReadMsr(machine.AbsentMsr()).has_value(), false);
    NVMX_EXPECT(ports.cpu.WriteMsr(machine.AbsentMsr(), 0), false);
    NVMX_EXPECT(ports.cpu.ReadMsr(machine.AbsentMsr()).has_value(), false);
  });
}

void AReadOnlyMsrIsNotChangedByAWrite(ContractMachine& machine, ContractReport& report) {
  machine.Run([&](Ports& ports) {
    const std::optional<uint64_t> before = ports.cpu.ReadMsr(machine.ReadOnlyMsr());
    NVMX_EXPECT(before.has_value(), true);
    NVMX_EXPECT(ports.cpu.WriteMsr(machine.ReadOnlyMsr(), before.value_or(0) + 1), false);
    const std::optional<uint64_t> after = ports.cpu.ReadMsr(machine.ReadOnlyMsr());
    NVMX_EXPECT(after.has_value(), true);
    NVMX_EXPECT(after.value_or(0), before.value_or(0));
  });
}

void TheTimeStampCounterDoesNotGoBack(ContractMachine& machine, ContractReport& report) {
  machine.Run([&](Ports& ports) {
    const uint64_t first = ports.clock.ReadTsc();
    NVMX_EXPECT(ports.clock.ReadTsc() >= first, true);
  });
}

void CpusAreNumberedFromZero(ContractMachine& machine, ContractReport& report) {
  Shared done("done");
  machine.RunBoth(
      [&](Ports& ports) {
        NVMX_EXPECT(ports.cpu.Index(), 0);
        done.SpinUntilEquals(ports.cpu, 1);
      },
      [&](Ports& ports) {
        NVMX_EXPECT(ports.cpu.Index(), 1);
        done.Store(ports.cpu, 1);
      });
  NVMX_EXPECT(done.Peek(), 1);
}

void SharedStoreAndAddAreSeenByLoad(ContractMachine& machine, ContractReport& report) {
  Shared cell("cell");
  machine.Run([&](Ports& ports) {
    NVMX_EXPECT(cell.Load(ports.cpu), 0);
    cell.Store(ports.cpu, 5);
    cell.Add(ports.cpu, 2);
    NVMX_EXPECT(cell.Load(ports.cpu), 7);
    cell.Add(ports.cpu, ~uint64_t{0});
    NVMX_EXPECT(cell.Load(ports.cpu), 6);
  });
}

void SpinUntilReturnsAtOnceIfTheConditionHolds(ContractMachine& machine, ContractReport& report) {
  Shared cell("cell");
  machine.Run([&](Ports& ports) {
    cell.Store(ports.cpu, 3);
    cell.SpinUntilEquals(ports.cpu, 3);
    NVMX_EXPECT(cell.Load(ports.cpu), 3);
  });
}

void SpinUntilReturnsOnceTheConditionHolds(ContractMachine& machine, ContractReport& report) {
  Shared cell("cell");
  std::atomic<bool> returned{false};
  machine.RunBoth(
      [&](Ports& ports) {
        cell.SpinUntilEquals(ports.cpu, 2);
        NVMX_EXPECT(cell.Load(ports.cpu), 2);
        returned = true;
      },
      [&](Ports& ports) {
        cell.Store(ports.cpu, 1);
        NVMX_EXPECT(returned.load(), false);
        cell.Store(ports.cpu, 2);
      });
  NVMX_EXPECT(returned.load(), true);
}

void ALockHasOneHolderAtATime(ContractMachine& machine, ContractReport& report) {
  Lock lock("lock");
  Shared inside("inside");
  Shared taken("taken");
  machine.Run([&](Ports& ports) {
    lock.Acquire(ports.cpu);
    NVMX_EXPECT(lock.cell().Peek(), 1);
    lock.Release(ports.cpu);
    NVMX_EXPECT(lock.cell().Peek(), 0);
  });
  machine.RunBoth(
      [&](Ports& ports) {
        taken.SpinUntilEquals(ports.cpu, 1);
        lock.Acquire(ports.cpu);
        NVMX_EXPECT(inside.Load(ports.cpu), 0);
        lock.Release(ports.cpu);
      },
      [&](Ports& ports) {
        lock.Acquire(ports.cpu);
        NVMX_EXPECT(lock.cell().Peek(), 2);
        inside.Store(ports.cpu, 1);
        taken.Store(ports.cpu, 1);
        inside.Store(ports.cpu, 0);
        lock.Release(ports.cpu);
      });
  NVMX_EXPECT(lock.cell().Peek(), 0);
}

void UnblockNmiLetsTheLatchedNmiIn(ContractMachine& machine, ContractReport& report) {
  machine.Run([&](Ports& ports) {
    const int before = machine.NmisTaken();
    machine.BlockNmisAndSendOne();
    NVMX_EXPECT(static_cast<uint64_t>(machine.NmisTaken() - before), 0);
    ports.cpu.UnblockNmi();
    NVMX_EXPECT(static_cast<uint64_t>(machine.NmisTaken() - before), 1);
    ports.cpu.UnblockNmi();
    NVMX_EXPECT(static_cast<uint64_t>(machine.NmisTaken() - before), 1);
  });
}

#undef NVMX_EXPECT

constexpr ContractCheck kChecks[] = {
    {"MakeCurrentChangesTheRole", &MakeCurrentChangesTheRole},
    {"TheTwoVmcssHoldTheirFieldsApart", &TheTwoVmcssHoldTheirFieldsApart},
    {"VmwriteIgnoresBitsAboveTheWidth", &VmwriteIgnoresBitsAboveTheWidth},
    {"MemoryChangesWhereItIsWritten", &MemoryChangesWhereItIsWritten},
    {"AnAccessMayCrossAPageBoundary", &AnAccessMayCrossAPageBoundary},
    {"MemoryEndsWhereItEnds", &MemoryEndsWhereItEnds},
    {"AnAccessThatIsNotWhollyBackedChangesNothing", &AnAccessThatIsNotWhollyBackedChangesNothing},
    {"CompareExchangeChangesWhatIsExpected", &CompareExchangeChangesWhatIsExpected},
    {"AWritableMsrKeepsWhatItWasGiven", &AWritableMsrKeepsWhatItWasGiven},
    {"AnAbsentMsrCanNeitherBeReadNorWritten", &AnAbsentMsrCanNeitherBeReadNorWritten},
    {"AReadOnlyMsrIsNotChangedByAWrite", &AReadOnlyMsrIsNotChangedByAWrite},
    {"TheTimeStampCounterDoesNotGoBack", &TheTimeStampCounterDoesNotGoBack},
    {"CpusAreNumberedFromZero", &CpusAreNumberedFromZero},
    {"SharedStoreAndAddAreSeenByLoad", &SharedStoreAndAddAreSeenByLoad},
    {"SpinUntilReturnsAtOnceIfTheConditionHolds", &SpinUntilReturnsAtOnceIfTheConditionHolds},
    {"SpinUntilReturnsOnceTheConditionHolds", &SpinUntilReturnsOnceTheConditionHolds},
    {"ALockHasOneHolderAtATime", &ALockHasOneHolderAtATime},
    {"UnblockNmiLetsTheLatchedNmiIn", &UnblockNmiLetsTheLatchedNmiIn},
};

}  // namespace

std::span<const ContractCheck> PortContract() { return kChecks; }

}  // namespace nvmx
