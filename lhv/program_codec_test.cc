// SPDX-License-Identifier: Apache-2.0
#include "lhv/program_codec.h"

#include <map>
#include <random>
#include <string>
#include <vector>

#include "core/vmx/vmcs_field.h"
#include "gtest/gtest.h"
#include "lhv/assembler.h"
#include "lhv/binary_program.h"
#include "lhv/fake_guest_cpu.h"
#include "lhv/interpreter.h"
#include "lhv/layout.h"
#include "lhv/operand.h"
#include "lhv/operation_check.h"

namespace nvmx::lhv {
namespace {

constexpr char kSource[] =
    "name: test\n"
    "cpus:\n"
    "  - memory:\n"
    "      vmcs: {bytes: 4096}\n"
    "      ept: {ept: {identity: 1G, map: [{at: vmcs, access: r}]}}\n"
    "      list: {msr_list: [{msr: IA32_PAT, value: 0x0007040600070406}]}\n"
    "    setup:\n"
    "      - enter_vmx: vmcs\n"
    "      - baseline_vmcs: vmcs\n"
    "      - use_ept: ept\n"
    "    run:\n"
    "      - vmlaunch: {observe: [exit_reason]}\n"
    "      - vmread: {field: GUEST_RIP, operand: {segment: fs, address_of: vmcs}}\n"
    "      - write_memory: {address_of: list, value: ept}\n"
    "    l2:\n"
    "      - vmcall: 5\n"
    "  - run: [nop]\n";

GuestProgram Source() {
  const auto program = Assemble("test.yaml", kSource, 2);
  EXPECT_TRUE(program.ok()) << program.status();
  return *program;
}

// What memory a program finds, without the names and sizes of blocks.
std::map<uint64_t, std::byte> NonZero(const CpuProgram& cpu) {
  std::map<uint64_t, std::byte> bytes;
  for (const MemoryBlock& block : cpu.memory) {
    for (size_t i = 0; i < block.bytes.size(); ++i) {
      if (block.bytes[i] != std::byte{0}) bytes[block.offset + i] = block.bytes[i];
    }
  }
  return bytes;
}

TEST(ProgramCodec, WhatIsDecodedRunsAsWhatWasEncoded) {
  const GuestProgram source = Source();
  const auto decoded = DecodeProgram(EncodeProgram(source));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  ASSERT_EQ(decoded->cpus.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(decoded->cpus[i].l1, source.cpus[i].l1);
    EXPECT_EQ(decoded->cpus[i].l2, source.cpus[i].l2);
    EXPECT_EQ(decoded->cpus[i].run_begin, source.cpus[i].run_begin);
    EXPECT_EQ(NonZero(decoded->cpus[i]), NonZero(source.cpus[i]));
  }
}

TEST(ProgramCodec, TheModeOfL1IsKept) {
  for (const L1Mode mode : {L1Mode::k64Bit, L1Mode::k32Bit}) {
    GuestProgram program;
    program.cpus.resize(1);
    program.l1_mode = mode;
    const std::vector<std::byte> bytes = EncodeProgram(program);
    EXPECT_EQ(L1ModeOf(bytes), mode);
    EXPECT_EQ(DecodeProgram(bytes)->l1_mode, mode);
  }
}

TEST(ProgramCodec, LeavesZerosOut) {
  // Two of the four tables are full; the rest of the six pages is nearly empty.
  EXPECT_LT(EncodeProgram(Source()).size(), 10'000u);
}

TEST(ProgramCodec, EveryBeginningOfAProgramIsTruncated) {
  const std::vector<std::byte> bytes = EncodeProgram(Source());
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_EQ(CheckBinaryProgram(std::span(bytes).first(length)), BinaryProgramError::kTruncated)
        << length;
  }
  EXPECT_EQ(CheckBinaryProgram(bytes), BinaryProgramError::kNone);
}

// The bytes with a program of one CPU whose only operation of L1 has these bytes.
std::vector<std::byte> OneOperation(const std::vector<uint8_t>& operation) {
  std::vector<uint8_t> bytes = {'N', 'V', 'G', 'P', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0};
  bytes.insert(bytes.end(), operation.begin(), operation.end());
  std::vector<std::byte> result;
  for (const uint8_t byte : bytes) result.push_back(std::byte{byte});
  return result;
}

constexpr uint8_t Kind(OperationKind kind) { return static_cast<uint8_t>(kind); }

TEST(ProgramCodec, TheHeaderIsChecked) {
  std::vector<std::byte> bytes = OneOperation({Kind(OperationKind::kNop), 0});
  EXPECT_EQ(CheckBinaryProgram(bytes), BinaryProgramError::kNone);
  bytes.push_back(std::byte{0});
  EXPECT_EQ(CheckBinaryProgram(bytes), BinaryProgramError::kTrailingBytes);
  bytes.pop_back();
  bytes[0] = std::byte{'M'};
  EXPECT_EQ(CheckBinaryProgram(bytes), BinaryProgramError::kNoMagic);
  bytes[0] = std::byte{'N'};
  bytes[4] = std::byte{3};
  EXPECT_EQ(CheckBinaryProgram(bytes), BinaryProgramError::kUnknownVersion);
  bytes[4] = std::byte{1};
  bytes[8] = std::byte{2};  // two operations of setup, of one
  EXPECT_EQ(CheckBinaryProgram(bytes), BinaryProgramError::kBadCounts);
}

TEST(ProgramCodec, OperationsThatNoProgramCanHaveAreRefused) {
  EXPECT_EQ(CheckBinaryProgram(OneOperation({Kind(OperationKind::kHandlerReturn), 0})),
            BinaryProgramError::kBadOperation);
  EXPECT_EQ(CheckBinaryProgram(OneOperation({static_cast<uint8_t>(kOperationKindCount), 0})),
            BinaryProgramError::kBadOperation);
  EXPECT_EQ(CheckBinaryProgram(OneOperation(
                {Kind(OperationKind::kFetch), kBinaryHasValue, 0, 0, 0, 0x10, 1, 0, 0, 0})),
            BinaryProgramError::kBadOperation);
  EXPECT_EQ(CheckBinaryProgram(
                OneOperation({Kind(OperationKind::kReadMemory), kBinaryHasSelector, 3, 0, 0, 0})),
            BinaryProgramError::kBadOperation);
  EXPECT_EQ(CheckBinaryProgram(
                OneOperation({Kind(OperationKind::kReadMemory), kBinaryHasSelector, 4, 0, 0, 0})),
            BinaryProgramError::kNone);
}

TEST(ProgramCodec, RunsAscendWhereMemoryBlocksCanBe) {
  const auto with_runs = [](std::vector<uint64_t> offsets) {
    std::vector<std::byte> bytes = OneOperation({Kind(OperationKind::kNop), 0});
    bytes[12] = static_cast<std::byte>(offsets.size());
    for (const uint64_t offset : offsets) {
      for (const uint64_t number : {offset, uint64_t{1}}) {
        for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<std::byte>(number >> 8 * i));
      }
      bytes.push_back(std::byte{7});
    }
    return CheckBinaryProgram(bytes);
  };
  EXPECT_EQ(with_runs({0, 1, kBlocksEnd - 1}), BinaryProgramError::kNone);
  EXPECT_EQ(with_runs({1, 1}), BinaryProgramError::kBadRun);
  EXPECT_EQ(with_runs({kBlocksEnd}), BinaryProgramError::kBadRun);
  EXPECT_EQ(with_runs({0xFFFFFFFF}), BinaryProgramError::kBadRun);
}

TEST(OperationCheck, L2HasNoSequencesOfL1) {
  const Operation advance{.kind = OperationKind::kAdvanceGuestRip};
  EXPECT_TRUE(IsValidOperation(advance, 1, 1));
  EXPECT_FALSE(IsValidOperation(advance, 2, 1));
}

TEST(OperationCheck, EachPartMustMeanSomething) {
  const Operation good[] = {
      {.kind = OperationKind::kMovToCr, .selector = 8},
      {.kind = OperationKind::kOut, .selector = 4, .value = 0xFFFF},
      {.kind = OperationKind::kSendInterrupt, .selector = kToSelf, .value = 32},
      {.kind = OperationKind::kSetHandler, .selector = 255, .extra = 3},
      {.kind = OperationKind::kRepeat, .selector = kMostTimes, .value = kMaxOperations - 1},
      {.kind = OperationKind::kVmwriteControl,
       .selector = Encoding(VmcsField::kTertiaryProcessorBasedControls)},
      {.kind = OperationKind::kVmptrld,
       .flags = kHasOperand,
       .operand = PackOperand({.kind = Operand::Kind::kMemory})},
  };
  const Operation bad[] = {
      {.kind = OperationKind::kMovToCr, .selector = 1},
      {.kind = OperationKind::kOut, .selector = 8},
      {.kind = OperationKind::kSendInterrupt, .selector = 1, .value = 32},
      {.kind = OperationKind::kSendInterrupt, .selector = kToSelf, .value = 31},
      {.kind = OperationKind::kSetHandler, .selector = 256},
      {.kind = OperationKind::kRepeat, .selector = 0, .value = 1},
      {.kind = OperationKind::kRepeat, .selector = kMostTimes + 1, .value = 1},
      {.kind = OperationKind::kRepeat, .selector = 2, .value = 0},
      {.kind = OperationKind::kRepeat, .selector = 2, .value = kMaxOperations},
      {.kind = OperationKind::kVmwriteControl, .selector = Encoding(VmcsField::kGuestRip)},
      {.kind = OperationKind::kVmptrld,
       .flags = kHasOperand,
       .operand = PackOperand({.kind = Operand::Kind::kRegister})},
      {.kind = OperationKind::kNop,
       .flags = kHasOperand,
       .operand = PackOperand({.kind = Operand::Kind::kMemory})},
      {.kind = OperationKind::kVmptrld, .flags = kHasOperand, .operand = ~uint64_t{0}},
      {.kind = OperationKind::kSetHostRip, .value = kMaxOperations},
  };
  for (const Operation& operation : good) {
    EXPECT_TRUE(IsValidOperation(operation, 1, 1)) << static_cast<int>(operation.kind);
  }
  for (const Operation& operation : bad) {
    EXPECT_FALSE(IsValidOperation(operation, 1, 1)) << static_cast<int>(operation.kind);
  }
}

// Steps the program on a CPU where everything succeeds, at both levels and from any place.
void RunProgram(const GuestProgram& program, std::mt19937_64& random) {
  for (uint32_t cpu = 0; cpu < program.cpus.size(); ++cpu) {
    RecordingLog log;
    Interpreter interpreter(program.cpus[cpu].View(), cpu, log);
    FakeGuestCpu guest_cpu;
    guest_cpu.frames.resize(100);
    for (int step = 0; step < 100; ++step) {
      if (interpreter.Step(guest_cpu) == StepResult::kRan) continue;
      guest_cpu.rip = OperationAddress(random() % 2 == 0 ? kL1CodeBase : kL2CodeBase,
                                       random() % kMaxOperations) +
                      random() % 16 * kInstructionBytes;
    }
  }
}

TEST(ProgramCodec, HostileBytesAreRefusedOrRun) {
  std::mt19937_64 random(1);
  const std::vector<std::byte> seed = EncodeProgram(Source());
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::byte> bytes = seed;
    for (uint64_t changes = random() % 4 + 1; changes > 0; --changes) {
      bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    }
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    const auto program = DecodeProgram(bytes);
    if (!program.ok()) continue;
    ++accepted;
    RunProgram(*program, random);
  }
  EXPECT_GT(accepted, 100);
}

TEST(ProgramCodec, ArbitraryBytesAfterAHeaderAreRefusedOrRun) {
  std::mt19937_64 random(2);
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::byte> bytes = OneOperation({});
    for (uint64_t more = random() % 64; more > 0; --more) {
      bytes.push_back(static_cast<std::byte>(random()));
    }
    const auto program = DecodeProgram(bytes);
    if (program.ok()) RunProgram(*program, random);
  }
}

}  // namespace
}  // namespace nvmx::lhv
