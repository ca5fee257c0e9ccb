// SPDX-License-Identifier: Apache-2.0
//
// Programs as bytes, for machines without a heap, generators and fuzzers. All numbers are
// little-endian.
//
//   header     4 bytes "NVGP", 1 byte version: 1, or 2 for an L1 outside IA-32e mode, 1 byte number
//   of CPUs each CPU   2 bytes each: operations of L1, of these the setup, operations of L2, runs
//   of memory;
//              the operations of L1, those of L2, the runs
//   operation  1 byte kind; 1 byte: Operation::flags in bits 3:0, and in bits 4 to 7 which of
//              selector, value, extra and operand follow (the others are 0);
//              4 bytes selector, 8 bytes each of the rest
//   run        4 bytes offset in the window, 4 bytes length, that many bytes
//
// The runs of a CPU ascend and do not touch the parts of the window that are the machine's.
#ifndef NVMX_LHV_BINARY_PROGRAM_H_
#define NVMX_LHV_BINARY_PROGRAM_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "lhv/l1_mode.h"
#include "lhv/program.h"

namespace nvmx::lhv {

enum class BinaryProgramError : uint8_t {
  kNone,
  kTruncated,       // the bytes end before the program does
  kNoMagic,         // they do not begin as a program does
  kUnknownVersion,  // they are of a version that this code does not read
  kBadOperation,    // an operation that IsValidOperation() refuses, or one with an unknown kind
  kBadCounts,       // more operations than there are addresses for, or more setup than operations
  kBadRun,          // a run of memory out of order, or where no memory block can be
  kTrailingBytes,   // they go on after the program
};

// A short description.
const char* Name(BinaryProgramError error);

inline constexpr char kBinaryMagic[4] = {'N', 'V', 'G', 'P'};
inline constexpr uint8_t kBinaryVersion = 1;
inline constexpr uint8_t kBinaryVersionOf32Bits = 2;
inline constexpr size_t kBinaryHeaderBytes = sizeof(kBinaryMagic) + 2;
// Where a program says which parts of an operation follow.
inline constexpr uint8_t kBinaryFlags = 0x0F;
inline constexpr uint8_t kBinaryHasSelector = 1 << 4;
inline constexpr uint8_t kBinaryHasValue = 1 << 5;
inline constexpr uint8_t kBinaryHasExtra = 1 << 6;
inline constexpr uint8_t kBinaryHasOperand = 1 << 7;

// Takes what a program consists of, CPU by CPU, in the order of the bytes.
class BinaryProgramVisitor {
 public:
  // A CPU begins. The number of CPUs is the same each time.
  virtual void OnCpu(uint32_t cpu, uint32_t cpu_count, size_t l1, size_t run_begin, size_t l2) = 0;
  // The next operation of that level (1 or 2) of the CPU.
  virtual void OnOperation(uint32_t level, const Operation& operation) = 0;
  // Memory of the CPU; the bytes are part of those that are read.
  virtual void OnMemory(uint64_t offset, std::span<const std::byte> bytes) = 0;

 protected:
  ~BinaryProgramVisitor() = default;
};

// Hands the program in `bytes` to the visitor. Everything before an error has been handed over;
// CheckBinaryProgram() says beforehand whether there is one. Any bytes give an error or a program
// that the interpreter can run.
BinaryProgramError ReadBinaryProgram(std::span<const std::byte> bytes,
                                     BinaryProgramVisitor& visitor);

BinaryProgramError CheckBinaryProgram(std::span<const std::byte> bytes);

// The mode of L1 that the header of a program without errors says.
L1Mode L1ModeOf(std::span<const std::byte> bytes);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_BINARY_PROGRAM_H_
