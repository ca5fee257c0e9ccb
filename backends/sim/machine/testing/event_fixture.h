// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_TESTING_EVENT_FIXTURE_H_
#define NVMX_BACKENDS_SIM_MACHINE_TESTING_EVENT_FIXTURE_H_

#include <cstdint>
#include <optional>
#include <span>

#include "backends/sim/machine/event_delivery.h"
#include "backends/sim/machine/event_return.h"
#include "backends/sim/machine/memory.h"
#include "backends/sim/machine/mmu.h"
#include "backends/sim/machine/segment_descriptor.h"
#include "core/vmx/capabilities.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/rflags.h"
#include "gtest/gtest.h"
#include "lhv/layout.h"

namespace nvmx::sim {

struct EventTestGate {
  unsigned type = 14, dpl = 0, ist = 0;
  uint16_t selector = 0;
  bool present = true;
};

// Registers, tables and stacks of a guest, in one window; linear addresses are physical unless a
// test turns paging on otherwise.
class EventTest : public testing::Test {
 protected:
  static constexpr uint64_t kWindow = lhv::kWindowBase;
  static constexpr uint64_t kIdt = kWindow, kGdt = kWindow + 0x1000, kLdt = kWindow + 0x1800,
                            kTss = kWindow + 0x2000, kStack = kWindow + 0x8000,
                            kRsp0 = kWindow + 0xA000, kIst1 = kWindow + 0xB000,
                            kPml4 = kWindow + 0x10000;
  static constexpr uint8_t kVector = 0x40;
  static constexpr uint64_t kHandler = 0x3456'7890, kRip = 0x12'3456;

  // Selectors of the GDT.
  static constexpr uint16_t kCode64 = 0x08, kData = 0x10, kCode32 = 0x18, kUserCode64 = 0x2B,
                            kUserData = 0x33, kUserCode32 = 0x3B, kTssSelector = 0x40, kFree = 0x50,
                            kConforming64 = 0x58;
  static constexpr uint64_t kGdtLimit = 0x5F, kTssLimit = 0x67;

  static constexpr uint64_t kCode64Entry = 0x00AF'9B00'0000'FFFF;
  static constexpr uint64_t kCode32Entry = 0x00CF'9B00'0000'FFFF;
  static constexpr uint64_t kDataEntry = 0x00CF'9300'0000'FFFF;
  static constexpr uint64_t kDpl3 = uint64_t{3} << 45;
  static constexpr uint64_t kPresentBit = uint64_t{1} << 47;
  static constexpr uint64_t kTypeConforming = uint64_t{4} << 40;

