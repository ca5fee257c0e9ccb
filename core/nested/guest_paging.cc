// SPDX-License-Identifier: Apache-2.0
#include "core/nested/guest_paging.h"

#include <algorithm>
#include <array>

#include "core/nested/pdptes.h"
#include "core/x86/address.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/rflags.h"
#include "core/x86/segment.h"

namespace nvmx {
namespace {

// What the entries of all paging structures have in common, but for the width.
struct PageEntry {
  static constexpr uint64_t kPresent = uint64_t{1} << 0;
  static constexpr uint64_t kWritable = uint64_t{1} << 1;
  static constexpr uint64_t kUser = uint64_t{1} << 2;
  static constexpr uint64_t kAccessed = uint64_t{1} << 5;
  static constexpr uint64_t kDirty = uint64_t{1} << 6;
  static constexpr uint64_t kLarge = uint64_t{1} << 7;
  static constexpr uint64_t kExecuteDisable = uint64_t{1} << 63;
};

constexpr uint64_t kLow32 = 0xFFFFFFFF;

enum class PagingMode { kNone, k32Bit, kPae, k4Level, k5Level };

struct Registers {
  PagingMode mode;
  bool write_protect;
  bool large_32_bit_pages;
  bool execute_disable;
  // SMAP is on and RFLAGS.AC does not override it.
  bool keeps_off_user_pages;
  unsigned physical_width;
};

// SDM Vol. 3A, 5.1.1 "Four Paging Modes".
PagingMode ModeOf(uint64_t cr0, uint64_t cr4, uint64_t efer) {
  if ((cr0 & Cr0::kPg) == 0) return PagingMode::kNone;
  if ((cr4 & Cr4::kPae) == 0) return PagingMode::k32Bit;
  if ((efer & Efer::kLma) == 0) return PagingMode::kPae;
  return (cr4 & Cr4::kLa57) != 0 ? PagingMode::k5Level : PagingMode::k4Level;
}

Registers ReadRegisters(Vcpu& vcpu) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  const uint64_t cr0 = vmcs.Read(VmcsField::kGuestCr0);
  const uint64_t cr4 = vmcs.Read(VmcsField::kGuestCr4);
  const uint64_t efer = vmcs.Read(VmcsField::kGuestIa32Efer);
  const bool access_override = (vmcs.Read(VmcsField::kGuestRflags) & Rflags::kAc) != 0;
  return {.mode = ModeOf(cr0, cr4, efer),
          .write_protect = (cr0 & Cr0::kWp) != 0,
          .large_32_bit_pages = (cr4 & Cr4::kPse) != 0,
          .execute_disable = (efer & Efer::kNxe) != 0,
          .keeps_off_user_pages = (cr4 & Cr4::kSmap) != 0 && !access_override,
          .physical_width = static_cast<unsigned>(vcpu.state.offered.physical_address_width)};
}

VmxOutcome PageFault(uint32_t why, bool write) {
  return VmxOutcome::Fault(Vector::kPageFault, why | (write ? PageFaultErrorCode::kWr : 0));
}

// One translation: the entries that it uses, and the rights that they give together.
class Walk {
 public:
  Walk(Vcpu& vcpu, const Registers& registers, bool write)
      : vcpu_(vcpu), registers_(registers), write_(write) {}

  // The physical address, or the page fault.
  std::optional<VmxOutcome> Run(uint64_t linear, GuestPhysicalAddress& physical) {
    if (registers_.mode == PagingMode::kNone) {
      physical = GuestPhysicalAddress{linear};
      return std::nullopt;
    }
    const bool found = registers_.mode == PagingMode::k32Bit ? Find32Bit(linear) : Find(linear);
    if (!found) return PageFault(why_not_found_, write_);
    // SDM Vol. 3A, 5.6.1 "Determination of Access Rights": data accesses in supervisor mode.
    const bool kept_off = user_ && registers_.keeps_off_user_pages;
    const bool read_only = write_ && registers_.write_protect && !writable_;
    if (kept_off || read_only) return PageFault(PageFaultErrorCode::kP, write_);
    SetFlags();
    physical = physical_;
    return std::nullopt;
  }

 private:
  struct Entry {
    GuestPhysicalAddress address;
    uint64_t value;
  };
  static constexpr size_t kMostLevels = 5;

  // Where no memory answers, an entry reads as all ones.
  template <typename Word>
  uint64_t Use(uint64_t table, uint64_t index) {
    const GuestPhysicalAddress address{table + index * sizeof(Word)};
    Word value = 0;
    value = static_cast<Word>(~value);
    vcpu_.ports.memory.ReadValue(address, value);
    entries_[used_++] = {address, value};
    user_ = user_ && (value & PageEntry::kUser) != 0;
    writable_ = writable_ && (value & PageEntry::kWritable) != 0;
    return value;
  }

