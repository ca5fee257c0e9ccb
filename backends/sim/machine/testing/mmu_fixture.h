// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_TESTING_MMU_FIXTURE_H_
#define NVMX_BACKENDS_SIM_MACHINE_TESTING_MMU_FIXTURE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "backends/sim/machine/memory.h"
#include "backends/sim/machine/mmu.h"
#include "backends/sim/machine/paging_format.h"
#include "core/vmx/capabilities.h"
#include "core/vmx/ept.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/rflags.h"
#include "gtest/gtest.h"
#include "lhv/layout.h"

namespace nvmx::sim {

// An Mmu with one table for each level of the guest's paging structures and of EPT's: addresses
// that differ in their upper bits only share everything below. The guest's tables and its data lie
// in the first window, EPT's in host pages. EPT maps the first window to itself.
class MmuTest : public testing::Test {
 protected:
  static constexpr uint64_t kWindow = lhv::kWindowBase;
  static constexpr uint64_t kTables = kWindow + 0x1'0000;  // of level n: kTables + n pages
  static constexpr uint64_t kData = kWindow + 0x2'0000;    // pages to map
  static constexpr uint64_t kHost = 0x4000'0000;
  static constexpr size_t kHostBytes = 8 * kPageSize;
  static constexpr uint64_t kLog = kHost + 6 * kPageSize;

  static constexpr uint64_t kP = PagingEntry::kPresent, kW = PagingEntry::kWritable,
                            kU = PagingEntry::kUser, kA = PagingEntry::kAccessed,
                            kD = PagingEntry::kDirty, kLarge = PagingEntry::kLarge,
                            kG = PagingEntry::kGlobal, kNx = PagingEntry::kNoExecute;
  static constexpr uint64_t kAll = kP | kW | kU;
  static constexpr uint64_t kR = EptEntry::kRead, kX = EptEntry::kExecute;
  static constexpr uint64_t kEptW = EptEntry::kWrite;
  static constexpr uint64_t kRwx = EptEntry::kPermissions;
  static constexpr uint64_t kWb = uint64_t{6} << EptEntry::kMemoryTypeShift;

  // Linear addresses that the tests map, in different entries of the page table, and the
  // guest-physical one that EPT maps elsewhere than to itself.
  static constexpr uint64_t kLinear = 0x40'0000'3000;
  static constexpr uint64_t kLinear2 = 0x40'0000'4000;
  static constexpr uint64_t kGuestPhysical = 0x5000;

  static Capabilities AllOfEpt() {
    Capabilities capabilities;
    capabilities.ept_vpid_cap = EptVpidCap::kExecuteOnly | EptVpidCap::kPageWalkLength4 |
                                EptVpidCap::kPageWalkLength5 | EptVpidCap::k2MByteMapping |
                                EptVpidCap::k1GByteMapping | EptVpidCap::kAccessedAndDirtyFlags;
    capabilities.physical_address_width = 40;
    capabilities.linear_address_width = 57;
    return capabilities;
  }

  MmuTest() {
    memory_.MapHostPages(kHost, std::as_writable_bytes(std::span(host_)));
    context_.cr0 = Cr0::kPe | Cr0::kPg | Cr0::kWp;
    context_.cr3 = Table(4);
    context_.cr4 = Cr4::kPae | Cr4::kPge;
    context_.efer = Efer::kLme | Efer::kLma | Efer::kNxe;
    context_.rflags = Rflags::kFixed1;
    for (uint64_t page = 0; page < 4; ++page) {
      Put<uint64_t>(kData + page * kPageSize, kMark + page);
    }
  }

