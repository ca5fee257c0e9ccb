// SPDX-License-Identifier: Apache-2.0
#include "lhv/narrowing.h"

#include <vector>

#include "core/vmx/vmcs_field.h"
#include "core/x86/control_registers.h"
#include "gtest/gtest.h"
#include "lhv/layout.h"

namespace nvmx::lhv {
namespace {

using Operations = std::vector<Operation>;

Operation Write(VmcsField field, uint64_t value, uint16_t flags = 0) {
  return {
      .kind = OperationKind::kVmwrite, .flags = flags, .selector = Encoding(field), .value = value};
}
constexpr uint32_t High(VmcsField field) { return Encoding(field) | FieldEncoding::kHigh; }

TEST(Narrowed, VmwriteOfA64BitFieldIsOneOfEachHalf) {
  const Operations both = Narrowed(Write(VmcsField::kTscOffset, 0x1122334455667788), 1, 0);
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(both[0], Write(VmcsField::kTscOffset, 0x55667788));
  EXPECT_EQ(both[1].selector, High(VmcsField::kTscOffset));
  EXPECT_EQ(both[1].value, 0x11223344u);
}

TEST(Narrowed, AnAddressInTheWindowHasNoHighHalf) {
  const Operation write = Write(VmcsField::kMsrBitmapAddress, 0x1000, kValueIsWindowOffset);
  const Operations both = Narrowed(write, 1, 3);
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(both[0], write);
  EXPECT_EQ(both[1].flags, 0);
  EXPECT_EQ(both[1].value, 0u);
}

TEST(Narrowed, OtherFieldsAndL2sOwnVmwriteStayAsTheyAre) {
  for (const VmcsField field : {VmcsField::kGuestRip, VmcsField::kExceptionBitmap}) {
    EXPECT_EQ(Narrowed(Write(field, 5), 1, 0), Operations{Write(field, 5)});
  }
  const Operation write = Write(VmcsField::kTscOffset, 5);
  EXPECT_EQ(Narrowed(write, 2, 0), Operations{write});
}

TEST(Narrowed, AnAccessToEightBytesIsTwoToFour) {
  const Operation write{.kind = OperationKind::kWriteMemory,
                        .flags = kValueIsWindowOffset,
                        .selector = 8,
                        .value = 0x2000,
                        .extra = 0x1122334455667788};
  const Operations both = Narrowed(write, 2, 0);
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(both[0].selector, 4u);
  EXPECT_EQ(both[0].extra, 0x55667788u);
  EXPECT_EQ(both[1].value, 0x2004u);
  EXPECT_EQ(both[1].extra, 0x11223344u);
  EXPECT_EQ(both[1].flags, kValueIsWindowOffset);
}

TEST(Narrowed, AGateHasEightBytes) {
  const Operations both = Narrowed({.kind = OperationKind::kSetHandler,
                                    .flags = kValueIsWindowOffset,
                                    .selector = 2,
                                    .value = kL1IdtOffset},
                                   1, 0);
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(both[0].value, kL1IdtOffset + 2 * 8);
  EXPECT_EQ(both[0].extra, uint64_t{kCodeSelector} << 16 | 0x2000);
  EXPECT_EQ(both[1].value, kL1IdtOffset + 2 * 8 + 4);
  EXPECT_EQ(both[1].extra, (kL1HandlerBase & 0xFFFF'0000) | 0x8E00);
}

TEST(Narrowed, TheHostStateIsOneOutsideIa32eMode) {
  const Operations all = Narrowed({.kind = OperationKind::kVmwriteHostState}, 1, 2);
  const auto value = [&all](uint32_t encoding) {
    for (const Operation& write : all) {
      if (write.selector == encoding) return write.value;
    }
    ADD_FAILURE() << encoding;
    return uint64_t{0};
  };
  EXPECT_EQ(value(Encoding(VmcsField::kHostCr4)), Cr4::kPse | Cr4::kVmxe);
  EXPECT_EQ(value(Encoding(VmcsField::kHostIa32Efer)), 0u);
  EXPECT_EQ(value(High(VmcsField::kHostIa32Efer)), 0u);
  EXPECT_EQ(value(Encoding(VmcsField::kHostCr3)), WindowOf(2) + kPageTableOffset);
}

}  // namespace
}  // namespace nvmx::lhv
