// SPDX-License-Identifier: Apache-2.0
//
// The TPR shadow, APIC accesses, x2APIC mode.
#include "backends/sim/program/generator/page_tables.h"
#include "backends/sim/program/generator/topics.h"
#include "core/vmx/controls.h"
#include "core/x86/address.h"
#include "core/x86/msr.h"

namespace nvmx::sim {
namespace {

using lhv::OperationKind;

constexpr uint64_t kVtpr = 0x80;  // offset of the virtual TPR

}  // namespace

void AddApic(Random& random, ProgramBuilder& builder) {
  constexpr VmcsField kPrimary = VmcsField::kPrimaryProcessorBasedControls;
  constexpr VmcsField kSecondary = VmcsField::kSecondaryProcessorBasedControls;
  const uint64_t page = builder.AddPages("virtual_apic", 1);
  if (!random.OneIn(6)) builder.SetControls(kPrimary, PrimaryProcessorBased::kUseTprShadow);
  builder.Prelude(ProgramBuilder::WriteOffset(VmcsField::kVirtualApicAddress, page));
  builder.Prelude(ProgramBuilder::Write(
      VmcsField::kTprThreshold, random.OneIn(8) ? random.Awkward(32) : random.Below(16)));
  builder.Put64(page + kVtpr, random.Below(16) << 4 | (random.OneIn(8) ? random.Below(16) : 0));
  if (random.OneIn(3)) {
    builder.SetControls(kPrimary, random.Of({PrimaryProcessorBased::kCr8LoadExiting,
                                             PrimaryProcessorBased::kCr8StoreExiting}));
  }
  if (random.OneIn(3)) builder.SetControls(kSecondary, Secondary::kVirtualizeX2ApicMode);
  uint64_t access_page = ProgramBuilder::kData;
  if (random.OneIn(2)) {
    access_page = builder.AddPages("apic_access", 1);
    builder.SetControls(kSecondary, Secondary::kVirtualizeApicAccesses);
    builder.Prelude(ProgramBuilder::WriteOffset(VmcsField::kApicAccessAddress, access_page));
    if (random.OneIn(2)) UseEpt(builder, AddEptTables(builder, "ept"));
  }
  const uint64_t steps = random.Between(2, 7);
  for (uint64_t i = 0; i < steps; ++i) {
    switch (random.Below(6)) {
      case 0:
        builder.L2({.kind = OperationKind::kMovFromCr, .selector = 8});
        break;
      case 1:
        builder.L2({.kind = OperationKind::kMovToCr,
                    .selector = 8,
                    .value = random.OneIn(8) ? random.Awkward(64) : random.Below(16)});
        break;
      case 2:
        builder.L2({.kind = OperationKind::kRdmsr,
                    .selector = random.Of({Index(Msr::IA32_X2APIC_TPR), Index(Msr::IA32_X2APIC_EOI),
                                           Index(Msr::IA32_X2APIC_APICID), uint32_t{0x8FF}})});
        break;
      case 3:
        builder.L2({.kind = OperationKind::kWrmsr,
                    .selector = Index(Msr::IA32_X2APIC_TPR),
                    .value = random.OneIn(6) ? random.Awkward(64) : random.Below(256)});
        break;
      default:
        builder.L2({.kind = random.OneIn(2) ? OperationKind::kReadMemory
                                            : OperationKind::kWriteMemory,
                    .flags = lhv::kValueIsWindowOffset,
                    .selector = random.Of({uint32_t{4}, uint32_t{4}, uint32_t{8}, uint32_t{1}}),
                    .value = access_page + random.Of({uint64_t{0x80}, uint64_t{0x80},
                                                      uint64_t{0xB0}, uint64_t{0x300},
                                                      uint64_t{0x7E}, uint64_t{0xFFC}}),
                    .extra = random.Below(256)});
        break;
    }
  }
  builder.WantRounds(random.Between(1, 5));
  builder.Epilogue({.kind = OperationKind::kReadMemory,
                    .flags = lhv::kValueIsWindowOffset,
                    .selector = sizeof(uint32_t),
                    .value = page + kVtpr});
  builder.Epilogue({.kind = OperationKind::kMovFromCr, .selector = 8});
}

}  // namespace nvmx::sim
