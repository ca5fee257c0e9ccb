// SPDX-License-Identifier: Apache-2.0
//
// The memory type range registers of one CPU as a value: what they hold, which writes they accept,
// and which memory type they give to an address.
// Source: SDM Vol. 3A, 12.11 "Memory Type Range Registers (MTRRs)".
#ifndef NVMX_CORE_X86_MTRR_H_
#define NVMX_CORE_X86_MTRR_H_

#include <cstdint>
#include <optional>
#include <type_traits>

#include "core/x86/address.h"
#include "core/x86/memory_type.h"
#include "core/x86/msr.h"

namespace nvmx {

// IA32_MTRRCAP. 12.11.1 "MTRR Feature Identification".
struct MtrrCap {
  static constexpr uint64_t kVcnt = 0xFF;
  static constexpr uint64_t kFix = uint64_t{1} << 8;
  static constexpr uint64_t kWc = uint64_t{1} << 10;
  static constexpr uint64_t kSmrr = uint64_t{1} << 11;
};

// IA32_MTRR_DEF_TYPE. 12.11.2.1 "IA32_MTRR_DEF_TYPE MSR".
struct MtrrDefType {
  static constexpr uint64_t kType = 0xFF;
  static constexpr uint64_t kFe = uint64_t{1} << 10;
  static constexpr uint64_t kE = uint64_t{1} << 11;
  static constexpr uint64_t kDefined = kType | kFe | kE;
};

// IA32_MTRR_PHYSBASEn and IA32_MTRR_PHYSMASKn. 12.11.2.3 "Variable Range MTRRs".
struct MtrrVariable {
  static constexpr uint64_t kType = 0xFF;                 // PHYSBASE
  static constexpr uint64_t kV = uint64_t{1} << 11;       // PHYSMASK
  static constexpr uint64_t kAddress = ~(kPageSize - 1);  // both, up to MAXPHYADDR
};

inline constexpr unsigned kVariableMtrrCount = 10;
inline constexpr unsigned kFixedMtrrCount = 11;

// The IA32_MTRRCAP that goes with MtrrSettings.
inline constexpr uint64_t kMtrrCap = kVariableMtrrCount | MtrrCap::kFix | MtrrCap::kWc;

struct MtrrSettings {
  struct VariableRange {
    uint64_t base = 0;  // IA32_MTRR_PHYSBASEn
    uint64_t mask = 0;  // IA32_MTRR_PHYSMASKn
    friend constexpr bool operator==(const VariableRange&, const VariableRange&) = default;
  };

  uint64_t default_type = 0;             // IA32_MTRR_DEF_TYPE
  uint64_t fixed[kFixedMtrrCount] = {};  // in the order of their ranges, and of their indices
  VariableRange variable[kVariableMtrrCount] = {};

  // True if `msr` is one of the registers of this value, or IA32_MTRRCAP.
  static constexpr bool IsMtrr(uint32_t msr) {
    return msr == Index(Msr::IA32_MTRRCAP) || msr == Index(Msr::IA32_MTRR_DEF_TYPE) ||
           FixedIndex(msr).has_value() || IsVariable(msr);
  }

  // What RDMSR returns, or nothing if `msr` is not an MTRR.
  constexpr std::optional<uint64_t> Read(uint32_t msr) const {
    if (msr == Index(Msr::IA32_MTRRCAP)) return kMtrrCap;
    if (msr == Index(Msr::IA32_MTRR_DEF_TYPE)) return default_type;
    if (const auto index = FixedIndex(msr)) return fixed[*index];
    if (!IsVariable(msr)) return std::nullopt;
    const VariableRange& range = variable[VariableIndex(msr)];
    return IsPhysMask(msr) ? range.mask : range.base;
  }

  // True if WRMSR of `value` is accepted, false if it is #GP(0): because `msr` is not a writable
  // MTRR, or a reserved bit is set (those from physical_address_width on included), or a memory
  // type is not UC, WC, WT, WP or WB.
  static constexpr bool IsValidWrite(uint32_t msr, uint64_t value,
                                     unsigned physical_address_width) {
    if (msr == Index(Msr::IA32_MTRR_DEF_TYPE)) {
      return (value & ~MtrrDefType::kDefined) == 0 && IsValidMemoryType(value & MtrrDefType::kType);
    }
    if (FixedIndex(msr)) {
      for (unsigned range = 0; range < 8; ++range) {
        if (!IsValidMemoryType((value >> (8 * range)) & 0xFF)) return false;
      }
      return true;
    }
    if (!IsVariable(msr)) return false;
    const uint64_t address = MtrrVariable::kAddress & PhysicalAddressMask(physical_address_width);
    if (IsPhysMask(msr)) return (value & ~(address | MtrrVariable::kV)) == 0;
    return (value & ~(address | MtrrVariable::kType)) == 0 &&
           IsValidMemoryType(value & MtrrVariable::kType);
  }

