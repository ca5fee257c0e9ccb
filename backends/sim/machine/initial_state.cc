// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/initial_state.h"

#include "backends/sim/machine/guest_state_fields.h"
#include "backends/sim/machine/guest_tables.h"
#include "core/nested/vcpu.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/memory_type.h"
#include "core/x86/rflags.h"
#include "core/x86/segment.h"
#include "lhv/layout.h"
#include "lhv/tables_of_32_bits.h"

namespace nvmx::sim {
namespace {

constexpr uint64_t kData = 0xC093;    // writable, accessed, 32-bit, 4-KByte granularity
constexpr uint64_t kCode64 = 0xA09B;  // readable, accessed, 64-bit, 4-KByte granularity
constexpr uint64_t kCode32 = 0xC09B;  // readable, accessed, 32-bit, 4-KByte granularity
constexpr uint64_t kBusyTss = 0x8B;
constexpr uint64_t kFlatLimit = 0xFFFFFFFF;

}  // namespace

SwitchedRegisters InitialRegisters(uint32_t cpu, lhv::L1Mode mode) {
  const uint64_t window = lhv::WindowOf(cpu);
  SwitchedRegisters r{};
  r.rip = lhv::CodeOf(cpu, lhv::kL1CodeBase);
  r.rsp = window + lhv::kL1StackTop;
  r.rflags = Rflags::kFixed1;
  r.cr0 = Cr0::kPe | Cr0::kEt | Cr0::kNe | Cr0::kPg;
  r.cr3 = window + lhv::kPageTableOffset;
  r.cr4 = Cr4::kPae | Cr4::kVmxe;
  r.dr7 = Dr7::kInit;
  r.efer = Efer::kLme | Efer::kLma;
  r.pat = kPatReset;
  for (SegmentState* segment : {&r.es, &r.ss, &r.ds, &r.fs, &r.gs}) {
    *segment = {lhv::kDataSelector, 0, kFlatLimit, kData};
  }
  r.cs = {lhv::kCodeSelector, 0, kFlatLimit, kCode64};
  r.tr = {lhv::kTssSelector, window + lhv::kTssOffset, kGuestTssLimit, kBusyTss};
  r.ldtr = {0, 0, 0, AccessRights::kUnusable};
  r.gdtr_base = window + lhv::kGdtOffset;
  r.gdtr_limit = kGuestGdtLimit;
  r.idtr_base = window + lhv::kL1IdtOffset;
  r.idtr_limit = kGuestIdtLimit;
  if (mode == lhv::L1Mode::k64Bit) return r;
  r.cr4 = lhv::kCr4Of32Bits;
  r.efer = 0;
  r.cs.access_rights = kCode32;
  r.gdtr_limit = lhv::kGdtLimitOf32Bits;
  r.idtr_limit = lhv::kIdtLimitOf32Bits;
  return r;
}

void WriteInitialGuestState(Processor& processor, uint32_t cpu, lhv::L1Mode mode) {
  const SwitchedRegisters r = InitialRegisters(cpu, mode);
  for (const GuestSegment& row : kGuestSegments) {
    const SegmentState& segment = r.*row.member;
    processor.VmcsWrite(row.selector, segment.selector);
    processor.VmcsWrite(row.base, segment.base);
    processor.VmcsWrite(row.limit, segment.limit);
    processor.VmcsWrite(row.access_rights, segment.access_rights);
  }
  const struct {
    VmcsField field;
    uint64_t value;
  } kRest[] = {
      {VmcsField::kGuestCr0, r.cr0},
      {VmcsField::kGuestCr3, r.cr3},
      {VmcsField::kGuestCr4, r.cr4},
      {VmcsField::kGuestIa32Efer, r.efer},
      {VmcsField::kGuestIa32Pat, r.pat},
      {VmcsField::kGuestDr7, r.dr7},
      {VmcsField::kVmcsLinkPointer, kNoVmcs},
      {VmcsField::kGuestRflags, r.rflags},
      {VmcsField::kGuestRsp, r.rsp},
      {VmcsField::kGuestRip, r.rip},
      {VmcsField::kGuestGdtrBase, r.gdtr_base},
      {VmcsField::kGuestGdtrLimit, r.gdtr_limit},
      {VmcsField::kGuestIdtrBase, r.idtr_base},
      {VmcsField::kGuestIdtrLimit, r.idtr_limit},
  };
  for (const auto& row : kRest) processor.VmcsWrite(row.field, row.value);
}

}  // namespace nvmx::sim
