// SPDX-License-Identifier: Apache-2.0
//
// Which instructions cause VM exits in VMX non-root operation, and what those report. SDM Vol. 3C,
// 26.1 "Instructions That Cause VM Exits"; 28.2.1 "Basic VM-Exit Information"; 28.2.5 "Information
// for VM Exits Due to Instruction Execution".
#include <algorithm>

#include "backends/sim/machine/operand_registers.h"
#include "backends/sim/machine/processor.h"
#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"
#include "core/x86/msr.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

using lhv::Instruction;
using lhv::InstructionKind;

using Primary = PrimaryProcessorBased;

// The exit qualification of an access to a control register. Table 28-3.
struct CrAccess {
  static constexpr unsigned kTypeShift = 4;
  static constexpr uint64_t kMovTo = uint64_t{0} << kTypeShift;
  static constexpr uint64_t kMovFrom = uint64_t{1} << kTypeShift;
  static constexpr uint64_t kClts = uint64_t{2} << kTypeShift;
  static constexpr uint64_t kLmsw = uint64_t{3} << kTypeShift;
  static constexpr unsigned kRegisterShift = 8;
  static constexpr unsigned kSourceShift = 16;
};

// Instructions that exit whenever one control is 1, or always, and say nothing more.
struct PlainIntercept {
  InstructionKind kind;
  ExitReason reason;
  uint32_t primary;  // these controls are 1 ...
  uint32_t secondary = 0;
};
constexpr PlainIntercept kPlainIntercepts[] = {
    {InstructionKind::kHlt, ExitReason::kHlt, Primary::kHltExiting},
    {InstructionKind::kCpuid, ExitReason::kCpuid, 0},
    {InstructionKind::kRdtsc, ExitReason::kRdtsc, Primary::kRdtscExiting},
    {InstructionKind::kRdtscp, ExitReason::kRdtscp, Primary::kRdtscExiting},
    {InstructionKind::kRdpmc, ExitReason::kRdpmc, Primary::kRdpmcExiting},
    {InstructionKind::kPause, ExitReason::kPause, Primary::kPauseExiting},
    {InstructionKind::kMonitor, ExitReason::kMonitor, Primary::kMonitorExiting},
    {InstructionKind::kWbinvd, ExitReason::kWbinvdOrWbnoinvd, 0, Secondary::kWbinvdExiting},
    {InstructionKind::kInvd, ExitReason::kInvd, 0},
    {InstructionKind::kXsetbv, ExitReason::kXsetbv, 0},
    {InstructionKind::kGetsec, ExitReason::kGetsec, 0},
};

// 28.2.5, tables "Format of the VM-Exit Instruction-Information Field as Used for LIDT, LGDT, SIDT,
// or SGDT" and "... for LLDT, LTR, SLDT, and STR": bits 29:28.
std::optional<uint64_t> DescriptorTableIdentity(InstructionKind kind) {
  switch (kind) {
    case InstructionKind::kSgdt:
    case InstructionKind::kSldt:
      return 0;
    case InstructionKind::kSidt:
    case InstructionKind::kStr:
      return 1;
    case InstructionKind::kLgdt:
    case InstructionKind::kLldt:
      return 2;
    case InstructionKind::kLidt:
    case InstructionKind::kLtr:
      return 3;
    default:
      return std::nullopt;
  }
}

bool IsGdtrOrIdtr(InstructionKind kind) {
  return kind == InstructionKind::kSgdt || kind == InstructionKind::kSidt ||
         kind == InstructionKind::kLgdt || kind == InstructionKind::kLidt;
}

}  // namespace

