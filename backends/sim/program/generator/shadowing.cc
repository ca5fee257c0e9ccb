// SPDX-License-Identifier: Apache-2.0
//
// VMCS shadowing: VMREAD and VMWRITE by L2.
#include "backends/sim/program/generator/topics.h"
#include "core/nested/vmcs12_region.h"
#include "core/vmx/controls.h"
#include "core/x86/address.h"

namespace nvmx::sim {
namespace {

using lhv::OperationKind;

// The highest byte of the first word of a region, and what it has besides the revision identifier.
constexpr uint64_t kRevisionTop = 3;
constexpr uint64_t kShadowIndicator = 0x80;

constexpr VmcsField kFields[] = {
    VmcsField::kGuestRip,       VmcsField::kGuestCr0,     VmcsField::kExitReason,
    VmcsField::kHostCr3,        VmcsField::kTscOffset,    VmcsField::kGuestEsSelector,
    VmcsField::kPinBasedControls, VmcsField::kGuestPhysicalAddress, VmcsField::kHostRip,
    VmcsField::kVmInstructionError};

uint32_t SomeEncoding(Random& random) {
  if (random.OneIn(8)) return static_cast<uint32_t>(random.Awkward(32));
  const VmcsField field = random.Of(kFields);
  return Encoding(field) | (Width(field) == FieldWidth::k64 && random.OneIn(4) ? 1 : 0);
}

// The bit of an encoding in both bitmaps is that of its bits 14:0. SDM Vol. 3C, 25.6.15
// "VMCS Shadowing Bitmap Addresses".
void SetBits(Random& random, ProgramBuilder& builder, uint64_t bitmap) {
  const uint64_t bits = random.Below(4);
  for (uint64_t i = 0; i < bits; ++i) {
    const uint32_t number = SomeEncoding(random) & 0x7FFF;
    builder.BytesAt(bitmap + number / 8)[0] |= std::byte{1} << number % 8;
  }
}

}  // namespace

void AddShadowing(Random& random, ProgramBuilder& builder) {
  builder.SetControls(VmcsField::kSecondaryProcessorBasedControls, Secondary::kVmcsShadowing);
  const uint64_t bitmaps = builder.AddPages("shadow_bitmaps", 2);
  SetBits(random, builder, bitmaps);
  SetBits(random, builder, bitmaps + kPageSize);
  builder.Prelude(ProgramBuilder::WriteOffset(VmcsField::kVmreadBitmapAddress, bitmaps));
  builder.Prelude(
      ProgramBuilder::WriteOffset(VmcsField::kVmwriteBitmapAddress, bitmaps + kPageSize));
  const uint64_t shadow = builder.AddPages("shadow", 1);
  builder.Prelude({.kind = OperationKind::kInitializeVmxRegion,
                   .flags = lhv::kValueIsWindowOffset,
                   .value = shadow});
  if (!random.OneIn(6)) {
    builder.Prelude({.kind = OperationKind::kWriteMemory,
                     .flags = lhv::kValueIsWindowOffset,
                     .selector = 1,
                     .value = shadow + kRevisionTop,
                     .extra = kShadowIndicator | kVmcs12Revision >> 24});
  }
  builder.Prelude({.kind = OperationKind::kVmclear,
                   .flags = lhv::kValueIsWindowOffset,
                   .value = shadow});
  if (!random.OneIn(8)) {
    builder.Prelude(ProgramBuilder::WriteOffset(VmcsField::kVmcsLinkPointer, shadow));
  }
  const uint64_t accesses = random.Between(2, 6);
  for (uint64_t i = 0; i < accesses; ++i) {
    if (random.OneIn(2)) {
      builder.L2({.kind = OperationKind::kVmread, .selector = SomeEncoding(random)});
    } else {
      const uint32_t encoding = SomeEncoding(random);
      builder.L2({.kind = OperationKind::kVmwrite,
                  .selector = encoding,
                  .value = random.Awkward(64) & OperandMask(encoding)});
    }
  }
  builder.WantRounds(random.Between(1, 4));
  // What L2 wrote, seen by L1.
  builder.Epilogue({.kind = OperationKind::kVmclear,
                    .flags = lhv::kValueIsWindowOffset,
                    .value = shadow});
  builder.Epilogue({.kind = OperationKind::kWriteMemory,
                    .flags = lhv::kValueIsWindowOffset,
                    .selector = 1,
                    .value = shadow + kRevisionTop,
                    .extra = kVmcs12Revision >> 24});
  builder.Epilogue({.kind = OperationKind::kVmptrld,
                    .flags = lhv::kValueIsWindowOffset,
                    .value = shadow});
  for (int i = 0; i < 2; ++i) {
    builder.Epilogue({.kind = OperationKind::kVmread, .selector = SomeEncoding(random)});
  }
}

}  // namespace nvmx::sim