  // Whether the entry leads on; if not, the error code says why.
  bool LeadsOn(uint64_t entry, uint64_t reserved) {
    if ((entry & PageEntry::kPresent) == 0) {
      why_not_found_ = 0;
      return false;
    }
    why_not_found_ = PageFaultErrorCode::kP | PageFaultErrorCode::kRsvd;
    return (entry & reserved) == 0;
  }

  // SDM Vol. 3A, 5.3 "32-Bit Paging". Bits 39:32 of the address of a 4-MByte page are bits 20:13 of
  // its entry, as far as the physical-address width goes.
  bool Find32Bit(uint64_t linear) {
    constexpr uint64_t kTable = 0xFFFFF000;
    constexpr unsigned kLargeShift = 22;
    const uint64_t cr3 = vcpu_.ports.vmcs.Read(VmcsField::kGuestCr3);
    const uint64_t pde = Use<uint32_t>(cr3 & kTable, linear >> kLargeShift & 0x3FF);
    if (registers_.large_32_bit_pages && (pde & PageEntry::kLarge) != 0) {
      constexpr uint64_t kHigh = 0x1FE000;
      constexpr unsigned kHighShift = 32 - 13;
      constexpr uint64_t kBit21 = uint64_t{1} << 21;
      const uint64_t width = PhysicalAddressMask(registers_.physical_width) >> kHighShift;
      if (!LeadsOn(pde, kBit21 | (kHigh & ~width))) return false;
      physical_ = {(pde & kHigh) << kHighShift | (pde & 0xFFC00000) | (linear & 0x3FFFFF)};
      return true;
    }
    if (!LeadsOn(pde, 0)) return false;
    const uint64_t pte = Use<uint32_t>(pde & kTable, linear >> kPageShift & 0x3FF);
    if (!LeadsOn(pte, 0)) return false;
    physical_ = {(pte & kTable) | PageOffset(linear)};
    return true;
  }

  // Bits of an entry that must be 0, for a table whose entries map 2^shift bytes each. SDM Vol. 3A,
  // 5.4.2 "Linear-Address Translation with PAE Paging"; 5.5.4 "Linear-Address Translation with
  // 4-Level Paging and 5-Level Paging". 1-GByte pages are taken to exist.
  uint64_t Reserved(unsigned shift, uint64_t entry) const {
    constexpr uint64_t kHighest4Level = 0x000F'FFFF'FFFF'F000;
    constexpr uint64_t kHighestPae = 0x7FFF'FFFF'FFFF'F000;
    constexpr unsigned kLargest = 30;
    uint64_t reserved = registers_.mode == PagingMode::kPae ? kHighestPae : kHighest4Level;
    reserved &= ~PhysicalAddressMask(registers_.physical_width);
    if (!registers_.execute_disable) reserved |= PageEntry::kExecuteDisable;
    if (shift > kLargest) return reserved | PageEntry::kLarge;
    if (shift > kPageShift && (entry & PageEntry::kLarge) != 0) {
      // Bit 12 selects from the PAT; the others below the size are reserved.
      constexpr uint64_t kPat = uint64_t{1} << kPageShift;
      reserved |= ((uint64_t{1} << shift) - 1) & ~kPageOffsetMask & ~kPat;
    }
    return reserved;
  }

  // PAE, 4-level and 5-level paging.
  bool Find(uint64_t linear) {
    constexpr unsigned kBitsPerLevel = 9;
    constexpr unsigned kPdptShift = 30;
    const uint64_t address_mask = PhysicalAddressMask(registers_.physical_width) & ~kPageOffsetMask;
    uint64_t table = vcpu_.ports.vmcs.Read(VmcsField::kGuestCr3) & address_mask;
    unsigned shift = registers_.mode == PagingMode::k5Level ? 48 : 39;
    if (registers_.mode == PagingMode::kPae) {
      const uint64_t pdpte = PdptesOfGuest(vcpu_)[linear >> kPdptShift & 3];
      if (!LeadsOn(pdpte, 0)) return false;
      table = pdpte & address_mask;
      shift = kPdptShift - kBitsPerLevel;
    }
    for (;; shift -= kBitsPerLevel) {
      const uint64_t entry = Use<uint64_t>(table, linear >> shift & 0x1FF);
      if (!LeadsOn(entry, Reserved(shift, entry))) return false;
      if (shift == kPageShift || (entry & PageEntry::kLarge) != 0) {
        const uint64_t offset_mask = (uint64_t{1} << shift) - 1;
        physical_ = {(entry & address_mask & ~offset_mask) | (linear & offset_mask)};
        return true;
      }
      table = entry & address_mask;
    }
  }