  template <typename T>
  void Put(uint64_t physical, T value) {
    memory_.WritePhysical(physical, std::as_bytes(std::span(&value, 1)));
  }
  template <typename T = uint64_t>
  T Get(uint64_t physical) const {
    T value{};
    memory_.ReadPhysical(physical, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  // --- The guest's paging structures: 8-byte entries.
  static constexpr uint64_t Table(unsigned level) { return kTables + level * kPageSize; }
  static constexpr uint64_t EntryAt(unsigned level, uint64_t linear) {
    return Table(level) + (linear >> (12 + 9 * (level - 1)) & 0x1FF) * 8;
  }
  void SetEntry(unsigned level, uint64_t linear, uint64_t value) {
    Put<uint64_t>(EntryAt(level, linear), value);
  }
  void AddToEntry(unsigned level, uint64_t linear, uint64_t bits) {
    SetEntry(level, linear, Get(EntryAt(level, linear)) | bits);
  }
  void RemoveFromEntry(unsigned level, uint64_t linear, uint64_t bits) {
    SetEntry(level, linear, Get(EntryAt(level, linear)) & ~bits);
  }
  // All the entries above `leaf_level` with all rights, and the leaf.
  void Map(uint64_t linear, uint64_t leaf, unsigned leaf_level = 1, unsigned first_level = 4) {
    for (unsigned level = first_level; level > leaf_level; --level) {
      SetEntry(level, linear, Table(level - 1) | kAll);
    }
    SetEntry(leaf_level, linear, leaf);
  }

  // --- EPT's.
  static constexpr uint64_t EptTable(unsigned level) { return kHost + level * kPageSize; }
  static constexpr uint64_t EptEntryAt(unsigned level, uint64_t guest_physical) {
    return EptTable(level) + (guest_physical >> (12 + 9 * (level - 1)) & 0x1FF) * 8;
  }
  void SetEptEntry(unsigned level, uint64_t guest_physical, uint64_t value) {
    Put<uint64_t>(EptEntryAt(level, guest_physical), value);
  }
  void RemoveFromEptEntry(unsigned level, uint64_t guest_physical, uint64_t bits) {
    SetEptEntry(level, guest_physical, Get(EptEntryAt(level, guest_physical)) & ~bits);
  }
  void AddToEptEntry(unsigned level, uint64_t guest_physical, uint64_t bits) {
    SetEptEntry(level, guest_physical, Get(EptEntryAt(level, guest_physical)) | bits);
  }
  void MapEpt(uint64_t guest_physical, uint64_t leaf, unsigned leaf_level = 1) {
    for (unsigned level = 5; level > leaf_level; --level) {
      SetEptEntry(level, guest_physical, EptTable(level - 1) | kRwx);
    }
    SetEptEntry(leaf_level, guest_physical, leaf);
  }
  // Turns EPT on, with the first window mapped to itself and kGuestPhysical to kData.
  void UseEpt(uint64_t eptp_flags = 0) {
    for (uint64_t page = 0; page < lhv::kWindowBytes; page += kPageSize) {
      MapEpt(kWindow + page, (kWindow + page) | kRwx | kWb);
    }
    MapEpt(kGuestPhysical, kData | kRwx | kWb);
    context_.ept = true;
    context_.eptp = Eptp4Level() | eptp_flags;
  }
  static constexpr uint64_t Eptp4Level() {
    return EptTable(4) | uint64_t{3} << Eptp::kWalkLengthShift | 6;
  }

  // --- Accesses. What a read of 8 bytes gives, or nothing if it faults (fault_).
  std::optional<uint64_t> Read(uint64_t linear) {
    uint64_t value = 0;
    fault_ = mmu_.Read(context_, linear, std::as_writable_bytes(std::span(&value, 1)));
    return fault_ ? std::nullopt : std::optional(value);
  }
  bool Write(uint64_t linear, uint64_t value = 0x1234) {
    fault_ = mmu_.Write(context_, linear, std::as_bytes(std::span(&value, 1)));
    return !fault_;
  }
  std::optional<uint64_t> Translate(uint64_t linear, AccessKind kind) {
    uint64_t physical = 0;
    fault_ = mmu_.Translate(context_, linear, kind, physical);
    return fault_ ? std::nullopt : std::optional(physical);
  }
  bool Fetch(uint64_t linear) { return Translate(linear, AccessKind::kFetch).has_value(); }

  void ExpectPageFault(uint32_t error_code) {
    ASSERT_TRUE(fault_.has_value());
    EXPECT_EQ(fault_->kind, TranslationFault::Kind::kPageFault);
    EXPECT_EQ(fault_->error_code, error_code);
  }
  void ExpectEptViolation(uint64_t guest_physical, uint64_t qualification) {
    ASSERT_TRUE(fault_.has_value());
    EXPECT_EQ(fault_->kind, TranslationFault::Kind::kEptViolation);
    EXPECT_EQ(fault_->guest_physical, guest_physical);
    EXPECT_EQ(fault_->qualification, qualification);
  }

  static constexpr uint64_t kMark = 0xDA7A'0000;  // the first bytes of page n of kData: kMark + n

  alignas(kPageSize) std::array<uint64_t, kHostBytes / 8> host_{};
  Memory memory_{1};
  Capabilities capabilities_ = AllOfEpt();
  Mmu mmu_{memory_, capabilities_};
  TranslationContext context_{};
  std::optional<TranslationFault> fault_;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_TESTING_MMU_FIXTURE_H_
