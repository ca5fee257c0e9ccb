// SPDX-License-Identifier: Apache-2.0
//
// Instructions of L1 and of L2, whatever else the program is about.
#include "backends/sim/program/generator/topics.h"
#include "core/vmx/controls.h"
#include "core/x86/address.h"
#include "core/x86/control_registers.h"
#include "core/x86/msr.h"
#include "core/x86/rflags.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

using lhv::Operation;
using lhv::OperationKind;

constexpr OperationKind kWithoutOperand[] = {
    OperationKind::kHlt,      OperationKind::kPause,  OperationKind::kMwait,
    OperationKind::kWbinvd,   OperationKind::kInvd,   OperationKind::kRdrand,
    OperationKind::kRdseed,   OperationKind::kSldt,   OperationKind::kStr,
    OperationKind::kRdtsc,    OperationKind::kRdtscp, OperationKind::kUd2,
    OperationKind::kInt3,     OperationKind::kGetsec, OperationKind::kRsm,
    OperationKind::kClts,     OperationKind::kSmsw,   OperationKind::kNop,
    OperationKind::kVmxoff,   OperationKind::kVmcall, OperationKind::kVmlaunch,
    OperationKind::kVmresume, OperationKind::kSti,    OperationKind::kCli,
    OperationKind::kMovSs,    OperationKind::kIret,   OperationKind::kDivideByZero};

constexpr uint32_t kMsrs[] = {Index(Msr::IA32_TIME_STAMP_COUNTER),
                              Index(Msr::IA32_APIC_BASE),
                              Index(Msr::IA32_FEATURE_CONTROL),
                              Index(Msr::IA32_MTRRCAP),
                              Index(Msr::IA32_SYSENTER_ESP),
                              Index(Msr::IA32_MISC_ENABLE),
                              Index(Msr::IA32_DEBUGCTL),
                              Index(Msr::IA32_PAT),
                              Index(Msr::IA32_PERF_GLOBAL_CTRL),
                              Index(Msr::IA32_VMX_BASIC),
                              Index(Msr::IA32_VMX_EPT_VPID_CAP),
                              Index(Msr::IA32_VMX_VMFUNC),
                              Index(Msr::IA32_EFER),
                              Index(Msr::IA32_LSTAR),
                              Index(Msr::IA32_FS_BASE),
                              Index(Msr::IA32_KERNEL_GS_BASE),
                              Index(Msr::IA32_TSC_AUX),
                              Index(Msr::IA32_MTRR_DEF_TYPE),
                              Index(Msr::IA32_X2APIC_TPR),
                              0x12345678};

