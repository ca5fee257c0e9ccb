// SPDX-License-Identifier: Apache-2.0
// Every mistake that the assembler knows, with the text that a person gets to see.
#include <ostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "lhv/assembler.h"

namespace nvmx::lhv {
namespace {

#define kContents                                                                        \
  "bytes, qwords, hex, msr_list, ept, page_tables, msr_bitmap, io_bitmap, vmcs_bitmap, " \
  "eptp_list"

struct Case {
  const char* name;
  std::string text;
  const char* error;
  friend void PrintTo(const Case& self, std::ostream* out) { *out << self.text; }
};

std::string Line(const std::string& operation) {
  return absl::StrCat("name: n\ncpus:\n  - memory: {a: {bytes: 8}}\n    run:\n      - ", operation,
                      "\n");
}

std::string L2Line(const std::string& operation) {
  return absl::StrCat("name: n\ncpus:\n  - l2:\n      - ", operation, "\n");
}

std::string Memory(const std::string& block) {
  return absl::StrCat("name: n\ncpus:\n  - memory:\n      ", block, "\n");
}

class AssemblerErrors : public ::testing::TestWithParam<Case> {};

TEST_P(AssemblerErrors, SayWhereWhatAndWhatWasExpected) {
  const auto program = Assemble("f.yaml", GetParam().text, 2);
  EXPECT_EQ(program.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(program.status().message()), GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    Fetch, AssemblerErrors,
    ::testing::Values(
        Case{"OfAnOperation", Line("fetch: 0x10001000"),
             "f.yaml:5:16: an address where the operations of programs are; expected one where "
             "memory can be fetched"},
        Case{"OfAHandler", L2Line("fetch: 0x100000038000000"),
             "f.yaml:4:16: an address where the operations of programs are; expected one where "
             "memory can be fetched"}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Repetition, AssemblerErrors,
    ::testing::Values(
        Case{"Nothing", Line("repeat: {times: 2, operations: []}"),
             "f.yaml:5:40: there is nothing to repeat; expected operations"},
        Case{"NoTimes", Line("repeat: {operations: [nop]}"),
             "f.yaml:5:17: repeat has no key times; expected times: ..."},
        Case{"Never", Line("repeat: {times: 0, operations: [nop]}"),
             "f.yaml:5:25: times 0 is too small; expected a number from 0x1 to 0x186a0"},
        Case{"TooOften", Line("repeat_last: {times: 100001, operations: 1, counter: a}"),
             "f.yaml:5:30: times 100001 is too large; expected a number from 0x1 to 0x186a0"},
        Case{"InL2", L2Line("repeat: {times: 2, operations: [nop]}"),
             "f.yaml:4:9: L2 cannot perform repeat, a sequence of L1's; expected an operation that "
             "is one instruction"}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Paging, AssemblerErrors,
    ::testing::Values(
        Case{"Access", Memory("e: {ept: {map: [{at: 0, access: rq}]}}"),
             "f.yaml:4:39: access rq is not one; expected none, or letters of r, w, x"},
        Case{"UserAccess", Memory("e: {ept: {map: [{at: 0, access: ru}]}}"),
             "f.yaml:4:39: access ru is not one; expected none, or letters of r, w, x"},
        Case{"PageSize", Memory("e: {ept: {identity: 8K}}"),
             "f.yaml:4:27: there are no pages of 8K; expected 4K, 2M, 4M or 1G"},
        Case{"NoPlace", Memory("e: {ept: {map: [{access: r}]}}"),
             "f.yaml:4:23: a mapping has no key at; expected at: ..."},
        Case{"Unaligned", Memory("e: {ept: {map: [{at: 0x1000, page: 2M}]}}"),
             "f.yaml:4:23: a page maps 0x1000 to 0x1000; expected multiples of its size, 0x200000"},
        Case{"TooHigh", Memory("e: {page_tables: {mode: PAE, map: [{at: 0x100000000}]}}"),
             "f.yaml:4:42: there is no entry of level 1 for address 0x100000000; expected an "
             "address "
             "that the tables translate"},
        Case{"NoSuchLevel", Memory("e: {page_tables: {mode: 32-bit, map: [{at: 0, level: 3}]}}"),
             "f.yaml:4:60: level 3 is too large; expected a number from 1 to 2"},
        Case{"NoLargerPage", Memory("e: {page_tables: {mode: PAE, map: [{at: 0, page: 1G}]}}"),
             "f.yaml:4:42: these tables have no pages of that size; expected a level up to 2"},
        Case{"NoTable", Memory("e: {ept: {identity: 1G, map: [{at: 0, level: 3, table: true}]}}"),
             "f.yaml:4:37: there is no reference to a table of level 3 for address 0x0; expected "
             "one "
             "with tables below that level"},
        Case{"Mode", Memory("e: {page_tables: {mode: 6-level}}"),
             "f.yaml:4:31: unknown paging mode \"6-level\"; did you mean 4-level?"},
        Case{"Room", Memory("e: {ept: {identity: 4K}}"),
             "f.yaml:4:27: the tables need more room than a window has; expected larger pages, or "
             "fewer"},
        Case{"WithinAPage", Memory("e: {at: 0x800, ept: {identity: 1G}}"),
             "f.yaml:4:10: memory block e begins within a page; expected a multiple of 4096, where "
             "tables can be"},
        Case{
            "MsrWithoutBit", Memory("e: {msr_bitmap: {exit_on_read: [0x2000]}}"),
            "f.yaml:4:39: MSR 0x2000 has no bit in the bitmaps; expected an index up to 0x1FFF, or "
            "from 0xC0000000 to 0xC0001FFF"},
        Case{"PortsBackwards", Memory("e: {io_bitmap: {exit: [{from: 9, to: 8}]}}"),
             "f.yaml:4:44: to 8 is too small; expected a number from 9 to 65535"},
        Case{
            "EntryOfBytes", Line("read_memory: {address: {entry_of: a, address: 0}}"),
            "f.yaml:5:32: memory block a holds no tables; expected the name of a block with ept or "
            "page_tables"},
        Case{"Label", Line("vmwrite: {field: GUEST_RIP, value: {operation: x, level: 2}}"),
             "f.yaml:5:56: unknown label of L2 \"x\"; expected none"}));

INSTANTIATE_TEST_SUITE_P(
    Instructions, AssemblerErrors,
    ::testing::Values(
        Case{"ControlRegister", Line("mov_from_cr: 1"),
             "f.yaml:5:22: there is no control register 1; expected 0, 2, 3, 4 or 8"},
        Case{"DebugRegister", Line("mov_to_dr: {number: 8, value: 0}"),
             "f.yaml:5:29: a debug register 8 is too large; expected a number from 0 to 7"},
        Case{
            "RegisterOperand", Line("vmptrld: {operand: {register: rax}}"),
            "f.yaml:5:28: this instruction has no register operand; expected a memory operand such "
            "as {segment: ds, address_of: block}"},
        Case{"NoSuchRegister", Line("vmread: {field: GUEST_RIP, operand: {register: r16}}"),
             "f.yaml:5:56: unknown general-purpose register \"r16\"; did you mean r10?"},
        Case{"NoSuchShape", Line("vmptrld: {operand: {shape: bass, address_of: a}}"),
             "f.yaml:5:36: unknown shape of an address \"bass\"; did you mean base?"},
        Case{
            "LargeDisplacement",
            Line("vmptrld: {operand: {shape: displacement, address: 0x100000000}}"),
            "f.yaml:5:28: no displacement is 0x100000000; expected another shape for an address of "
            "more than 32 bits"},
        Case{"InvalidationType", Line("invept: {type: individual_address}"),
             "f.yaml:5:24: unknown type of invalidation \"individual_address\"; expected one of "
             "single_context, all_contexts"},
        Case{"PortWidth", Line("in: {port: 0x80, width: 3}"),
             "f.yaml:5:33: width 3 is not that of an operand; expected 1, 2 or 4 bytes"},
        Case{"ControlName", Line("add_controls: {pin: [HLT_EXITING]}"),
             "f.yaml:5:30: unknown bit \"HLT_EXITING\" of PIN_BASED_CONTROLS; did you mean "
             "NMI_EXITING?"},
        Case{"BitName", Line("mov_to_cr: {number: 0, value: {cr0: [PQ]}}"),
             "f.yaml:5:46: unknown bit of cr0 \"PQ\"; did you mean PE?"},
        Case{"ModeWithoutTables", Line("guest_mode: pae"),
             "f.yaml:5:21: mode pae has no tables; expected tables: block"},
        Case{"LabelTwice", Line("label: x\n      - label: x"),
             "f.yaml:6:16: label x is given again; expected each label once"}));

INSTANTIATE_TEST_SUITE_P(
    Expectations, AssemblerErrors,
    ::testing::Values(
        Case{"NoObservation", "name: n\ncpus:\n  - expect: [done]\n",
             "f.yaml:3:14: \"done\" is no observation; expected one such as \"L1: VM exit: "
             "EXIT_REASON = 18 (VMCALL)\""},
        Case{"NoSuchLabel", "name: n\ncpus:\n  - expect: [\"L1: NMI before operation {x}\"]\n",
             "f.yaml:3:14: unknown label \"x\" of L1; expected none"}));

INSTANTIATE_TEST_SUITE_P(
    Document, AssemblerErrors,
    ::testing::Values(
        Case{"Syntax", "name: n\ncpus: [\n",
             "f.yaml:3:1: this is not YAML: end of sequence flow not found; expected YAML 1.2"},
        Case{"Tab", "name: n\ncpus:\n\t- run\n",
             "f.yaml:3:2: this is not YAML: illegal block entry; expected YAML 1.2"},
        Case{"Empty", "",
             "f.yaml:1:1: a guest program is nothing; expected a map with keys among name, arch, "
             "cpus"},
        Case{"List", "- a\n",
             "f.yaml:1:1: a guest program is a list; expected a map with keys among name, arch, "
             "cpus"},
        Case{"MisspeltKey", "name: n\ncpu:\n  - run\n",
             "f.yaml:2:1: unknown key \"cpu\" of a guest program; did you mean cpus?"},
        Case{"UnknownKey", "name: n\nbanana: 1\n",
             "f.yaml:2:1: unknown key \"banana\" of a guest program; expected one of name, arch, "
             "cpus"},
        Case{"NoCpus", "name: n\n",
             "f.yaml:1:1: a guest program has no key cpus; expected cpus: ..."},
        Case{"NoName", "cpus: []\n",
             "f.yaml:1:1: a guest program has no key name; expected name: ..."},
        Case{"NameIsAMap", "name: {}\ncpus: []\n", "f.yaml:1:7: name is a map; expected a name"},
        Case{"CpusIsAMap", "name: n\ncpus: {}\n", "f.yaml:2:7: cpus is a map; expected a list"},
        Case{"EntryIsAWord", "name: n\ncpus: [run]\n",
             "f.yaml:2:8: the program of a CPU is \"run\"; expected a map with keys among repeat, "
             "memory, setup, run, l2, expect"},
        Case{"EntryKey", "name: n\ncpus:\n  - stup: []\n",
             "f.yaml:3:5: unknown key \"stup\" of the program of a CPU; did you mean setup?"},
        Case{"KeyTwice", "name: n\ncpus:\n  - run: []\n    run: []\n",
             "f.yaml:4:5: key run of the program of a CPU is given again; expected each key once"},
        Case{"TooManyEntries", "name: n\ncpus:\n  - run: []\n  - run: []\n  - run: []\n",
             "f.yaml:5:5: there are programs for more than 2 CPUs; expected at most as many as the "
             "machine has"},
        Case{"RepeatTooLarge", "name: n\ncpus:\n  - repeat: 3\n",
             "f.yaml:3:5: there are programs for more than 2 CPUs; expected at most as many as the "
             "machine has"},
        Case{"RepeatZero", "name: n\ncpus:\n  - repeat: 0\n",
             "f.yaml:3:13: repeat 0 is too small; expected a number from 1 to 65535"},
        Case{"RepeatWord", "name: n\ncpus:\n  - repeat: every\n",
             "f.yaml:3:13: repeat is not a number of CPUs; expected all, or a number"},
        Case{"RepeatAllTwice", "name: n\ncpus:\n  - repeat: all\n  - repeat: all\n",
             "f.yaml:4:13: a second entry has repeat: all; expected one such entry"},
        Case{"RunIsAWord", "name: n\ncpus:\n  - run: vmcall\n",
             "f.yaml:3:10: run is \"vmcall\"; expected a list"}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Operations, AssemblerErrors,
    ::testing::Values(
        Case{"Unknown", Line("banana"),
             "f.yaml:5:9: unknown operation \"banana\"; expected the name of a known operation"},
        Case{"Misspelt", Line("vmluanch"),
             "f.yaml:5:9: unknown operation \"vmluanch\"; did you mean vmlaunch?"},
        Case{"Null", Line("~"),
             "f.yaml:5:9: this is not an operation; expected an operation such as vmcall or rdmsr: "
             "IA32_PAT"},
        Case{"ListItem", Line("[vmcall]"),
             "f.yaml:5:9: this is not an operation; expected an operation such as vmcall or rdmsr: "
             "IA32_PAT"},
        Case{"TwoKeys", Line("vmwrite:\n        field: GUEST_RIP"),
             "f.yaml:5:9: an operation has more than one key (is what follows it indented too "
             "little?); expected an operation such as vmcall or rdmsr: IA32_PAT"},
        Case{"NoArgument", Line("rdmsr"),
             "f.yaml:5:9: rdmsr has no argument; expected rdmsr: the name or the index of an MSR"},
        Case{"NullArgument", Line("vmxon:"),
             "f.yaml:5:9: vmxon has no argument; expected vmxon: a number, the name of a memory "
             "block, or {address_of: ..., offset: ...}"},
        Case{"Argument", Line("vmxoff: 5"),
             "f.yaml:5:17: vmxoff has an argument; expected vmxoff alone"},
        Case{"VmcallWord", Line("vmcall: mask"),
             "f.yaml:5:17: vmcall is \"mask\", which is not a number; expected a decimal number or "
             "a "
             "hexadecimal one such as 0x1F"},
        Case{"VmcallTooLarge", Line("vmcall: 0x10000000000000000"),
             "f.yaml:5:17: vmcall 0x10000000000000000 is too large; expected a number from 0x0 to "
             "0xffffffffffffffff"},
        Case{"L1Only", L2Line("enter_vmx: 1"),
             "f.yaml:4:9: L2 cannot perform enter_vmx, a sequence of L1's; expected an operation "
             "that is one instruction"},
        Case{"L2Observes", L2Line("vmlaunch: {observe: [exit_reason]}"),
             "f.yaml:4:19: vmlaunch of L2 cannot observe an exit; expected vmlaunch alone"},
        Case{"UnknownBlock", Line("vmxon: b"),
             "f.yaml:5:16: unknown memory block \"b\"; did you mean a?"},
        Case{"AddressList", Line("vmxon: [a]"),
             "f.yaml:5:16: vmxon is not given an address; expected a number, the name of a memory "
             "block, or {address_of: block, offset: n}"},
        Case{"AddressKeys", Line("vmxon: {adress_of: a}"),
             "f.yaml:5:17: unknown key \"adress_of\" of vmxon; did you mean address_of?"},
        Case{"NoAddressOf", Line("vmxon: {offset: 1}"),
             "f.yaml:5:16: vmxon has no key address_of; expected address_of: ..."},
        Case{"OffsetOutside", Line("vmxon: {address_of: a, offset: 0xf0000}"),
             "f.yaml:5:40: offset 0xf0000 from a is an address outside the window; expected less "
             "than 0xf0000"},
        Case{"AddressTooLarge", Line("vmxon: 0x10000000000000000"),
             "f.yaml:5:16: vmxon 0x10000000000000000 is too large; expected a number from 0x0 to "
             "0xffffffffffffffff"},
        Case{"NotANumber", Line("vmxon: 12ab"),
             "f.yaml:5:16: vmxon is \"12ab\", which is not a number; expected a decimal number or "
             "a hexadecimal one such as 0x1F"},
        Case{"Negative", Line("vmxon: -1"),
             "f.yaml:5:16: vmxon is \"-1\", which is not a number; expected a decimal number or a "
             "hexadecimal one such as 0x1F"},
        Case{"UnknownField", Line("vmread: GEUST_RIP"),
             "f.yaml:5:17: unknown VMCS field \"GEUST_RIP\"; did you mean GUEST_RIP?"},
        Case{"FarField", Line("vmread: XYZ"),
             "f.yaml:5:17: unknown VMCS field \"XYZ\"; expected the name of a known VMCS field"},
        Case{"FieldTooLarge", Line("vmread: 0x100000000"),
             "f.yaml:5:17: a field encoding 0x100000000 is too large; expected a number from 0x0 "
             "to 0xffffffff"},
        Case{"FieldList", Line("vmread: [GUEST_RIP]"),
             "f.yaml:5:17: a VMCS field is a list; expected a name"},
        Case{"VmwriteWord", Line("vmwrite: GUEST_RIP"),
             "f.yaml:5:18: vmwrite is \"GUEST_RIP\"; expected a map with keys among field, value, "
             "address_of, offset, count_of, operand"},
        Case{"NoField", Line("vmwrite: {value: 1}"),
             "f.yaml:5:18: vmwrite has no key field; expected field: ..."},
        Case{"NoValue", Line("vmwrite: {field: GUEST_RIP}"),
             "f.yaml:5:18: vmwrite has no value; expected one of value, address_of, count_of"},
        Case{"TwoValues", Line("vmwrite: {field: GUEST_RIP, value: 1, address_of: a}"),
             "f.yaml:5:18: vmwrite has more than one value; expected one of value, address_of, "
             "count_of"},
        Case{"OffsetAlone", Line("vmwrite: {field: GUEST_RIP, value: 1, offset: 1}"),
             "f.yaml:5:55: vmwrite has an offset without address_of; expected address_of: block "
             "with it"},
        Case{"ValueTooLargeFor16", Line("vmwrite: {field: GUEST_ES_SELECTOR, value: 0x10000}"),
             "f.yaml:5:52: value 0x10000 is too large; expected a number from 0 to 65535"},
        Case{"ValueTooLargeFor32", Line("vmwrite: {field: EXCEPTION_BITMAP, value: 0x100000000}"),
             "f.yaml:5:51: value 0x100000000 is too large; expected a number from 0x0 to "
             "0xffffffff"},
        Case{"ValueTooLargeForHigh", Line("vmwrite: {field: TSC_OFFSET_HIGH, value: 0x100000000}"),
             "f.yaml:5:50: value 0x100000000 is too large; expected a number from 0x0 to "
             "0xffffffff"},
        Case{"AddressIn16", Line("vmwrite: {field: GUEST_ES_SELECTOR, address_of: a}"),
             "f.yaml:5:57: an address is too large for this field; expected a field of more than "
             "16 bits"},
        Case{"NoEntries", Line("vmwrite: {field: VM_ENTRY_MSR_LOAD_COUNT, count_of: a}"),
             "f.yaml:5:61: memory block a has no count of entries; expected the name of a block "
             "with msr_list"}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    MoreOperations, AssemblerErrors,
    ::testing::Values(
        Case{"NotControls", Line("vmwrite_control: {field: GUEST_RIP, bits: []}"),
             "f.yaml:5:34: GUEST_RIP has no capability MSR; expected one of PIN_BASED_CONTROLS, "
             "PRIMARY_PROCESSOR_BASED_CONTROLS, SECONDARY_PROCESSOR_BASED_CONTROLS, "
             "TERTIARY_PROCESSOR_BASED_CONTROLS, VM_EXIT_CONTROLS, SECONDARY_VM_EXIT_CONTROLS, "
             "VM_ENTRY_CONTROLS"},
        Case{"UnknownBit", Line("vmwrite_control: {field: PIN_BASED_CONTROLS, bits: [NMI_EXIT]}"),
             "f.yaml:5:61: unknown bit \"NMI_EXIT\" of PIN_BASED_CONTROLS; did you mean "
             "NMI_EXITING?"},
        Case{"BitOfAnother",
             Line("vmwrite_control: {field: PIN_BASED_CONTROLS, bits: [LOAD_IA32_PAT]}"),
             "f.yaml:5:61: unknown bit \"LOAD_IA32_PAT\" of PIN_BASED_CONTROLS; expected one of "
             "EXTERNAL_INTERRUPT_EXITING, NMI_EXITING, VIRTUAL_NMIS, "
             "ACTIVATE_VMX_PREEMPTION_TIMER, PROCESS_POSTED_INTERRUPTS"},
        Case{"BitsWord", Line("vmwrite_control: {field: PIN_BASED_CONTROLS, bits: NMI_EXITING}"),
             "f.yaml:5:60: bits is \"NMI_EXITING\"; expected a list"},
        Case{"NeitherBitsNorValue", Line("vmwrite_control: {field: PIN_BASED_CONTROLS}"),
             "f.yaml:5:26: vmwrite_control has neither bits nor value; expected bits: [names] or "
             "value: number"},
        Case{"BitsAndValue",
             Line("vmwrite_control: {field: PIN_BASED_CONTROLS, bits: [], value: 1}"),
             "f.yaml:5:26: vmwrite_control has bits and value; expected bits: [names] or value: "
             "number"},
        Case{"EntryKey", Line("vmlaunch: {obsrve: [exit_reason]}"),
             "f.yaml:5:20: unknown key \"obsrve\" of vmlaunch; did you mean observe?"},
        Case{"UnknownExitField", Line("observe_exit: [exit_reson]"),
             "f.yaml:5:24: unknown field of a VM exit \"exit_reson\"; did you mean exit_reason?"},
        Case{"ExitFieldsWord", Line("observe_exit: exit_reason"),
             "f.yaml:5:23: what to observe is \"exit_reason\"; expected a list"},
        Case{"UnknownMsr", Line("rdmsr: IA32_STRA"),
             "f.yaml:5:16: unknown MSR \"IA32_STRA\"; did you mean IA32_STAR?"},
        Case{"MsrTooLarge", Line("rdmsr: 0x100000000"),
             "f.yaml:5:16: an MSR index 0x100000000 is too large; expected a number from 0x0 to "
             "0xffffffff"},
        Case{"WrmsrWord", Line("wrmsr: IA32_STAR"),
             "f.yaml:5:16: wrmsr is \"IA32_STAR\"; expected a map with keys among msr, value, "
             "address_of, offset, count_of"},
        Case{"WrmsrNoMsr", Line("wrmsr: {value: 1}"),
             "f.yaml:5:16: wrmsr has no key msr; expected msr: ..."},
        Case{"WrmsrNoValue", Line("wrmsr: {msr: IA32_STAR}"),
             "f.yaml:5:16: wrmsr has no value; expected one of value, address_of, count_of"},
        Case{"LeafWord", Line("cpuid: one"),
             "f.yaml:5:16: a leaf is \"one\", which is not a number; expected a decimal number or "
             "a hexadecimal one such as 0x1F"},
        Case{"NoLeaf", Line("cpuid: {subleaf: 1}"),
             "f.yaml:5:16: cpuid has no key leaf; expected leaf: ..."},
        Case{"Width", Line("read_memory: {address_of: a, width: 3}"),
             "f.yaml:5:45: width 3 is not that of an operand; expected 1, 2, 4 or 8 bytes"},
        Case{"WriteNoValue", Line("write_memory: {address_of: a}"),
             "f.yaml:5:23: write_memory has no key value; expected value: ..."},
        Case{"WriteTooLarge", Line("write_memory: {address_of: a, width: 1, value: 256}"),
             "f.yaml:5:56: value 256 is too large; expected a number from 0 to 255"},
        Case{"ReadValue", Line("read_memory: {address_of: a, value: 1}"),
             "f.yaml:5:38: unknown key \"value\" of read_memory; expected one of address, "
             "address_of, offset, width"},
        Case{"TwoAddresses", Line("read_memory: {address: 0x100000, address_of: a}"),
             "f.yaml:5:22: read_memory has two addresses; expected address, or address_of with an "
             "optional offset"},
        Case{"PastTheWindow", Line("read_memory: {address_of: a, offset: 0xefffc}"),
             "f.yaml:5:22: read_memory runs past the end of the window; expected an operand that "
             "lies in it"},
        Case{"NoDestination", Line("send_nmi: everyone"),
             "f.yaml:5:19: send_nmi does not say to whom; expected others, self, or {cpu: number}"},
        Case{"NoSuchCpu", Line("send_nmi: {cpu: 2}"),
             "f.yaml:5:25: cpu 2 is too large; expected a number from 0 to 1"},
        Case{"TwoDestinations", Line("send_init: {cpu: 1, to: self}"),
             "f.yaml:5:20: send_init does not say to whom; expected one of to: others, to: self, "
             "cpu: number"},
        Case{"NoVector", Line("send_interrupt: {cpu: 1}"),
             "f.yaml:5:25: send_interrupt has no key vector; expected vector: ..."},
        Case{"VectorOfAnException", Line("send_interrupt: {cpu: 1, vector: 13}"),
             "f.yaml:5:42: vector 13 is too small; expected a number from 32 to 255"},
        Case{"VectorTooLarge", Line("send_sipi: {cpu: 1, vector: 256}"),
             "f.yaml:5:37: vector 256 is too large; expected a number from 0 to 255"},
        Case{"UseListKey", Line("use_msr_list: {entry_store: a}"),
             "f.yaml:5:24: unknown key \"entry_store\" of use_msr_list; expected one of "
             "entry_load, exit_store, exit_load"},
        Case{"UseListOfBytes", Line("use_msr_list: {entry_load: a}"),
             "f.yaml:5:36: memory block a has no count of entries; expected the name of a block "
             "with msr_list"}),
    [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Memory, AssemblerErrors,
    ::testing::Values(
        Case{
            "NotAMap", "name: n\ncpus:\n  - memory: [a]\n",
            "f.yaml:3:13: memory is not a map; expected named blocks, such as vmcs: {bytes: 4096}"},
        Case{"NumberForAName", Memory("1a: {bytes: 8}"),
             "f.yaml:4:7: memory block 1a has a number for a name; expected a name that does not "
             "begin with a digit"},
        Case{"Word", Memory("a: 4096"),
             "f.yaml:4:10: memory block a is \"4096\"; expected a map with keys among at, "
             "fill, " kContents},
        Case{"Key", Memory("a: {size: 4096}"),
             "f.yaml:4:11: unknown key \"size\" of memory block a; expected one of at, "
             "fill, " kContents},
        Case{"Twice", Memory("a: {bytes: 8}\n      a: {bytes: 8}"),
             "f.yaml:5:7: memory block a is given again; expected each name once"},
        Case{"NoContents", Memory("a: {at: 0x10000}"),
             "f.yaml:4:10: memory block a has no contents; expected one of " kContents},
        Case{"TwoContents", Memory("a: {bytes: 8, qwords: []}"),
             "f.yaml:4:10: memory block a has more than one kind of contents; expected one "
             "of " kContents},
        Case{
            "FillAlone", Memory("a: {fill: 1, qwords: []}"),
            "f.yaml:4:17: memory block a has a fill without bytes; expected bytes: number with it"},
        Case{"NoBytes", Memory("a: {bytes: 0}"),
             "f.yaml:4:18: bytes 0 is too small; expected a number from 0x1 to 0xe0000"},
        Case{"FillTooLarge", Memory("a: {bytes: 8, fill: 256}"),
             "f.yaml:4:27: fill 256 is too large; expected a number from 0 to 255"},
        Case{"HalfAByte", Memory("a: {hex: \"0a1\"}"),
             "f.yaml:4:16: hex is \"0a1\"; expected two hexadecimal digits for each byte"},
        Case{"NoHexDigits", Memory("a: {hex: \"0x\"}"),
             "f.yaml:4:16: hex is \"0x\"; expected two hexadecimal digits for each byte"},
        Case{"HexList", Memory("a: {hex: [1]}"), "f.yaml:4:16: hex is a list; expected a name"},
        Case{"Outside", Memory("a: {at: 0xdfff8, bytes: 16}"),
             "f.yaml:4:10: memory block a is at 0xdfff8 with 16 bytes, outside the window; "
             "expected it to lie in [0, 0xe0000) of the CPU's window, above which are the stacks "
             "and tables of the machine"},
        Case{"FarOutside", Memory("a: {at: 0xffffffffffffffff, bytes: 16}"),
             "f.yaml:4:10: memory block a is at 0xffffffffffffffff with 16 bytes, outside the "
             "window; expected it to lie in [0, 0xe0000) of the CPU's window, above which are the "
             "stacks and tables of the machine"},
        Case{
            "Overlap", Memory("a: {at: 0x10000, bytes: 9}\n      b: {at: 0x10008, bytes: 8}"),
            "f.yaml:4:10: memory block a overlaps b of line 5; expected blocks that share no byte"},
        Case{"NoRoom", Memory("a: {bytes: 0xd0000}\n      b: {bytes: 1}"),
             "f.yaml:5:10: there is no room left for the 1 bytes of memory block b; expected it to "
             "lie in [0, 0xe0000) of the CPU's window, above which are the stacks and tables of "
             "the machine"},
        Case{"ListWord", Memory("a: {msr_list: IA32_STAR}"),
             "f.yaml:4:21: msr_list is \"IA32_STAR\"; expected a list"},
        Case{"EntryWord", Memory("a: {msr_list: [IA32_STAR]}"),
             "f.yaml:4:22: an entry of msr_list is \"IA32_STAR\"; expected a map with keys among "
             "msr, value, reserved, repeat"},
        Case{"EntryNoMsr", Memory("a: {msr_list: [{value: 1}]}"),
             "f.yaml:4:22: an entry of msr_list has no key msr; expected msr: ..."},
        Case{"EntryRepeatZero", Memory("a: {msr_list: [{msr: 1, repeat: 0}]}"),
             "f.yaml:4:39: repeat 0 is too small; expected a number from 1 to 57344"},
        Case{"EntryRepeatTooLarge", Memory("a: {msr_list: [{msr: 1, repeat: 100000}]}"),
             "f.yaml:4:39: repeat 100000 is too large; expected a number from 1 to 57344"},
        Case{"TooManyEntries",
             Memory("a: {msr_list: [{msr: 1, repeat: 50000}, {msr: 2, repeat: 50000}]}"),
             "f.yaml:4:47: the msr_list has 100000 entries; expected at most 57344, which fill the "
             "memory of a CPU"},
        Case{"ReservedTooLarge", Memory("a: {msr_list: [{msr: 1, reserved: 0x100000000}]}"),
             "f.yaml:4:41: reserved 0x100000000 is too large; expected a number from 0x0 to "
             "0xffffffff"},
        Case{"QwordsWord", Memory("a: {qwords: 5}"),
             "f.yaml:4:19: qwords is \"5\"; expected a list"},
        Case{"QwordsUnknown", Memory("a: {qwords: [b]}"),
             "f.yaml:4:20: unknown memory block \"b\"; did you mean a?"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace nvmx::lhv
