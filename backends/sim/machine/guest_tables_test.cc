// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/guest_tables.h"

#include <span>

#include "backends/sim/machine/event_delivery.h"
#include "backends/sim/machine/event_return.h"
#include "backends/sim/machine/mmu.h"
#include "backends/sim/machine/segment_descriptor.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/rflags.h"
#include "gtest/gtest.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

constexpr uint32_t kCpu = 1;
constexpr uint64_t kWindow = lhv::WindowOf(kCpu);

// A CPU as a guest program finds it, at either level.
class GuestTablesTest : public testing::Test {
 protected:
  GuestTablesTest() {
    WriteGuestTables(memory_, kCpu);
    r_.cr0 = Cr0::kPe | Cr0::kPg | Cr0::kWp;
    r_.cr3 = kWindow + lhv::kPageTableOffset;
    r_.cr4 = Cr4::kPae;
    r_.efer = Efer::kLme | Efer::kLma;
    r_.gdtr_base = kWindow + lhv::kGdtOffset;
    r_.gdtr_limit = kGuestGdtLimit;
    r_.idtr_base = kWindow + lhv::kL1IdtOffset;
    r_.idtr_limit = kGuestIdtLimit;
    r_.cs = Descriptor(lhv::kCodeSelector).Load(lhv::kCodeSelector);
    r_.ss = Descriptor(lhv::kDataSelector).Load(lhv::kDataSelector);
    r_.tr = {lhv::kTssSelector, kWindow + lhv::kTssOffset, kGuestTssLimit, 0x8B};
    r_.rip = lhv::kL1CodeBase;
    r_.rsp = kWindow + lhv::kL1StackTop;
    r_.rflags = Rflags::kFixed1;
  }
  SegmentDescriptor Descriptor(uint16_t selector) const {
    return {memory_.Load<uint64_t>(kWindow + lhv::kGdtOffset + selector)};
  }
  TranslationContext Context() const {
    TranslationContext context{};
    context.cr0 = r_.cr0;
    context.cr3 = r_.cr3;
    context.cr4 = r_.cr4;
    context.efer = r_.efer;
    return context;
  }
  bool Deliver(uint8_t vector) {
    return !DeliverEvent(mmu_, Context(), {vector, InterruptionType::kExternalInterrupt}, r_);
  }

  Memory memory_{2};
  Capabilities capabilities_ = [] {
    Capabilities capabilities;
    capabilities.physical_address_width = 40;
    return capabilities;
  }();
  Mmu mmu_{memory_, capabilities_};
  SwitchedRegisters r_{};
};

TEST_F(GuestTablesTest, EachVectorOfL1LeadsToItsHandler) {
  for (unsigned vector = 0; vector < lhv::kVectorCount; ++vector) {
    ASSERT_TRUE(Deliver(static_cast<uint8_t>(vector))) << vector;
    EXPECT_EQ(r_.rip, lhv::HandlerAddress(lhv::HandlersOf(kCpu, lhv::kL1HandlerBase),
                                          static_cast<uint8_t>(vector)));
    ASSERT_FALSE(ReturnFromEvent(mmu_, Context(), r_));
    EXPECT_EQ(r_.rip, lhv::kL1CodeBase);
    EXPECT_EQ(r_.rsp, kWindow + lhv::kL1StackTop);
  }
}

TEST_F(GuestTablesTest, EachVectorOfL2LeadsToItsHandler) {
  r_.idtr_base = kWindow + lhv::kL2IdtOffset;
  for (unsigned vector = 0; vector < lhv::kVectorCount; ++vector) {
    r_.rsp = kWindow + lhv::kL2StackTop;
    ASSERT_TRUE(Deliver(static_cast<uint8_t>(vector))) << vector;
    EXPECT_EQ(r_.rip, lhv::HandlerAddress(lhv::HandlersOf(kCpu, lhv::kL2HandlerBase),
                                          static_cast<uint8_t>(vector)));
  }
}

TEST_F(GuestTablesTest, TheSegmentsAreFlatAnd64Bit) {
  EXPECT_EQ(r_.cs.access_rights, 0xA09Bu);
  EXPECT_EQ(r_.cs.limit, 0xFFFF'FFFFu);
  EXPECT_EQ(r_.ss.access_rights, 0xC093u);
  EXPECT_EQ(Descriptor(0).value, 0u);
}

TEST_F(GuestTablesTest, TheTssIsBusyAndWhereItLies) {
  const SegmentDescriptor tss = Descriptor(lhv::kTssSelector);
  EXPECT_EQ(tss.rights().value, 0x8Bu);
  EXPECT_EQ(tss.base(), kWindow + lhv::kTssOffset);
  EXPECT_EQ(tss.limit(), kGuestTssLimit);
}

TEST_F(GuestTablesTest, FromCpl3AnEventFindsAStackInTheMachinesPart) {
  r_.ss.access_rights |= AccessRights::kDpl;
  r_.cs.access_rights |= AccessRights::kDpl;
  ASSERT_TRUE(Deliver(0x40));
  EXPECT_LE(r_.rsp, kWindow + kGuestRsp0Offset);
  EXPECT_GT(r_.rsp, kWindow + lhv::kL1StackTop);
}

TEST_F(GuestTablesTest, PagingMapsCodeAndHandlersAndWindowsToThemselves) {
  for (uint64_t linear : {kWindow, lhv::WindowOf(7), lhv::kL1CodeBase, lhv::kL2CodeBase,
                          lhv::HandlersOf(lhv::kMostCpusOfLayout, lhv::kL2BareHandlerBase) - 1}) {
    for (AccessKind kind : {AccessKind::kRead, AccessKind::kWrite, AccessKind::kFetch}) {
      uint64_t physical = 0;
      EXPECT_FALSE(mmu_.Translate(Context(), linear, kind, physical)) << linear;
      EXPECT_EQ(physical, linear);
    }
  }
  uint64_t physical = 0;
  EXPECT_TRUE(mmu_.Translate(Context(), uint64_t{1} << 30, AccessKind::kRead, physical));
}

TEST_F(GuestTablesTest, TranslationChangesNothingInTheTables) {
  const uint64_t before = memory_.WindowDigest(kCpu);
  uint64_t physical = 0;
  EXPECT_FALSE(mmu_.Translate(Context(), kWindow, AccessKind::kWrite, physical));
  EXPECT_EQ(memory_.WindowDigest(kCpu), before);
}

TEST_F(GuestTablesTest, OnlyTheMachinesPartOfTheWindowIsFilled) {
  for (uint64_t offset = 0; offset < kGuestRsp0Offset; offset += 8) {
    ASSERT_EQ(memory_.Load<uint64_t>(kWindow + offset), 0u) << offset;
  }
  EXPECT_EQ(memory_.WindowDigest(0), 0u);
}

}  // namespace
}  // namespace nvmx::sim
