// SPDX-License-Identifier: Apache-2.0
//
// Bits of the control registers and of DR6 and DR7.
// Source: SDM Vol. 3A, 2.5 "Control Registers"; Vol. 3B, 18.2 "Debug Registers".
#ifndef NVMX_CORE_X86_CONTROL_REGISTERS_H_
#define NVMX_CORE_X86_CONTROL_REGISTERS_H_

#include <cstdint>

namespace nvmx {

struct Cr0 {
  static constexpr uint64_t kPe = uint64_t{1} << 0;
  static constexpr uint64_t kMp = uint64_t{1} << 1;
  static constexpr uint64_t kEm = uint64_t{1} << 2;
  static constexpr uint64_t kTs = uint64_t{1} << 3;
  static constexpr uint64_t kEt = uint64_t{1} << 4;
  static constexpr uint64_t kNe = uint64_t{1} << 5;
  static constexpr uint64_t kWp = uint64_t{1} << 16;
  static constexpr uint64_t kAm = uint64_t{1} << 18;
  static constexpr uint64_t kNw = uint64_t{1} << 29;
  static constexpr uint64_t kCd = uint64_t{1} << 30;
  static constexpr uint64_t kPg = uint64_t{1} << 31;
};

struct Cr4 {
  static constexpr uint64_t kVme = uint64_t{1} << 0;
  static constexpr uint64_t kPvi = uint64_t{1} << 1;
  static constexpr uint64_t kTsd = uint64_t{1} << 2;
  static constexpr uint64_t kDe = uint64_t{1} << 3;
  static constexpr uint64_t kPse = uint64_t{1} << 4;
  static constexpr uint64_t kPae = uint64_t{1} << 5;
  static constexpr uint64_t kMce = uint64_t{1} << 6;
  static constexpr uint64_t kPge = uint64_t{1} << 7;
  static constexpr uint64_t kPce = uint64_t{1} << 8;
  static constexpr uint64_t kOsfxsr = uint64_t{1} << 9;
  static constexpr uint64_t kOsxmmexcpt = uint64_t{1} << 10;
  static constexpr uint64_t kUmip = uint64_t{1} << 11;
  static constexpr uint64_t kLa57 = uint64_t{1} << 12;
  static constexpr uint64_t kVmxe = uint64_t{1} << 13;
  static constexpr uint64_t kSmxe = uint64_t{1} << 14;
  static constexpr uint64_t kFsgsbase = uint64_t{1} << 16;
  static constexpr uint64_t kPcide = uint64_t{1} << 17;
  static constexpr uint64_t kOsxsave = uint64_t{1} << 18;
  static constexpr uint64_t kKl = uint64_t{1} << 19;
  static constexpr uint64_t kSmep = uint64_t{1} << 20;
  static constexpr uint64_t kSmap = uint64_t{1} << 21;
  static constexpr uint64_t kPke = uint64_t{1} << 22;
  static constexpr uint64_t kCet = uint64_t{1} << 23;
  static constexpr uint64_t kPks = uint64_t{1} << 24;
  static constexpr uint64_t kUintr = uint64_t{1} << 25;
  static constexpr uint64_t kLamSup = uint64_t{1} << 28;
};

struct Dr6 {
  static constexpr uint64_t kB0 = uint64_t{1} << 0;
  static constexpr uint64_t kB1 = uint64_t{1} << 1;
  static constexpr uint64_t kB2 = uint64_t{1} << 2;
  static constexpr uint64_t kB3 = uint64_t{1} << 3;
  static constexpr uint64_t kBld = uint64_t{1} << 11;
  static constexpr uint64_t kBd = uint64_t{1} << 13;
  static constexpr uint64_t kBs = uint64_t{1} << 14;
  static constexpr uint64_t kBt = uint64_t{1} << 15;
  static constexpr uint64_t kRtm = uint64_t{1} << 16;
  static constexpr uint64_t kInit = 0xFFFF0FF0;
};

struct Dr7 {
  static constexpr uint64_t kLe = uint64_t{1} << 8;
  static constexpr uint64_t kGe = uint64_t{1} << 9;
  static constexpr uint64_t kFixed1 = uint64_t{1} << 10;
  static constexpr uint64_t kRtm = uint64_t{1} << 11;
  static constexpr uint64_t kFixed0 = uint64_t{1} << 12 | uint64_t{3} << 14;
  static constexpr uint64_t kGd = uint64_t{1} << 13;
  static constexpr uint64_t kInit = 0x400;
};

}  // namespace nvmx

#endif  // NVMX_CORE_X86_CONTROL_REGISTERS_H_
