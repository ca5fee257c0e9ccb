// SPDX-License-Identifier: Apache-2.0
//
// The formats of EPT: the pointer, the entries, the exit qualification of an EPT violation, and the
// types of INVEPT and INVVPID.
// Source: SDM Vol. 3C, 25.6.11 "Extended-Page-Table Pointer (EPTP)"; 29.3.2 "EPT Translation
// Mechanism"; 28.2.1, table "Exit Qualification for EPT Violations"; 31.3, "INVEPT", "INVVPID".
#ifndef NVMX_CORE_VMX_EPT_H_
#define NVMX_CORE_VMX_EPT_H_

#include <cstdint>

namespace nvmx {

// A value of the EPT-pointer field.
struct Eptp {
  static constexpr uint64_t kMemoryType = 0x7;
  static constexpr unsigned kWalkLengthShift = 3;
  static constexpr uint64_t kWalkLength = uint64_t{7} << kWalkLengthShift;  // the length minus 1
  static constexpr uint64_t kAccessedAndDirty = uint64_t{1} << 6;
  static constexpr uint64_t kSupervisorShadowStack = uint64_t{1} << 7;
  static constexpr uint64_t kReserved = 0xF00;
  static constexpr uint64_t kAddress = ~uint64_t{0xFFF};

  // EP4TA: bits 51:12, what cached mappings are tagged with. SDM Vol. 3C, 29.4.1 "Information That
  // May Be Cached".
  static constexpr uint64_t Ep4ta(uint64_t eptp) { return eptp & 0x000F'FFFF'FFFF'F000; }
  // How many entries a walk uses at most: 4 or 5 if the value is valid.
  static constexpr unsigned WalkLength(uint64_t eptp) {
    return static_cast<unsigned>((eptp & kWalkLength) >> kWalkLengthShift) + 1;
  }
};

// An entry of an EPT paging structure.
struct EptEntry {
  static constexpr uint64_t kRead = uint64_t{1} << 0;
  static constexpr uint64_t kWrite = uint64_t{1} << 1;
  static constexpr uint64_t kExecute = uint64_t{1} << 2;
  static constexpr uint64_t kPermissions = kRead | kWrite | kExecute;
  static constexpr unsigned kMemoryTypeShift = 3;
  static constexpr uint64_t kMemoryType = uint64_t{7} << kMemoryTypeShift;
  static constexpr uint64_t kIgnorePat = uint64_t{1} << 6;
  static constexpr uint64_t kLarge = uint64_t{1} << 7;
  static constexpr uint64_t kAccessed = uint64_t{1} << 8;
  static constexpr uint64_t kDirty = uint64_t{1} << 9;
  static constexpr uint64_t kUserExecute = uint64_t{1} << 10;
  static constexpr uint64_t kSuppressVe = uint64_t{1} << 63;
  // Bits 51:12; those that the CPU's physical-address width leaves out are reserved.
  static constexpr uint64_t kAddress = 0x000F'FFFF'FFFF'F000;
};

// The EPT paging structures by level: an EPT PTE is of level 1, a PML5 entry of level 5. An entry
// of level n decides about a block of 2^EptLevelShift(n) bytes.
inline constexpr unsigned kEptLevelPte = 1;
inline constexpr unsigned kEptLevelPde = 2;
inline constexpr unsigned kEptLevelPdpte = 3;
inline constexpr unsigned kMostEptLevels = 5;
inline constexpr unsigned kEptIndexBits = 9;
inline constexpr unsigned kEptEntries = 1 << kEptIndexBits;
constexpr unsigned EptLevelShift(unsigned level) { return 12 + kEptIndexBits * (level - 1); }
constexpr unsigned EptIndex(uint64_t address, unsigned level) {
  return static_cast<unsigned>(address >> EptLevelShift(level)) & (kEptEntries - 1);
}

// The exit qualification of an EPT violation.
struct EptViolation {
  static constexpr uint64_t kRead = uint64_t{1} << 0;
  static constexpr uint64_t kWrite = uint64_t{1} << 1;
  static constexpr uint64_t kFetch = uint64_t{1} << 2;
  static constexpr uint64_t kReadable = uint64_t{1} << 3;
  static constexpr uint64_t kWritable = uint64_t{1} << 4;
  static constexpr uint64_t kExecutable = uint64_t{1} << 5;
  static constexpr uint64_t kUserExecutable = uint64_t{1} << 6;
  static constexpr uint64_t kLinearAddressValid = uint64_t{1} << 7;
  // Clear: the access was to a paging-structure entry on the way. Defined if bit 7 is set.
  static constexpr uint64_t kToFinalAddress = uint64_t{1} << 8;
  static constexpr uint64_t kUserLinearAddress = uint64_t{1} << 9;        // advanced information
  static constexpr uint64_t kWritableLinearAddress = uint64_t{1} << 10;   // advanced information
  static constexpr uint64_t kNoExecuteLinearAddress = uint64_t{1} << 11;  // advanced information
  static constexpr uint64_t kNmiUnblocking = uint64_t{1} << 12;
};

// How many values an EPTP list holds. SDM Vol. 3C, 26.5.6.3 "EPTP Switching".
inline constexpr uint64_t kEptpListEntries = 512;

// What a page-modification log holds; the index counts down from the last. SDM Vol. 3C, 29.3.6
// "Page-Modification Logging".
inline constexpr uint64_t kPageModificationLogEntries = 512;

enum class InveptType : uint64_t { kSingleContext = 1, kAllContexts = 2 };

enum class InvvpidType : uint64_t {
  kIndividualAddress = 0,
  kSingleContext = 1,
  kAllContexts = 2,
  kSingleContextRetainingGlobals = 3,
};

}  // namespace nvmx

#endif  // NVMX_CORE_VMX_EPT_H_