  // SDM Vol. 3A, 5.8 "Accessed and Dirty Flags". Only the byte that holds them is written, so that
  // what another CPU changes meanwhile in the rest of the entry stays.
  void SetFlags() {
    for (size_t n = 0; n < used_; ++n) {
      const uint64_t flags =
          PageEntry::kAccessed | (write_ && n + 1 == used_ ? PageEntry::kDirty : 0);
      const uint64_t value = entries_[n].value | flags;
      if (value == entries_[n].value) continue;
      vcpu_.ports.memory.WriteValue(entries_[n].address, static_cast<uint8_t>(value));
    }
  }

  Vcpu& vcpu_;
  const Registers& registers_;
  const bool write_;
  std::array<Entry, kMostLevels> entries_;
  size_t used_ = 0;
  bool user_ = true;
  bool writable_ = true;
  uint32_t why_not_found_ = 0;
  GuestPhysicalAddress physical_;
};

bool IsCanonicalRange(Vcpu& vcpu, uint64_t linear, size_t length) {
  const bool la57 = (vcpu.ports.vmcs.Read(VmcsField::kGuestCr4) & Cr4::kLa57) != 0;
  const unsigned width = la57 ? 57 : 48;
  return IsCanonical(linear, width) && IsCanonical(linear + length - 1, width);
}

void Announce(Vcpu& vcpu, const LinearAccess& access) {
  if (vcpu.second_translation != nullptr) vcpu.second_translation->Announce(access);
}

bool Allows(Vcpu& vcpu, GuestPhysicalAddress address, bool write) {
  return vcpu.second_translation == nullptr || vcpu.second_translation->Allows(address, write);
}

// Calls access(address, bytes) for the one or two pages that the bytes lie in, after translating
// both: what stops the access to the second page leaves the memory of the first untouched.
template <typename Byte, typename Access>
std::optional<VmxOutcome> ForEachPage(Vcpu& vcpu, uint64_t linear, std::span<Byte> bytes,
                                      bool write, Access access) {
  const bool in_64_bit_mode = IsIn64BitMode(vcpu);
  if (in_64_bit_mode && !IsCanonicalRange(vcpu, linear, bytes.size())) {
    return VmxOutcome::Fault(Vector::kGeneralProtection);
  }
  const Registers registers = ReadRegisters(vcpu);
  const size_t in_first = std::min<size_t>(bytes.size(), kPageSize - PageOffset(linear));
  const std::array<std::span<Byte>, 2> parts = {bytes.first(in_first), bytes.subspan(in_first)};
  // Outside 64-bit mode addresses wrap around at 4 GBytes.
  const uint64_t address_mask = in_64_bit_mode ? ~uint64_t{0} : kLow32;
  const std::array<uint64_t, 2> addresses = {linear & address_mask,
                                             (linear + in_first) & address_mask};
  std::array<GuestPhysicalAddress, 2> physical;
  for (size_t n = 0; n < parts.size() && !parts[n].empty(); ++n) {
    Announce(vcpu, {addresses[n], false});
    if (auto fault = Walk(vcpu, registers, write).Run(addresses[n], physical[n])) {
      // The backend loads CR2 before it enters L1. SDM Vol. 3A, 6.15, "Interrupt 14: Page-Fault
      // Exception (#PF)".
      vcpu.state.cr2 = addresses[n];
      return fault;
    }
    Announce(vcpu, {addresses[n], true});
    if (!Allows(vcpu, physical[n], write)) return std::nullopt;
  }
  for (size_t n = 0; n < parts.size() && !parts[n].empty(); ++n) access(physical[n], parts[n]);
  return std::nullopt;
}

}  // namespace

bool IsIn64BitMode(Vcpu& vcpu) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  return (vmcs.Read(VmcsField::kGuestIa32Efer) & Efer::kLma) != 0 &&
         (vmcs.Read(VmcsField::kGuestCsAccessRights) & AccessRights::kL) != 0;
}

std::optional<VmxOutcome> ReadLinear(Vcpu& vcpu, uint64_t linear, std::span<std::byte> bytes) {
  return ForEachPage(vcpu, linear, bytes, /*write=*/false,
                     [&](GuestPhysicalAddress address, std::span<std::byte> part) {
                       if (vcpu.ports.memory.Read(address, part)) return;
                       std::fill(part.begin(), part.end(), std::byte{0xFF});
                     });
}

std::optional<VmxOutcome> WriteLinear(Vcpu& vcpu, uint64_t linear,
                                      std::span<const std::byte> bytes) {
  return ForEachPage(vcpu, linear, bytes, /*write=*/true,
                     [&](GuestPhysicalAddress address, std::span<const std::byte> part) {
                       vcpu.ports.memory.Write(address, part);
                     });
}

}  // namespace nvmx