// Instructions that both levels have. Those that break L1 for good come seldom.
Operation SomeInstruction(Random& random) {
  const uint64_t data = ProgramBuilder::kData + random.Below(kPageSize);
  switch (random.Below(20)) {
    case 0:
      return {.kind = OperationKind::kCpuid,
              .selector = random.Of({uint32_t{0}, uint32_t{1}, uint32_t{7}, uint32_t{0xB},
                                     uint32_t{0xD}, uint32_t{0x15}, uint32_t{0x4000'0000},
                                     uint32_t{0x8000'0001}, uint32_t{0x8000'0008}}),
              .value = random.Below(3)};
    case 1:
    case 2:
      return {.kind = OperationKind::kRdmsr, .selector = random.Of(kMsrs)};
    case 3:
    case 4:
      return {.kind = OperationKind::kWrmsr,
              .selector = random.Of(kMsrs),
              .value = random.OneIn(2) ? random.Awkward(64) : random.Below(32)};
    case 5:
      return {.kind = OperationKind::kIn,
              .selector = random.Of({uint32_t{1}, uint32_t{2}, uint32_t{4}}),
              .value = random.Awkward(16)};
    case 6:
      return {.kind = OperationKind::kOut,
              .selector = random.Of({uint32_t{1}, uint32_t{2}, uint32_t{4}}),
              .value = random.Awkward(16),
              .extra = random.Next() & 0xFFFFFFFF};
    case 7:
      return {
          .kind = OperationKind::kMovFromCr,
          .selector = random.Of({uint32_t{0}, uint32_t{2}, uint32_t{3}, uint32_t{4}, uint32_t{8}})};
    case 8:
      if (random.OneIn(4)) {
        return {.kind = OperationKind::kMovToCr,
                .selector = 3,
                .value = random.OneIn(8) ? random.Awkward(64)
                                         : lhv::WindowOf(0) + lhv::kPageTableOffset};
      }
      return {
          .kind = OperationKind::kMovToCr,
          .selector = random.Of({uint32_t{2}, uint32_t{8}, uint32_t{8}, uint32_t{0}, uint32_t{4}}),
          .value =
              random.OneIn(4) ? random.Awkward(64) : Cr0::kPe | Cr0::kEt | Cr0::kNe | Cr0::kPg};
    case 9:
      return {.kind = random.OneIn(2) ? OperationKind::kMovToDr : OperationKind::kMovFromDr,
              .selector = static_cast<uint32_t>(random.Below(8)),
              .value = random.Awkward(64)};
    case 10:
      return {.kind = OperationKind::kInvlpg, .flags = lhv::kValueIsWindowOffset, .value = data};
    case 11:
      return {.kind = OperationKind::kXgetbv, .selector = static_cast<uint32_t>(random.Below(3))};
    case 12:
      return {.kind = OperationKind::kXsetbv,
              .selector = static_cast<uint32_t>(random.OneIn(6)),
              .value = random.OneIn(2) ? random.Of({uint64_t{1}, uint64_t{3}, uint64_t{7}})
                                       : random.Awkward(64)};
    case 13:
      return {.kind = random.Of({OperationKind::kSgdt, OperationKind::kSidt}),
              .flags = lhv::kValueIsWindowOffset,
              .value = data};
    case 14:
      return {.kind = OperationKind::kRdpmc, .selector = static_cast<uint32_t>(random.Awkward(32))};
    case 15:
      return {.kind = OperationKind::kMonitor, .flags = lhv::kValueIsWindowOffset, .value = data};
    case 16:
      return {.kind = OperationKind::kInvpcid,
              .selector = static_cast<uint32_t>(random.Below(5)),
              .value = data,
              .extra = random.OneIn(4) ? random.Awkward(64) : random.Below(2)};
    case 17:
      return {.kind = OperationKind::kInt, .selector = static_cast<uint32_t>(random.Below(256))};
    case 18:
      return {.kind = random.Of({OperationKind::kLldt, OperationKind::kLtr}),
              .value = random.Of({uint64_t{0}, uint64_t{lhv::kTssSelector},
                                  uint64_t{lhv::kDataSelector}, random.Awkward(16)})};
    default:
      return {.kind = OperationKind::kPopf,
              .value = Rflags::kFixed1 | random.Of({Rflags::kIf, Rflags::kTf, Rflags::kAc,
                                                    Rflags::kNt, uint64_t{0}})};
  }
}

// What makes an instruction of L2 exit, and what lets L2 have it at all.
struct ControlOfInstruction {
  OperationKind kind;
  VmcsField field;
  uint64_t bits;
};
using Primary = PrimaryProcessorBased;
constexpr VmcsField kPrimary = VmcsField::kPrimaryProcessorBasedControls;
constexpr VmcsField kSecondary = VmcsField::kSecondaryProcessorBasedControls;
constexpr ControlOfInstruction kExiting[] = {
    {OperationKind::kHlt, kPrimary, Primary::kHltExiting},
    {OperationKind::kInvlpg, kPrimary, Primary::kInvlpgExiting},
    {OperationKind::kInvpcid, kPrimary, Primary::kInvlpgExiting},
    {OperationKind::kMwait, kPrimary, Primary::kMwaitExiting},
    {OperationKind::kRdpmc, kPrimary, Primary::kRdpmcExiting},
    {OperationKind::kRdtsc, kPrimary, Primary::kRdtscExiting},
    {OperationKind::kRdtscp, kPrimary, Primary::kRdtscExiting},
    {OperationKind::kMovToCr, kPrimary, Primary::kCr3LoadExiting | Primary::kCr8LoadExiting},
    {OperationKind::kMovFromCr, kPrimary, Primary::kCr3StoreExiting | Primary::kCr8StoreExiting},
    {OperationKind::kMovToDr, kPrimary, Primary::kMovDrExiting},
    {OperationKind::kMovFromDr, kPrimary, Primary::kMovDrExiting},
    {OperationKind::kIn, kPrimary, Primary::kUnconditionalIoExiting},
    {OperationKind::kOut, kPrimary, Primary::kUnconditionalIoExiting},
    {OperationKind::kMonitor, kPrimary, Primary::kMonitorExiting},
    {OperationKind::kPause, kPrimary, Primary::kPauseExiting},
    {OperationKind::kSgdt, kSecondary, Secondary::kDescriptorTableExiting},
    {OperationKind::kSidt, kSecondary, Secondary::kDescriptorTableExiting},
    {OperationKind::kLgdt, kSecondary, Secondary::kDescriptorTableExiting},
    {OperationKind::kLidt, kSecondary, Secondary::kDescriptorTableExiting},
    {OperationKind::kSldt, kSecondary, Secondary::kDescriptorTableExiting},
    {OperationKind::kStr, kSecondary, Secondary::kDescriptorTableExiting},
    {OperationKind::kLldt, kSecondary, Secondary::kDescriptorTableExiting},
    {OperationKind::kLtr, kSecondary, Secondary::kDescriptorTableExiting},
    {OperationKind::kWbinvd, kSecondary, Secondary::kWbinvdExiting},
    {OperationKind::kRdrand, kSecondary, Secondary::kRdrandExiting},
    {OperationKind::kRdseed, kSecondary, Secondary::kRdseedExiting},
};
constexpr ControlOfInstruction kEnabling[] = {
    {OperationKind::kRdtscp, kSecondary, Secondary::kEnableRdtscp},
    {OperationKind::kInvpcid, kSecondary, Secondary::kEnableInvpcid},
};

void SetControlsOf(std::span<const ControlOfInstruction> table, const Operation& operation,
                   ProgramBuilder& builder) {
  for (const ControlOfInstruction& row : table) {
    if (row.kind == operation.kind) builder.SetControls(row.field, row.bits);
  }
}

void PrepareL2For(Random& random, const Operation& operation, ProgramBuilder& builder) {
  if (random.OneIn(4)) SetControlsOf(kExiting, operation, builder);
  if (!random.OneIn(4)) SetControlsOf(kEnabling, operation, builder);
  const bool needs_xsave =
      operation.kind == OperationKind::kXgetbv || operation.kind == OperationKind::kXsetbv;
  if (needs_xsave && random.OneIn(2)) {
    builder.Prelude(
        ProgramBuilder::Write(VmcsField::kGuestCr4, Cr4::kPae | Cr4::kVmxe | Cr4::kOsxsave));
  }
}

Operation SomeInstructionOfL2(Random& random) {
  if (random.OneIn(3)) return {.kind = random.Of(kWithoutOperand)};
  if (random.OneIn(24)) {
    return {.kind = random.Of({OperationKind::kLgdt, OperationKind::kLidt}),
            .flags = lhv::kValueIsWindowOffset,
            .value = ProgramBuilder::kData + random.Below(kPageSize)};
  }
  if (random.OneIn(24)) {
    return {.kind = OperationKind::kLmsw, .value = random.OneIn(4) ? random.Awkward(16) : 1};
  }
  if (random.OneIn(12)) {
    return {.kind = OperationKind::kVmread, .selector = Encoding(VmcsField::kGuestRip)};
  }
  return SomeInstruction(random);
}

}  // namespace

void AddL2Instructions(Random& random, ProgramBuilder& builder, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const Operation operation = SomeInstructionOfL2(random);
    PrepareL2For(random, operation, builder);
    builder.L2(operation);
  }
}

void AddInstructions(Random& random, ProgramBuilder& builder) {
  const uint64_t before = random.Below(4);
  for (uint64_t i = 0; i < before; ++i) builder.Prelude(SomeInstruction(random));
  AddL2Instructions(random, builder, random.Between(1, 8));
  builder.WantRounds(random.Between(1, 5));
  const uint64_t after = random.Below(3);
  for (uint64_t i = 0; i < after; ++i) builder.Epilogue(SomeInstruction(random));
}

}  // namespace nvmx::sim
