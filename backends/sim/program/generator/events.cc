// SPDX-License-Identifier: Apache-2.0
//
// Event injection, windows, interrupts, single steps.
#include "backends/sim/program/generator/page_tables.h"
#include "backends/sim/program/generator/topics.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/rflags.h"

namespace nvmx::sim {
namespace {

using lhv::Operation;
using lhv::OperationKind;

// Latched while L1 runs, which is in VMX root operation.
constexpr Operation kInitToSelf{.kind = OperationKind::kSendInit, .selector = lhv::kToSelf};

// Right ones mostly; the types and vectors that go together.
uint32_t SomeInterruption(Random& random) {
  using enum InterruptionType;
  const auto make = [](InterruptionType type, uint64_t vector) {
    return InterruptionInformation::Make(type, static_cast<uint8_t>(vector));
  };
  switch (random.Below(9)) {
    case 0:
      return make(kExternalInterrupt, random.Between(32, 255)).value();
    case 1:
      return InterruptionInformation::Nmi().value();
    case 2:
      return make(kSoftwareInterrupt, random.Below(256)).value();
    case 3:
      return make(kSoftwareException, random.Between(3, 4)).value();
    case 4:
      return make(kPrivilegedSoftwareException, 1).value();
    case 5:
      return InterruptionInformation::MonitorTrapFlag().value();
    case 6:
      return InterruptionInformation::kValid | static_cast<uint32_t>(random.Next());
    default:
      return InterruptionInformation::HardwareException(
                 random.Of({Vector::kDivideError, Vector::kDebug, Vector::kInvalidOpcode,
                            Vector::kDoubleFault, Vector::kGeneralProtection, Vector::kPageFault,
                            Vector::kInvalidTss, Vector::kAlignmentCheck}))
          .value();
  }
}

void Inject(Random& random, ProgramBuilder& builder, size_t round) {
  uint32_t information = SomeInterruption(random);
  if (random.OneIn(12)) information ^= static_cast<uint32_t>(random.Bit(32));
  const Operation writes[] = {
      ProgramBuilder::Write(VmcsField::kVmEntryInterruptionInformation, information),
      ProgramBuilder::Write(VmcsField::kVmEntryExceptionErrorCode,
                            random.OneIn(4) ? random.Awkward(32) : random.Below(8)),
      ProgramBuilder::Write(VmcsField::kVmEntryInstructionLength,
                            random.OneIn(4) ? random.Below(20) : 8)};
  for (const Operation& write : writes) {
    if (round == 0) {
      builder.Prelude(write);
    } else {
      builder.BeforeEntry(round, write);
    }
  }
}

void AddWindows(Random& random, ProgramBuilder& builder) {
  builder.SetControls(VmcsField::kPrimaryProcessorBasedControls,
                      PrimaryProcessorBased::kInterruptWindowExiting);
  if (random.OneIn(3)) {
    builder.SetControls(VmcsField::kPinBasedControls, PinBased::kExternalInterruptExiting);
    if (random.OneIn(2)) {
      builder.SetControls(VmcsField::kVmExitControls, VmExit::kAcknowledgeInterruptOnExit);
    }
  }
  builder.Prelude(
      ProgramBuilder::Write(VmcsField::kGuestInterruptibilityState,
                            random.Of({uint32_t{0}, uint32_t{0}, Interruptibility::kBlockingBySti,
                                       Interruptibility::kBlockingByMovSs})));
  builder.Prelude(ProgramBuilder::Write(VmcsField::kGuestRflags,
                                        Rflags::kFixed1 | (random.OneIn(2) ? Rflags::kIf : 0)));
}

Operation SomeEventOfL2(Random& random) {
  if (random.OneIn(24)) return kInitToSelf;
  switch (random.Below(10)) {
    case 0:
      return {.kind = OperationKind::kSti};
    case 1:
      return {.kind = OperationKind::kCli};
    case 2:
      return {.kind = OperationKind::kMovSs};
    case 3:
      return {.kind = OperationKind::kPopf,
              .value = Rflags::kFixed1 | random.Of({Rflags::kIf, Rflags::kTf, Rflags::kNt,
                                                    Rflags::kTf | Rflags::kIf})};
    case 4:
      return {.kind = OperationKind::kSendInterrupt,
              .selector = lhv::kToSelf,
              .value = random.Of({uint64_t{0x20}, uint64_t{0x31}, uint64_t{0xF0}})};
    case 5:
      return {.kind = OperationKind::kInt, .selector = static_cast<uint32_t>(random.Below(256))};
    case 6:
      return {.kind = random.Of({OperationKind::kInt3, OperationKind::kInt1, OperationKind::kUd2,
                                 OperationKind::kDivideByZero})};
    case 7:
      return {.kind = OperationKind::kHlt};
    case 8:
      return {.kind = OperationKind::kIret};
    default:
      return {.kind = OperationKind::kNop};
  }
}

// The delivery of an event that cannot finish: no gate, no stack, or EPT in the way.
void BreakDelivery(Random& random, ProgramBuilder& builder) {
  switch (random.Below(4)) {
    case 0:
      builder.Prelude(ProgramBuilder::Write(VmcsField::kGuestIdtrLimit, random.Below(0x200)));
      break;
    case 1:
      builder.Prelude(ProgramBuilder::Write(VmcsField::kGuestRsp, random.Awkward(64)));
      break;
    default: {
      const Ept ept = AddEptTables(builder, "ept");
      const uint64_t entry = ept.tables.PteOf(builder, SomePageOfL2(random));
      builder.Put64(entry, builder.Get64(entry) & ~random.Below(8));
      UseEpt(builder, ept);
      break;
    }
  }
}

}  // namespace

void AddEvents(Random& random, ProgramBuilder& builder) {
  if (!random.OneIn(3)) Inject(random, builder, 0);
  if (random.OneIn(3)) AddWindows(random, builder);
  if (random.OneIn(3)) BreakDelivery(random, builder);
  if (random.OneIn(4)) {
    builder.Prelude(ProgramBuilder::Write(VmcsField::kExceptionBitmap, random.Awkward(32)));
  }
  if (random.OneIn(6)) {
    builder.SetControls(VmcsField::kPrimaryProcessorBasedControls,
                        PrimaryProcessorBased::kMonitorTrapFlag);
  }
  if (random.OneIn(4)) {
    builder.SetControls(VmcsField::kPrimaryProcessorBasedControls,
                        PrimaryProcessorBased::kHltExiting);
  }
  const uint64_t steps = random.Between(1, 6);
  for (uint64_t i = 0; i < steps; ++i) builder.L2(SomeEventOfL2(random));
  if (random.OneIn(3)) Inject(random, builder, 1);
  if (random.OneIn(12)) builder.Prelude(kInitToSelf);
  if (random.OneIn(24)) builder.BeforeEntry(1, kInitToSelf);
  builder.WantRounds(random.Between(1, 5));
}

}  // namespace nvmx::sim
