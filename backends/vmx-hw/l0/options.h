// SPDX-License-Identifier: Apache-2.0
//
// What may stand behind the image on the boot loader's command line.
#ifndef NVMX_BACKENDS_VMX_HW_L0_OPTIONS_H_
#define NVMX_BACKENDS_VMX_HW_L0_OPTIONS_H_

#include <cstdint>
#include <string_view>

#include "backends/variants/variant.h"
#include "backends/vmx-hw/l0/l0_log.h"

namespace nvmx::metal {

// What the first boot module is.
enum class L1Kind : uint8_t { kMultiboot, kLinux };

struct Options {
  // cpus=N: how many CPUs L0 takes and L1 has, the one that booted included. 0: all.
  uint32_t cpus = 0;
  // log=serial: events of L0 on the console as they happen. log=ring: they are kept in memory and
  // written later. log=none: only what is wrong.
  LogMode log = LogMode::kNone;
  // watchdog=N: seconds that a CPU may wait in L0 for others. 0: for ever.
  uint32_t watchdog_seconds = 0;
  // check=ports: the port contract instead of L1.
  bool checks_ports = false;
  // variant=NAME: one order of the core replaced by a historical one.
  const Variant* variant = FindVariant("correct");
  // l1=multiboot: a multiboot 1 ELF file. l1=linux: a Linux kernel; the second module is its
  // initrd.
  L1Kind l1 = L1Kind::kMultiboot;
};

struct ParsedOptions {
  Options options;
  // The word that was not understood, and why; empty if all were.
  std::string_view bad_word;
  std::string_view why;
  // It names a variant that there is not.
  bool is_unknown_variant = false;
};
ParsedOptions ParseOptions(std::string_view command_line, uint32_t most_cpus);

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_OPTIONS_H_
