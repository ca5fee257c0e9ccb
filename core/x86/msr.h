// SPDX-License-Identifier: Apache-2.0
//
// Model-specific registers by their SDM names. An index that arrives from a guest is a uint32_t and
// stays one; Msr is for the places where the program itself names a register.
#ifndef NVMX_CORE_X86_MSR_H_
#define NVMX_CORE_X86_MSR_H_

#include <cstdint>

namespace nvmx {

enum class Msr : uint32_t {
#define NVMX_MSR(name, index) name = index,
#include "core/x86/msrs.def"
#undef NVMX_MSR
};

// The index that RDMSR and WRMSR take in ECX.
constexpr uint32_t Index(Msr msr) { return static_cast<uint32_t>(msr); }

// The SDM name of the register with this index, or nullptr if the project has no name for it.
constexpr const char* MsrName(uint32_t index) {
  switch (index) {
#define NVMX_MSR(name, value) \
  case value:                 \
    return #name;
#include "core/x86/msrs.def"
#undef NVMX_MSR
    default:
      return nullptr;
  }
}

constexpr const char* Name(Msr msr) { return MsrName(Index(msr)); }

// Variable-range MTRR pair `n`. SDM Vol. 3A, 12.11.2.3 "Variable Range MTRRs".
constexpr Msr MtrrPhysBase(unsigned n) {
  return static_cast<Msr>(Index(Msr::IA32_MTRR_PHYSBASE0) + 2 * n);
}
constexpr Msr MtrrPhysMask(unsigned n) {
  return static_cast<Msr>(Index(Msr::IA32_MTRR_PHYSMASK0) + 2 * n);
}

// The registers of machine-check bank `i`. SDM Vol. 3B, 16.3.2 "Error-Reporting Register Banks".
constexpr Msr MciCtl(unsigned i) { return static_cast<Msr>(Index(Msr::IA32_MC0_CTL) + 4 * i); }
constexpr Msr MciStatus(unsigned i) {
  return static_cast<Msr>(Index(Msr::IA32_MC0_STATUS) + 4 * i);
}
constexpr Msr MciAddr(unsigned i) { return static_cast<Msr>(Index(Msr::IA32_MC0_ADDR) + 4 * i); }
constexpr Msr MciMisc(unsigned i) { return static_cast<Msr>(Index(Msr::IA32_MC0_MISC) + 4 * i); }

// The range that the architecture reserves for the x2APIC, whichever mode the local APIC is in.
// SDM Vol. 3A, 11.12.1.2 "x2APIC Register Address Space"; the lists of Vol. 3C, 27.4 "Loading MSRs"
// refuse exactly the indices whose bits 31:8 are 000008H.
inline constexpr uint32_t kX2ApicMsrFirst = 0x800;
inline constexpr uint32_t kX2ApicMsrLast = 0x8FF;
constexpr bool IsX2ApicMsr(uint32_t index) {
  return index >= kX2ApicMsrFirst && index <= kX2ApicMsrLast;
}

// The two ranges that an MSR bitmap covers. SDM Vol. 3C, 25.6.9 "MSR-Bitmap Address".
inline constexpr uint32_t kMsrBitmapLowLast = 0x1FFF;
inline constexpr uint32_t kMsrBitmapHighFirst = 0xC0000000;
inline constexpr uint32_t kMsrBitmapHighLast = 0xC0001FFF;

// IA32_FEATURE_CONTROL. SDM Vol. 3C, 24.7 "Enabling and Entering VMX Operation".
struct FeatureControl {
  static constexpr uint64_t kLock = uint64_t{1} << 0;
  static constexpr uint64_t kEnableVmxInsideSmx = uint64_t{1} << 1;
  static constexpr uint64_t kEnableVmxOutsideSmx = uint64_t{1} << 2;
};

// IA32_APIC_BASE. SDM Vol. 3A, 11.4.4 "Local APIC Status and Location".
struct ApicBase {
  static constexpr uint64_t kBsp = uint64_t{1} << 8;
  static constexpr uint64_t kEnableX2Apic = uint64_t{1} << 10;
  static constexpr uint64_t kEnable = uint64_t{1} << 11;
  static constexpr uint64_t kReset = 0xFEE00000;  // where the registers lie after reset
};

// IA32_DEBUGCTL. SDM Vol. 3B, 18.4.1 "IA32_DEBUGCTL MSR".
struct DebugCtl {
  static constexpr uint64_t kLbr = uint64_t{1} << 0;
  static constexpr uint64_t kBtf = uint64_t{1} << 1;
  static constexpr uint64_t kBusLockDetect = uint64_t{1} << 2;
  static constexpr uint64_t kTr = uint64_t{1} << 6;
  static constexpr uint64_t kBts = uint64_t{1} << 7;
  static constexpr uint64_t kBtint = uint64_t{1} << 8;
  static constexpr uint64_t kBtsOffOs = uint64_t{1} << 9;
  static constexpr uint64_t kBtsOffUser = uint64_t{1} << 10;
  static constexpr uint64_t kFreezeLbrsOnPmi = uint64_t{1} << 11;
  static constexpr uint64_t kFreezePerfmonOnPmi = uint64_t{1} << 12;
  static constexpr uint64_t kEnableUncorePmi = uint64_t{1} << 13;
  static constexpr uint64_t kFreezeWhileSmm = uint64_t{1} << 14;
  static constexpr uint64_t kRtmDebug = uint64_t{1} << 15;
  static constexpr uint64_t kArchitectural =
      kLbr | kBtf | kBusLockDetect | kTr | kBts | kBtint | kBtsOffOs | kBtsOffUser |
      kFreezeLbrsOnPmi | kFreezePerfmonOnPmi | kEnableUncorePmi | kFreezeWhileSmm | kRtmDebug;
};

}  // namespace nvmx

#endif  // NVMX_CORE_X86_MSR_H_
