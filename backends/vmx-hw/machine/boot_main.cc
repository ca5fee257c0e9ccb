// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "backends/vmx-hw/machine/command_line.h"
#include "backends/vmx-hw/machine/console.h"
#include "backends/vmx-hw/machine/cpu_instructions.h"
#include "backends/vmx-hw/machine/cpus.h"
#include "backends/vmx-hw/machine/image_main.h"
#include "backends/vmx-hw/machine/multiboot2.h"
#include "backends/vmx-hw/machine/power.h"
#include "backends/vmx-hw/machine/traps.h"

extern "C" {
extern const uint32_t boot_magic;
extern const uint32_t boot_information_address;
using Constructor = void (*)();
extern const Constructor init_array_begin[];
extern const Constructor init_array_end[];
[[noreturn]] void BootMain();
}

namespace nvmx::metal {
namespace {

constinit BootInformation boot_information;

}  // namespace

extern "C" void BootMain() {
  StartConsole();
  CpuAt(0) = {&CpuAt(0), 0, Cpuid(1).ebx >> 24, nullptr};
  LoadDescriptorTables(0);
  for (const Constructor* constructor = init_array_begin; constructor != init_array_end;
       ++constructor) {
    (*constructor)();
  }
  const bool is_multiboot2 = boot_magic == kMultiboot2LoaderMagic;
  if (!is_multiboot2 && boot_magic != kMultibootLoaderMagic) {
    Stop("the boot loader follows neither Multiboot 1 nor Multiboot 2");
  }
  const auto read = is_multiboot2 ? &ReadMultiboot2Information : &ReadBootInformation;
  const BootInformationError error = read(LowMemory(), boot_information_address, boot_information);
  if (error != BootInformationError::kNone) Stop(Describe(error));
  if (const auto serial = FindSerialPort(boot_information.command_line.view())) {
    if (serial->is_wrong) Stop("serial-port= takes an I/O port, as 0x3F8");
    if (!UseSerialPort(serial->port)) Stop("at serial-port= there is nothing");
  }
  ImageMain(boot_information);
}

}  // namespace nvmx::metal
