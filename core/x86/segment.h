// SPDX-License-Identifier: Apache-2.0
//
// Segment registers, selectors, and access rights in the format of the VMCS.
// Source: SDM Vol. 3A, 3.4 "Logical and Linear Addresses"; Vol. 3C, 25.4.1 "Guest Register State"
// (format of access rights).
#ifndef NVMX_CORE_X86_SEGMENT_H_
#define NVMX_CORE_X86_SEGMENT_H_

#include <cstdint>

namespace nvmx {

// In the order of the VMCS fields (encodings 0800H, 0802H, ...), which for the first six is also
// the order of the segment-register numbers in instructions and in the VM-exit instruction
// information.
enum class SegmentRegister : uint8_t {
  kEs = 0,
  kCs = 1,
  kSs = 2,
  kDs = 3,
  kFs = 4,
  kGs = 5,
  kLdtr = 6,
  kTr = 7,
};
inline constexpr unsigned kSegmentRegisterCount = 8;

constexpr const char* Name(SegmentRegister segment) {
  constexpr const char* kNames[kSegmentRegisterCount] = {"ES", "CS", "SS",   "DS",
                                                         "FS", "GS", "LDTR", "TR"};
  return kNames[static_cast<uint8_t>(segment)];
}

struct Selector {
  static constexpr uint16_t kRpl = 0x3;
  static constexpr uint16_t kTi = 0x4;
};

// Access rights as a VMCS field holds them.
struct AccessRights {
  static constexpr uint32_t kType = 0xF;
  static constexpr uint32_t kS = uint32_t{1} << 4;
  static constexpr unsigned kDplShift = 5;
  static constexpr uint32_t kDpl = uint32_t{3} << kDplShift;
  static constexpr uint32_t kP = uint32_t{1} << 7;
  static constexpr uint32_t kAvl = uint32_t{1} << 12;
  static constexpr uint32_t kL = uint32_t{1} << 13;
  static constexpr uint32_t kDb = uint32_t{1} << 14;
  static constexpr uint32_t kG = uint32_t{1} << 15;
  static constexpr uint32_t kUnusable = uint32_t{1} << 16;
  static constexpr uint32_t kReserved = 0xFFFE0000 | 0xF00;

  // Bits of the type of a code or data segment.
  static constexpr uint32_t kTypeAccessed = 0x1;
  static constexpr uint32_t kTypeWritable = 0x2;    // data segments
  static constexpr uint32_t kTypeReadable = 0x2;    // code segments
  static constexpr uint32_t kTypeExpandDown = 0x4;  // data segments
  static constexpr uint32_t kTypeConforming = 0x4;  // code segments
  static constexpr uint32_t kTypeCode = 0x8;
  // Types of system segments.
  static constexpr uint32_t kTypeLdt = 0x2;
  static constexpr uint32_t kTypeBusyTss16 = 0x3;
  static constexpr uint32_t kTypeBusyTss = 0xB;

  uint32_t value = 0;

  constexpr uint32_t type() const { return value & kType; }
  constexpr unsigned dpl() const { return (value & kDpl) >> kDplShift; }
  constexpr bool s() const { return (value & kS) != 0; }
  constexpr bool present() const { return (value & kP) != 0; }
  constexpr bool l() const { return (value & kL) != 0; }
  constexpr bool db() const { return (value & kDb) != 0; }
  constexpr bool g() const { return (value & kG) != 0; }
  constexpr bool unusable() const { return (value & kUnusable) != 0; }
  friend constexpr bool operator==(AccessRights, AccessRights) = default;
};

}  // namespace nvmx

#endif  // NVMX_CORE_X86_SEGMENT_H_
