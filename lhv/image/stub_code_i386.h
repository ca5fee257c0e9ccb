// SPDX-License-Identifier: Apache-2.0
//
// The stubs of i386 as machine code, and what all stubs of a CPU share: the first instructions of
// the way in and the last ones of the way out, which name the CpuArea by its address. SDM Vol. 2.
#ifndef NVMX_LHV_IMAGE_STUB_CODE_I386_H_
#define NVMX_LHV_IMAGE_STUB_CODE_I386_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "lhv/image/cpu_area.h"

namespace nvmx::lhv {

class StubCodeI386 {
 public:
  static constexpr size_t kStubBytes = 32;
  static constexpr size_t kCommonBytes = 64;
  // In a stub: where the slot's address is, and where code of 16 bits comes to VMCALL.
  static constexpr size_t kSlot = 14;
  static constexpr size_t kVmcall = 24;
  // In the common code. What is before the way out is the way in.
  static constexpr size_t kFromGuestProgram = 0;
  static constexpr size_t kFromInterpreter = 25;
  static constexpr size_t kLeaveWithInterrupts = 40;
  static constexpr size_t kLeaveWithoutInterrupts = 52;

  // `memory` is where address 0 of memory is.
  StubCodeI386(uint8_t* memory, uint64_t area)
      : memory_(reinterpret_cast<uintptr_t>(memory)), area_(area) {}

  // EBP says which slot, and what it was is kept. All of it is one NOP and data in code of 16 bits,
  // but for a jump in the NOP's displacement.
  void WriteStub(uint64_t stub, uint64_t slot) {
    at_ = stub;
    constexpr uint8_t kBehindNop = 7;
    Put({0x0F, 0x1F, 0x80, 0x90, 0x90, 0xEB, kVmcall - kBehindNop});  // NOP [EAX + disp32]
    Put({0x89, 0x2D}, area_ + NVMX_AREA_R14);                         // MOV [disp32], EBP
    Put({0xBD}, slot);                                                // MOV EBP, imm32
    Put({0xFF, 0x25}, area_ + NVMX_AREA_ENTRY);                       // JMP [disp32]
    Put({0x0F, 0x01, 0xC1});                                          // VMCALL
  }

  // The arguments are where context_switch_i386.S goes on.
  void WriteCommonCode(uint64_t common, uint64_t entry_from_guest_program,
                       uint64_t entry_from_interpreter) {
    at_ = common;
    // From the first instruction on an event is one of the interpreter's. MOV [disp32], imm32.
    Put({0xC7, 0x05}, area_ + NVMX_AREA_ENTRY, common + kFromInterpreter);
    PutWayIn(area_, entry_from_guest_program);
    PutWayIn(area_ + NVMX_AREA_SCRATCH, entry_from_interpreter);
    Put({0xA1}, area_);  // MOV EAX, [disp32]
    // Interrupts wait until the jump is over.
    Put({0xFB});  // STI
    Put({0xFF, 0x25}, area_ + NVMX_AREA_TARGET);
    Put({0xA1}, area_);
    Put({0xFF, 0x25}, area_ + NVMX_AREA_TARGET);
  }

 private:
  // EAX is kept there, and the area in its place.
  void PutWayIn(uint64_t kept_at, uint64_t entry) {
    Put({0xA3}, kept_at);  // MOV [disp32], EAX
    Put({0xB8}, area_);    // MOV EAX, imm32
    constexpr uint64_t kJumpBytes = 5;
    Put({0xE9}, entry - (at_ + kJumpBytes));  // JMP rel32
  }
  // Address 0 is a null pointer, to which nothing may be added.
  void PutByte(uint8_t byte) {
    *reinterpret_cast<uint8_t*>(memory_ + static_cast<uintptr_t>(at_++)) = byte;
  }
  void Put(std::initializer_list<uint8_t> bytes) {
    for (const uint8_t byte : bytes) PutByte(byte);
  }
  void Put(std::initializer_list<uint8_t> opcode, uint64_t value) {
    Put(opcode);
    for (unsigned byte = 0; byte < sizeof(uint32_t); ++byte) {
      PutByte(static_cast<uint8_t>(value >> 8 * byte));
    }
  }
  void Put(std::initializer_list<uint8_t> opcode, uint64_t first, uint64_t second) {
    Put(opcode, first);
    Put({}, second);
  }

  const uintptr_t memory_;
  const uint64_t area_;
  uint64_t at_ = 0;
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_IMAGE_STUB_CODE_I386_H_
