// SPDX-License-Identifier: Apache-2.0
//
// The VMX-preemption timer, TSC offset and TSC scaling.
#include "backends/sim/program/generator/topics.h"
#include "core/vmx/controls.h"
#include "core/x86/msr.h"

namespace nvmx::sim {
namespace {

using lhv::OperationKind;

void AddPreemptionTimer(Random& random, ProgramBuilder& builder) {
  builder.SetControls(VmcsField::kPinBasedControls, PinBased::kActivateVmxPreemptionTimer);
  if (random.OneIn(2)) {
    builder.SetControls(VmcsField::kVmExitControls, VmExit::kSaveVmxPreemptionTimerValue);
  }
  builder.Prelude(ProgramBuilder::Write(VmcsField::kVmxPreemptionTimerValue,
                                        random.OneIn(6) ? random.Awkward(32) : random.Below(8)));
  builder.Epilogue({.kind = OperationKind::kVmread,
                    .selector = Encoding(VmcsField::kVmxPreemptionTimerValue)});
}

void AddTscControls(Random& random, ProgramBuilder& builder) {
  builder.SetControls(VmcsField::kPrimaryProcessorBasedControls,
                      PrimaryProcessorBased::kUseTscOffsetting);
  builder.Prelude(ProgramBuilder::Write(VmcsField::kTscOffset, random.Awkward(64)));
  if (random.OneIn(2)) return;
  builder.SetControls(VmcsField::kSecondaryProcessorBasedControls, Secondary::kUseTscScaling);
  constexpr uint64_t kOne = uint64_t{1} << 48;
  builder.Prelude(ProgramBuilder::Write(
      VmcsField::kTscMultiplier,
      random.Of({kOne, kOne / 2, kOne * 3, uint64_t{0}, uint64_t{1}, random.Awkward(64)})));
}

}  // namespace

void AddTimers(Random& random, ProgramBuilder& builder) {
  if (!random.OneIn(3)) AddPreemptionTimer(random, builder);
  if (random.OneIn(2)) AddTscControls(random, builder);
  if (random.OneIn(3)) {
    builder.ClearControls(VmcsField::kPrimaryProcessorBasedControls,
                          PrimaryProcessorBased::kRdtscExiting);
    builder.SetControls(VmcsField::kSecondaryProcessorBasedControls, Secondary::kEnableRdtscp);
  }
  constexpr uint32_t kTsc = Index(Msr::IA32_TIME_STAMP_COUNTER);
  const uint64_t steps = random.Between(2, 8);
  for (uint64_t i = 0; i < steps; ++i) {
    switch (random.Below(7)) {
      case 0:
        builder.L2({.kind = OperationKind::kRdtsc});
        break;
      case 1:
        builder.L2({.kind = OperationKind::kRdtscp});
        break;
      case 2:
        builder.L2({.kind = OperationKind::kRdmsr, .selector = kTsc});
        break;
      case 3:
        builder.L2({.kind = OperationKind::kHlt});
        break;
      case 4:
        builder.L2({.kind = OperationKind::kWrmsr, .selector = kTsc, .value = random.Awkward(64)});
        break;
      default:
        builder.L2({.kind = OperationKind::kNop});
        break;
    }
  }
  builder.WantRounds(random.Between(1, 4));
  if (random.OneIn(2)) builder.Epilogue({.kind = OperationKind::kRdtsc});
  if (random.OneIn(4)) builder.Epilogue({.kind = OperationKind::kRdmsr, .selector = kTsc});
}

}  // namespace nvmx::sim
