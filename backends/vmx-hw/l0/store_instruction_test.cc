// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/store_instruction.h"

#include <initializer_list>
#include <vector>

#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

using enum CodeSize;
using enum GeneralRegister;

std::vector<std::byte> Bytes(std::initializer_list<int> numbers) {
  std::vector<std::byte> bytes;
  for (int number : numbers) bytes.push_back(static_cast<std::byte>(number));
  return bytes;
}

class StoreInstructionTest : public testing::Test {
 protected:
  // Behind the instruction lies something else; and what is cut off is not understood.
  void Decode(CodeSize size, std::initializer_list<int> numbers) {
    std::vector<std::byte> code = Bytes(numbers);
    for (size_t bytes = 0; bytes < code.size(); ++bytes) {
      EXPECT_FALSE(DecodeStore(std::span(code).first(bytes), size)) << bytes;
    }
    code.resize(StoreInstruction::kMostBytes + 1, std::byte{0xCC});
    const std::optional<StoreInstruction> store = DecodeStore(code, size);
    ASSERT_TRUE(store.has_value());
    store_ = *store;
    EXPECT_EQ(store_.length, numbers.size());
  }
  void ExpectRegister(GeneralRegister source, unsigned bytes) {
    EXPECT_EQ(store_.source, source);
    EXPECT_EQ(store_.operand_bytes, bytes);
  }
  void ExpectImmediate(uint64_t value, unsigned bytes) {
    EXPECT_EQ(store_.source, std::nullopt);
    EXPECT_EQ(store_.operand_bytes, bytes);
    EXPECT_EQ(store_.Value(0), value);
  }

  StoreInstruction store_;
};

TEST_F(StoreInstructionTest, WhatLinuxWritesItsApicWith) {
  Decode(k64, {0x89, 0xB7, 0x00, 0xD0, 0x5F, 0xFF});  // mov %esi, -0xa03000(%rdi)
  ExpectRegister(kRsi, 4);
  Decode(k64, {0xC7, 0x04, 0x25, 0xB0, 0xD0, 0x5F, 0xFF, 0, 0, 0, 0});  // movl $0, abs32
  ExpectImmediate(0, 4);
  Decode(k64, {0x89, 0x04, 0x25, 0x10, 0xD3, 0x5F, 0xFF});  // mov %eax, abs32
  ExpectRegister(kRax, 4);
  Decode(k32, {0xA3, 0x00, 0xC3, 0xFF, 0xFF});  // mov %eax, moffs32
  ExpectRegister(kRax, 4);
}

TEST_F(StoreInstructionTest, AddressesOf64And32Bits) {
  Decode(k64, {0x44, 0x89, 0x38});  // mov %r15d, (%rax)
  ExpectRegister(kR15, 4);
  Decode(k64, {0x89, 0x50, 0x10});  // mov %edx, 16(%rax)
  ExpectRegister(kRdx, 4);
  Decode(k64, {0x89, 0x15, 1, 2, 3, 4});  // mov %edx, disp(%rip)
  ExpectRegister(kRdx, 4);
  Decode(k64, {0x41, 0x89, 0x4C, 0x24, 0x20});  // mov %ecx, 32(%r12)
  ExpectRegister(kRcx, 4);
  Decode(k64, {0x89, 0x8C, 0x88, 1, 2, 3, 4});  // mov %ecx, disp(%rax,%rcx,4)
  ExpectRegister(kRcx, 4);
  Decode(k64, {0x67, 0xA3, 1, 2, 3, 4});  // addr32 mov %eax, moffs
  ExpectRegister(kRax, 4);
  Decode(k64, {0xA3, 1, 2, 3, 4, 5, 6, 7, 8});
  ExpectRegister(kRax, 4);
}

