// SPDX-License-Identifier: Apache-2.0
//
// The guest-state area: a valid one with a few bits of it changed.
#include <vector>

#include "backends/sim/program/generator/topics.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/rflags.h"
#include "core/x86/segment.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

using lhv::Operation;
using lhv::OperationKind;

// The VMWRITEs of guest state in the setup.
const std::vector<Operation>& BaselineWrites() {
  static const auto& writes = *[] {
    auto* list = new std::vector<Operation>;
    for (const Operation& operation : ProgramBuilder::Setup()) {
      if (operation.kind == OperationKind::kVmwrite &&
          Type(operation.selector) == FieldType::kGuestState) {
        list->push_back(operation);
      }
    }
    return list;
  }();
  return writes;
}

unsigned WidthInBits(uint32_t encoding) {
  switch (Width(encoding)) {
    case FieldWidth::k16:
      return 16;
    case FieldWidth::k32:
      return 32;
    default:
      return 64;
  }
}

// A field with a bit or two of its value flipped, or another value.
void ChangeOneField(Random& random, ProgramBuilder& builder) {
  const Operation& baseline = random.Of(std::span(BaselineWrites()));
  const unsigned width = WidthInBits(baseline.selector);
  Operation write = baseline;
  switch (random.Below(4)) {
    case 0:
      write.flags = 0;
      write.value = random.Awkward(width);
      break;
    case 1:
      write.value ^= random.Bit(width) | random.Bit(width);
      break;
    default:
      write.value ^= random.Bit(width);
      break;
  }
  write.value &= ValueMask(Width(write.selector));
  builder.Prelude(write);
}

// Fields whose rules depend on each other, with the values that matter.
struct Values {
  VmcsField field;
  std::vector<uint64_t> values;
};

