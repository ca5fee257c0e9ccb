// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/guest_tables.h"

#include <array>
#include <cstddef>
#include <span>

#include "backends/sim/machine/paging_format.h"
#include "core/x86/address.h"
#include "lhv/tables_of_32_bits.h"

namespace nvmx::sim {
namespace {

template <typename T>
void Write(Memory& memory, uint64_t address, const T& value) {
  memory.Write(address, std::as_bytes(std::span<const T, 1>(&value, 1)));
}

// A gate of 16 bytes: an interrupt gate for CPL 0, without an IST. SDM Vol. 3A, 7.14.1 "64-Bit Mode
// IDT".
std::array<uint64_t, 2> InterruptGate(uint64_t handler) {
  constexpr uint64_t kPresentInterruptGate = uint64_t{0x8E} << 40;
  return {(handler & 0xFFFF) | uint64_t{lhv::kCodeSelector} << 16 | kPresentInterruptGate |
              (handler >> 16 & 0xFFFF) << 48,
          handler >> 32};
}

void WriteIdt(Memory& memory, uint64_t idt, uint64_t handlers) {
  std::array<std::array<uint64_t, 2>, lhv::kVectorCount> gates;
  for (size_t vector = 0; vector < gates.size(); ++vector) {
    gates[vector] = InterruptGate(lhv::HandlerAddress(handlers, static_cast<uint8_t>(vector)));
  }
  Write(memory, idt, gates);
}

// SDM Vol. 3A, 3.4.5 "Segment Descriptors"; 8.2.3 "TSS Descriptor in 64-bit mode".
void WriteGdt(Memory& memory, uint64_t gdt, uint64_t tss) {
  constexpr uint64_t kCode64 = 0x00AF'9B00'0000'FFFF;  // accessed, G, L
  constexpr uint64_t kData = 0x00CF'9300'0000'FFFF;    // accessed, G, B
  constexpr uint64_t kBusyTss = 0x0000'8B00'0000'0000;
  const std::array<uint64_t, 5> entries = {
      0, kCode64, kData,
      kBusyTss | kGuestTssLimit | (tss & 0xFF'FFFF) << 16 | (tss >> 24 & 0xFF) << 56, tss >> 32};
  static_assert(sizeof entries == kGuestGdtLimit + 1);
  static_assert(lhv::kCodeSelector == 8 && lhv::kDataSelector == 16 && lhv::kTssSelector == 24);
  Write(memory, gdt, entries);
}

// SDM Vol. 3A, 8.7 "Task Management in 64-bit Mode".
void WriteTss(Memory& memory, uint64_t tss, uint64_t rsp0) {
  constexpr uint64_t kRsp0Offset = 4;
  constexpr uint64_t kIoMapBaseOffset = 0x66;
  Write(memory, tss + kRsp0Offset, rsp0);
  // Behind the end: there is no I/O permission bit map.
  Write(memory, tss + kIoMapBaseOffset, static_cast<uint16_t>(kGuestTssLimit + 1));
}

// One page of 1 GByte reaches beyond the last handler. The flags that the processor would set are
// set, so that it changes nothing here. SDM Vol. 3A, 5.5 "4-Level Paging and 5-Level Paging".
void WritePagingStructures(Memory& memory, uint64_t pml4) {
  constexpr uint64_t kReach = uint64_t{1} << 30;
  static_assert(lhv::HandlersOf(lhv::kMostCpusOfLayout, lhv::kL2BareHandlerBase) <= kReach);
  const uint64_t pdpt = pml4 + kPageSize;
  constexpr uint64_t kTable =
      PagingEntry::kPresent | PagingEntry::kWritable | PagingEntry::kAccessed;
  Write(memory, pml4, pdpt | kTable);
  Write(memory, pdpt, kTable | PagingEntry::kDirty | PagingEntry::kLarge);
}

}  // namespace

void WriteGuestTables(Memory& memory, uint32_t cpu, lhv::L1Mode mode) {
  if (mode == lhv::L1Mode::k32Bit) {
    lhv::WriteTablesOf32Bits(
        cpu, [&memory](uint64_t address, uint64_t value) { Write(memory, address, value); });
    return;
  }
  const uint64_t window = lhv::WindowOf(cpu);
  WriteIdt(memory, window + lhv::kL1IdtOffset, lhv::HandlersOf(cpu, lhv::kL1HandlerBase));
  WriteIdt(memory, window + lhv::kL2IdtOffset, lhv::HandlersOf(cpu, lhv::kL2HandlerBase));
  WriteGdt(memory, window + lhv::kGdtOffset, window + lhv::kTssOffset);
  WriteTss(memory, window + lhv::kTssOffset, window + kGuestRsp0Offset);
  WritePagingStructures(memory, window + lhv::kPageTableOffset);
}

}  // namespace nvmx::sim
