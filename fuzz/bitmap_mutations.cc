// SPDX-License-Identifier: Apache-2.0
#include "fuzz/bitmap_mutations.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "core/vmx/controls.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/address.h"
#include "fuzz/input_memory.h"
#include "fuzz/topical_mutations.h"
#include "lhv/baseline.h"
#include "lhv/layout.h"

namespace nvmx::fuzz {
namespace {

using lhv::CpuProgram;
using lhv::Operation;
using lhv::OperationKind;

// SDM Vol. 3C, 25.6.4 "I/O-Bitmap Addresses", 25.6.9 "MSR-Bitmap Address", 25.6.15 "VMCS Shadowing
// Bitmap Addresses": what a bitmap is about, and where it is put if there is none. No two adjoin.
struct Bitmap {
  VmcsField address, controls;
  uint32_t control;
  uint64_t place;  // an offset in the window
};
constexpr Bitmap kIoA{VmcsField::kIoBitmapAAddress, VmcsField::kPrimaryProcessorBasedControls,
                      PrimaryProcessorBased::kUseIoBitmaps, 0x1'4000};
constexpr Bitmap kIoB{VmcsField::kIoBitmapBAddress, VmcsField::kPrimaryProcessorBasedControls,
                      PrimaryProcessorBased::kUseIoBitmaps, 0x1'6000};
constexpr Bitmap kMsr{VmcsField::kMsrBitmapAddress, VmcsField::kPrimaryProcessorBasedControls,
                      PrimaryProcessorBased::kUseMsrBitmaps, 0x1'8000};
constexpr Bitmap kVmread{VmcsField::kVmreadBitmapAddress,
                         VmcsField::kSecondaryProcessorBasedControls, Secondary::kVmcsShadowing,
                         0x1'A000};
constexpr Bitmap kVmwrite{VmcsField::kVmwriteBitmapAddress,
                          VmcsField::kSecondaryProcessorBasedControls, Secondary::kVmcsShadowing,
                          0x1'C000};

struct Bit {
  const Bitmap* bitmap;
  uint64_t number;
};

Bit BitOfMsr(uint32_t msr, bool write) {
  constexpr uint32_t kMsrsOfARange = 0x2000;
  const uint64_t range = (msr >> 31) + (write ? 2 : 0);
  return {&kMsr, range * kMsrsOfARange + msr % kMsrsOfARange};
}

std::optional<Bit> BitOf(const Operation& operation, Random& random) {
  constexpr uint64_t kPortsOfABitmap = 0x8000;
  switch (operation.kind) {
    case OperationKind::kIn:
    case OperationKind::kOut: {
      const uint64_t port = (operation.value + random.Below(operation.selector + 1)) % 0x1'0000;
      return Bit{port < kPortsOfABitmap ? &kIoA : &kIoB, port % kPortsOfABitmap};
    }
    case OperationKind::kRdmsr:
      return BitOfMsr(operation.selector, false);
    case OperationKind::kWrmsr:
      return BitOfMsr(operation.selector, true);
    case OperationKind::kVmread:
      return Bit{&kVmread, operation.selector % kPortsOfABitmap};
    case OperationKind::kVmwrite:
      return Bit{&kVmwrite, operation.selector % kPortsOfABitmap};
    default:
      return std::nullopt;
  }
}

Operation* LastWrite(CpuProgram& cpu, OperationKind kind, VmcsField field) {
  const auto found = std::find_if(cpu.l1.rbegin(), cpu.l1.rend(), [&](const Operation& operation) {
    return operation.kind == kind && operation.selector == Encoding(field);
  });
  return found == cpu.l1.rend() ? nullptr : &*found;
}

// Where the bitmap lies in the window.
uint64_t PlaceOf(CpuProgram& cpu, const Bitmap& bitmap) {
  if (const Operation* write = LastWrite(cpu, OperationKind::kVmwrite, bitmap.address)) {
    return (write->flags & lhv::kValueIsWindowOffset) != 0 ? write->value
                                                           : write->value - lhv::WindowOf(0);
  }
  cpu.l1.insert(cpu.l1.begin(),
                lhv::Vmwrite(bitmap.address, bitmap.place, lhv::kValueIsWindowOffset));
  return bitmap.place;
}

void Use(CpuProgram& cpu, const Bitmap& bitmap) {
  Operation* controls = LastWrite(cpu, OperationKind::kVmwriteControl, bitmap.controls);
  if (controls == nullptr) {
    cpu.l1.insert(cpu.l1.begin(),
                  {.kind = OperationKind::kVmwriteControl, .selector = Encoding(bitmap.controls)});
    controls = &cpu.l1.front();
  }
  controls->value |= bitmap.control;
}

Operation SomeAccess(Random& random) {
  constexpr uint64_t kPorts[] = {0, 7, 0x60, 0x7FFF, 0x8000, 0x8008, 0xFFFC, 0xFFFF};
  switch (random.Below(4)) {
    case 0:
    case 1:
      return {.kind = random.OneIn(2) ? OperationKind::kIn : OperationKind::kOut,
              .selector = random.Of({uint32_t{1}, uint32_t{2}, uint32_t{4}}),
              .value = random.OneIn(4) ? random.Below(0x1'0000) : random.Of(kPorts),
              .extra = random.Next() & 0xFF};
    case 2:
      return {.kind = OperationKind::kRdmsr, .selector = SomeMsr(random)};
    default:
      return {.kind = OperationKind::kWrmsr, .selector = SomeMsr(random), .value = random.Below(8)};
  }
}

}  // namespace

void MutateBitmap(CpuProgram& cpu, Random& random) {
  std::vector<Bit> bits;
  for (const Operation& operation : cpu.l2) {
    if (const std::optional<Bit> bit = BitOf(operation, random)) bits.push_back(*bit);
  }
  if (bits.empty() || random.OneIn(4)) {
    cpu.l2.insert(cpu.l2.begin() + static_cast<ptrdiff_t>(random.Below(cpu.l2.size() + 1)),
                  SomeAccess(random));
    return;
  }
  const Bit bit = random.Of(std::span<const Bit>(bits));
  if (random.OneIn(8)) {
    (void)PlaceOf(cpu, *bit.bitmap);
    LastWrite(cpu, OperationKind::kVmwrite, bit.bitmap->address)->value += kPageSize;
    return;
  }
  const uint64_t word = (PlaceOf(cpu, *bit.bitmap) & ~uint64_t{7}) + bit.number / 64 * 8;
  PutWord(cpu, word, WordAt(cpu, word) ^ uint64_t{1} << bit.number % 64);
  if (random.OneIn(2)) Use(cpu, *bit.bitmap);
}

}  // namespace nvmx::fuzz
