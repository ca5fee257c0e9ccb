// SPDX-License-Identifier: Apache-2.0
//
// EPT12: rights, misconfigurations, other pages behind the same address, accessed and dirty flags,
// page-modification logging, EPTP switching.
#include "backends/sim/program/generator/page_tables.h"
#include "backends/sim/program/generator/topics.h"
#include "core/vmx/controls.h"
#include "core/vmx/ept.h"
#include "core/x86/address.h"

namespace nvmx::sim {
namespace {

using lhv::OperationKind;

// The entries on the way to a page, and the two above.
uint64_t SomeEntry(Random& random, const ProgramBuilder& builder, const Ept& ept) {
  switch (random.Below(12)) {
    case 0:
      return ept.tables.pml4;
    case 1:
      return ept.tables.pdpt;
    case 2:
      // The code of L2, and its handlers.
      return ept.tables.pd + random.Of({uint64_t{0x100}, uint64_t{0x1C0}}) * sizeof(uint64_t);
    default:
      return ept.tables.PteOf(builder, SomePageOfL2(random));
  }
}

uint64_t Changed(Random& random, const ProgramBuilder& builder, uint64_t entry) {
  switch (random.Below(8)) {
    case 0:
      return entry & ~EptEntry::kPermissions;
    case 1:
    case 2:
      return (entry & ~EptEntry::kPermissions) | random.Below(8);
    case 3:
      return (entry & ~EptEntry::kMemoryType) | random.Below(8) << EptEntry::kMemoryTypeShift;
    case 4:
      return (entry & 0xFFF) | builder.AddressOf(SomePageOfL2(random));
    case 5:
      // Memory that nothing answers, or that is not L1's.
      return (entry & 0xFFF) | random.Of({uint64_t{0x3000'0000}, uint64_t{0x4000'0000},
                                          uint64_t{0x7F'FFFF'F000}, uint64_t{0x80'0000'0000}});
    default:
      return entry ^ random.Bit(64);
  }
}

void AddPml(Random& random, ProgramBuilder& builder, uint64_t eptp) {
  builder.SetControls(VmcsField::kSecondaryProcessorBasedControls, Secondary::kEnablePml);
  builder.Prelude(ProgramBuilder::Write(VmcsField::kEptPointer, eptp | Eptp::kAccessedAndDirty));
  const uint64_t log = builder.AddPages("pml", 1);
  builder.Prelude(ProgramBuilder::WriteOffset(VmcsField::kPmlAddress, log));
  const uint64_t index = random.Of({uint64_t{511}, uint64_t{0}, uint64_t{1}, uint64_t{2},
                                    uint64_t{512}, uint64_t{0xFFFF}});
  builder.Prelude(ProgramBuilder::Write(VmcsField::kPmlIndex, index));
  builder.Epilogue({.kind = OperationKind::kVmread, .selector = Encoding(VmcsField::kPmlIndex)});
  for (uint64_t back = 0; back < 3; ++back) {
    builder.Epilogue({.kind = OperationKind::kReadMemory,
                      .flags = lhv::kValueIsWindowOffset,
                      .selector = sizeof(uint64_t),
                      .value = log + (index - back) % 512 * sizeof(uint64_t)});
  }
}

void AddEptpSwitching(Random& random, ProgramBuilder& builder, const Ept& ept) {
  const Ept other = AddEptTables(builder, "ept_b");
  const uint64_t changed = SomeEntry(random, builder, other);
  builder.Put64(changed, Changed(random, builder, builder.Get64(changed)));
  const uint64_t list = builder.AddPages("eptp_list", 1);
  builder.Put64(list, ept.eptp);
  builder.Put64(list + 8, other.eptp);
  builder.Put64(list + 16, random.OneIn(2) ? other.eptp ^ random.Bit(64) : 0);
  builder.SetControls(VmcsField::kSecondaryProcessorBasedControls, Secondary::kEnableVmFunctions);
  builder.Prelude(ProgramBuilder::Write(VmcsField::kVmFunctionControls, 1));
  builder.Prelude(ProgramBuilder::WriteOffset(VmcsField::kEptpListAddress, list));
  const uint64_t index = random.Of({uint64_t{0}, uint64_t{1}, uint64_t{1}, uint64_t{2},
                                    uint64_t{3}, uint64_t{512}, uint64_t{511}});
  builder.L2({.kind = OperationKind::kVmfunc,
              .selector = random.OneIn(8) ? static_cast<uint32_t>(random.Awkward(32)) : 0,
              .value = index});
  builder.Epilogue({.kind = OperationKind::kVmread, .selector = Encoding(VmcsField::kEptPointer)});
}

void Touch(Random& random, ProgramBuilder& builder) {
  const uint64_t page = SomePageOfL2(random);
  const uint64_t offset = random.OneIn(6) ? page + kPageSize - 4 : page + random.Below(64) * 8;
  if (random.OneIn(2)) {
    builder.L2({.kind = OperationKind::kReadMemory,
                .flags = lhv::kValueIsWindowOffset,
                .selector = sizeof(uint64_t),
                .value = offset});
  } else {
    // Only data: the tables of the machine are not ours to break.
    const uint64_t data = ProgramBuilder::kData + random.Below(2 * kPageSize - 8);
    builder.L2({.kind = OperationKind::kWriteMemory,
                .flags = lhv::kValueIsWindowOffset,
                .selector = sizeof(uint64_t),
                .value = data,
                .extra = random.Next()});
  }
}

}  // namespace

void AddEpt(Random& random, ProgramBuilder& builder) {
  Ept ept = AddEptTables(builder, "ept");
  const uint64_t changes = random.Below(4);
  for (uint64_t i = 0; i < changes; ++i) {
    const uint64_t entry = SomeEntry(random, builder, ept);
    builder.Put64(entry, Changed(random, builder, builder.Get64(entry)));
  }
  if (random.OneIn(3)) ept.eptp |= Eptp::kAccessedAndDirty;
  UseEpt(builder, ept);
  if (random.OneIn(3)) {
    builder.SetControls(VmcsField::kSecondaryProcessorBasedControls, Secondary::kUnrestrictedGuest);
  }
  if (random.OneIn(3)) {
    builder.SetControls(VmcsField::kSecondaryProcessorBasedControls, Secondary::kEnableVpid);
    builder.Prelude(
        ProgramBuilder::Write(VmcsField::kVirtualProcessorIdentifier, random.Between(0, 3)));
  }
  if (random.OneIn(4)) AddPml(random, builder, ept.eptp);
  if (random.OneIn(4)) AddEptpSwitching(random, builder, ept);
  if (random.OneIn(16)) {
    builder.Prelude(ProgramBuilder::Write(VmcsField::kEptPointer, ept.eptp ^ random.Bit(52)));
  }
  const uint64_t touches = random.Between(2, 6);
  for (uint64_t i = 0; i < touches; ++i) {
    Touch(random, builder);
    if (random.OneIn(4)) builder.L2({.kind = OperationKind::kUd2});
  }
  builder.WantRounds(random.Between(1, 4));
  // Accessed and dirty flags.
  builder.Epilogue({.kind = OperationKind::kReadMemory,
                    .flags = lhv::kValueIsWindowOffset,
                    .selector = sizeof(uint64_t),
                    .value = SomeEntry(random, builder, ept)});
}

}  // namespace nvmx::sim