std::optional<InstructionExit> Processor::Intercept(const Instruction& instruction) const {
  if (!in_non_root()) return std::nullopt;
  for (const PlainIntercept& row : kPlainIntercepts) {
    if (row.kind != instruction.kind) continue;
    if (!HasPrimary(row.primary) || (row.secondary != 0 && !HasSecondary(row.secondary))) {
      return std::nullopt;
    }
    return InstructionExit{row.reason};
  }
  switch (instruction.kind) {
    case InstructionKind::kMovToCr:
    case InstructionKind::kMovFromCr:
    case InstructionKind::kClts:
    case InstructionKind::kLmsw:
      return InterceptCrAccess(instruction);
    case InstructionKind::kRdmsr:
    case InstructionKind::kWrmsr:
      if (!MsrAccessExits(static_cast<uint32_t>(state_.registers[kRcx]),
                          instruction.kind == InstructionKind::kWrmsr)) {
        return std::nullopt;
      }
      return InstructionExit{instruction.kind == InstructionKind::kRdmsr ? ExitReason::kRdmsr
                                                                         : ExitReason::kWrmsr};
    case InstructionKind::kMwait:
      if (!HasPrimary(Primary::kMwaitExiting)) return std::nullopt;
      return InstructionExit{ExitReason::kMwait, state_.monitor_armed};
    case InstructionKind::kInvlpg:
      if (!HasPrimary(Primary::kInvlpgExiting)) return std::nullopt;
      return InstructionExit{ExitReason::kInvlpg,
                             SegmentBase(SegmentRegister::kDs) + instruction.first};
    case InstructionKind::kInvpcid:
      if (!HasPrimary(Primary::kInvlpgExiting)) return std::nullopt;
      return InstructionExit{
          ExitReason::kInvpcid, instruction_operand_.displacement,
          instruction_operand_.information | uint64_t{kSelectorRegister}
                                                 << OperandInformation::kRegister2Shift};
    case InstructionKind::kRdrand:
      return InterceptRandom(ExitReason::kRdrand, Secondary::kRdrandExiting);
    case InstructionKind::kRdseed:
      return InterceptRandom(ExitReason::kRdseed, Secondary::kRdseedExiting);
    default:
      return InterceptDescriptorTable(instruction);
  }
}

std::optional<InstructionExit> Processor::InterceptRandom(ExitReason reason,
                                                          uint32_t control) const {
  if (!HasSecondary(control)) return std::nullopt;
  return InstructionExit{reason, 0,
                         uint64_t{kValueRegister} << OperandInformation::kRegister1Shift |
                             OperandInformation::k64BitOperand};
}

std::optional<InstructionExit> Processor::InterceptDescriptorTable(
    const Instruction& instruction) const {
  const std::optional<uint64_t> identity = DescriptorTableIdentity(instruction.kind);
  if (!identity || !HasSecondary(Secondary::kDescriptorTableExiting)) return std::nullopt;
  const uint64_t identity_bits = *identity << OperandInformation::kIdentityShift;
  if (IsGdtrOrIdtr(instruction.kind)) {
    return InstructionExit{ExitReason::kAccessToGdtrOrIdtr, instruction_operand_.displacement,
                           instruction_operand_.information | identity_bits};
  }
  return InstructionExit{ExitReason::kAccessToLdtrOrTr, 0,
                         OperandInformation::kIsRegister | identity_bits |
                             uint64_t{kValueRegister} << OperandInformation::kRegister1Shift};
}

// 26.1.3: CR0 and CR4 by mask and read shadow, CR3 by control and target values, CR8 by controls;
// CR2 never exits.
std::optional<InstructionExit> Processor::InterceptCrAccess(const Instruction& instruction) const {
  const VmcsImage& v = Vmcs().fields;
  const uint64_t value = state_.registers[kValueRegister];
  const uint64_t mask = v.Get<VmcsField::kCr0GuestHostMask>();
  const uint64_t shadow = v.Get<VmcsField::kCr0ReadShadow>();
  switch (instruction.kind) {
    case InstructionKind::kClts:
      if ((mask & shadow & Cr0::kTs) == 0) return std::nullopt;
      return InstructionExit{ExitReason::kControlRegisterAccesses, CrAccess::kClts};
    case InstructionKind::kLmsw: {
      constexpr uint64_t kMpEmTs = Cr0::kMp | Cr0::kEm | Cr0::kTs;
      const bool sets_pe = (mask & value & ~shadow & Cr0::kPe) != 0;
      if (!sets_pe && ((value ^ shadow) & mask & kMpEmTs) == 0) return std::nullopt;
      return InstructionExit{ExitReason::kControlRegisterAccesses,
                             CrAccess::kLmsw | (value & 0xFFFF) << CrAccess::kSourceShift};
    }
    default:
      break;
  }
  const bool load = instruction.kind == InstructionKind::kMovToCr;
  bool exits = false;
  switch (instruction.width) {
    case 0:
      exits = load && ((value ^ shadow) & mask) != 0;
      break;
    case 3:
      exits = load ? HasPrimary(Primary::kCr3LoadExiting) && !IsCr3Target(value)
                   : HasPrimary(Primary::kCr3StoreExiting);
      break;
    case 4:
      exits = load && ((value ^ v.Get<VmcsField::kCr4ReadShadow>()) &
                       v.Get<VmcsField::kCr4GuestHostMask>()) != 0;
      break;
    case 8:
      exits = HasPrimary(load ? Primary::kCr8LoadExiting : Primary::kCr8StoreExiting);
      break;
    default:
      break;
  }
  if (!exits) return std::nullopt;
  return InstructionExit{ExitReason::kControlRegisterAccesses,
                         instruction.width | (load ? CrAccess::kMovTo : CrAccess::kMovFrom) |
                             uint64_t{kValueRegister} << CrAccess::kRegisterShift};
}

