// SPDX-License-Identifier: Apache-2.0
#include "fuzz/topical_mutations.h"

#include <cstring>
#include <optional>

#include "backends/sim/machine/processor_profile.h"
#include "core/vmx/ept.h"
#include "core/vmx/msr_list.h"
#include "core/x86/address.h"
#include "core/x86/efer.h"
#include "core/x86/msr.h"
#include "fuzz/input_memory.h"
#include "fuzz/mutator.h"
#include "lhv/baseline.h"
#include "lhv/layout.h"

namespace nvmx::fuzz {
namespace {

using lhv::CpuProgram;
using lhv::Operation;
using lhv::OperationKind;

constexpr uint32_t kMsrs[] = {
#define NVMX_MSR(name, index) index,
#include "core/x86/msrs.def"
#undef NVMX_MSR
};

// --- MSR lists

struct ListFields {
  VmcsField address, count;
  uint64_t place;  // where a list begins that had none, as an offset in the window
};
constexpr ListFields kLists[] = {
    {VmcsField::kVmEntryMsrLoadAddress, VmcsField::kVmEntryMsrLoadCount, 0x1'4000},
    {VmcsField::kVmExitMsrStoreAddress, VmcsField::kVmExitMsrStoreCount, 0x1'6000},
    {VmcsField::kVmExitMsrLoadAddress, VmcsField::kVmExitMsrLoadCount, 0x1'8000},
};

Operation* LastWrite(CpuProgram& cpu, VmcsField field) {
  for (size_t i = cpu.l1.size(); i-- > 0;) {
    Operation& operation = cpu.l1[i];
    if (operation.kind == OperationKind::kVmwrite && operation.selector == Encoding(field)) {
      return &operation;
    }
  }
  return nullptr;
}

Operation& WriteOf(CpuProgram& cpu, VmcsField field, const Operation& otherwise) {
  if (Operation* write = LastWrite(cpu, field)) return *write;
  cpu.l1.insert(cpu.l1.begin(), otherwise);
  return cpu.l1.front();
}

uint64_t SomeData(Random& random, uint32_t msr, uint64_t old) {
  switch (random.Below(6)) {
    case 0:
      return random.Awkward(64);
    case 1:
      return old ^ random.Bit(64);
    case 2:
      return random.Awkward(32);
    default:
      break;
  }
  if (msr == Index(Msr::IA32_EFER)) {
    return (Efer::kLme | Efer::kLma) ^ (random.OneIn(2) ? random.Bit(12) : 0);
  }
  if (msr == Index(Msr::IA32_PAT)) return 0x0007'0406'0007'0406 ^ (random.OneIn(2) ? 1 : 2);
  return random.Below(8);
}

void MutateEntry(CpuProgram& cpu, uint64_t offset, Random& random,
                 const ByteMutator& mutate_bytes) {
  constexpr uint64_t kData = offsetof(MsrListEntry, data);
  uint64_t head = WordAt(cpu, offset);
  uint64_t data = WordAt(cpu, offset + kData);
  switch (random.Below(8)) {
    case 0:
      head ^= random.Bit(64);
      break;
    case 1:
      data = SomeData(random, static_cast<uint32_t>(head), data);
      break;
    case 2: {
      std::byte bytes[sizeof(MsrListEntry)];
      std::memcpy(bytes, &head, sizeof head);
      std::memcpy(bytes + kData, &data, sizeof data);
      mutate_bytes(bytes, sizeof bytes, sizeof bytes);
      std::memcpy(&head, bytes, sizeof head);
      std::memcpy(&data, bytes + kData, sizeof data);
      break;
    }
    default:
      head = SomeMsr(random);
      data = SomeData(random, static_cast<uint32_t>(head), data);
      break;
  }
  PutWord(cpu, offset, head);
  PutWord(cpu, offset + kData, data);
}

// --- EPT

uint64_t SomeEptEntry(Random& random) {
  constexpr uint64_t kEntryBytes = sizeof(uint64_t);
  constexpr uint64_t kFirstPage = lhv::WindowOf(0) >> kPageShift;
  switch (random.Below(12)) {
    case 0:
      return EptTables::kPml4 + random.Below(2) * kEntryBytes;
    case 1:
      return EptTables::kPdpt + random.Below(4) * kEntryBytes;
    case 2:
      // Of the code of L2 and its handlers.
      return EptTables::kPd +
             random.Of({uint64_t{0x100}, uint64_t{0x1C0}, uint64_t{0}}) * kEntryBytes;
    default: {
      constexpr uint64_t kPages[] = {0x1'2000,
                                     0x1'3000,
                                     lhv::kL2StackTop - kPageSize,
                                     lhv::kPageTableOffset,
                                     lhv::kPageTableOffset + kPageSize,
                                     lhv::kGdtOffset,
                                     lhv::kL2IdtOffset};
      const uint64_t page = random.Of(kPages) >> kPageShift;
      return EptTables::kPt + (kFirstPage + page) % 512 * kEntryBytes;
    }
  }
}

uint64_t ChangedEptEntry(Random& random, uint64_t entry) {
  switch (random.Below(8)) {
    case 0:
    case 1:
      return (entry & ~EptEntry::kPermissions) | random.Below(8);
    case 2:
      return (entry & ~EptEntry::kMemoryType) | random.Below(8) << EptEntry::kMemoryTypeShift;
    case 3:
      return (entry & 0xFFF) | (lhv::WindowOf(0) + kFirstInputMemory + random.Below(4) * kPageSize);
    case 4:
      return (entry & 0xFFF) | random.Of({uint64_t{0x3000'0000}, uint64_t{0x7F'FFFF'F000},
                                          uint64_t{0x80'0000'0000}, SomeAddressOfL0(random)});
    default:
      return entry ^ random.Bit(random.OneIn(2) ? 12 : 64);
  }
}

Operation SomeAccess(Random& random) {
  const uint64_t offset =
      random.OneIn(6) ? kFirstInputMemory + kPageSize - 4
                      : kFirstInputMemory + random.Below(2) * kPageSize + random.Below(64) * 8;
  return {.kind = random.OneIn(2) ? OperationKind::kReadMemory : OperationKind::kWriteMemory,
          .flags = lhv::kValueIsWindowOffset,
          .selector = sizeof(uint64_t),
          .value = offset,
          .extra = 0};
}

Operation SomeInvalidation(Random& random) {
  constexpr uint64_t kEptp = lhv::WindowOf(0) + EptTables::kPml4;
  constexpr uint64_t kWriteBackFourLevels = 0x1E;
  return {
      .kind = OperationKind::kInvept,
      .selector = static_cast<uint32_t>(random.OneIn(8) ? random.Below(4) : random.Between(1, 2)),
      .value = random.OneIn(8) ? random.Awkward(64) : kEptp | kWriteBackFourLevels};
}

}  // namespace

uint32_t SomeMsr(Random& random) {
  const uint32_t msr = random.Of(kMsrs);
  switch (random.Below(16)) {
    case 0:
      return msr + static_cast<uint32_t>(random.Between(1, 4));
    case 1:
      return msr ^ static_cast<uint32_t>(random.Bit(32));
    case 2:
      return 0x800 + static_cast<uint32_t>(random.Below(0x100));
    default:
      return msr;
  }
}

void MutateMsrList(CpuProgram& cpu, Random& random, const ByteMutator& mutate_bytes) {
  static const uint64_t kWidth = sim::SimulatedCapabilities().physical_address_width;
  const ListFields& list = random.Of(kLists);
  Operation& address =
      WriteOf(cpu, list.address, lhv::Vmwrite(list.address, list.place, lhv::kValueIsWindowOffset));
  const uint64_t offset = (address.flags & lhv::kValueIsWindowOffset) != 0
                              ? address.value
                              : address.value - lhv::WindowOf(0);
  if (random.OneIn(16)) {
    // Beyond a page, and at the end of what physical addresses there can be.
    switch (random.Below(4)) {
      case 0:
        address.value = list.place + kPageSize - random.Below(4) * sizeof(MsrListEntry);
        break;
      case 1:
        address.flags &= static_cast<uint16_t>(~lhv::kValueIsWindowOffset);
        address.value = (uint64_t{1} << (random.OneIn(2) ? kWidth : random.Between(32, 52))) -
                        random.Below(4) * sizeof(MsrListEntry);
        break;
      default:
        address.value ^= random.Bit(40);
        break;
    }
    return;
  }
  Operation& count = WriteOf(cpu, list.count, lhv::Vmwrite(list.count, 1));
  if (random.OneIn(8)) {
    count.value = random.OneIn(8) ? random.Of({uint64_t{512}, uint64_t{513}, uint64_t{0xFFFF'FFFF}})
                                  : random.Below(8);
    return;
  }
  const uint64_t entries = count.value == 0 ? 1 : std::min<uint64_t>(count.value, 8);
  MutateEntry(cpu, (offset & ~uint64_t{7}) + random.Below(entries) * sizeof(MsrListEntry), random,
              mutate_bytes);
}

void MutateEpt(CpuProgram& cpu, Random& random) {
  const auto insert = [&](std::vector<Operation>& code, const Operation& operation) {
    code.insert(code.begin() + static_cast<ptrdiff_t>(random.Below(code.size() + 1)), operation);
  };
  switch (random.Below(6)) {
    case 0:
    case 1:
      return insert(cpu.l2, SomeAccess(random));
    case 2: {
      // L1 changes an entry while L2 has used it.
      const uint64_t offset = SomeEptEntry(random);
      const uint64_t page = lhv::WindowOf(0) + kFirstInputMemory;
      insert(cpu.l1, {.kind = OperationKind::kWriteMemory,
                      .flags = lhv::kValueIsWindowOffset,
                      .selector = sizeof(uint64_t),
                      .value = offset,
                      .extra = ChangedEptEntry(random, page | EptEntry::kPermissions |
                                                           6 << EptEntry::kMemoryTypeShift)});
      return;
    }
    case 3:
      return insert(cpu.l1, SomeInvalidation(random));
    default: {
      const uint64_t offset = SomeEptEntry(random);
      uint64_t entry = WordAt(cpu, offset);
      if (entry == 0) entry = WordAt(SetupOf(InputForm::kBehindEptEntry).cpus[0], offset);
      return PutWord(cpu, offset, ChangedEptEntry(random, entry));
    }
  }
}

}  // namespace nvmx::fuzz
