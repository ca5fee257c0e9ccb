// SPDX-License-Identifier: Apache-2.0
// Instructions, operand forms, values, macros, labels and expectations.
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/vmx/controls.h"
#include "core/vmx/vmcs_field.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lhv/assembler.h"
#include "lhv/layout.h"
#include "lhv/operand.h"
#include "lhv/operation_check.h"
#include "lhv/operation_syntax.h"

namespace nvmx::lhv {
namespace {

using ::testing::ElementsAre;

CpuProgram MustAssemble(const std::string& text) {
  const auto program = Assemble("test.yaml", text, 1);
  EXPECT_TRUE(program.ok()) << program.status();
  return program.ok() ? program->cpus[0] : CpuProgram{};
}

constexpr uint64_t kData = kFirstBlock;
constexpr uint64_t kEpt = kFirstBlock + 0x1000;

// The operations of the lines, each "      - operation\n", with a page and an EPT beside them.
std::vector<Operation> All(const std::string& lines) {
  return MustAssemble(absl::StrCat("name: test\n"
                                   "cpus:\n"
                                   "  - memory:\n"
                                   "      data: {bytes: 4096}\n"
                                   "      ept: {ept: {identity: 1G, map: [{at: data}]}}\n"
                                   "    run:\n",
                                   lines))
      .l1;
}

Operation One(const std::string& operation) {
  const auto operations = All(absl::StrCat("      - ", operation, "\n"));
  EXPECT_EQ(operations.size(), 1u) << operation;
  return operations.empty() ? Operation{} : operations[0];
}

Operation Control(VmcsField field, uint64_t value) {
  return {.kind = OperationKind::kVmwriteControl, .selector = Encoding(field), .value = value};
}

Operation Write(VmcsField field, uint64_t value, uint16_t flags = 0) {
  return {
      .kind = OperationKind::kVmwrite, .flags = flags, .selector = Encoding(field), .value = value};
}

TEST(AssemblerFeatures, InvalidationsNameTheirTypes) {
  EXPECT_EQ(One("invept: {type: single_context, eptp: {eptp_of: ept}}"),
            (Operation{.kind = OperationKind::kInvept,
                       .flags = kValueIsWindowOffset,
                       .selector = 1,
                       .value = kEpt + 0x1E}));
  EXPECT_EQ(One("invept: {type: 3, eptp: 5, reserved: 1}"),
            (Operation{.kind = OperationKind::kInvept, .selector = 3, .value = 5, .extra = 1}));
  EXPECT_EQ(One("invvpid: {type: single_context_retaining_globals, vpid: 7}"),
            (Operation{.kind = OperationKind::kInvvpid, .selector = 3, .extra = 7}));
  EXPECT_EQ(One("invvpid: {type: individual_address, vpid: 1, address: data, reserved: 0x10000}"),
            (Operation{.kind = OperationKind::kInvvpid,
                       .flags = kValueIsWindowOffset,
                       .selector = 0,
                       .value = kData,
                       .extra = 0x10001}));
  EXPECT_EQ(One("invpcid: {type: all_contexts}").selector, 2u);
}

TEST(AssemblerFeatures, RegistersAndPorts) {
  EXPECT_EQ(One("mov_to_cr: {number: 4, value: {cr4: [PAE, VMXE]}}"),
            (Operation{.kind = OperationKind::kMovToCr, .selector = 4, .value = 0x2020}));
  EXPECT_EQ(One("mov_from_dr: 7"), (Operation{.kind = OperationKind::kMovFromDr, .selector = 7}));
  EXPECT_EQ(One("mov_to_cr: {number: 3, value: data}"), (Operation{.kind = OperationKind::kMovToCr,
                                                                   .flags = kValueIsWindowOffset,
                                                                   .selector = 3,
                                                                   .value = kData}));
  EXPECT_EQ(
      One("out: {port: 0x71, width: 2, value: 0x1234}"),
      (Operation{.kind = OperationKind::kOut, .selector = 2, .value = 0x71, .extra = 0x1234}));
  EXPECT_EQ(One("in: {port: 0x71}").selector, 1u);
  EXPECT_EQ(One("xsetbv: {xcr: 0, value: 3}").value, 3u);
  EXPECT_EQ(One("vmfunc: {function: 0, ecx: 1}"),
            (Operation{.kind = OperationKind::kVmfunc, .selector = 0, .value = 1}));
  EXPECT_EQ(One("int: 0x80").selector, 0x80u);
  EXPECT_EQ(One("popf: {rflags: [FIXED1, TF]}").value, 0x102u);
  EXPECT_EQ(One("fetch: 0x40000000").value, 0x40000000u);
}

TEST(AssemblerFeatures, OperandsAreEncodedAsTheyAreDescribed) {
  const Operation vmptrld =
      One("vmptrld: {operand: {segment: fs, shape: base_index_displacement, address_of: data, "
          "offset: 8, address_size: 32}}");
  EXPECT_EQ(vmptrld.flags, kHasOperand | kOperandIsWindowOffset);
  const Operand memory = UnpackOperand(vmptrld.operand);
  EXPECT_EQ(memory.kind, Operand::Kind::kMemory);
  EXPECT_EQ(memory.segment, SegmentRegister::kFs);
  EXPECT_EQ(memory.shape, Operand::Shape::kBaseIndexDisplacement);
  EXPECT_TRUE(memory.has_32_bit_address);
  EXPECT_EQ(memory.offset, kData + 8);
  const Operation vmwrite = One("vmwrite: {field: GUEST_RIP, value: 5, operand: {register: r9}}");
  EXPECT_EQ(vmwrite.value, 5u);
  EXPECT_EQ(UnpackOperand(vmwrite.operand).general_register, GeneralRegister::kR9);
  const Operation far = One("vmread: {field: GUEST_RIP, operand: {address: 0x8000000000000000}}");
  EXPECT_EQ(far.flags, kHasOperand);
  EXPECT_EQ(UnpackOperand(far.operand).shape, Operand::Shape::kBase);
  EXPECT_EQ(One("sgdt: {operand: {segment: gs, address_of: data}}").flags,
            kHasOperand | kOperandIsWindowOffset);
}

TEST(AssemblerFeatures, AVmEntryWritesHostRipUnlessItKeepsIt) {
  EXPECT_EQ(All("      - nop\n      - vmlaunch\n").size(), 3u);
  EXPECT_EQ(All("      - nop\n      - vmlaunch: {keep_host_rip: true}\n").size(), 2u);
}

TEST(AssemblerFeatures, ValuesAreComposed) {
  EXPECT_EQ(One("vmwrite: {field: EPT_POINTER, value: {eptp_of: ept, accessed_dirty: true, "
                "memory_type: UC}}"),
            Write(VmcsField::kEptPointer, kEpt + 0x58, kValueIsWindowOffset));
  EXPECT_EQ(One("write_memory: {address: {entry_of: ept, address: data}, value: {ept_entry: data, "
                "access: r}}"),
            (Operation{.kind = OperationKind::kWriteMemory,
                       .flags = kValueIsWindowOffset | kExtraIsWindowOffset,
                       .selector = 8,
                       .value = kEpt + 0x3000 + 0x110 * 8,
                       .extra = kData + 0x31}));
  EXPECT_EQ(One("vmwrite: {field: VM_ENTRY_INTERRUPTION_INFORMATION, value: {interruption: "
                "{vector: 13, type: hardware_exception, error_code: true}}}"),
            Write(VmcsField::kVmEntryInterruptionInformation, 0x80000B0D));
  EXPECT_EQ(One("vmwrite: {field: GUEST_INTERRUPTIBILITY_STATE, value: {interruptibility: [STI, "
                "NMI]}}"),
            Write(VmcsField::kGuestInterruptibilityState, 9));
  EXPECT_EQ(
      One("vmwrite: {field: GUEST_CR3, value: {page_entry: 0x200000, level: 2, access: ru}}").value,
      0x80000000002000E5u);
}

TEST(AssemblerFeatures, ControlsAccumulate) {
  EXPECT_THAT(
      All("      - vmwrite_control: {field: PRIMARY_PROCESSOR_BASED_CONTROLS, bits: "
          "[HLT_EXITING]}\n"
          "      - add_controls: {primary: [PAUSE_EXITING], secondary: [WBINVD_EXITING]}\n"
          "      - remove_controls: {primary: [HLT_EXITING]}\n"),
      ElementsAre(
          Control(VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kHltExiting),
          Control(VmcsField::kPrimaryProcessorBasedControls,
                  PrimaryProcessorBased::kHltExiting | PrimaryProcessorBased::kPauseExiting),
          Control(VmcsField::kSecondaryProcessorBasedControls, Secondary::kWbinvdExiting),
          Control(VmcsField::kPrimaryProcessorBasedControls,
                  PrimaryProcessorBased::kHltExiting | PrimaryProcessorBased::kPauseExiting |
                      PrimaryProcessorBased::kActivateSecondaryControls),
          Control(VmcsField::kPrimaryProcessorBasedControls,
                  PrimaryProcessorBased::kPauseExiting |
                      PrimaryProcessorBased::kActivateSecondaryControls)));
}

TEST(AssemblerFeatures, MacrosWriteTheFieldsOfAFeatureAndTurnItOn) {
  EXPECT_THAT(
      All("      - use_ept: ept\n"),
      ElementsAre(Write(VmcsField::kEptPointer, kEpt + 0x1E, kValueIsWindowOffset),
                  Control(VmcsField::kSecondaryProcessorBasedControls, Secondary::kEnableEpt),
                  Control(VmcsField::kPrimaryProcessorBasedControls,
                          PrimaryProcessorBased::kActivateSecondaryControls)));
  EXPECT_THAT(
      All("      - use_preemption_timer: 10\n"),
      ElementsAre(Write(VmcsField::kVmxPreemptionTimerValue, 10),
                  Control(VmcsField::kPinBasedControls, PinBased::kActivateVmxPreemptionTimer)));
  EXPECT_THAT(All("      - use_io_bitmaps: data\n"),
              ElementsAre(Write(VmcsField::kIoBitmapAAddress, kData, kValueIsWindowOffset),
                          Write(VmcsField::kIoBitmapBAddress, kData + 0x1000, kValueIsWindowOffset),
                          Control(VmcsField::kPrimaryProcessorBasedControls,
                                  PrimaryProcessorBased::kUseIoBitmaps)));
  EXPECT_THAT(All("      - inject: {vector: 14, type: hardware_exception, error_code: 2}\n"),
              ElementsAre(Write(VmcsField::kVmEntryInterruptionInformation, 0x80000B0E),
                          Write(VmcsField::kVmEntryExceptionErrorCode, 2)));
}

TEST(AssemblerFeatures, ARepetitionCountsInABlockOfItsOwn) {
  const CpuProgram program = MustAssemble(
      "name: n\ncpus:\n  - run:\n"
      "      - repeat:\n"
      "          times: 3\n"
      "          operations:\n"
      "            - nop\n"
      "            - repeat: {times: 2, operations: [hlt]}\n"
      "      - repeat_last: {times: 4, operations: 2, counter: 0x1000}\n");
  ASSERT_EQ(program.memory.size(), 2u);
  for (const MemoryBlock& block : program.memory) {
    EXPECT_EQ(block.bytes, std::vector<std::byte>(8));
  }
  EXPECT_NE(program.memory[0].offset, program.memory[1].offset);
  const auto repeat = [](uint16_t flags, uint32_t times, uint64_t operations, uint64_t counter) {
    return Operation{.kind = OperationKind::kRepeat,
                     .flags = flags,
                     .selector = times,
                     .value = operations,
                     .extra = counter};
  };
  EXPECT_THAT(program.l1, ElementsAre(Operation{.kind = OperationKind::kNop},
                                      Operation{.kind = OperationKind::kHlt},
                                      repeat(kExtraIsWindowOffset, 2, 1, program.memory[1].offset),
                                      repeat(kExtraIsWindowOffset, 3, 3, program.memory[0].offset),
                                      repeat(0, 4, 2, 0x1000)));
}

TEST(AssemblerFeatures, AHandlerIsOfItsLevelUnlessItSaysOtherwise) {
  EXPECT_EQ(One("set_handler: {vector: 2, bare: true}"),
            (Operation{.kind = OperationKind::kSetHandler,
                       .flags = kValueIsWindowOffset,
                       .selector = 2,
                       .value = kL1IdtOffset,
                       .extra = kHandlerIsBare}));
  EXPECT_EQ(One("set_handler: {vector: 2, level: 2, idt: data}"),
            (Operation{.kind = OperationKind::kSetHandler,
                       .flags = kValueIsWindowOffset,
                       .selector = 2,
                       .value = kData,
                       .extra = kHandlerIsOfL2}));
}

TEST(AssemblerFeatures, LabelsNamePlacesBeforeAndBehind) {
  const CpuProgram program = MustAssemble(
      "name: test\n"
      "cpus:\n"
      "  - run:\n"
      "      - vmwrite: {field: HOST_RIP, value: {operation: end}}\n"
      "      - vmwrite: {field: GUEST_RIP, value: {operation: second, level: 2}}\n"
      "      - label: end\n"
      "      - nop\n"
      "    l2:\n"
      "      - nop\n"
      "      - label: second\n"
      "      - nop\n"
      "    expect:\n"
      "      - \"L1: NMI before operation {end}\"\n"
      "      - \"L2 #{second}: NMI before operation {second}\"\n");
  EXPECT_EQ(program.l1[0].value, kL1CodeBase + 2 * kOperationBytes);
  EXPECT_EQ(program.l1[1].value, kL2CodeBase + kOperationBytes);
  ASSERT_TRUE(program.expected.has_value());
  EXPECT_THAT(*program.expected,
              ElementsAre(ExpectedObservation{"L1: NMI before operation 2", 13},
                          ExpectedObservation{"L2 #1: NMI before operation 1", 14}));
}

TEST(AssemblerFeatures, AProgramThatSaysNothingExpectsNothing) {
  EXPECT_FALSE(MustAssemble("name: n\ncpus:\n  - run: [nop]\n").expected.has_value());
}

uint64_t Qword(const MemoryBlock& block, uint64_t offset) {
  uint64_t value = 0;
  std::memcpy(&value, block.bytes.data() + offset, sizeof(value));
  return value;
}

TEST(AssemblerFeatures, TablesNameBlocksBeforeAndBehind) {
  const CpuProgram program = MustAssemble(
      "name: test\n"
      "cpus:\n"
      "  - memory:\n"
      "      first: {bytes: 4096}\n"
      "      ept:\n"
      "        ept:\n"
      "          identity: 1G\n"
      "          map:\n"
      "            - {at: first, to: last, access: rx, memory_type: UC, bits: [IGNORE_PAT]}\n"
      "            - {at: 0x80000000, level: 3, raw: 0x7}\n"
      "            - {at: 0, level: 3, table: true, access: r}\n"
      "      list: {eptp_list: [ept, {eptp_of: ept, accessed_dirty: true}, 0x5]}\n"
      "      last: {bytes: 4096}\n");
  const uint64_t window = WindowOf(0);
  const MemoryBlock& ept = program.memory[1];
  ASSERT_EQ(ept.bytes.size(), 4 * 4096u);
  EXPECT_EQ(Qword(ept, 0), window + ept.offset + 0x1000 + 7);
  EXPECT_EQ(Qword(ept, 0x1000), window + ept.offset + 0x2000 + 1);
  EXPECT_EQ(Qword(ept, 0x1008), 0x40000000 + 0xB7u);
  EXPECT_EQ(Qword(ept, 0x1010), 0x7u);
  EXPECT_EQ(Qword(ept, 0x3000 + (window + program.memory[0].offset) / 0x1000 * 8),
            window + program.memory[3].offset + 0x45);
  EXPECT_EQ(Qword(ept, 0x3000), 0x37u);
  const MemoryBlock& list = program.memory[2];
  EXPECT_EQ(list.bytes.size(), 4096u);
  EXPECT_EQ(Qword(list, 0), window + ept.offset + 0x1E);
  EXPECT_EQ(Qword(list, 8), window + ept.offset + 0x5E);
  EXPECT_EQ(Qword(list, 16), 5u);
}

TEST(AssemblerFeatures, GuestTablesHaveTheirFormat) {
  const CpuProgram program = MustAssemble(
      "name: test\n"
      "cpus:\n"
      "  - memory:\n"
      "      pae: {page_tables: {mode: PAE, identity: 2M, map: [{at: 0x200000, page: 2M, access: "
      "r, bits: [GLOBAL]}]}}\n"
      "      old: {page_tables: {mode: 32-bit, identity: 4M}}\n");
  const MemoryBlock& pae = program.memory[0];
  EXPECT_EQ(pae.bytes.size(), 5 * 4096u);
  EXPECT_EQ(Qword(pae, 0), WindowOf(0) + pae.offset + 0x1001);
  EXPECT_EQ(Qword(pae, 0x1000), 0xE3u);
  EXPECT_EQ(Qword(pae, 0x1008), 0x8000000000200181u);
  const MemoryBlock& old = program.memory[1];
  EXPECT_EQ(old.bytes.size(), 4096u);
  EXPECT_EQ(Qword(old, 0), 0x004000E3'000000E3u);
}

TEST(AssemblerFeatures, BitmapsHaveTheBitsOfTheirLists) {
  const CpuProgram program = MustAssemble(
      "name: test\n"
      "cpus:\n"
      "  - memory:\n"
      "      msrs: {msr_bitmap: {exit_on_read: [0x3b], exit_on_write: [0xc0001fff]}}\n"
      "      ports: {io_bitmap: {exit: [0x71, {from: 0x8000, to: 0x8007}]}}\n"
      "      fields: {vmcs_bitmap: {fill: 0xff, pass: [GUEST_RIP]}}\n");
  const auto byte = [&](size_t block, size_t offset) {
    return std::to_integer<int>(program.memory[block].bytes[offset]);
  };
  EXPECT_EQ(byte(0, 0x3B / 8), 1 << 0x3B % 8);
  EXPECT_EQ(byte(0, 4095), 0x80);
  EXPECT_EQ(byte(0, 0), 0);
  EXPECT_EQ(program.memory[1].bytes.size(), 8192u);
  EXPECT_EQ(byte(1, 0x71 / 8), 1 << 0x71 % 8);
  EXPECT_EQ(byte(1, 4096), 0xFF);
  EXPECT_EQ(byte(1, 4097), 0);
  EXPECT_EQ(byte(2, 0x681E / 8), 0xFF & ~(1 << 0x681E % 8));
  EXPECT_EQ(byte(2, 0), 0xFF);
}

// A program can be written for every operation, and each name makes its kind.
TEST(AssemblerFeatures, EveryOperationHasASyntax) {
  std::vector<bool> found(kOperationKindCount);
  for (const OperationSyntax& syntax : OperationSyntax::All()) {
    found[static_cast<size_t>(syntax.kind)] = true;
  }
  for (size_t kind = 0; kind < kOperationKindCount; ++kind) {
    const bool is_internal = kind == static_cast<size_t>(OperationKind::kSetHostRip) ||
                             kind == static_cast<size_t>(OperationKind::kHandlerReturn);
    EXPECT_NE(found[kind], is_internal) << kind;
  }
}

TEST(AssemblerFeatures, WhatL2CanPerformIsValidThere) {
  for (const OperationSyntax& syntax : OperationSyntax::All()) {
    if (syntax.in_l2) EXPECT_TRUE(IsForL2(syntax.kind)) << syntax.name;
  }
}

}  // namespace
}  // namespace nvmx::lhv
