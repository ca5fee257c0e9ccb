// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_GUEST_CPU_H_
#define NVMX_LHV_GUEST_CPU_H_

#include <cstdint>

#include "core/x86/general_register.h"
#include "core/x86/segment.h"

namespace nvmx::lhv {

enum class InstructionKind : uint8_t {
  kVmxon,  // first: physical address of the VMXON region
  kVmxoff,
  kVmclear,  // first: physical address of the VMCS region
  kVmptrld,  // first: physical address of the VMCS region
  kVmptrst,  // first: address of the eight bytes that take the pointer
  kVmread,   // first: field encoding
  kVmwrite,  // first: field encoding, second: value
  kVmlaunch,
  kVmresume,
  kVmcall,  // first: the value of RAX
  kCpuid,   // first: leaf, second: subleaf
  kRdmsr,   // first: MSR index
  kWrmsr,   // first: MSR index, second: value
  kHlt,
  kIret,         // first: 0: from a handler, pops the top frame; otherwise the RIP to continue at:
                 // pushes a frame with this RIP and the present flags, and pops it
  kReadMemory,   // first: address, width: bytes
  kWriteMemory,  // first: address, width: bytes, second: value
  kSendIpi,      // first: InterruptCommand
  kSti,          // with blocking by STI, if interrupts were masked
  kCli,
  kNop,
  kInvept,     // first: type, second and third: low and high 64 bits of the descriptor
  kInvvpid,    // first: type, second and third: low and high 64 bits of the descriptor
  kInvpcid,    // first: type, second and third: low and high 64 bits of the descriptor
  kVmfunc,     // first: EAX, second: ECX
  kMovToCr,    // width: number of the control register (0, 2, 3, 4, 8), first: value
  kMovFromCr,  // width: number of the control register
  kClts,
  kLmsw,  // first: source operand
  kSmsw,
  kMovToDr,    // width: number of the debug register, first: value
  kMovFromDr,  // width: number of the debug register
  kRdtsc,
  kRdtscp,
  kRdpmc,   // first: ECX
  kIn,      // width: bytes, first: port
  kOut,     // width: bytes, first: port, second: value
  kInvlpg,  // first: linear address
  kPause,
  kMonitor,  // first: linear address
  kMwait,
  kWbinvd,
  kInvd,
  kXgetbv,  // first: XCR
  kXsetbv,  // first: XCR, second: value
  kRdrand,
  kRdseed,
  kSgdt,  // first: address of the ten bytes that take it
  kSidt,  // first: address of the ten bytes that take it
  kLgdt,  // first: address of the ten bytes
  kLidt,  // first: address of the ten bytes
  kSldt,
  kStr,
  kLldt,  // first: selector
  kLtr,   // first: selector
  kUd2,
  kInt,  // first: vector
  kInt3,
  kInt1,
  kDivideByZero,  // DIV with a divisor of 0
  kMovSs,         // MOV SS of the selector that is there: blocking by MOV SS
  kPopf,          // first: RFLAGS
  kFetch,  // first: linear address; control goes there and comes back at once: the code there
           // must be JMP R11 (bytes 41 FF E3), any other is an undefined opcode. Where
           // control is at that address already, R11 is as it was left
  kHandlerReturn,  // leaves a handler as IRET does, but by POPF and RET: blocking by NMI stays
  kGetsec,
  kRsm,
};

// How the memory or register operand of a VMX instruction is encoded.
struct Operand {
  enum class Kind : uint8_t {
    kDefault,   // as the machine likes it: where the value is one of the instruction's own operands
    kMemory,    // at segment:offset, in place of the instruction's own operand: the pointer, value
                // or descriptor is what the program has put there, and a result goes there
    kRegister,  // `general_register`; VMREAD and VMWRITE only
  };
  // Which of base, index * scale and displacement the effective address `offset` is the sum of.
  enum class Shape : uint8_t {
    kDisplacement,
    kBase,
    kBaseDisplacement,
    kIndexDisplacement,      // scaled by 4
    kBaseIndexDisplacement,  // scaled by 8
    kRspDisplacement,
  };
  Kind kind = Kind::kDefault;
  Shape shape = Shape::kDisplacement;
  SegmentRegister segment = SegmentRegister::kDs;
  GeneralRegister general_register = GeneralRegister::kRbx;
  bool has_32_bit_address = false;
  uint64_t offset = 0;
};

// One instruction. Its operands lie in registers or, for addresses, in memory at linear addresses.
struct Instruction {
  InstructionKind kind = InstructionKind::kNop;
  uint8_t width = 0;  // of a memory or I/O access: 1, 2, 4 or 8 bytes; of MOV CR and DR: the number
  uint64_t first = 0;
  uint64_t second = 0;
  uint64_t third = 0;
  Operand operand = {};
};

// The operand of kSendIpi: the format of the ICR in x2APIC mode, but bits 63:32 name the
// destination by its CPU number, which a machine translates to the local APIC ID.
// SDM Vol. 3A, 11.12.9 "ICR Operation in X2APIC Mode".
struct InterruptCommand {
  static constexpr uint64_t kVector = 0xFF;
  static constexpr uint64_t kDeliveryMode = uint64_t{7} << 8;
  static constexpr uint64_t kFixed = uint64_t{0} << 8;
  static constexpr uint64_t kNmi = uint64_t{4} << 8;
  static constexpr uint64_t kInit = uint64_t{5} << 8;
  static constexpr uint64_t kStartUp = uint64_t{6} << 8;
  static constexpr uint64_t kAssert = uint64_t{1} << 14;
  static constexpr uint64_t kShorthand = uint64_t{3} << 18;
  static constexpr uint64_t kSelf = uint64_t{1} << 18;
  static constexpr uint64_t kAllExcludingSelf = uint64_t{3} << 18;
  static constexpr unsigned kDestinationShift = 32;
};

// How an instruction ended.
struct InstructionEnd {
  // The instruction completed: RIP has moved past it, or where IRET, VM entry and VM exit put it,
  // and the other members are valid. False: it had no effect but a fault or a VM exit.
  bool completed = false;
  // Control is not at the next instruction: fault, VM entry, VM exit, or an event delivered after
  // the instruction completed.
  bool diverted = false;
  // RFLAGS.CF and RFLAGS.ZF after a VMX instruction: VMfailInvalid and VMfailValid.
  // SDM Vol. 3C, 31.2 "Conventions".
  bool carry = false;
  bool zero = false;
  // What RDMSR, VMREAD, VMPTRST, the memory read, or any other instruction that reads gave; CPUID:
  // EAX in bits 31:0, EBX in 63:32; SGDT and SIDT: the base.
  uint64_t value = 0;
};

// What the delivery of an event saved on the stack.
struct EventFrame {
  uint8_t vector = 0;
  bool has_error_code = false;
  uint32_t error_code = 0;
  uint64_t rip = 0;
};

// The logical processor that runs a guest program, at whichever level (L1 or L2) it is now.
class GuestCpu {
 public:
  // Executes the instruction, which is the one at Rip(). On completion RIP has advanced by
  // kInstructionBytes, unless the instruction itself is a transfer of control.
  virtual InstructionEnd Execute(const Instruction& instruction) = 0;
  // The address of the next instruction.
  virtual uint64_t Rip() const = 0;
  // Continues at `rip`, as JMP does.
  virtual void Jump(uint64_t rip) = 0;
  // What the event that led to the running handler, which is the one of `vector`, saved on the
  // stack. Whether there is an error code follows from RSP: the processor aligned it to 16 bytes
  // before it pushed five or six times eight bytes.
  virtual EventFrame TopFrame(uint8_t vector) const = 0;
  // Changes the RIP in that frame, where IRET will continue.
  virtual void SetResumeRip(uint64_t rip) = 0;
  // One general-purpose register that the interpreter keeps values in between the instructions of
  // an operation. Delivery of an event and IRET leave it alone; VM entry and VM exit may not.
  virtual uint64_t ScratchRegister() const = 0;
  virtual void SetScratchRegister(uint64_t value) = 0;

 protected:
  ~GuestCpu() = default;
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_GUEST_CPU_H_
