// SPDX-License-Identifier: Apache-2.0
//
// The part of a CPU's window that is the machine's, for an L1 outside IA-32e mode. SDM Vol.
// 3A, 3.4.5 "Segment Descriptors", 4.3 "32-Bit Paging", 6.11 "IDT Descriptors", 7.2.1 "Task-State
// Segment (TSS)".
#ifndef NVMX_LHV_TABLES_OF_32_BITS_H_
#define NVMX_LHV_TABLES_OF_32_BITS_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/x86/control_registers.h"
#include "lhv/layout.h"

namespace nvmx::lhv {

inline constexpr uint64_t kGdtLimitOf32Bits = kTssSelector + 8 - 1;
inline constexpr uint64_t kIdtLimitOf32Bits = kVectorCount * 8 - 1;
inline constexpr uint64_t kTssLimitOf32Bits = 0x67;
// What goes with these tables: pages of 4 MBytes, and VMX.
inline constexpr uint64_t kCr4Of32Bits = Cr4::kPse | Cr4::kVmxe;

// Calls put(address, value) for each eight bytes that are not zero. The paging structures are one
// directory of pages of 4 MBytes, which map the first GByte, where everything is that a guest
// program names, to itself.
template <typename Put>
void WriteTablesOf32Bits(uint32_t cpu, const Put& put) {
  const uint64_t window = WindowOf(cpu);
  constexpr uint64_t kEightBytes = 8;
  // An interrupt gate for CPL 0.
  constexpr uint64_t kPresentInterruptGate = uint64_t{0x8E} << 40;
  const auto put_idt = [&put, cpu](uint64_t idt, uint64_t base) {
    for (uint64_t vector = 0; vector < kVectorCount; ++vector) {
      const uint64_t handler = HandlerAddress(HandlersOf(cpu, base), static_cast<uint8_t>(vector));
      put(idt + vector * kEightBytes, (handler & 0xFFFF) | uint64_t{kCodeSelector} << 16 |
                                          kPresentInterruptGate | (handler >> 16 & 0xFFFF) << 48);
    }
  };
  put_idt(window + kL1IdtOffset, kL1HandlerBase);
  put_idt(window + kL2IdtOffset, kL2HandlerBase);
  const uint64_t tss = window + kTssOffset;
  const std::array<uint64_t, 4> gdt = {0, 0x00CF'9B00'0000'FFFF, 0x00CF'9300'0000'FFFF,
                                       uint64_t{0x8B} << 40 | kTssLimitOf32Bits |
                                           (tss & 0xFF'FFFF) << 16 | (tss >> 24 & 0xFF) << 56};
  static_assert(sizeof gdt == kGdtLimitOf32Bits + 1);
  for (size_t entry = 0; entry < gdt.size(); ++entry) {
    put(window + kGdtOffset + entry * kEightBytes, gdt[entry]);
  }
  // ESP0 and SS0; the I/O permission bit map is behind the end.
  put(tss, (window + kGdtOffset) << 32);
  put(tss + kEightBytes, uint64_t{kDataSelector});
  put(tss + kTssLimitOf32Bits + 1 - kEightBytes, (kTssLimitOf32Bits + 1) << 48);
  // Present, writable, accessed, dirty, large: the processor changes nothing.
  constexpr uint64_t kPage = 0xE3;
  constexpr uint64_t kPageShift = 22;
  constexpr uint64_t kPages = 256;
  for (uint64_t page = 0; page < kPages; page += 2) {
    put(window + kPageTableOffset + page * sizeof(uint32_t),
        (page << kPageShift | kPage) | ((page + 1) << kPageShift | kPage) << 32);
  }
}

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_TABLES_OF_32_BITS_H_
