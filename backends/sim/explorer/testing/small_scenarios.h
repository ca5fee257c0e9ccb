// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_EXPLORER_TESTING_SMALL_SCENARIOS_H_
#define NVMX_BACKENDS_SIM_EXPLORER_TESTING_SMALL_SCENARIOS_H_

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "backends/sim/explorer/scenario.h"

namespace nvmx::sim {

// Programs that are small enough for every state to be reached the slow way, and that between them
// use every kind of point.
inline constexpr char kOneMtrrWrite[] = "{repeat: all, run: [wrmsr: {msr: 0x200, value: 6}]}";
inline constexpr char kEntryAndExitLists[] =
    "{repeat: all, memory: {vmxon: {bytes: 4096}, vmcs: {bytes: 4096}, "
    "in: {msr_list: [{msr: 0x20c, value: 0xccccc000}]}, "
    "out: {msr_list: [{msr: 0x20b, value: 0xbbbbb000}]}}, "
    "setup: [enter_vmx: vmxon, baseline_vmcs: vmcs, use_msr_list: {entry_load: in}, "
    "use_msr_list: {exit_load: out}], run: [vmlaunch], l2: [vmcall]}";
inline constexpr char kExitLoadList[] =
    "{repeat: all, memory: {vmxon: {bytes: 4096}, vmcs: {bytes: 4096}, "
    "out: {msr_list: [{msr: 0x20b, value: 0xbbbbb000}]}}, "
    "setup: [enter_vmx: vmxon, baseline_vmcs: vmcs, use_msr_list: {exit_load: out}], "
    "run: [vmlaunch], l2: [vmcall]}";
// L2 takes its NMIs itself, as far as L1 is concerned.
inline constexpr char kL2HandlesNmis[] =
    "{repeat: all, memory: {vmxon: {bytes: 4096}, vmcs: {bytes: 4096}}, "
    "setup: [enter_vmx: vmxon, baseline_vmcs: vmcs, "
    "vmwrite_control: {field: PIN_BASED_CONTROLS, value: 0}], "
    "run: [wrmsr: {msr: 0x200, value: 6}, vmlaunch], l2: [nop, vmcall]}";
// Everybody sends everybody NMIs, and L0's client withholds them for a while.
inline constexpr char kGuestsSendNmis[] =
    "{repeat: all, run: [vmcall: 0x6e760001, send_nmi: others, wrmsr: {msr: 0x200, value: 6}, "
    "vmcall: 0x6e760002, nop]}";

inline Scenario SmallScenario(const std::string& cpu_program, const std::string& variant,
                              uint32_t cpus, uint32_t device_nmis, bool log_mtrr_writes = true) {
  const std::string text = absl::StrCat("summary: small\nexpect: completes\nvariant: ", variant,
                                        "\ncpus: ", cpus, "\ndevice_nmis: ", device_nmis,
                                        "\nlog_mtrr_writes: ", log_mtrr_writes ? "true" : "false",
                                        "\nprogram: {name: small, cpus: [", cpu_program, "]}\n");
  absl::StatusOr<Scenario> scenario = ParseScenario("small", "small.yaml", text, {});
  if (!scenario.ok()) {
    std::fprintf(stderr, "%s\n%s\n", scenario.status().ToString().c_str(), text.c_str());
    std::abort();
  }
  return *std::move(scenario);
}

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_EXPLORER_TESTING_SMALL_SCENARIOS_H_
