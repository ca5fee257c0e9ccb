// SPDX-License-Identifier: Apache-2.0
#include "lhv/assembler.h"

#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/vmx/controls.h"
#include "core/vmx/msr_list.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/msr.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lhv/exit_fields.h"
#include "lhv/layout.h"
#include "yaml-cpp/yaml.h"

namespace nvmx::lhv {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

GuestProgram MustAssemble(const std::string& text, uint32_t cpu_count = 1) {
  absl::StatusOr<GuestProgram> program = Assemble("test.yaml", text, cpu_count);
  EXPECT_TRUE(program.ok()) << program.status();
  return program.ok() ? *program : GuestProgram{"", std::vector<CpuProgram>(cpu_count)};
}

// The program of CPU 0 with this list, one operation a line, as the run of L1.
CpuProgram RunOf(const std::string& operations) {
  return MustAssemble(absl::StrCat("name: test\n"
                                   "cpus:\n"
                                   "  - memory:\n"
                                   "      vmcs: {bytes: 4096}\n"
                                   "      list: {msr_list: [{msr: 0x10, repeat: 3}]}\n"
                                   "    run:\n",
                                   operations))
      .cpus[0];
}

// The only operation that the line stands for.
Operation One(const std::string& operation) {
  const CpuProgram program = RunOf(absl::StrCat("      - ", operation, "\n"));
  EXPECT_EQ(program.l1.size(), 1u) << operation;
  return program.l1.empty() ? Operation{} : program.l1[0];
}

Operation Field(OperationKind kind, VmcsField field, uint64_t value, uint16_t flags = 0) {
  return {.kind = kind, .flags = flags, .selector = Encoding(field), .value = value};
}

std::vector<OperationKind> Kinds(const std::vector<Operation>& operations) {
  std::vector<OperationKind> kinds;
  for (const Operation& operation : operations) kinds.push_back(operation.kind);
  return kinds;
}

constexpr uint64_t kVmcsOffset = kFirstBlock;
constexpr uint64_t kListOffset = kFirstBlock + 0x1000;

TEST(Assembler, PlainOperationsAreTheirNames) {
  using enum OperationKind;
  EXPECT_THAT(Kinds(RunOf("      - vmxoff\n"
                          "      - vmcall\n"
                          "      - iret\n"
                          "      - hlt\n"
                          "      - sti\n"
                          "      - cli\n"
                          "      - nop: {}\n"
                          "      - advance_guest_rip:\n"
                          "      - vmwrite_host_state\n")
                        .l1),
              ElementsAre(kVmxoff, kVmcall, kIret, kHlt, kSti, kCli, kNop, kAdvanceGuestRip,
                          kVmwriteHostState));
}

TEST(Assembler, AddressesAreNumbersBlocksOrPartsOfBlocks) {
  EXPECT_EQ(One("vmxon: 0x123"), (Operation{.kind = OperationKind::kVmxon, .value = 0x123}));
  EXPECT_EQ(One("vmclear: vmcs"), (Operation{.kind = OperationKind::kVmclear,
                                             .flags = kValueIsWindowOffset,
                                             .value = kVmcsOffset}));
  EXPECT_EQ(One("vmptrld: {address_of: vmcs, offset: 1}"),
            (Operation{.kind = OperationKind::kVmptrld,
                       .flags = kValueIsWindowOffset,
                       .value = kVmcsOffset + 1}));
  EXPECT_EQ(One("vmptrst: list").value, kListOffset);
  EXPECT_EQ(One("initialize_vmx_region: vmcs").kind, OperationKind::kInitializeVmxRegion);
}

TEST(Assembler, FieldsAreNamesOrEncodings) {
  EXPECT_EQ(One("vmread: VM_EXIT_MSR_STORE_COUNT").selector, 0x400Eu);
  EXPECT_EQ(One("vmread: GUEST_IA32_S_CET").selector, 0x6828u);
  EXPECT_EQ(One("vmread: TSC_OFFSET_HIGH").selector, 0x2011u);
  EXPECT_EQ(One("vmread: 0xabcd0000").selector, 0xABCD0000u);
}

TEST(Assembler, VmwriteTakesANumberAnAddressOrACount) {
  EXPECT_EQ(One("vmwrite: {field: GUEST_RFLAGS, value: 0x202}"),
            Field(OperationKind::kVmwrite, VmcsField::kGuestRflags, 0x202));
  EXPECT_EQ(One("vmwrite: {field: VM_ENTRY_MSR_LOAD_ADDRESS, address_of: list, offset: 16}"),
            Field(OperationKind::kVmwrite, VmcsField::kVmEntryMsrLoadAddress, kListOffset + 16,
                  kValueIsWindowOffset));
  EXPECT_EQ(One("vmwrite: {field: VM_ENTRY_MSR_LOAD_COUNT, count_of: list}"),
            Field(OperationKind::kVmwrite, VmcsField::kVmEntryMsrLoadCount, 3));
}

TEST(Assembler, VmwriteTakesTheLargestValueThatFits) {
  EXPECT_EQ(One("vmwrite: {field: GUEST_ES_SELECTOR, value: 0xffff}").value, 0xFFFFu);
  EXPECT_EQ(One("vmwrite: {field: EXCEPTION_BITMAP, value: 4294967295}").value, 0xFFFFFFFFu);
  EXPECT_EQ(One("vmwrite: {field: VMCS_LINK_POINTER, value: 0xffffffffffffffff}").value,
            ~uint64_t{0});
}

TEST(Assembler, ControlsAreBitsOrANumber) {
  EXPECT_EQ(One("vmwrite_control: {field: PIN_BASED_CONTROLS, bits: [NMI_EXITING, VIRTUAL_NMIS]}"),
            Field(OperationKind::kVmwriteControl, VmcsField::kPinBasedControls,
                  PinBased::kNmiExiting | PinBased::kVirtualNmis));
  EXPECT_EQ(One("vmwrite_control: {field: VM_ENTRY_CONTROLS, value: 0x200}").value, 0x200u);
  EXPECT_EQ(One("vmwrite_control: {field: VM_ENTRY_CONTROLS, bits: []}").value, 0u);
}

TEST(Assembler, ExitFieldsAreChosenByName) {
  EXPECT_EQ(One("observe_exit").selector, kDefaultExitFields);
  EXPECT_EQ(One("observe_exit: [exit_reason, guest_rip]").selector, 0x401u);
}

TEST(Assembler, MsrsAreNamesOrIndices) {
  EXPECT_EQ(One("rdmsr: IA32_MTRR_PHYSBASE6").selector, 0x20Cu);
  EXPECT_EQ(One("rdmsr: IA32_MC2_CTL").selector, 0x408u);
  EXPECT_EQ(One("rdmsr: 0xdead").selector, 0xDEADu);
  EXPECT_EQ(One("wrmsr: {msr: IA32_STAR, value: 5}"),
            (Operation{.kind = OperationKind::kWrmsr, .selector = 0xC0000081, .value = 5}));
}

TEST(Assembler, VmcallTakesWhatRaxHolds) {
  EXPECT_EQ(One("vmcall"), (Operation{.kind = OperationKind::kVmcall}));
  EXPECT_EQ(One("vmcall: {}"), (Operation{.kind = OperationKind::kVmcall}));
  EXPECT_EQ(One("vmcall: 0x6e760001"),
            (Operation{.kind = OperationKind::kVmcall, .value = 0x6E760001}));
  EXPECT_EQ(One("vmcall: 0xffffffffffffffff").value, ~uint64_t{0});
}

TEST(Assembler, CpuidIsALeafOrALeafAndASubleaf) {
  EXPECT_EQ(One("cpuid: 1"), (Operation{.kind = OperationKind::kCpuid, .selector = 1}));
  EXPECT_EQ(One("cpuid: {leaf: 0x80000008, subleaf: 2}"),
            (Operation{.kind = OperationKind::kCpuid, .selector = 0x80000008, .value = 2}));
}

TEST(Assembler, MemoryAccessesNameABlockOrAnAddressInAWindow) {
  EXPECT_EQ(One("read_memory: {address_of: list, offset: 8}"),
            (Operation{.kind = OperationKind::kReadMemory,
                       .flags = kValueIsWindowOffset,
                       .selector = 8,
                       .value = kListOffset + 8}));
  EXPECT_EQ(
      One("write_memory: {address: 0x100040, width: 2, value: 0xffff}"),
      (Operation{
          .kind = OperationKind::kWriteMemory, .selector = 2, .value = 0x100040, .extra = 0xFFFF}));
}

TEST(Assembler, SendingNamesADestination) {
  EXPECT_EQ(One("send_nmi: others").selector, kToAllOthers);
  EXPECT_EQ(One("send_nmi: self").selector, kToSelf);
  EXPECT_EQ(One("send_init: {cpu: 0}").selector, 0u);
  EXPECT_EQ(One("send_interrupt: {to: self, vector: 0x40}"),
            (Operation{.kind = OperationKind::kSendInterrupt, .selector = kToSelf, .value = 0x40}));
  EXPECT_EQ(One("send_sipi: {cpu: 0, vector: 8}"),
            (Operation{.kind = OperationKind::kSendSipi, .selector = 0, .value = 8}));
}

TEST(Assembler, AVmEntryIsPrecededByTheHostRipOfWhatFollowsIt) {
  using enum OperationKind;
  const CpuProgram program = RunOf(
      "      - nop\n"
      "      - vmlaunch\n"
      "      - vmresume\n"
      "      - vmresume\n");
  EXPECT_THAT(Kinds(program.l1), ElementsAre(kNop, kSetHostRip, kVmlaunch, kSetHostRip, kVmresume,
                                             kSetHostRip, kVmresume));
  EXPECT_EQ(program.l1[1].value, 3u);
  EXPECT_EQ(program.l1[3].value, 5u);
  EXPECT_EQ(program.l1[5].value, 7u);
  EXPECT_EQ(program.run_begin, 0u);
}

TEST(Assembler, ARunThatBeginsWithAVmEntryBeginsAtTheVmEntryItself) {
  using enum OperationKind;
  const CpuProgram program = MustAssemble(
                                 "name: test\n"
                                 "cpus:\n"
                                 "  - setup: [nop]\n"
                                 "    run: [vmlaunch, hlt]\n")
                                 .cpus[0];
  EXPECT_THAT(Kinds(program.l1), ElementsAre(kNop, kSetHostRip, kVmlaunch, kHlt));
  EXPECT_EQ(program.run_begin, 2u);
  EXPECT_EQ(program.l1[1].value, 3u);
}

TEST(Assembler, AVmEntryCanObserveItsExit) {
  const CpuProgram program = RunOf("      - vmlaunch: {observe: [exit_reason]}\n");
  ASSERT_EQ(program.l1.size(), 3u);
  EXPECT_EQ(program.l1[2], (Operation{.kind = OperationKind::kObserveExit, .selector = 1}));
  EXPECT_EQ(program.l1[0].value, 2u);
}

TEST(Assembler, AVmEntryOfL2WritesNoHostRip) {
  const CpuProgram program =
      MustAssemble("name: test\ncpus:\n  - l2: [vmlaunch, vmcall]\n").cpus[0];
  EXPECT_THAT(Kinds(program.l2), ElementsAre(OperationKind::kVmlaunch, OperationKind::kVmcall));
}

TEST(Assembler, EnteringVmxInitializesTheRegionFirst) {
  EXPECT_THAT(RunOf("      - enter_vmx: vmcs\n").l1,
              ElementsAre(Operation{.kind = OperationKind::kInitializeVmxRegion,
                                    .flags = kValueIsWindowOffset,
                                    .value = kVmcsOffset},
                          Operation{.kind = OperationKind::kVmxon,
                                    .flags = kValueIsWindowOffset,
                                    .value = kVmcsOffset}));
}

TEST(Assembler, UsingAnMsrListWritesItsAddressAndItsCount) {
  EXPECT_THAT(RunOf("      - use_msr_list: {entry_load: list, exit_load: list}\n").l1,
              ElementsAre(Field(OperationKind::kVmwrite, VmcsField::kVmEntryMsrLoadAddress,
                                kListOffset, kValueIsWindowOffset),
                          Field(OperationKind::kVmwrite, VmcsField::kVmEntryMsrLoadCount, 3),
                          Field(OperationKind::kVmwrite, VmcsField::kVmExitMsrLoadAddress,
                                kListOffset, kValueIsWindowOffset),
                          Field(OperationKind::kVmwrite, VmcsField::kVmExitMsrLoadCount, 3)));
}

TEST(Assembler, EveryOperationHasTheLineItComesFrom) {
  const CpuProgram program = MustAssemble(
                                 "name: test\n"
                                 "cpus:\n"
                                 "  - setup:\n"
                                 "      - nop\n"
                                 "    run:\n"
                                 "      - vmlaunch\n"
                                 "      - hlt\n"
                                 "    l2:\n"
                                 "      - vmcall\n")
                                 .cpus[0];
  EXPECT_THAT(program.l1_lines, ElementsAre(4, 6, 6, 7));
  EXPECT_THAT(program.l2_lines, ElementsAre(9));
}

CpuProgram WithMemory(const std::string& blocks, uint32_t cpu = 0) {
  return MustAssemble(absl::StrCat("name: test\ncpus:\n  - repeat: all\n    memory:\n", blocks),
                      cpu + 1)
      .cpus[cpu];
}

TEST(Assembler, BlocksAreLaidOutOnPagesAroundThoseThatHaveAPlace) {
  const CpuProgram program = WithMemory(
      "      a: {bytes: 1}\n"
      "      b: {at: 0x11010, bytes: 16}\n"
      "      c: {bytes: 4096}\n"
      "      d: {at: 0x3f0, bytes: 16}\n");
  ASSERT_EQ(program.memory.size(), 4u);
  EXPECT_EQ(program.memory[0].offset, 0x10000u);
  EXPECT_EQ(program.memory[1].offset, 0x11010u);
  EXPECT_EQ(program.memory[2].offset, 0x12000u);
  EXPECT_EQ(program.memory[3].offset, 0x3F0u);
}

TEST(Assembler, ABlockMayEndWhereBlocksEnd) {
  EXPECT_EQ(WithMemory("      a: {at: 0xdf000, bytes: 4096}\n").memory[0].bytes.size(), 4096u);
}

TEST(Assembler, BytesAreZeroOrTheirFill) {
  const CpuProgram program = WithMemory(
      "      a: {bytes: 2}\n"
      "      b: {bytes: 3, fill: 0xff}\n");
  EXPECT_THAT(program.memory[0].bytes, ElementsAre(std::byte{0}, std::byte{0}));
  EXPECT_THAT(program.memory[1].bytes,
              ElementsAre(std::byte{0xFF}, std::byte{0xFF}, std::byte{0xFF}));
}

TEST(Assembler, HexIsBytesInTheirOrder) {
  const CpuProgram program = WithMemory("      a: {hex: \"0aFf00\"}\n");
  EXPECT_THAT(program.memory[0].bytes, ElementsAre(std::byte{0x0A}, std::byte{0xFF}, std::byte{0}));
}

TEST(Assembler, QwordsAreNumbersOrPhysicalAddressesOfTheCpu) {
  const CpuProgram program = WithMemory(
      "      pml4: {qwords: [{address_of: pdpt, offset: 7}, pdpt]}\n"
      "      pdpt: {qwords: [0xb7]}\n",
      1);
  uint64_t qwords[2];
  ASSERT_EQ(program.memory[0].bytes.size(), sizeof(qwords));
  std::memcpy(qwords, program.memory[0].bytes.data(), sizeof(qwords));
  EXPECT_EQ(qwords[0], WindowOf(1) + 0x11007);
  EXPECT_EQ(qwords[1], WindowOf(1) + 0x11000);
}

TEST(Assembler, MsrListsHaveTheFormatOfTheSdm) {
  const CpuProgram program = WithMemory(
      "      list:\n"
      "        msr_list:\n"
      "          - {msr: IA32_MTRR_PHYSBASE6, value: 0xccccc000}\n"
      "          - {msr: 0xdead, value: 1, reserved: 2}\n"
      "          - {msr: IA32_STAR, repeat: 2}\n");
  MsrListEntry entries[4];
  ASSERT_EQ(program.memory[0].bytes.size(), sizeof(entries));
  std::memcpy(entries, program.memory[0].bytes.data(), sizeof(entries));
  EXPECT_EQ(entries[0], (MsrListEntry{.index = 0x20C, .data = 0xCCCCC000}));
  EXPECT_EQ(entries[1], (MsrListEntry{.index = 0xDEAD, .reserved = 2, .data = 1}));
  EXPECT_EQ(entries[2], (MsrListEntry{.index = 0xC0000081}));
  EXPECT_EQ(entries[3], entries[2]);
}

TEST(Assembler, AnEntryRunsOnOneCpuOrSeveralOrAllThatAreLeft) {
  const GuestProgram program = MustAssemble(
      "name: three kinds\n"
      "cpus:\n"
      "  - {run: [nop]}\n"
      "  - {repeat: all, run: [hlt]}\n"
      "  - {repeat: 2, run: [vmcall]}\n",
      5);
  EXPECT_EQ(program.name, "three kinds");
  std::vector<OperationKind> kinds;
  for (const CpuProgram& cpu : program.cpus) kinds.push_back(cpu.l1.at(0).kind);
  using enum OperationKind;
  EXPECT_THAT(kinds, ElementsAre(kNop, kHlt, kHlt, kVmcall, kVmcall));
}

TEST(Assembler, CpusWithoutAProgramRest) {
  const GuestProgram program = MustAssemble("name: test\ncpus:\n  - {run: [nop]}\n", 3);
  ASSERT_EQ(program.cpus.size(), 3u);
  EXPECT_EQ(program.cpus[0].l1.size(), 1u);
  EXPECT_THAT(program.cpus[1].l1, IsEmpty());
  EXPECT_THAT(program.cpus[2].l1, IsEmpty());
}

TEST(Assembler, AProgramMayBePartOfALargerDocument) {
  const YAML::Node document = YAML::Load(
      "machine: {cpus: 1}\n"
      "program:\n"
      "  name: inner\n"
      "  cpus:\n"
      "    - run: [vmluanch]\n");
  EXPECT_EQ(std::string(AssembleNode("scenario.yaml", document["program"], 1).status().message()),
            "scenario.yaml:5:13: unknown operation \"vmluanch\"; did you mean vmlaunch?");
}

TEST(Assembler, TheExampleOfTheReadmeIsAProgram) {
  std::stringstream readme;
  readme << std::ifstream("lhv/README.md").rdbuf();
  const std::string text = readme.str();
  const std::string begin_mark = "```yaml\n";
  const size_t begin = text.find(begin_mark);
  ASSERT_NE(begin, std::string::npos);
  const size_t end = text.find("```", begin + begin_mark.size());
  const GuestProgram program =
      MustAssemble(text.substr(begin + begin_mark.size(), end - begin - begin_mark.size()), 2);
  EXPECT_THAT(Kinds(program.cpus[1].l2), ElementsAre(OperationKind::kNop, OperationKind::kVmcall));
}

TEST(Assembler, AProgramSaysWhichMachineItsL1IsFor) {
  const std::string cpus =
      "cpus:\n  - memory: {vmcs: {bytes: 4096}}\n    setup: [baseline_vmcs: vmcs]\n";
  const auto mode = [&cpus](const std::string& arch, L1Mode otherwise) {
    return Assemble("f.yaml", "name: test\n" + arch + cpus, 1, otherwise)->l1_mode;
  };
  EXPECT_EQ(mode("", L1Mode::k64Bit), L1Mode::k64Bit);
  EXPECT_EQ(mode("", L1Mode::k32Bit), L1Mode::k32Bit);
  EXPECT_EQ(mode("arch: i386\n", L1Mode::k64Bit), L1Mode::k32Bit);
  EXPECT_EQ(mode("arch: x86_64\n", L1Mode::k32Bit), L1Mode::k64Bit);
  EXPECT_EQ(
      std::string(Assemble("f.yaml", "name: test\narch: i368\n" + cpus, 1).status().message()),
      "f.yaml:2:7: unknown arch \"i368\"; expected one of x86_64, i386");
}

TEST(Assembler, TheViewIsOfTheWholeProgram) {
  const CpuProgram program = RunOf("      - nop\n      - vmlaunch\n");
  const CpuProgramView view = program.View();
  EXPECT_EQ(view.l1.size(), 3u);
  EXPECT_EQ(view.run_begin, 0u);
  EXPECT_EQ(view.l2.size(), 0u);
}

}  // namespace
}  // namespace nvmx::lhv
