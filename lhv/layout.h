// SPDX-License-Identifier: Apache-2.0
//
// Where the code, the data and the event handlers of a guest program lie. Linear and physical
// addresses are equal for the data; the code and the handlers exist as values of RIP.
#ifndef NVMX_LHV_LAYOUT_H_
#define NVMX_LHV_LAYOUT_H_

#include <cstdint>

namespace nvmx::lhv {

// The length of every instruction of a guest program, and what RIP advances by when one completes.
inline constexpr uint64_t kInstructionBytes = 8;

// The distance between the first instructions of two consecutive operations.
inline constexpr uint64_t kOperationBytes = 0x1000;

// The first operation of L1 and of L2, of CPU 0. Each CPU has code of its own.
inline constexpr uint64_t kL1CodeBase = 0x1000'0000;
inline constexpr uint64_t kL2CodeBase = 0x2000'0000;
inline constexpr uint64_t kCodeBytesPerCpu = 0x100'0000;
inline constexpr uint64_t kMaxOperations = kCodeBytesPerCpu / kOperationBytes;

// The handler of vector v, in L1 and in L2 of CPU 0, begins at base + v * kHandlerBytes.
inline constexpr uint64_t kL1HandlerBase = 0x3000'0000;
inline constexpr uint64_t kL2HandlerBase = 0x3800'0000;
// The same for handlers that return without IRET, so that NMIs stay blocked.
inline constexpr uint64_t kL1BareHandlerBase = 0x3400'0000;
inline constexpr uint64_t kL2BareHandlerBase = 0x3C00'0000;
inline constexpr uint64_t kHandlerBytes = 0x1000;
inline constexpr uint64_t kVectorCount = 256;
inline constexpr uint64_t kHandlerBytesPerCpu = kVectorCount * kHandlerBytes;

// How many CPUs there are addresses for.
inline constexpr uint32_t kMostCpusOfLayout = 16;
static_assert(kL1CodeBase + kMostCpusOfLayout * kCodeBytesPerCpu <= kL2CodeBase);
static_assert(kL1HandlerBase + kMostCpusOfLayout * kHandlerBytesPerCpu <= kL1BareHandlerBase);

// Whether programs and handlers run at the linear address: whatever is there in memory is not
// fetched.
constexpr bool IsCodeOfPrograms(uint64_t address) {
  return address >= kL1CodeBase &&
         address < kL2BareHandlerBase + kMostCpusOfLayout * kHandlerBytesPerCpu;
}

// CPU i owns the physical memory [WindowOf(i), WindowOf(i) + kWindowBytes).
inline constexpr uint64_t kWindowBase = 0x10'0000;
inline constexpr uint64_t kWindowBytes = 0x10'0000;

// The parts of a window, as offsets. The memory blocks of a program end before kBlocksEnd; those
// that ask for no place are laid out from kFirstBlock on. Stacks grow down from the two tops. What
// lies from kL1StackTop on is the machine's: it fills the tables there if it needs them.
inline constexpr uint64_t kFirstBlock = 0x1'0000;
inline constexpr uint64_t kBlocksEnd = 0xE'0000;
inline constexpr uint64_t kL2StackTop = 0xE'8000;
inline constexpr uint64_t kL1StackTop = 0xF'0000;
inline constexpr uint64_t kGdtOffset = 0xF'8000;
inline constexpr uint64_t kTssOffset = 0xF'8800;
inline constexpr uint64_t kL1IdtOffset = 0xF'9000;
inline constexpr uint64_t kL2IdtOffset = 0xF'A000;
inline constexpr uint64_t kPageTableOffset = 0xF'C000;

// The first operation of the CPU; base is kL1CodeBase or kL2CodeBase.
constexpr uint64_t CodeOf(uint32_t cpu, uint64_t base) { return base + cpu * kCodeBytesPerCpu; }

// The handler of vector 0 of the CPU; base is that of CPU 0.
constexpr uint64_t HandlersOf(uint32_t cpu, uint64_t base) {
  return base + cpu * kHandlerBytesPerCpu;
}

// The address of the first instruction of operation `index` of the code at `base`.
constexpr uint64_t OperationAddress(uint64_t base, uint64_t index) {
  return base + index * kOperationBytes;
}

// The first instruction of the handler of `vector` of those that begin at `base`.
constexpr uint64_t HandlerAddress(uint64_t base, uint8_t vector) {
  return base + vector * kHandlerBytes;
}

// The first byte of the physical memory that the CPU owns.
constexpr uint64_t WindowOf(uint32_t cpu) { return kWindowBase + cpu * kWindowBytes; }

// The segment selectors of both levels: flat segments of a 64-bit kernel.
inline constexpr uint16_t kCodeSelector = 0x8;
inline constexpr uint16_t kDataSelector = 0x10;
inline constexpr uint16_t kTssSelector = 0x18;

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_LAYOUT_H_
