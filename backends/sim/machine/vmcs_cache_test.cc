// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/vmcs_cache.h"

#include <span>

#include "core/x86/address.h"
#include "gtest/gtest.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

class VmcsCache : public testing::Test {
 protected:
  static constexpr uint64_t kBase = lhv::kWindowBase + 0x10000;

  static uint64_t Region(size_t number) { return kBase + number * kPageSize; }
  uint32_t Word(uint64_t address) const {
    uint32_t value = 0;
    memory_.Read(address, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  void PutWord(uint64_t address, uint32_t value) {
    memory_.Write(address, std::as_bytes(std::span(&value, 1)));
  }
  ActiveVmcs& Activate(size_t number, size_t keep = 0) {
    return slots_[ActivateVmcs(slots_, memory_, Region(number), keep)];
  }
  static uint64_t Rip(const ActiveVmcs& vmcs) { return vmcs.fields.Get<VmcsField::kGuestRip>(); }

  Memory memory_{1};
  VmcsSlots slots_{};
};

TEST_F(VmcsCache, WhatIsWrittenIsNotInMemoryBeforeItIsCleared) {
  const uint64_t digest = memory_.WindowDigest(0);
  Activate(0).fields.Set<VmcsField::kGuestRip>(0x1234);
  EXPECT_EQ(memory_.WindowDigest(0), digest);
  ClearVmcs(slots_, memory_, Region(0));
  EXPECT_NE(memory_.WindowDigest(0), digest);
  EXPECT_FALSE(FindVmcs(slots_, Region(0)).has_value());
  EXPECT_EQ(Rip(Activate(0)), 0x1234u);
}

TEST_F(VmcsCache, AnActiveVmcsIsNotReadFromMemoryAgain) {
  Activate(0).fields.Set<VmcsField::kGuestRip>(1);
  ClearVmcs(slots_, memory_, Region(0));
  Activate(0).fields.Set<VmcsField::kGuestRip>(2);
  EXPECT_EQ(Rip(Activate(0)), 2u);
}

TEST_F(VmcsCache, ClearingEndsTheLaunchState) {
  Activate(0).launched = 1;
  ClearVmcs(slots_, memory_, Region(0));
  EXPECT_EQ(Activate(0).launched, 0u);
}

TEST_F(VmcsCache, MoreVmcssThanSlotsKeepFieldsAndLaunchState) {
  for (size_t number = 0; number < kVmcsSlots + 3; ++number) {
    ActiveVmcs& vmcs = Activate(number, 0);
    vmcs.fields.Set<VmcsField::kGuestRip>(number);
    vmcs.launched = number % 2;
  }
  EXPECT_TRUE(FindVmcs(slots_, Region(0)).has_value()) << "it was to be kept";
  for (size_t number = 0; number < kVmcsSlots + 3; ++number) {
    const ActiveVmcs& vmcs = Activate(number, 0);
    EXPECT_EQ(Rip(vmcs), number);
    EXPECT_EQ(vmcs.launched, number % 2);
  }
}

TEST_F(VmcsCache, ClearingOneThatWasEvictedEndsItsLaunchState) {
  Activate(1).launched = 1;
  for (size_t number = 2; number < kVmcsSlots + 4; ++number) Activate(number, 3);
  ASSERT_FALSE(FindVmcs(slots_, Region(1)).has_value());
  ClearVmcs(slots_, memory_, Region(1));
  EXPECT_EQ(Activate(1, 3).launched, 0u);
}

TEST_F(VmcsCache, TheHeaderAndTheAbortIndicatorStayWhatSoftwareWrote) {
  PutWord(Region(0), 0x51 | VmcsHeader::kShadow);
  PutWord(Region(0) + 4, 0xABCD);
  EXPECT_EQ(Activate(0).shadow, 1u);
  ClearVmcs(slots_, memory_, Region(0));
  EXPECT_EQ(Word(Region(0)), 0x51 | VmcsHeader::kShadow);
  EXPECT_EQ(Word(Region(0) + 4), 0xABCDu);
  PutWord(Region(0), 0x51);
  EXPECT_EQ(Activate(0).shadow, 0u);
}

TEST_F(VmcsCache, TheSlotsOfL0AreLeftAlone) {
  for (size_t number = 0; number < kVmcsSlots; ++number) {
    EXPECT_GE(ActivateVmcs(slots_, memory_, Region(number), kVmcsSlots, 2), 2u);
  }
  EXPECT_EQ(slots_[0].in_use, 0u);
  EXPECT_EQ(slots_[1].in_use, 0u);
}

TEST_F(VmcsCache, AFieldFromMemoryStaysWithinItsWidth) {
  for (uint64_t offset = 8; offset < kPageSize; offset += 4) PutWord(Region(0) + offset, ~0u);
  const ActiveVmcs& vmcs = Activate(0);
  EXPECT_EQ(vmcs.fields.Read(VmcsField::kGuestEsSelector), 0xFFFFu);
  EXPECT_EQ(vmcs.fields.Read(VmcsField::kExitReason), 0xFFFFFFFFu);
  EXPECT_EQ(vmcs.launched, 1u);
}

}  // namespace
}  // namespace nvmx::sim
