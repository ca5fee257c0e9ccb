// SPDX-License-Identifier: Apache-2.0
//
// What a boot loader says by the Multiboot Specification 0.6.96, chapter 3.3 "Boot information
// format", copied to where nothing overwrites it.
#ifndef NVMX_BACKENDS_VMX_HW_MACHINE_MULTIBOOT_H_
#define NVMX_BACKENDS_VMX_HW_MACHINE_MULTIBOOT_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "backends/vmx-hw/machine/acpi.h"
#include "backends/vmx-hw/machine/memory_map.h"
#include "backends/vmx-hw/machine/physical_memory.h"

namespace nvmx::metal {

// What EAX holds when a loader that follows the specification starts an image.
inline constexpr uint32_t kMultibootLoaderMagic = 0x2BADB002;

inline constexpr size_t kLongestCommandLine = 1023;
class CommandLineText {
 public:
  std::string_view view() const { return {characters_.data(), size_}; }
  // Copies the text up to its terminating 0; false if it is longer than fits or cannot be read.
  bool CopyFrom(const PhysicalMemory& memory, uint64_t address);

 private:
  size_t size_ = 0;
  std::array<char, kLongestCommandLine> characters_ = {};
};

// A file that the loader has loaded besides the image. What it holds stays where it is.
struct BootModule {
  uint32_t begin = 0;
  uint32_t end = 0;
  CommandLineText command_line;  // the words behind "module", the file's name among them
};

struct BootInformation {
  CommandLineText command_line;
  MemoryMap memory;
  // Where the boot loader says that the ACPI tables are; nothing if it does not.
  std::optional<AcpiRoot> acpi;
  static constexpr size_t kMostModules = 8;
  size_t module_count = 0;
  std::array<BootModule, kMostModules> modules = {};

  std::span<const BootModule> Modules() const { return {modules.data(), module_count}; }
};

enum class BootInformationError : uint8_t {
  kNone,
  kNoMemoryMap,
  kDamagedMemoryMap,
  kTooManyMemoryRanges,
  kTooManyModules,
  kDamagedModules,
  kDamagedTags,
  kCommandLineTooLong,  // the image's or a module's
};
std::string_view Describe(BootInformationError error);

// The structure at the address, into `information`.
BootInformationError ReadBootInformation(const PhysicalMemory& memory, uint64_t address,
                                         BootInformation& information);

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_MACHINE_MULTIBOOT_H_