  EventTest() {
    SetDescriptor(kCode64, kCode64Entry);
    SetDescriptor(kData, kDataEntry);
    SetDescriptor(kCode32, kCode32Entry);
    SetDescriptor(kUserCode64, kCode64Entry | kDpl3);
    SetDescriptor(kUserData, kDataEntry | kDpl3);
    SetDescriptor(kUserCode32, kCode32Entry | kDpl3);
    SetDescriptor(kTssSelector, 0x0000'8B00'0000'0000 | kTssLimit);
    SetDescriptor(kConforming64, kCode64Entry | kTypeConforming);
    r_.gdtr_base = kGdt;
    r_.gdtr_limit = kGdtLimit;
    r_.idtr_base = kIdt;
    r_.idtr_limit = 0xFFF;
    r_.ldtr = NullSegment(0);
    r_.tr = {kTssSelector, kTss, kTssLimit, 0x8B};
    r_.rip = kRip;
    r_.rsp = kStack;
    r_.rflags = Rflags::kFixed1;
    for (SegmentState* segment : {&r_.ds, &r_.es, &r_.fs, &r_.gs}) *segment = Loaded(kData);
  }

  // --- The mode. IA-32e mode has paging; one page of 1 GByte maps all to itself.
  void Use64BitMode(uint16_t code = kCode64, uint16_t stack = kData) {
    r_.cr0 = Cr0::kPe | Cr0::kPg | Cr0::kWp;
    r_.cr3 = kPml4;
    r_.cr4 = Cr4::kPae;
    r_.efer = Efer::kLme | Efer::kLma | Efer::kNxe;
    r_.cs = Loaded(code);
    r_.ss = Loaded(stack);
    Put<uint64_t>(kPml4, (kPml4 + 0x1000) | 7);
    Put<uint64_t>(kPml4 + 0x1000, 0x80 | 7);
    Put<uint64_t>(kTss + 4, kRsp0);
    Put<uint64_t>(kTss + 36, kIst1);
    SetGate64(kHandler);
  }
  void UseProtectedMode(uint16_t code = kCode32, uint16_t stack = kData) {
    r_.cr0 = Cr0::kPe;
    r_.efer = 0;
    r_.cs = Loaded(code);
    r_.ss = Loaded(stack);
    Put<uint32_t>(kTss + 4, static_cast<uint32_t>(kRsp0));
    Put<uint16_t>(kTss + 8, kData);
    SetGate32(kHandler);
  }
  void UseRealMode() {
    r_.cr0 = 0;
    r_.efer = 0;
    r_.cs = {0x1000, 0x1'0000, 0xFFFF, 0x9B};
    r_.ss = {kStackSegment, kStackSegment << 4, 0xFFFF, 0x93};
    r_.rsp = kRealSp;
    r_.rip = 0x1234;
    r_.idtr_limit = 0x3FF;
  }
  // The window begins where a real-mode address of FFFF:0010 leads.
  static constexpr uint64_t kStackSegment = 0xFFFF, kRealSp = 0x2010;
  static constexpr uint64_t kRealStack = (kStackSegment << 4) + kRealSp;

  // --- Tables.
  template <typename T>
  void Put(uint64_t address, T value) {
    ASSERT_TRUE(memory_.Write(address, std::as_bytes(std::span(&value, 1))));
  }
  template <typename T = uint64_t>
  T Get(uint64_t address) const {
    T value{};
    EXPECT_TRUE(memory_.Read(address, std::as_writable_bytes(std::span(&value, 1))));
    return value;
  }
  static constexpr uint64_t DescriptorAt(uint16_t selector) { return kGdt + (selector & ~7); }
  void SetDescriptor(uint16_t selector, uint64_t value) {
    Put<uint64_t>(DescriptorAt(selector), value);
  }
  SegmentState Loaded(uint16_t selector) const {
    return SegmentDescriptor{Get(DescriptorAt(selector))}.Load(selector);
  }
  using GateFields = EventTestGate;
  void SetGate64(uint64_t handler, GateFields fields = {.selector = kCode64}) {
    const uint64_t rights = uint64_t{fields.present} << 47 | uint64_t{fields.dpl} << 45 |
                            uint64_t{fields.type} << 40 | uint64_t{fields.ist} << 32;
    Put<uint64_t>(kIdt + 16 * kVector, (handler & 0xFFFF) | uint64_t{fields.selector} << 16 |
                                           rights | (handler >> 16 & 0xFFFF) << 48);
    Put<uint64_t>(kIdt + 16 * kVector + 8, handler >> 32);
  }
  void SetGate32(uint64_t handler, GateFields fields = {.selector = kCode32}) {
    const uint64_t rights =
        uint64_t{fields.present} << 47 | uint64_t{fields.dpl} << 45 | uint64_t{fields.type} << 40;
    Put<uint64_t>(kIdt + 8 * kVector, (handler & 0xFFFF) | uint64_t{fields.selector} << 16 |
                                          rights | (handler >> 16 & 0xFFFF) << 48);
  }

  // --- Events.
  TranslationContext Context() const {
    TranslationContext context{};
    context.cr0 = r_.cr0;
    context.cr3 = r_.cr3;
    context.cr4 = r_.cr4;
    context.efer = r_.efer;
    context.rflags = r_.rflags;
    return context;
  }
  bool Deliver(Event event = {kVector, InterruptionType::kExternalInterrupt}) {
    const SwitchedRegisters before = r_;
    fault_ = DeliverEvent(mmu_, Context(), event, r_);
    ExpectUnchangedIfFault(before);
    return !fault_;
  }
  bool Return() {
    const SwitchedRegisters before = r_;
    fault_ = ReturnFromEvent(mmu_, Context(), r_);
    ExpectUnchangedIfFault(before);
    return !fault_;
  }
  void ExpectException(Vector vector, std::optional<uint32_t> error_code) {
    ASSERT_TRUE(fault_.has_value());
    EXPECT_EQ(fault_->kind, EventFault::Kind::kException);
    EXPECT_STREQ(Name(fault_->vector), Name(vector));
    EXPECT_EQ(fault_->error_code, error_code);
  }
  // The error codes of the gate of kVector: with the bit IDT, and EXT if the event is external.
  static constexpr uint32_t kGateError = kVector * 8 | 2, kExt = 1;

  Memory memory_{1};
  Capabilities capabilities_ = [] {
    Capabilities capabilities;
    capabilities.physical_address_width = 40;
    return capabilities;
  }();
  Mmu mmu_{memory_, capabilities_};
  SwitchedRegisters r_{};
  std::optional<EventFault> fault_;

 private:
  void ExpectUnchangedIfFault(const SwitchedRegisters& before) const {
    if (!fault_) return;
    EXPECT_EQ(r_.rip, before.rip);
    EXPECT_EQ(r_.rsp, before.rsp);
    EXPECT_EQ(r_.rflags, before.rflags);
    EXPECT_EQ(r_.cs.selector, before.cs.selector);
    EXPECT_EQ(r_.ss.selector, before.ss.selector);
  }
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_TESTING_EVENT_FIXTURE_H_
