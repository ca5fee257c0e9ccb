// SPDX-License-Identifier: Apache-2.0
//
// What L1 changes in EPT12 or in L2's paging structures between two entries, with the invalidation
// that the change needs, without it, or with another.
#include "backends/sim/program/generator/page_tables.h"
#include "backends/sim/program/generator/topics.h"
#include "core/vmx/controls.h"
#include "core/vmx/ept.h"
#include "core/x86/address.h"

namespace nvmx::sim {
namespace {

using lhv::Operation;
using lhv::OperationKind;

Operation Invept(Random& random, uint64_t eptp) {
  Operation operation{.kind = OperationKind::kInvept, .selector = 1, .value = eptp};
  if (random.OneIn(3)) operation.selector = 2;
  if (random.OneIn(12)) operation.selector = static_cast<uint32_t>(random.Of({0, 3, 4}));
  if (random.OneIn(12)) operation.value ^= random.Bit(64);
  if (random.OneIn(16)) operation.extra = random.Awkward(64);
  return operation;
}

Operation Invvpid(Random& random, uint64_t vpid, uint64_t address) {
  Operation operation{.kind = OperationKind::kInvvpid,
                      .selector = static_cast<uint32_t>(random.Below(4)),
                      .value = address,
                      .extra = vpid};
  if (random.OneIn(12)) operation.selector = static_cast<uint32_t>(random.Awkward(32));
  if (random.OneIn(12)) operation.extra = random.Awkward(64);
  if (random.OneIn(12)) operation.value = random.Awkward(64);
  return operation;
}

Operation WriteEntry(uint64_t at, uint64_t value) {
  return {.kind = OperationKind::kWriteMemory,
          .flags = lhv::kValueIsWindowOffset,
          .selector = sizeof(uint64_t),
          .value = at,
          .extra = value};
}

Operation ReadData(uint64_t page) {
  return {.kind = OperationKind::kReadMemory,
          .flags = lhv::kValueIsWindowOffset,
          .selector = sizeof(uint64_t),
          .value = page};
}

}  // namespace

void AddInvalidation(Random& random, ProgramBuilder& builder) {
  constexpr uint64_t kPageA = ProgramBuilder::kData;
  constexpr uint64_t kPageB = ProgramBuilder::kData + kPageSize;
  builder.Put64(kPageA, 0xAAAA);
  builder.Put64(kPageB, 0xBBBB);
  const bool ept_is_used = !random.OneIn(4);
  const uint64_t vpid = random.Between(1, 2);
  if (random.OneIn(2)) {
    builder.SetControls(VmcsField::kSecondaryProcessorBasedControls, Secondary::kEnableVpid);
    builder.Prelude(ProgramBuilder::Write(VmcsField::kVirtualProcessorIdentifier, vpid));
  }
  PageTables tables{};
  uint64_t eptp = 0;
  uint64_t bits = 3;
  if (ept_is_used) {
    const Ept ept = AddEptTables(builder, "ept");
    tables = ept.tables;
    eptp = ept.eptp;
    bits = 0x37;
    UseEpt(builder, ept);
  } else {
    tables = AddPageTables(builder, {3, 0}, "tables");
    builder.Prelude(ProgramBuilder::WriteOffset(VmcsField::kGuestCr3, tables.pml4));
  }
  const uint64_t entry = tables.PteOf(builder, kPageA);
  const uint64_t rounds = random.Between(2, 4);
  for (uint64_t round = 0; round < rounds; ++round) {
    builder.L2(random.OneIn(3) ? Operation{.kind = OperationKind::kWriteMemory,
                                           .flags = lhv::kValueIsWindowOffset,
                                           .selector = sizeof(uint64_t),
                                           .value = kPageA,
                                           .extra = random.Next()}
                               : ReadData(kPageA));
    if (!ept_is_used && random.OneIn(3)) {
      builder.L2({.kind = OperationKind::kInvlpg,
                  .flags = lhv::kValueIsWindowOffset,
                  .value = kPageA});
    }
    builder.L2({.kind = OperationKind::kVmcall});
    if (round == 0) continue;
    // To the other page, or with other rights.
    const uint64_t target = builder.AddressOf(random.OneIn(2) ? kPageB : kPageA);
    const uint64_t rights = random.OneIn(2) ? bits : (bits & ~uint64_t{7}) | random.Below(8);
    builder.BeforeEntry(round, WriteEntry(entry, target | rights));
    if (ept_is_used) {
      if (!random.OneIn(4)) builder.BeforeEntry(round, Invept(random, eptp));
    }
    if (!random.OneIn(3)) {
      builder.BeforeEntry(round, Invvpid(random, vpid, builder.AddressOf(kPageA)));
    }
    if (random.OneIn(6)) {
      builder.BeforeEntry(
          round, ProgramBuilder::Write(VmcsField::kVirtualProcessorIdentifier, random.Below(4)));
    }
  }
  builder.Epilogue(ReadData(kPageA));
  builder.Epilogue(ReadData(kPageB));
}

}  // namespace nvmx::sim
