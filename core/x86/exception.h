// SPDX-License-Identifier: Apache-2.0
//
// Exception vectors. Source: SDM Vol. 3A, 6.3 "Sources of Interrupts", Table 6-1 "Protected-Mode
// Exceptions and Interrupts"; 6.13 "Error Code".
#ifndef NVMX_CORE_X86_EXCEPTION_H_
#define NVMX_CORE_X86_EXCEPTION_H_

#include <cstdint>

namespace nvmx {

enum class Vector : uint8_t {
  kDivideError = 0,
  kDebug = 1,
  kNmi = 2,
  kBreakpoint = 3,
  kOverflow = 4,
  kBoundRangeExceeded = 5,
  kInvalidOpcode = 6,
  kDeviceNotAvailable = 7,
  kDoubleFault = 8,
  kCoprocessorSegmentOverrun = 9,
  kInvalidTss = 10,
  kSegmentNotPresent = 11,
  kStackFault = 12,
  kGeneralProtection = 13,
  kPageFault = 14,
  kX87FloatingPointError = 16,
  kAlignmentCheck = 17,
  kMachineCheck = 18,
  kSimdFloatingPoint = 19,
  kVirtualization = 20,
  kControlProtection = 21,
};

// Vectors 0-31 are the architecture's, the rest are for interrupts.
inline constexpr unsigned kFirstInterruptVector = 32;

// The SDM's mnemonic, such as "#GP"; "interrupt" for 32-255 and "reserved" for what is left.
constexpr const char* Name(Vector vector) {
  constexpr const char* kNames[kFirstInterruptVector] = {
      "#DE",      "#DB",      "NMI",      "#BP",      "#OF",      "#BR",      "#UD",
      "#NM",      "#DF",      "CSO",      "#TS",      "#NP",      "#SS",      "#GP",
      "#PF",      "reserved", "#MF",      "#AC",      "#MC",      "#XM",      "#VE",
      "#CP",      "reserved", "reserved", "reserved", "reserved", "reserved", "reserved",
      "reserved", "reserved", "reserved", "reserved"};
  const auto number = static_cast<unsigned>(vector);
  return number < kFirstInterruptVector ? kNames[number] : "interrupt";
}

// True if delivery of the exception in protected mode pushes an error code.
constexpr bool DeliversErrorCode(Vector vector) {
  switch (vector) {
    case Vector::kDoubleFault:
    case Vector::kInvalidTss:
    case Vector::kSegmentNotPresent:
    case Vector::kStackFault:
    case Vector::kGeneralProtection:
    case Vector::kPageFault:
    case Vector::kAlignmentCheck:
    case Vector::kControlProtection:
      return true;
    default:
      return false;
  }
}

// Bits of the error code of #PF. SDM Vol. 3A, 4.7 "Page-Fault Exceptions".
struct PageFaultErrorCode {
  static constexpr uint32_t kP = uint32_t{1} << 0;
  static constexpr uint32_t kWr = uint32_t{1} << 1;
  static constexpr uint32_t kUs = uint32_t{1} << 2;
  static constexpr uint32_t kRsvd = uint32_t{1} << 3;
  static constexpr uint32_t kId = uint32_t{1} << 4;
  static constexpr uint32_t kPk = uint32_t{1} << 5;
  static constexpr uint32_t kSs = uint32_t{1} << 6;
};

}  // namespace nvmx

#endif  // NVMX_CORE_X86_EXCEPTION_H_
