// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_GUEST_CPU_H_
#define NVMX_LHV_GUEST_CPU_H_

#include <cstdint>

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
};

// One instruction. The operands lie in registers or, for addresses, in memory at linear addresses
// that equal the physical ones.
struct Instruction {
  InstructionKind kind = InstructionKind::kNop;
  uint8_t width = 0;  // of a memory access: 1, 2, 4 or 8 bytes
  uint64_t first = 0;
  uint64_t second = 0;
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
  // What RDMSR, VMREAD, VMPTRST or the memory read gave; CPUID: EAX in bits 31:0, EBX in 63:32.
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
  // What the event that led to the running handler saved.
  virtual EventFrame TopFrame() const = 0;
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
