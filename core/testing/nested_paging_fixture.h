// SPDX-License-Identifier: Apache-2.0
//
// An L2 that runs with EPT on a fake CPU, and what the processor would see of it.
#ifndef NVMX_CORE_TESTING_NESTED_PAGING_FIXTURE_H_
#define NVMX_CORE_TESTING_NESTED_PAGING_FIXTURE_H_

#include <cstdint>
#include <optional>

#include "core/nested/ept02_tables.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/mapping_embedder.h"
#include "core/vmx/controls.h"
#include "core/vmx/ept.h"
#include "core/vmx/interruption_info.h"
#include "gtest/gtest.h"

namespace nvmx {

inline constexpr uint64_t kEptWriteBack = 6 << EptEntry::kMemoryTypeShift;
inline constexpr uint64_t kEptAll = EptEntry::kPermissions;

// The EPT paging structures of one EPT12, in L1's memory.
class Ept12Builder {
 public:
  // The root lies at the address, the other structures on the pages behind it.
  Ept12Builder(FakeGuestMemory& memory, uint64_t root, unsigned levels = 4)
      : memory_(memory), root_(root), next_(root + kPageSize), levels_(levels) {}

  // The EPT pointer, with these further bits.
  uint64_t Eptp(uint64_t bits = 0) const { return root_ | (levels_ - 1) << 3 | 6 | bits; }

  // Where the entry of that level for the address lies; makes the structures above it.
  uint64_t EntryAt(uint64_t address, unsigned level) {
    uint64_t table = root_;
    for (unsigned at = levels_; at > level; --at) {
      const uint64_t place = table + 8 * EptIndex(address, at);
      uint64_t entry = memory_.Peek<uint64_t>(place);
      if ((entry & EptEntry::kPermissions) == 0) {
        entry = next_ | kEptAll;
        next_ += kPageSize;
        memory_.Poke(place, entry);
      }
      table = entry & EptEntry::kAddress;
    }
    return table + 8 * EptIndex(address, level);
  }
  uint64_t Entry(uint64_t address, unsigned level = kEptLevelPte) {
    return memory_.Peek<uint64_t>(EntryAt(address, level));
  }
  void SetEntry(uint64_t address, unsigned level, uint64_t entry) {
    memory_.Poke(EntryAt(address, level), entry);
  }
  // Maps the page around the address.
  void Map(uint64_t address, uint64_t to, uint64_t rights = kEptAll, unsigned level = kEptLevelPte,
           uint64_t bits = kEptWriteBack) {
    SetEntry(address, level, to | rights | bits | (level == kEptLevelPte ? 0 : EptEntry::kLarge));
  }

 private:
  FakeGuestMemory& memory_;
  uint64_t root_, next_;
  unsigned levels_;
};

// L1 has an EPT12; L2 can be made to run, and to touch memory as hardware would with the EPT02 that
// VMCS02 names.
class NestedPagingTest : public testing::Test {
 protected:
  static constexpr uint64_t kRoot = 0x10'0000;
  static constexpr uint64_t kOtherRoot = 0x18'0000;
  static constexpr uint64_t kFlags = Eptp::kAccessedAndDirty;
  // An address of L2, and of L1.
  static constexpr uint64_t kL2 = 0x7654'3000;
  static constexpr uint64_t kL1 = 0x40'0000;

  NestedPagingTest() {
    l1_.SetEmbedder(embedder_);
    UseSecondary(Secondary::kEnableEpt);
  }

  // The entry of EPT02 for an address, as hardware finds it.
  struct Leaf {
    uint64_t entry = 0;
    unsigned level = 0;
    uint64_t address() const { return entry & EptEntry::kAddress; }
    uint64_t rights() const { return entry & EptEntry::kPermissions; }
    uint64_t type() const { return entry & (EptEntry::kMemoryType | EptEntry::kIgnorePat); }
  };