  // Stores `value`, which IsValidWrite accepted. Does nothing if `msr` has no storage here.
  constexpr void Write(uint32_t msr, uint64_t value) {
    if (msr == Index(Msr::IA32_MTRR_DEF_TYPE)) {
      default_type = value;
    } else if (const auto index = FixedIndex(msr)) {
      fixed[*index] = value;
    } else if (IsVariable(msr)) {
      VariableRange& range = variable[VariableIndex(msr)];
      (IsPhysMask(msr) ? range.mask : range.base) = value;
    }
  }

  // The memory type of the byte. 12.11.4.1 "MTRR Precedences"; where the SDM leaves the behaviour
  // of overlapping ranges undefined this is UC, which is always safe.
  constexpr MemoryType TypeOf(uint64_t physical_address) const {
    if ((default_type & MtrrDefType::kE) == 0) return MemoryType::kUncacheable;
    if ((default_type & MtrrDefType::kFe) != 0 && physical_address < kFixedRangesEnd) {
      return FixedTypeOf(physical_address);
    }
    std::optional<MemoryType> type;
    for (const VariableRange& range : variable) {
      if ((range.mask & MtrrVariable::kV) == 0) continue;
      const uint64_t mask = range.mask & MtrrVariable::kAddress;
      if ((physical_address & mask) != (range.base & mask)) continue;
      const auto this_type = static_cast<MemoryType>(range.base & MtrrVariable::kType);
      type = type ? Combine(*type, this_type) : this_type;
    }
    return type.value_or(static_cast<MemoryType>(default_type & MtrrDefType::kType));
  }

  friend constexpr bool operator==(const MtrrSettings&, const MtrrSettings&) = default;

 private:
  // The fixed ranges: eight of 64 KBytes from 0, sixteen of 16 KBytes from 80000H, sixty-four of
  // 4 KBytes from C0000H. 12.11.2.2 "Fixed Range MTRRs".
  static constexpr uint64_t kFix16kStart = 0x80000;
  static constexpr uint64_t kFix4kStart = 0xC0000;
  static constexpr uint64_t kFixedRangesEnd = 0x100000;
  static constexpr unsigned kFix64kShift = 16;
  static constexpr unsigned kFix16kShift = 14;
  static constexpr unsigned kFix4kShift = 12;
  static constexpr unsigned kFirst16kRange = 8;
  static constexpr unsigned kFirst4kRange = 24;

  static constexpr std::optional<unsigned> FixedIndex(uint32_t msr) {
    constexpr Msr kFixedMsrs[kFixedMtrrCount] = {
        Msr::IA32_MTRR_FIX64K_00000, Msr::IA32_MTRR_FIX16K_80000, Msr::IA32_MTRR_FIX16K_A0000,
        Msr::IA32_MTRR_FIX4K_C0000,  Msr::IA32_MTRR_FIX4K_C8000,  Msr::IA32_MTRR_FIX4K_D0000,
        Msr::IA32_MTRR_FIX4K_D8000,  Msr::IA32_MTRR_FIX4K_E0000,  Msr::IA32_MTRR_FIX4K_E8000,
        Msr::IA32_MTRR_FIX4K_F0000,  Msr::IA32_MTRR_FIX4K_F8000};
    for (unsigned index = 0; index < kFixedMtrrCount; ++index) {
      if (Index(kFixedMsrs[index]) == msr) return index;
    }
    return std::nullopt;
  }

  static constexpr bool IsVariable(uint32_t msr) {
    return msr >= Index(MtrrPhysBase(0)) && msr <= Index(MtrrPhysMask(kVariableMtrrCount - 1));
  }
  static constexpr unsigned VariableIndex(uint32_t msr) {
    return (msr - Index(MtrrPhysBase(0))) / 2;
  }
  static constexpr bool IsPhysMask(uint32_t msr) { return (msr - Index(MtrrPhysBase(0))) % 2 != 0; }

  constexpr MemoryType FixedTypeOf(uint64_t physical_address) const {
    uint64_t range = 0;
    if (physical_address < kFix16kStart) {
      range = physical_address >> kFix64kShift;
    } else if (physical_address < kFix4kStart) {
      range = kFirst16kRange + ((physical_address - kFix16kStart) >> kFix16kShift);
    } else {
      range = kFirst4kRange + ((physical_address - kFix4kStart) >> kFix4kShift);
    }
    return static_cast<MemoryType>((fixed[range / 8] >> (8 * (range % 8))) & 0xFF);
  }

  static constexpr MemoryType Combine(MemoryType a, MemoryType b) {
    if (a == b) return a;
    const bool write_through_and_write_back =
        (a == MemoryType::kWriteThrough && b == MemoryType::kWriteBack) ||
        (a == MemoryType::kWriteBack && b == MemoryType::kWriteThrough);
    return write_through_and_write_back ? MemoryType::kWriteThrough : MemoryType::kUncacheable;
  }
};

static_assert(std::has_unique_object_representations_v<MtrrSettings>);
static_assert(std::is_trivially_copyable_v<MtrrSettings>);

}  // namespace nvmx

#endif  // NVMX_CORE_X86_MTRR_H_