TEST_F(StoreInstructionTest, AddressesOf16Bits) {
  Decode(k16, {0x66, 0x89, 0x07});  // mov %eax, (%bx)
  ExpectRegister(kRax, 4);
  Decode(k16, {0x89, 0x0E, 1, 2});  // mov %cx, disp16
  ExpectRegister(kRcx, 2);
  Decode(k16, {0x89, 0x4C, 1});  // mov %cx, 1(%si)
  ExpectRegister(kRcx, 2);
  Decode(k16, {0x89, 0x8C, 1, 2});
  ExpectRegister(kRcx, 2);
  Decode(k32, {0x67, 0x89, 0x0E, 1, 2});
  ExpectRegister(kRcx, 4);
  Decode(k16, {0x67, 0x66, 0x89, 0x0D, 1, 2, 3, 4});
  ExpectRegister(kRcx, 4);
  Decode(k16, {0xA3, 1, 2});
  ExpectRegister(kRax, 2);
}

TEST_F(StoreInstructionTest, OperandsOfEachSize) {
  Decode(k64, {0x48, 0x89, 0x08});
  ExpectRegister(kRcx, 8);
  EXPECT_EQ(store_.Value(0x1122334455667788), 0x1122334455667788u);
  Decode(k64, {0x66, 0x89, 0x08});
  ExpectRegister(kRcx, 2);
  EXPECT_EQ(store_.Value(0x1122334455667788), 0x7788u);
  Decode(k64, {0x88, 0x20});  // mov %ah, (%rax)
  ExpectRegister(kRax, 1);
  EXPECT_EQ(store_.Value(0x1234), 0x12u);
  Decode(k64, {0x40, 0x88, 0x20});  // mov %spl, (%rax)
  ExpectRegister(kRsp, 1);
  EXPECT_EQ(store_.Value(0x1234), 0x34u);
  Decode(k64, {0xC6, 0x00, 0x80});
  ExpectImmediate(0x80, 1);
  Decode(k64, {0x66, 0xC7, 0x40, 1, 0x34, 0x82});
  ExpectImmediate(0x8234, 2);
  Decode(k64, {0xC7, 0x80, 0, 3, 0, 0, 0x00, 0xC5, 0x0C, 0x80});
  ExpectImmediate(0x800CC500, 4);
  Decode(k64, {0x48, 0xC7, 0x00, 0, 0, 0, 0x80});
  ExpectImmediate(0xFFFFFFFF80000000, 8);
}

TEST_F(StoreInstructionTest, SegmentOverridesDoNotMatter) {
  Decode(k64, {0x65, 0x89, 0x08});
  ExpectRegister(kRcx, 4);
  Decode(k32, {0x2E, 0xC6, 0x05, 1, 2, 3, 4, 5});
  ExpectImmediate(5, 1);
}

TEST_F(StoreInstructionTest, WhatIsSomethingElse) {
  for (const auto& code : {
           Bytes({0x89, 0xC8}),              // a register as destination
           Bytes({0xC7, 0x08, 0, 0, 0, 0}),  // no MOV
           Bytes({0x8B, 0x08}),              // a load
           Bytes({0x87, 0x08}),              // XCHG
           Bytes({0xF0, 0x89, 0x08}),        // LOCK
           Bytes({0xF3, 0xAB}),              // REP STOS
           Bytes({0x0F, 0xC3, 0x08}),        // MOVNTI
       }) {
    EXPECT_FALSE(DecodeStore(code, k64)) << std::to_integer<int>(code[0]);
  }
  // Outside 64-bit mode that is INC.
  EXPECT_FALSE(DecodeStore(Bytes({0x48, 0x89, 0x08}), k32));
}

TEST_F(StoreInstructionTest, FifteenBytesAreTheMost) {
  std::vector<std::byte> code(12, std::byte{0x65});
  for (int byte : {0x89, 0x50, 0x10}) code.push_back(static_cast<std::byte>(byte));
  EXPECT_TRUE(DecodeStore(code, k64));
  code.insert(code.begin(), std::byte{0x65});
  EXPECT_FALSE(DecodeStore(code, k64));
}

}  // namespace
}  // namespace nvmx::metal
