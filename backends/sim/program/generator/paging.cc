// SPDX-License-Identifier: Apache-2.0
//
// L2's own paging: its structures, the control registers, page faults.
#include "backends/sim/program/generator/page_tables.h"
#include "backends/sim/program/generator/topics.h"
#include "core/vmx/controls.h"
#include "core/x86/address.h"
#include "core/x86/control_registers.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

using lhv::OperationKind;

constexpr uint64_t kPresent = 1 << 0;
constexpr uint64_t kWritable = 1 << 1;
constexpr uint64_t kUser = 1 << 2;
constexpr uint64_t kGlobal = 1 << 8;
constexpr uint64_t kNoExecute = uint64_t{1} << 63;

void ChangeEntry(Random& random, ProgramBuilder& builder, const PageTables& tables) {
  const uint64_t at = random.OneIn(6) ? random.Of({tables.pml4, tables.pdpt, tables.pd})
                                      : tables.PteOf(builder, SomePageOfL2(random));
  const uint64_t bits = random.Of({kPresent, kWritable, kUser, kGlobal, kNoExecute,
                                   random.Bit(64)});
  builder.Put64(at, builder.Get64(at) ^ bits);
}

void AddControlRegisters(Random& random, ProgramBuilder& builder, const PageTables& tables) {
  constexpr uint64_t kCr0 = Cr0::kPe | Cr0::kEt | Cr0::kNe | Cr0::kPg;
  constexpr uint64_t kCr4 = Cr4::kPae | Cr4::kVmxe;
  switch (random.Below(5)) {
    case 0:
      builder.L2({.kind = OperationKind::kMovToCr,
                  .selector = 0,
                  .value = kCr0 ^ random.Of({Cr0::kWp, Cr0::kTs, Cr0::kCd, Cr0::kPg, Cr0::kNe})});
      break;
    case 1:
      builder.L2({.kind = OperationKind::kMovToCr,
                  .selector = 4,
                  .value = kCr4 ^ random.Of({Cr4::kPge, Cr4::kSmep, Cr4::kSmap, Cr4::kPae,
                                             Cr4::kVmxe, Cr4::kPcide, Cr4::kUmip, Cr4::kLa57})});
      break;
    case 2:
      builder.L2({.kind = OperationKind::kMovToCr,
                  .flags = lhv::kValueIsWindowOffset,
                  .selector = 3,
                  .value = random.OneIn(2) ? tables.pml4 : lhv::kPageTableOffset});
      break;
    case 3:
      builder.L2({.kind = OperationKind::kMovFromCr,
                  .selector = random.Of({uint32_t{0}, uint32_t{2}, uint32_t{3}, uint32_t{4}})});
      break;
    default:
      builder.L2({.kind = random.Of({OperationKind::kClts, OperationKind::kSmsw,
                                     OperationKind::kLmsw}),
                  .value = random.Below(16)});
      break;
  }
}

void AddMasks(Random& random, ProgramBuilder& builder) {
  builder.Prelude(ProgramBuilder::Write(
      VmcsField::kCr0GuestHostMask,
      random.OneIn(2) ? ~uint64_t{0} : random.Of({Cr0::kTs, Cr0::kWp, Cr0::kPe | Cr0::kPg})));
  builder.Prelude(ProgramBuilder::Write(VmcsField::kCr0ReadShadow, random.Awkward(32)));
  builder.Prelude(ProgramBuilder::Write(
      VmcsField::kCr4GuestHostMask,
      random.OneIn(2) ? Cr4::kVmxe : random.Of({Cr4::kPge, Cr4::kVmxe | Cr4::kSmep, ~uint64_t{0}})));
  builder.Prelude(ProgramBuilder::Write(VmcsField::kCr4ReadShadow, random.Awkward(32)));
  if (!random.OneIn(3)) return;
  builder.Prelude(ProgramBuilder::Write(VmcsField::kCr3TargetCount, random.Below(6)));
  builder.Prelude(ProgramBuilder::WriteOffset(VmcsField::kCr3TargetValue0, lhv::kPageTableOffset));
}

}  // namespace

void AddPaging(Random& random, ProgramBuilder& builder) {
  const PageTables tables =
      AddPageTables(builder, {kPresent | kWritable, random.OneIn(2) ? kGlobal : 0}, "tables");
  const uint64_t changes = random.Below(3);
  for (uint64_t i = 0; i < changes; ++i) ChangeEntry(random, builder, tables);
  builder.Prelude(ProgramBuilder::WriteOffset(VmcsField::kGuestCr3, tables.pml4));
  if (random.OneIn(3)) AddMasks(random, builder);
  if (random.OneIn(3)) {
    builder.Prelude(ProgramBuilder::Write(VmcsField::kExceptionBitmap, 1 << 14));
    builder.Prelude(ProgramBuilder::Write(VmcsField::kPageFaultErrorCodeMask, random.Below(32)));
    builder.Prelude(ProgramBuilder::Write(VmcsField::kPageFaultErrorCodeMatch, random.Below(32)));
  }
  if (random.OneIn(3)) {
    builder.ClearControls(
        VmcsField::kPrimaryProcessorBasedControls,
        PrimaryProcessorBased::kCr3LoadExiting | PrimaryProcessorBased::kCr3StoreExiting);
  }
  const uint64_t steps = random.Between(2, 6);
  for (uint64_t i = 0; i < steps; ++i) {
    switch (random.Below(4)) {
      case 0:
        AddControlRegisters(random, builder, tables);
        break;
      case 1:
        builder.L2({.kind = OperationKind::kInvlpg,
                    .flags = lhv::kValueIsWindowOffset,
                    .value = SomePageOfL2(random)});
        break;
      case 2:
        builder.L2({.kind = OperationKind::kWriteMemory,
                    .flags = lhv::kValueIsWindowOffset,
                    .selector = sizeof(uint64_t),
                    .value = ProgramBuilder::kData + random.Below(2 * kPageSize - 8),
                    .extra = random.Next()});
        break;
      default:
        builder.L2({.kind = OperationKind::kReadMemory,
                    .flags = lhv::kValueIsWindowOffset,
                    .selector = random.Of({uint32_t{1}, uint32_t{2}, uint32_t{4}, uint32_t{8}}),
                    .value = SomePageOfL2(random) + random.Below(kPageSize)});
        break;
    }
  }
  builder.WantRounds(random.Between(1, 4));
}

}  // namespace nvmx::sim
