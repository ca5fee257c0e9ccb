// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_PROGRAM_H_
#define NVMX_LHV_PROGRAM_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace nvmx::lhv {

// What one operation does. Most are one instruction; the rest are short sequences that an L1 needs
// as a whole (Interpreter tells where an event can come between).
enum class OperationKind : uint16_t {
  kInitializeVmxRegion,  // value: address; writes the VMCS revision identifier there
  kVmxon,                // value: address
  kVmxoff,
  kVmclear,           // value: address
  kVmptrld,           // value: address
  kVmptrst,           // value: address
  kVmread,            // selector: field encoding
  kVmwrite,           // selector: field encoding, value
  kVmwriteControl,    // selector: encoding of a control field, value: the bits wanted; what the
                      // capability MSR demands is added and what it does not allow is dropped
  kVmwriteHostState,  // every host-state field but RIP
  kSetHostRip,        // value: index of an operation of L1
  kVmlaunch,
  kVmresume,
  kObserveExit,      // selector: bit n: kExitFields[n] of exit_fields.h
  kAdvanceGuestRip,  // past the instruction that caused the VM exit
  kVmcall,           // value: RAX
  kCpuid,            // selector: leaf, value: subleaf
  kRdmsr,            // selector: index
  kWrmsr,            // selector: index, value
  kReadMemory,       // selector: width in bytes, value: address
  kWriteMemory,      // selector: width in bytes, value: address, extra: what is written
  kSendNmi,          // selector: destination
  kSendInterrupt,    // selector: destination, value: vector
  kSendInit,         // selector: destination
  kSendSipi,         // selector: destination, value: vector (number of the 4-KByte page)
  kIret,             // to the next operation; ends blocking by NMI
  kHlt,
  kSti,
  kCli,
  kNop,
  kInvept,     // selector: type, value: EPTP, extra: high half of the descriptor
  kInvvpid,    // selector: type, value: linear address, extra: low half of the descriptor (VPID)
  kInvpcid,    // selector: type, value: linear address, extra: low half of the descriptor (PCID)
  kVmfunc,     // selector: EAX, value: ECX
  kMovToCr,    // selector: number, value
  kMovFromCr,  // selector: number
  kClts,
  kLmsw,  // value
  kSmsw,
  kMovToDr,    // selector: number, value
  kMovFromDr,  // selector: number
  kRdtsc,
  kRdtscp,
  kRdpmc,   // selector: ECX
  kIn,      // selector: width in bytes, value: port
  kOut,     // selector: width in bytes, value: port, extra: what is written
  kInvlpg,  // value: linear address
  kPause,
  kMonitor,  // value: linear address
  kMwait,
  kWbinvd,
  kInvd,
  kXgetbv,  // selector: XCR
  kXsetbv,  // selector: XCR, value
  kRdrand,
  kRdseed,
  kSgdt,  // value: address
  kSidt,  // value: address
  kLgdt,  // value: address
  kLidt,  // value: address
  kSldt,
  kStr,
  kLldt,  // value: selector
  kLtr,   // value: selector
  kUd2,
  kInt,  // selector: vector
  kInt3,
  kInt1,
  kDivideByZero,
  kMovSs,
  kPopf,           // value: RFLAGS
  kFetch,          // value: linear address
  kHandlerReturn,  // never in a program: how a handler that keeps NMIs blocked ends
  kGetsec,
  kRsm,
  kSetHandler,  // selector: vector, value: address of the IDT, extra: which handler, of
                // kHandlerIsBare and kHandlerIsOfL2; rewrites the gate of the vector
  kRepeat,      // selector: how often in all, value: how many of the operations before it, extra:
                // address of the 8 bytes that count, and are 0 at first and in the end
};
inline constexpr size_t kOperationKindCount = static_cast<size_t>(OperationKind::kRepeat) + 1;
inline constexpr uint32_t kMostTimes = 100'000;

// Bits of `extra` of kSetHandler: the handler returns without IRET, so that NMIs stay blocked; the
// handler is one of L2's.
inline constexpr uint64_t kHandlerIsBare = 1 << 0;
inline constexpr uint64_t kHandlerIsOfL2 = 1 << 1;

// Bits of Operation::flags.
// `value` is an offset in the window of the CPU.
inline constexpr uint16_t kValueIsWindowOffset = 1 << 0;
// `extra` is one.
inline constexpr uint16_t kExtraIsWindowOffset = 1 << 1;
// `operand` says how the memory or register operand is encoded (lhv/operand.h packs it); the offset
// in it is one in the window of the CPU if kOperandIsWindowOffset is set too.
inline constexpr uint16_t kHasOperand = 1 << 2;
inline constexpr uint16_t kOperandIsWindowOffset = 1 << 3;

// Destinations of the operations that send; all others are CPU numbers.
inline constexpr uint32_t kToSelf = 0xFFFF'FFFE;
inline constexpr uint32_t kToAllOthers = 0xFFFF'FFFF;

struct Operation {
  OperationKind kind = OperationKind::kNop;
  uint16_t flags = 0;
  uint32_t selector = 0;
  uint64_t value = 0;
  uint64_t extra = 0;
  uint64_t operand = 0;

  friend constexpr bool operator==(const Operation&, const Operation&) = default;
};

// The program of one CPU. L1 first performs its setup, the operations before run_begin.
struct CpuProgramView {
  std::span<const Operation> l1;
  size_t run_begin = 0;
  std::span<const Operation> l2;
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_PROGRAM_H_
