// SPDX-License-Identifier: Apache-2.0
//
// I/O bitmaps, MSR bitmaps, the exception bitmap.
#include "backends/sim/program/generator/topics.h"
#include "core/vmx/controls.h"
#include "core/x86/address.h"
#include "core/x86/msr.h"

namespace nvmx::sim {
namespace {

using lhv::OperationKind;

constexpr uint16_t kPorts[] = {0,    1,     2,      7,      8,      0x60,  0xFE,
                               0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF};

void SetBit(ProgramBuilder& builder, uint64_t bitmap, uint64_t number) {
  std::byte& byte = builder.BytesAt(bitmap + number / 8)[0];
  byte |= std::byte{1} << number % 8;
}

void AddIo(Random& random, ProgramBuilder& builder) {
  builder.SetControls(VmcsField::kPrimaryProcessorBasedControls,
                      PrimaryProcessorBased::kUseIoBitmaps);
  if (random.OneIn(4)) {
    builder.SetControls(VmcsField::kPrimaryProcessorBasedControls,
                        PrimaryProcessorBased::kUnconditionalIoExiting);
  }
  // Not one behind the other, which an L0 could mistake for one bitmap of two pages.
  const uint64_t bitmap_a = builder.AddPages("io_bitmaps", 3);
  const uint64_t bitmap_b = bitmap_a + 2 * kPageSize;
  builder.Prelude(ProgramBuilder::WriteOffset(VmcsField::kIoBitmapAAddress, bitmap_a));
  builder.Prelude(ProgramBuilder::WriteOffset(VmcsField::kIoBitmapBAddress, bitmap_b));
  constexpr uint64_t kPortsOfABitmap = 0x8000;
  const uint64_t bits = random.Below(4);
  for (uint64_t i = 0; i < bits; ++i) {
    const uint64_t port = random.Of(kPorts);
    SetBit(builder, port < kPortsOfABitmap ? bitmap_a : bitmap_b, port % kPortsOfABitmap);
  }
  const uint64_t accesses = random.Between(2, 6);
  for (uint64_t i = 0; i < accesses; ++i) {
    builder.L2({.kind = random.OneIn(2) ? OperationKind::kIn : OperationKind::kOut,
                .selector = random.Of({uint32_t{1}, uint32_t{2}, uint32_t{4}}),
                .value = random.Of(kPorts),
                .extra = random.Next() & 0xFFFFFFFF});
  }
}

constexpr uint32_t kMsrs[] = {Index(Msr::IA32_STAR),
                              Index(Msr::IA32_LSTAR),
                              Index(Msr::IA32_KERNEL_GS_BASE),
                              Index(Msr::IA32_FS_BASE),
                              Index(Msr::IA32_GS_BASE),
                              Index(Msr::IA32_SYSENTER_CS),
                              Index(Msr::IA32_SYSENTER_EIP),
                              Index(Msr::IA32_EFER),
                              Index(Msr::IA32_PAT),
                              Index(Msr::IA32_TSC_AUX),
                              Index(Msr::IA32_DEBUGCTL),
                              Index(Msr::IA32_MTRR_PHYSBASE0),
                              Index(Msr::IA32_MC0_ADDR),
                              Index(Msr::IA32_MISC_ENABLE),
                              Index(Msr::IA32_VMX_BASIC),
                              Index(Msr::IA32_FEATURE_CONTROL),
                              Index(Msr::IA32_APIC_BASE),
                              0x1FFF,
                              0x2000,
                              0xC0001FFF,
                              0xC0002000,
                              0xDEAD};

void AddMsrs(Random& random, ProgramBuilder& builder) {
  builder.SetControls(VmcsField::kPrimaryProcessorBasedControls,
                      PrimaryProcessorBased::kUseMsrBitmaps);
  const uint64_t bitmap = builder.AddPages("msr_bitmap", 1);
  builder.Prelude(ProgramBuilder::WriteOffset(VmcsField::kMsrBitmapAddress, bitmap));
  const uint64_t accesses = random.Between(2, 6);
  for (uint64_t i = 0; i < accesses; ++i) {
    const uint32_t msr = random.Of(kMsrs);
    const bool write = random.OneIn(2);
    if (random.OneIn(3)) {
      // Reads of low MSRs, reads of high ones, writes of low ones, writes of high ones: 1 KByte
      // each. SDM Vol. 3C, 25.6.9 "MSR-Bitmap Address".
      constexpr uint64_t kBitsEach = 8192;
      const uint64_t quarter = (write ? 2 : 0) + (msr >> 31);
      SetBit(builder, bitmap, quarter * kBitsEach + msr % kBitsEach);
    }
    if (write) {
      builder.L2({.kind = OperationKind::kWrmsr,
                  .selector = msr,
                  .value = random.OneIn(3) ? random.Awkward(64) : random.Below(16)});
    } else {
      builder.L2({.kind = OperationKind::kRdmsr, .selector = msr});
    }
  }
  builder.Epilogue({.kind = OperationKind::kRdmsr, .selector = random.Of(kMsrs)});
}

void AddExceptions(Random& random, ProgramBuilder& builder) {
  builder.Prelude(
      ProgramBuilder::Write(VmcsField::kExceptionBitmap,
                            random.OneIn(3) ? random.Awkward(32) : random.Bit(32) | 1 << 13));
  constexpr OperationKind kFaulting[] = {OperationKind::kUd2,  OperationKind::kInt3,
                                         OperationKind::kInt1, OperationKind::kDivideByZero,
                                         OperationKind::kRsm,  OperationKind::kSgdt};
  for (int i = 0; i < 3; ++i) builder.L2({.kind = random.Of(kFaulting)});
}

}  // namespace

void AddBitmaps(Random& random, ProgramBuilder& builder) {
  switch (random.Below(4)) {
    case 0:
      AddIo(random, builder);
      break;
    case 1:
      AddExceptions(random, builder);
      break;
    default:
      AddMsrs(random, builder);
      break;
  }
  builder.WantRounds(random.Between(1, 4));
}

}  // namespace nvmx::sim
