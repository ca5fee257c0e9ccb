// SPDX-License-Identifier: Apache-2.0
//
// VMX instructions of L1 in any order, with good and bad operands.
#include "backends/sim/program/generator/topics.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/address.h"
#include "core/x86/msr.h"

namespace nvmx::sim {
namespace {

using lhv::Operation;
using lhv::OperationKind;

struct Regions {
  uint64_t second_vmcs, not_a_vmcs;
};

Operation WithRegion(Random& random, const ProgramBuilder& builder, OperationKind kind,
                     const Regions& regions) {
  if (random.OneIn(10)) return {.kind = kind, .value = random.Awkward(64)};
  const uint64_t offset =
      random.Of({ProgramBuilder::kVmcsRegion, ProgramBuilder::kVmcsRegion, regions.second_vmcs,
                 regions.second_vmcs, regions.not_a_vmcs, ProgramBuilder::kVmxonRegion});
  Operation operation{.kind = kind, .flags = lhv::kValueIsWindowOffset, .value = offset};
  if (random.OneIn(10)) {
    operation.flags = 0;
    operation.value = builder.AddressOf(offset) ^ random.Bit(64);
  }
  return operation;
}

Operation SomeField(Random& random, OperationKind kind) {
  uint32_t encoding = Encoding(kVmcsFields[random.Below(kVmcsFieldCount)].field);
  if (random.OneIn(6)) encoding |= 1;
  if (random.OneIn(10)) encoding ^= static_cast<uint32_t>(random.Bit(32));
  return {.kind = kind, .selector = encoding, .value = random.Awkward(64) & OperandMask(encoding)};
}

Operation SomeOperation(Random& random, const ProgramBuilder& builder, const Regions& regions) {
  switch (random.Below(14)) {
    case 0:
      return WithRegion(random, builder, OperationKind::kVmxon, regions);
    case 1:
      return {.kind = OperationKind::kVmxoff};
    case 2:
    case 3:
      return WithRegion(random, builder, OperationKind::kVmclear, regions);
    case 4:
    case 5:
    case 6:
      return WithRegion(random, builder, OperationKind::kVmptrld, regions);
    case 7:
      return {.kind = OperationKind::kVmptrst,
              .flags = lhv::kValueIsWindowOffset,
              .value = ProgramBuilder::kData + random.Below(kPageSize)};
    case 8:
    case 9:
      return SomeField(random, OperationKind::kVmread);
    case 10:
    case 11:
      return SomeField(random, OperationKind::kVmwrite);
    case 12:
      return {.kind = random.Of({OperationKind::kVmcall, OperationKind::kVmlaunch,
                                 OperationKind::kVmresume, OperationKind::kMovSs})};
    default:
      // The revision identifier, the abort indicator. The format of the data behind them is not
      // architectural.
      return {.kind = OperationKind::kWriteMemory,
              .flags = lhv::kValueIsWindowOffset,
              .selector = sizeof(uint32_t),
              .value = random.Of({ProgramBuilder::kVmcsRegion, regions.second_vmcs}) +
                       random.Of({uint64_t{0}, uint64_t{4}}),
              .extra = random.Awkward(32)};
  }
}

}  // namespace

void AddVmxSequences(Random& random, ProgramBuilder& builder) {
  const Regions regions{builder.AddPages("vmcs_b", 1), builder.AddPages("not_a_vmcs", 1)};
  builder.Prelude({.kind = OperationKind::kInitializeVmxRegion,
                   .flags = lhv::kValueIsWindowOffset,
                   .value = regions.second_vmcs});
  const uint64_t steps = random.Between(3, 12);
  for (uint64_t i = 0; i < steps; ++i) {
    builder.Prelude(SomeOperation(random, builder, regions));
  }
  if (random.OneIn(2)) {
    builder.Prelude({.kind = OperationKind::kVmptrld,
                     .flags = lhv::kValueIsWindowOffset,
                     .value = ProgramBuilder::kVmcsRegion});
  }
  if (random.OneIn(2)) builder.BeforeEntry(1, SomeOperation(random, builder, regions));
  const uint64_t after = random.Below(6);
  for (uint64_t i = 0; i < after; ++i) {
    builder.Epilogue(SomeOperation(random, builder, regions));
  }
  builder.Epilogue({.kind = OperationKind::kReadMemory,
                    .flags = lhv::kValueIsWindowOffset,
                    .selector = sizeof(uint64_t),
                    .value = ProgramBuilder::kVmcsRegion});
}

}  // namespace nvmx::sim
