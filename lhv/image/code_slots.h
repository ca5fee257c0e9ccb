// SPDX-License-Identifier: Apache-2.0
//
// The memory where the code of guest programs lies. A slot of eight bytes at rest leads to a stub
// of its own, which tells the interpreter where control has arrived; all other memory there is a
// jump to itself: a CPU that comes there rests until an event moves it.
#ifndef NVMX_LHV_IMAGE_CODE_SLOTS_H_
#define NVMX_LHV_IMAGE_CODE_SLOTS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "lhv/image/stub_code_i386.h"
#include "lhv/l1_mode.h"
#include "lhv/layout.h"
#include "lhv/program.h"

namespace nvmx::lhv {

class CodeSlots {
 public:
  // Of 64-bit mode; stub_code_i386.h has those of i386.
  static constexpr size_t kStubBytes = 24;
  // Before the stubs of a CPU, what they share: it finds the CpuArea. Outside 64-bit mode it is
  // VMCALL.
  static constexpr size_t kCommonBytes = 32;

  struct Parts {
    uint32_t cpu;
    // Where address 0 of memory is: nullptr on a real machine.
    uint8_t* memory;
    // Addresses below 4 GBytes, near the code: where stubs can be, and the CpuArea.
    uint64_t stubs;
    size_t stub_bytes;
    uint64_t area;
    L1Mode mode = L1Mode::k64Bit;
    // i386: where the ways in lead to.
    uint64_t entry_from_guest_program = 0;
    uint64_t entry_from_interpreter = 0;
  };
  explicit CodeSlots(const Parts& parts);

  // Fills all code and handlers of the CPU. Once, before the first program.
  void FillAll();
  // Makes the slots where a program can come. False if there is no room for so many stubs.
  bool Prepare(const CpuProgramView& program);
  // Makes them as FillAll() left them.
  void Clear();

  // The slot whose stub holds the address; nothing if none does.
  std::optional<uint64_t> SlotOfStub(uint64_t address) const;
  // True for an address in the code that all stubs share.
  bool IsInCommonCode(uint64_t address) const;
  // True for what i386 has there on the way out to a slot.
  bool IsOnWayOut(uint64_t address) const;
  // i386: values of CpuArea::entry and CpuArea::leave_by.
  struct Ways {
    uint64_t from_guest_program, from_interpreter;
    uint64_t with_interrupts, without_interrupts;
  };
  Ways WaysOfI386() const;
  // True if VMCALL there says that a stub was come to by code of another width, where the
  // interpreter cannot run.
  bool IsOutsideMode(uint64_t rip) const;

  using Bytes = std::array<uint8_t, kInstructionBytes>;
  // Gives what was there.
  Bytes Write(uint64_t slot, const Bytes& bytes);
  // A slot at rest becomes one with CLI as its first instruction. Behind STI, interrupts wait for
  // the end of that. Gives what was there.
  Bytes PrependCli(uint64_t slot);

 private:
  bool Is64Bit() const { return parts_.mode == L1Mode::k64Bit; }
  size_t StubBytes() const { return Is64Bit() ? kStubBytes : StubCodeI386::kStubBytes; }
  uint64_t FirstStub() const {
    return parts_.stubs + (Is64Bit() ? kCommonBytes : StubCodeI386::kCommonBytes);
  }
  // Address 0 may be a null pointer, to which nothing may be added.
  uint8_t* At(uint64_t address) const {
    return reinterpret_cast<uint8_t*>(reinterpret_cast<uintptr_t>(parts_.memory) +
                                      static_cast<uintptr_t>(address));
  }
  void FillWithRest(uint64_t first, uint64_t bytes);
  bool AddCode(uint64_t base, std::span<const Operation> code);
  bool Add(uint64_t slot);
  void WriteCommonCode();
  void WriteStub(uint64_t stub, uint64_t slot);
  void WriteJump(uint64_t at, uint64_t to);
  void Put32(uint64_t at, uint64_t value);

  const Parts parts_;
  size_t count_ = 0;
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_IMAGE_CODE_SLOTS_H_
