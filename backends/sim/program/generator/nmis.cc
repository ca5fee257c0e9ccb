// SPDX-License-Identifier: Apache-2.0
//
// NMIs, blocked and not, at both levels, with each setting of the three controls.
#include "backends/sim/program/generator/topics.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/interruption_info.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

using lhv::Operation;
using lhv::OperationKind;

constexpr Operation kNmiToSelf{.kind = OperationKind::kSendNmi, .selector = lhv::kToSelf};
constexpr Operation kIret{.kind = OperationKind::kIret};

void SetNmiControls(Random& random, ProgramBuilder& builder) {
  builder.ClearControls(VmcsField::kPinBasedControls,
                        PinBased::kNmiExiting | PinBased::kVirtualNmis);
  switch (random.Below(6)) {
    case 0:
    case 1:
      break;
    case 2:
      builder.SetControls(VmcsField::kPinBasedControls, PinBased::kNmiExiting);
      break;
    default:
      builder.SetControls(VmcsField::kPinBasedControls,
                          PinBased::kNmiExiting | PinBased::kVirtualNmis);
      if (random.OneIn(2)) {
        builder.SetControls(VmcsField::kPrimaryProcessorBasedControls,
                            PrimaryProcessorBased::kNmiWindowExiting);
      }
      break;
  }
}

}  // namespace

void AddNmis(Random& random, ProgramBuilder& builder) {
  SetNmiControls(random, builder);
  builder.Prelude(ProgramBuilder::Write(
      VmcsField::kGuestInterruptibilityState,
      random.Of({uint32_t{0}, uint32_t{0}, Interruptibility::kBlockingByNmi,
                 Interruptibility::kBlockingByMovSs, Interruptibility::kBlockingBySti})));
  if (random.OneIn(2)) {
    // A handler that leaves NMIs blocked, so that they can be blocked and pending in L1.
    builder.Prelude({.kind = OperationKind::kSetHandler,
                     .flags = lhv::kValueIsWindowOffset,
                     .selector = static_cast<uint32_t>(Vector::kNmi),
                     .value = lhv::kL1IdtOffset,
                     .extra = 1});
    const uint64_t nmis = random.Between(1, 3);
    for (uint64_t i = 0; i < nmis; ++i) builder.Prelude(kNmiToSelf);
  }
  if (random.OneIn(3)) {
    builder.Prelude(ProgramBuilder::Write(
        VmcsField::kVmEntryInterruptionInformation,
        random.OneIn(2) ? InterruptionInformation::Nmi().value()
                        : InterruptionInformation::ExternalInterrupt(0x21).value()));
  }
  const uint64_t steps = random.Between(1, 6);
  for (uint64_t i = 0; i < steps; ++i) {
    builder.L2(random.OneIn(2)   ? kNmiToSelf
               : random.OneIn(2) ? kIret
                                 : Operation{.kind = random.Of({OperationKind::kNop,
                                                                OperationKind::kVmcall,
                                                                OperationKind::kMovSs,
                                                                OperationKind::kSti})});
  }
  const uint64_t rounds = random.Between(1, 5);
  builder.WantRounds(rounds);
  for (uint64_t round = 1; round < rounds; ++round) {
    if (random.OneIn(3)) builder.BeforeEntry(round, kNmiToSelf);
    if (random.OneIn(3)) builder.BeforeEntry(round, kIret);
    if (random.OneIn(4)) {
      builder.BeforeEntry(round, {.kind = OperationKind::kVmread,
                                  .selector = Encoding(VmcsField::kGuestInterruptibilityState)});
    }
  }
  builder.Epilogue(kNmiToSelf);
  builder.Epilogue(kIret);
}

}  // namespace nvmx::sim