  void UseSecondary(uint32_t bits) {
    v_.Set<VmcsField::kPrimaryProcessorBasedControls>(
        v_.Get<VmcsField::kPrimaryProcessorBasedControls>() |
        PrimaryProcessorBased::kActivateSecondaryControls);
    v_.Set<VmcsField::kSecondaryProcessorBasedControls>(
        v_.Get<VmcsField::kSecondaryProcessorBasedControls>() | bits);
  }
  void UsePml(uint64_t index, uint64_t log = kLog) {
    UseSecondary(Secondary::kEnablePml);
    v_.Set<VmcsField::kPmlAddress>(log);
    v_.Set<VmcsField::kPmlIndex>(index);
  }
  void RunL2(uint64_t eptp) {
    v_.Set<VmcsField::kEptPointer>(eptp);
    l1_.RunL2(v_);
  }
  void RunL2() { RunL2(ept12_.Eptp()); }

  uint64_t Eptp02() { return l1_.vmcs.vmcs02().Get<VmcsField::kEptPointer>(); }
  std::optional<Leaf> Find(uint64_t eptp02, uint64_t address) {
    PhysicalAddress table{eptp02 & EptEntry::kAddress};
    for (unsigned level = Eptp::WalkLength(eptp02);; --level) {
      const uint64_t entry = l1_.vcpu().host_pages.At(table).words[EptIndex(address, level)];
      if ((entry & EptEntry::kPermissions) == 0) return std::nullopt;
      if (level == kEptLevelPte || (entry & EptEntry::kLarge) != 0) return Leaf{entry, level};
      EXPECT_EQ(entry & EptEntry::kPermissions, kEptAll);
      table = PhysicalAddress{entry & EptEntry::kAddress};
    }
  }
  std::optional<Leaf> Find(uint64_t address) { return Find(Eptp02(), address); }

  // An EPT violation of L2, as hardware reports it: an access of this kind (EptViolation::kRead ..
  // kFetch), to the final address of a linear one.
  void Violation(uint64_t address, uint64_t access, uint64_t more = kToFinal) {
    VmcsImage& vmcs02 = l1_.vmcs.vmcs02();
    vmcs02.Set<VmcsField::kGuestPhysicalAddress>(address);
    vmcs02.Set<VmcsField::kGuestLinearAddress>(kLinear | PageOffset(address));
    const auto leaf = Find(address);
    l1_.Exit(ExitReason::kEptViolation, access | more | (leaf ? leaf->rights() << 3 : 0));
  }
  // L2 accesses memory, and takes EPT violations as long as EPT02 does not allow it. False if it
  // has left L2.
  bool Access(uint64_t address, uint64_t access) {
    for (int n = 0; n < 3; ++n) {
      const auto leaf = Find(address);
      if (leaf && (access & ~leaf->rights()) == 0) return true;
      Violation(address, access);
      if (!l1_.L2Runs()) return false;
    }
    ADD_FAILURE() << "L2 does not get on";
    return false;
  }
  // Whether L2 has been given a fault in place of the access.
  InterruptionInformation Injected() {
    return InterruptionInformation(
        l1_.vmcs.vmcs02().Get<VmcsField::kVmEntryInterruptionInformation>());
  }

  void ExpectExit(ExitReason reason, uint64_t qualification, uint64_t physical, uint64_t linear) {
    ASSERT_FALSE(l1_.L2Runs());
    const VmcsImage& vmcs12 = l1_.state.vmcs12;
    EXPECT_EQ(vmcs12.Get<VmcsField::kExitReason>(), static_cast<uint32_t>(reason));
    EXPECT_EQ(vmcs12.Get<VmcsField::kExitQualification>(), qualification);
    EXPECT_EQ(vmcs12.Get<VmcsField::kGuestPhysicalAddress>(), physical);
    EXPECT_EQ(vmcs12.Get<VmcsField::kGuestLinearAddress>(), linear);
  }

  static constexpr uint64_t kLog = 0x30'0000;
  static constexpr uint64_t kLinear = 0xFFFF'8000'1234'5000;
  static constexpr uint64_t kToFinal =
      EptViolation::kLinearAddressValid | EptViolation::kToFinalAddress;

  MappingEmbedder embedder_;
  FakeVcpu l1_;
  VmcsImage v_ = ValidVmcs12(l1_.state.offered);
  Ept12Builder ept12_{l1_.memory, kRoot};
  Ept12Builder other_{l1_.memory, kOtherRoot};
};

}  // namespace nvmx

#endif  // NVMX_CORE_TESTING_NESTED_PAGING_FIXTURE_H_
