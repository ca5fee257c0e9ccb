// SPDX-License-Identifier: Apache-2.0
#include "lhv/dump.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lhv/assembler.h"

namespace nvmx::lhv {
namespace {

using ::testing::HasSubstr;

std::string DumpOf(const std::string& text, uint32_t cpu_count) {
  const absl::StatusOr<GuestProgram> program = Assemble("test.yaml", text, cpu_count);
  if (!program.ok()) return program.status().ToString();
  return Dump(*program);
}

TEST(Dump, ListsMemoryAndOperationsWithTheirLines) {
  EXPECT_EQ(DumpOf("name: two levels\n"
                   "cpus:\n"
                   "  - repeat: all\n"
                   "    memory:\n"
                   "      list: {msr_list: [{msr: IA32_PAT}]}\n"
                   "    setup:\n"
                   "      - use_msr_list: {entry_load: list}\n"
                   "    run:\n"
                   "      - vmlaunch\n"
                   "      - observe_exit\n"
                   "    l2:\n"
                   "      - vmcall\n",
                   2),
            "two levels\n"
            "cpu 0 to 1\n"
            "  memory\n"
            "    window+0x10000     16 bytes list\n"
            "  setup of L1\n"
            "    #0    line 7    vmwrite VM_ENTRY_MSR_LOAD_ADDRESS = list\n"
            "    #1    line 7    vmwrite VM_ENTRY_MSR_LOAD_COUNT = 0x1\n"
            "    #2    line 9    set_host_rip #4\n"
            "  run of L1\n"
            "    #3    line 9    vmlaunch\n"
            "    #4    line 10   observe_exit exit_reason, exit_qualification, "
            "interruption_information\n"
            "  L2\n"
            "    #0    line 12   vmcall\n");
}

TEST(Dump, CpusThatDifferAreListedOneByOne) {
  const std::string dump = DumpOf(
      "name: test\n"
      "cpus:\n"
      "  - {run: [nop]}\n"
      "  - {run: [hlt]}\n",
      3);
  EXPECT_THAT(dump, HasSubstr("cpu 0\n"));
  EXPECT_THAT(dump, HasSubstr("cpu 1\n"));
  EXPECT_THAT(dump, HasSubstr("cpu 2\n"));
}

TEST(Dump, EveryOperationIsShownWithItsOperands) {
  const std::string dump = DumpOf(
      "name: test\n"
      "cpus:\n"
      "  - memory: {a: {bytes: 4096}}\n"
      "    run:\n"
      "      - vmxon: 0x123\n"
      "      - vmptrld: {address_of: a, offset: 8}\n"
      "      - vmread: GUEST_RIP\n"
      "      - vmwrite: {field: HOST_CR3, address_of: a, offset: 0xec000}\n"
      "      - vmwrite_control: {field: PIN_BASED_CONTROLS, bits: [NMI_EXITING]}\n"
      "      - cpuid: {leaf: 0x80000000, subleaf: 1}\n"
      "      - rdmsr: IA32_MTRR_PHYSBASE6\n"
      "      - wrmsr: {msr: 0xdead, value: 16}\n"
      "      - read_memory: {address_of: a, width: 4}\n"
      "      - write_memory: {address_of: a, width: 1, value: 0x7f}\n"
      "      - send_nmi: others\n"
      "      - send_interrupt: {cpu: 0, vector: 0x41}\n"
      "      - send_init: self\n"
      "      - send_sipi: {cpu: 0, vector: 8}\n"
      "      - vmcall: 7\n",
      1);
  for (const char* text :
       {"vmxon 0x123", "vmptrld a+0x8", "vmread GUEST_RIP", "vmwrite HOST_CR3 = window+0xfc000",
        "vmwrite_control PIN_BASED_CONTROLS = NMI_EXITING", "cpuid 0x80000000.1",
        "rdmsr IA32_MTRR_PHYSBASE6", "wrmsr 0xdead = 0x10", "read_memory a, 4 bytes",
        "write_memory a, 1 bytes = 0x7f", "send_nmi to others", "send_interrupt 0x41 to cpu 0",
        "send_init to self", "send_sipi 0x8 to cpu 0", "vmcall 0x7"}) {
    EXPECT_THAT(dump, HasSubstr(text));
  }
}

}  // namespace
}  // namespace nvmx::lhv
