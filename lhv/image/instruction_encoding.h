// SPDX-License-Identifier: Apache-2.0
//
// The instructions of guest programs as machine code of a real CPU in 64-bit mode, or in protected
// mode with segments of 32 bits. SDM Vol. 2A, chapter 2 "Instruction Format"; the opcodes are those
// of Vol. 2 and Vol. 3C, ch. 31.
#ifndef NVMX_LHV_IMAGE_INSTRUCTION_ENCODING_H_
#define NVMX_LHV_IMAGE_INSTRUCTION_ENCODING_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/x86/general_register.h"
#include "core/x86/segment.h"
#include "lhv/guest_cpu.h"
#include "lhv/image/image_mode.h"
#include "lhv/layout.h"

namespace nvmx::lhv {

// Where the interpreter's scratch register is kept, and the two that the image itself needs on the
// way into it: no operand can be there.
inline constexpr GeneralRegister kScratchGeneralRegister = GeneralRegister::kR12;
inline constexpr GeneralRegister kFirstTakenRegister = GeneralRegister::kR14;
// The same outside IA-32e mode, where the scratch register is one in memory.
inline constexpr GeneralRegister kTakenRegisterOf32Bits = GeneralRegister::kRbp;

// The state that the encoding of an instruction depends on.
struct EncodingContext {
  L1Mode mode = L1Mode::k64Bit;
  uint64_t rip = 0;
  uint64_t rsp = 0;
  uint64_t rflags = 0;
  uint16_t cs = 0;
  uint16_t ss = 0;
  // The address of the interrupt-command register of the local APIC, low half.
  uint64_t interrupt_command = 0;
  // Of kHandlerReturn and kIret from a handler: where the event's frame begins, above an error
  // code, and what it holds: RIP, CS, RFLAGS, and in 64-bit mode RSP, SS.
  uint64_t frame_address = 0;
  std::array<uint64_t, 5> frame = {};
};

enum class EncodingRefusal : uint8_t {
  kNone,
  kTooLong,        // no encoding of kInstructionBytes bytes or fewer
  kOutOfReach,     // the address has no displacement of 32 bits, or no register holds an operand
  kTakenRegister,  // an operand in a register that the image needs
  kUnknown,        // a kind of instruction, or a number of a register, that there is not
};
const char* Name(EncodingRefusal refusal);

// Where an instruction leaves what it reads.
enum class ResultPlace : uint8_t {
  kNone,
  kEdxEax,     // the low halves of the two
  kEaxAndEbx,  // EAX in bits 31:0, EBX in 63:32
  kRegister,
  kMemory,  // eight bytes, of which result_mask are it
};

struct EncodedInstruction {
  EncodingRefusal refusal = EncodingRefusal::kNone;
  // False: the code is there already, and must not be changed.
  bool has_code = true;
  std::array<uint8_t, kInstructionBytes> code = {};
  // Bit n: general register n must hold registers[n] when the instruction begins. RSP included.
  uint16_t loaded = 0;
  std::array<uint64_t, kGeneralRegisterCount> registers = {};
  // What must lie in memory, at a linear address: the first `word_count` words, of so many bytes.
  uint64_t words_address = 0;
  size_t word_count = 0;
  size_t word_bytes = sizeof(uint64_t);
  std::array<uint64_t, 5> words = {};

  ResultPlace result = ResultPlace::kNone;
  GeneralRegister result_register = GeneralRegister::kRax;
  uint64_t result_address = 0;  // an offset in result_segment
  SegmentRegister result_segment = SegmentRegister::kDs;
  uint64_t result_mask = ~uint64_t{0};
};

// The instruction as exactly kInstructionBytes bytes: prefixes that do nothing fill it up.
EncodedInstruction Encode(const Instruction& instruction, const EncodingContext& context);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_IMAGE_INSTRUCTION_ENCODING_H_
