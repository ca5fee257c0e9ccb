// SPDX-License-Identifier: Apache-2.0
#include "lhv/image/machine_tables.h"

#include <cstring>

#include "core/x86/address.h"
#include "lhv/tables_of_32_bits.h"

namespace nvmx::lhv {
namespace {

template <typename T>
void Put(uint8_t* memory, uint64_t address, T value) {
  // Address 0 may be a null pointer, to which nothing may be added.
  const uintptr_t at = reinterpret_cast<uintptr_t>(memory) + static_cast<uintptr_t>(address);
  std::memcpy(reinterpret_cast<void*>(at), &value, sizeof value);
}

// A 64-bit interrupt gate for CPL 0, without an IST. SDM Vol. 3A, 7.14.1 "64-Bit Mode IDT".
void WriteIdt(uint8_t* memory, uint64_t idt, uint64_t handlers) {
  constexpr uint64_t kPresentInterruptGate = uint64_t{0x8E} << 40;
  for (uint64_t vector = 0; vector < kVectorCount; ++vector) {
    const uint64_t handler = HandlerAddress(handlers, static_cast<uint8_t>(vector));
    Put<uint64_t>(memory, idt + vector * 16,
                  (handler & 0xFFFF) | uint64_t{kCodeSelector} << 16 | kPresentInterruptGate |
                      (handler >> 16 & 0xFFFF) << 48);
    Put<uint64_t>(memory, idt + vector * 16 + 8, handler >> 32);
  }
}

// SDM Vol. 3A, 3.4.5 "Segment Descriptors"; 8.2.3 "TSS Descriptor in 64-bit mode".
void WriteGdt(uint8_t* memory, uint64_t gdt, uint64_t tss) {
  constexpr uint64_t kCode64 = 0x00AF'9B00'0000'FFFF;
  constexpr uint64_t kData = 0x00CF'9300'0000'FFFF;
  constexpr uint64_t kBusyTss = 0x0000'8B00'0000'0000;
  const uint64_t entries[] = {
      0, kCode64, kData,
      kBusyTss | kMachineTssLimit | (tss & 0xFF'FFFF) << 16 | (tss >> 24 & 0xFF) << 56, tss >> 32};
  for (size_t i = 0; i < sizeof entries / sizeof *entries; ++i) {
    Put<uint64_t>(memory, gdt + i * sizeof(uint64_t), entries[i]);
  }
}

}  // namespace

void WriteMachineTables(uint8_t* memory, uint32_t cpu, uint64_t beyond, L1Mode mode) {
  if (mode == L1Mode::k32Bit) {
    WriteTablesOf32Bits(
        cpu, [memory](uint64_t address, uint64_t value) { Put<uint64_t>(memory, address, value); });
    constexpr uint64_t kPageShift = 22;
    const uint64_t entry = (beyond >> kPageShift) * sizeof(uint32_t);
    if (beyond != 0) {
      Put(memory, WindowOf(cpu) + kPageTableOffset + entry, static_cast<uint32_t>(beyond));
    }
    return;
  }
  constexpr uint64_t kRsp0Offset = 4;
  constexpr uint64_t kIoMapBaseOffset = 0x66;
  constexpr uint64_t kTable = 0x23;             // present, writable, accessed
  constexpr uint64_t kLargePage = 0x80 | 0x40;  // large, dirty
  constexpr uint64_t kFourthGByte = 3;
  const uint64_t window = WindowOf(cpu);
  WriteIdt(memory, window + kL1IdtOffset, HandlersOf(cpu, kL1HandlerBase));
  WriteIdt(memory, window + kL2IdtOffset, HandlersOf(cpu, kL2HandlerBase));
  WriteGdt(memory, window + kGdtOffset, window + kTssOffset);
  Put<uint64_t>(memory, window + kTssOffset + kRsp0Offset, window + kGdtOffset);
  Put<uint16_t>(memory, window + kTssOffset + kIoMapBaseOffset, kMachineTssLimit + 1);
  const uint64_t pml4 = window + kPageTableOffset;
  const uint64_t pdpt = pml4 + kPageSize;
  Put<uint64_t>(memory, pml4, pdpt | kTable);
  Put<uint64_t>(memory, pdpt, kTable | kLargePage);
  if (beyond != 0) Put<uint64_t>(memory, pdpt + kFourthGByte * sizeof(uint64_t), beyond | kTable);
}

}  // namespace nvmx::lhv