const std::vector<Values>& RelatedValues() {
  constexpr uint64_t kCr0 = Cr0::kPe | Cr0::kEt | Cr0::kNe | Cr0::kPg;
  constexpr uint64_t kCr4 = Cr4::kPae | Cr4::kVmxe;
  using A = AccessRights;
  using I = Interruptibility;
  static const auto& table = *new std::vector<Values>{
      {VmcsField::kGuestActivityState, {0, 1, 2, 3, 4, 0xFFFFFFFF}},
      {VmcsField::kGuestInterruptibilityState,
       {0, I::kBlockingBySti, I::kBlockingByMovSs, I::kBlockingBySmi, I::kBlockingByNmi,
        I::kEnclaveInterruption, I::kBlockingBySti | I::kBlockingByMovSs, 0x20, 0x80000000}},
      {VmcsField::kGuestPendingDebugExceptions,
       {0, PendingDebugExceptions::kBs, PendingDebugExceptions::kB0,
        PendingDebugExceptions::kEnabledBreakpoint,
        PendingDebugExceptions::kEnabledBreakpoint | PendingDebugExceptions::kBs,
        PendingDebugExceptions::kRtm, 0x10, uint64_t{1} << 63}},
      {VmcsField::kGuestRflags,
       {Rflags::kFixed1, 0, Rflags::kFixed1 | Rflags::kIf, Rflags::kFixed1 | Rflags::kTf,
        Rflags::kFixed1 | Rflags::kTf | Rflags::kIf, Rflags::kFixed1 | Rflags::kVm,
        Rflags::kFixed1 | Rflags::kIopl, Rflags::kFixed1 | Rflags::kAc | Rflags::kRf,
        Rflags::kFixed1 | uint64_t{1} << 15, Rflags::kFixed1 | uint64_t{1} << 22}},
      {VmcsField::kGuestCr0,
       {kCr0, kCr0 | Cr0::kWp, kCr0 & ~Cr0::kPg, kCr0 & ~Cr0::kPe, kCr0 & ~(Cr0::kPg | Cr0::kPe),
        kCr0 & ~Cr0::kNe, kCr0 | Cr0::kCd, kCr0 | Cr0::kNw, kCr0 | Cr0::kTs,
        kCr0 | uint64_t{1} << 32}},
      {VmcsField::kGuestCr4,
       {kCr4, kCr4 & ~Cr4::kPae, kCr4 & ~Cr4::kVmxe, kCr4 | Cr4::kPge, kCr4 | Cr4::kPcide,
        kCr4 | Cr4::kSmep, kCr4 | Cr4::kSmap, kCr4 | Cr4::kUmip, kCr4 | Cr4::kTsd, kCr4 | Cr4::kDe,
        kCr4 | Cr4::kLa57, kCr4 | Cr4::kCet, kCr4 | uint64_t{1} << 63}},
      {VmcsField::kGuestIa32Efer,
       {Efer::kLme | Efer::kLma, Efer::kLme, Efer::kLma, 0,
        Efer::kLme | Efer::kLma | Efer::kNxe, Efer::kLme | Efer::kLma | Efer::kSce,
        Efer::kLme | Efer::kLma | uint64_t{1} << 9}},
      {VmcsField::kGuestDr7, {Dr7::kInit, 0, Dr7::kInit | Dr7::kGd, 1, uint64_t{1} << 32, 0x401}},
      {VmcsField::kGuestIa32Debugctl, {0, 1, 2, 0x40, 0x1000, 0x8000, uint64_t{1} << 32}},
      {VmcsField::kGuestIa32Pat, {0x0007040600070406, 0, 0x0707070707070707, 2, 3, 8}},
      {VmcsField::kGuestCsAccessRights,
       {0xA09B, 0xC09B, 0xE09B, 0xA09D, 0xA09A, 0xA093, 0xA0FB, 0xA01B, 0xA08B, 0x2A09B,
        0xA09B | A::kUnusable}},
      {VmcsField::kGuestSsAccessRights,
       {0xC093, 0xC0F3, 0xC013, 0xC09B, 0xC091, 0xC083, 0xC093 | A::kUnusable, 0x40093}},
      {VmcsField::kGuestTrAccessRights, {0x8B, 0x83, 0x89, 0x0B, 0x9B, 0x8B | A::kUnusable, 0x1008B}},
      {VmcsField::kGuestLdtrAccessRights, {A::kUnusable, 0x82, 0x02, 0x92, 0x8082, 0x83}},
      {VmcsField::kGuestRip,
       {lhv::kL2CodeBase, lhv::kL2CodeBase + lhv::kOperationBytes, uint64_t{1} << 47,
        uint64_t{1} << 32, ~uint64_t{0}}},
      {VmcsField::kVmcsLinkPointer,
       {~uint64_t{0}, 0, 1, lhv::WindowOf(0) + ProgramBuilder::kVmcsRegion,
        lhv::WindowOf(0) + ProgramBuilder::kData, uint64_t{1} << 60, 0xFFFFFFFF}},
      {VmcsField::kGuestIa32PerfGlobalCtrl, {0, 1, 3, 0x100, uint64_t{1} << 32, uint64_t{1} << 63}},
      {VmcsField::kGuestIa32SysenterCs, {0, 8, 0xFFFFFFFF}},
      {VmcsField::kGuestIa32SysenterEsp, {0, uint64_t{1} << 47, ~uint64_t{0}}},
  };
  return table;
}

void ChangeRelated(Random& random, ProgramBuilder& builder) {
  const Values& row = random.Of(std::span(RelatedValues()));
  builder.Prelude(ProgramBuilder::Write(row.field, random.Of(std::span(row.values))));
  switch (row.field) {
    case VmcsField::kGuestIa32PerfGlobalCtrl:
      builder.SetControls(VmcsField::kVmEntryControls, VmEntry::kLoadIa32PerfGlobalCtrl);
      break;
    case VmcsField::kGuestCr0:
      if (random.OneIn(2)) {
        builder.SetControls(VmcsField::kSecondaryProcessorBasedControls,
                            Secondary::kUnrestrictedGuest);
      }
      break;
    default:
      break;
  }
}

}  // namespace

void AddGuestState(Random& random, ProgramBuilder& builder) {
  const uint64_t changes = random.Between(1, 3);
  for (uint64_t i = 0; i < changes; ++i) {
    if (random.OneIn(2)) {
      ChangeOneField(random, builder);
    } else {
      ChangeRelated(random, builder);
    }
  }
  if (random.OneIn(8)) builder.ClearControls(VmcsField::kVmEntryControls, VmEntry::kIa32eModeGuest);
  if (random.OneIn(4)) AddL2Instructions(random, builder, random.Between(1, 3));
  // What the exit saved.
  const uint64_t reads = random.Between(1, 6);
  for (uint64_t i = 0; i < reads; ++i) {
    builder.Epilogue({.kind = OperationKind::kVmread,
                      .selector = random.Of(std::span(BaselineWrites())).selector});
  }
}

}  // namespace nvmx::sim
