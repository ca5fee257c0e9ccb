// SPDX-License-Identifier: Apache-2.0
//
// The three MSR lists.
#include "backends/sim/program/generator/topics.h"
#include "core/vmx/msr_list.h"
#include "core/x86/address.h"
#include "core/x86/msr.h"

namespace nvmx::sim {
namespace {

using lhv::OperationKind;

constexpr Msr kOrdinary[] = {
    Msr::IA32_SYSENTER_CS, Msr::IA32_SYSENTER_ESP,   Msr::IA32_SYSENTER_EIP,
    Msr::IA32_STAR,        Msr::IA32_LSTAR,          Msr::IA32_CSTAR,
    Msr::IA32_FMASK,       Msr::IA32_KERNEL_GS_BASE, Msr::IA32_TSC_AUX,
    Msr::IA32_PAT,         Msr::IA32_EFER,           Msr::IA32_MTRR_PHYSBASE0,
    Msr::IA32_MC0_CTL,     Msr::IA32_MC0_ADDR,       Msr::IA32_MC0_MISC,
    Msr::IA32_TIME_STAMP_COUNTER, Msr::IA32_MTRR_FIX64K_00000, Msr::IA32_DEBUGCTL,
    Msr::IA32_MTRR_DEF_TYPE,  Msr::IA32_PERF_GLOBAL_CTRL};
// Those that a list must not name, that are read-only, or that do not exist.
constexpr uint32_t kForbidden[] = {
    Index(Msr::IA32_FS_BASE),         Index(Msr::IA32_GS_BASE),   Index(Msr::IA32_X2APIC_TPR),
    Index(Msr::IA32_X2APIC_ICR),      Index(Msr::IA32_VMX_BASIC), Index(Msr::IA32_SMM_MONITOR_CTL),
    Index(Msr::IA32_SMBASE),          Index(Msr::IA32_MTRRCAP),   Index(Msr::IA32_BIOS_UPDT_TRIG),
    Index(Msr::IA32_FEATURE_CONTROL), Index(Msr::IA32_APIC_BASE), 0x8FF, 0x800, 0x900, 0xDEAD,
    0xFFFFFFFF, 0xC0001FFF};

struct ListFields {
  VmcsField address, count;
  bool loads;
};
constexpr ListFields kLists[] = {
    {VmcsField::kVmEntryMsrLoadAddress, VmcsField::kVmEntryMsrLoadCount, true},
    {VmcsField::kVmExitMsrStoreAddress, VmcsField::kVmExitMsrStoreCount, false},
    {VmcsField::kVmExitMsrLoadAddress, VmcsField::kVmExitMsrLoadCount, true},
};

uint64_t ValueFor(Random& random, uint32_t msr) {
  switch (random.Below(4)) {
    case 0:
      return random.Awkward(64);
    case 1:
      return msr == Index(Msr::IA32_PAT) ? 0x0007'0406'0007'0405 : 0x500;
    default:
      // Good for most.
      return msr == Index(Msr::IA32_EFER) ? 0x500 : random.Below(8);
  }
}

MsrListEntry Entry(Random& random, bool loads) {
  MsrListEntry entry;
  entry.index = Index(random.Of(kOrdinary));
  if (random.OneIn(loads ? 6 : 10)) entry.index = random.Of(kForbidden);
  if (random.OneIn(12)) entry.reserved = static_cast<uint32_t>(random.Awkward(32));
  entry.data = ValueFor(random, entry.index);
  return entry;
}

void AddList(Random& random, ProgramBuilder& builder, const ListFields& list) {
  constexpr size_t kPages = 2;
  const uint64_t pages = builder.AddPages("list", kPages);
  const uint64_t count = random.OneIn(5) ? 0 : random.Between(1, 6);
  // Across the two pages now and then.
  const uint64_t offset =
      pages + (random.OneIn(4) ? kPageSize - sizeof(MsrListEntry) * random.Below(count + 1) : 0);
  for (uint64_t i = 0; i < count; ++i) {
    const MsrListEntry entry = Entry(random, list.loads);
    const uint64_t at = offset + i * sizeof entry;
    builder.Put64(at, uint64_t{entry.reserved} << 32 | entry.index);
    builder.Put64(at + 8, entry.data);
  }
  uint64_t address = builder.AddressOf(offset);
  if (random.OneIn(12)) address ^= random.Bit(64);
  if (random.OneIn(16)) address = (uint64_t{1} << 40) - sizeof(MsrListEntry) * random.Below(4);
  builder.Prelude(ProgramBuilder::Write(list.address, address));
  builder.Prelude(ProgramBuilder::Write(
      list.count, random.OneIn(20) ? random.Of({uint64_t{512}, uint64_t{513}, uint64_t{0xFFFFFFFF}})
                                   : count));
  if (!list.loads && count != 0) {
    builder.Epilogue({.kind = OperationKind::kReadMemory,
                      .flags = lhv::kValueIsWindowOffset,
                      .selector = sizeof(uint64_t),
                      .value = offset + random.Below(count) * sizeof(MsrListEntry) + 8});
  }
}

}  // namespace

void AddMsrLists(Random& random, ProgramBuilder& builder) {
  for (const ListFields& list : kLists) {
    if (!random.OneIn(3)) AddList(random, builder, list);
  }
  for (int i = 0; i < 3; ++i) {
    builder.L2({.kind = OperationKind::kRdmsr, .selector = Index(random.Of(kOrdinary))});
    builder.Epilogue({.kind = OperationKind::kRdmsr, .selector = Index(random.Of(kOrdinary))});
  }
  if (random.OneIn(2)) builder.WantRounds(random.Between(2, 3));
}

}  // namespace nvmx::sim