// 25.6.7 "CR3-Target Controls".
bool Processor::IsCr3Target(uint64_t value) const {
  constexpr VmcsField kTargets[] = {VmcsField::kCr3TargetValue0, VmcsField::kCr3TargetValue1,
                                    VmcsField::kCr3TargetValue2, VmcsField::kCr3TargetValue3};
  const size_t count = std::min<size_t>(VmcsRead(VmcsField::kCr3TargetCount), std::size(kTargets));
  for (size_t target = 0; target < count; ++target) {
    if (VmcsRead(kTargets[target]) == value) return true;
  }
  return false;
}

// 25.6.9 "MSR-Bitmap Address": a 1-KByte bitmap each for reads of low and high MSRs, then for
// writes.
bool Processor::MsrAccessExits(uint32_t msr, bool write) const {
  constexpr uint64_t kHighOffset = 0x400;
  constexpr uint64_t kWriteOffset = 0x800;
  if (!HasPrimary(Primary::kUseMsrBitmaps)) return true;
  uint64_t byte = VmcsRead(VmcsField::kMsrBitmapAddress) + (write ? kWriteOffset : 0);
  if (msr <= kMsrBitmapLowLast) {
    byte += msr / 8;
  } else if (msr >= kMsrBitmapHighFirst && msr <= kMsrBitmapHighLast) {
    byte += kHighOffset + (msr - kMsrBitmapHighFirst) / 8;
  } else {
    return true;
  }
  return (ReadPhysicalByte(byte) >> msr % 8 & 1) != 0;
}

// 25.6.4 "I/O-Bitmap Addresses"; 26.1.3, IN and OUT. The bitmaps also make an access exit that
// wraps around the 16-bit port space.
bool Processor::IoAccessExits(uint16_t port, unsigned width) const {
  constexpr uint32_t kPorts = 0x10000;
  constexpr uint32_t kBitmapBBegin = 0x8000;
  if (!HasPrimary(Primary::kUseIoBitmaps)) return HasPrimary(Primary::kUnconditionalIoExiting);
  if (port + width > kPorts) return true;
  for (uint32_t p = port; p < port + width; ++p) {
    const uint64_t bitmap = p < kBitmapBBegin ? VmcsRead(VmcsField::kIoBitmapAAddress)
                                              : VmcsRead(VmcsField::kIoBitmapBAddress);
    if ((ReadPhysicalByte(bitmap + p % kBitmapBBegin / 8) >> p % 8 & 1) != 0) return true;
  }
  return false;
}

// Table 28-5. The port is in DX.
uint64_t Processor::IoQualification(const Instruction& instruction) {
  constexpr uint64_t kDirectionIn = uint64_t{1} << 3;
  constexpr unsigned kPortShift = 16;
  return (instruction.width - 1u) | (instruction.kind == InstructionKind::kIn ? kDirectionIn : 0) |
         (instruction.first & 0xFFFF) << kPortShift;
}

// Table 28-4.
uint64_t Processor::DrQualification(const Instruction& instruction) {
  constexpr uint64_t kDirectionFrom = uint64_t{1} << 4;
  constexpr unsigned kRegisterShift = 8;
  return instruction.width |
         (instruction.kind == InstructionKind::kMovFromDr ? kDirectionFrom : 0) |
         uint64_t{kValueRegister} << kRegisterShift;
}

Outcome Processor::ExitOnInstruction(const InstructionExit& exit) {
  Exit(exit.reason, {.qualification = exit.qualification,
                     .instruction_length = lhv::kInstructionBytes,
                     .instruction_information = exit.information});
  return Outcome::kElsewhere;
}

Outcome Processor::ExitOnInstruction(ExitReason reason, uint64_t qualification,
                                     uint64_t information) {
  return ExitOnInstruction(InstructionExit{reason, qualification, information});
}

}  // namespace nvmx::sim
