// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/linux_image.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace nvmx::metal {
namespace {

constexpr uint64_t k4GBytes = uint64_t{1} << 32;
constexpr size_t kSector = 512;
constexpr size_t kParagraph = 16;

// Offsets in the file. The fields up to kInitSize are there from protocol 2.10 on.
constexpr size_t kSetupSectors = kLinuxHeader;
constexpr size_t kParagraphs = 0x1F4;
constexpr size_t kHeaderEndByte = 0x201;  // counted from the next byte on
constexpr size_t kMagic = 0x202;
constexpr size_t kProtocol = 0x206;
constexpr size_t kLoadFlags = 0x211;
constexpr size_t kInitrdLast = 0x22C;
constexpr size_t kAlignment = 0x230;
constexpr size_t kIsRelocatable = 0x234;
constexpr size_t kCommandLineSize = 0x238;
constexpr size_t kPreferredAddress = 0x258;
constexpr size_t kInitSize = 0x260;
constexpr size_t kFieldsEnd = kInitSize + sizeof(uint32_t);

constexpr uint8_t kLoadedHigh = 1;
constexpr uint16_t kOldestProtocol = 0x020A;
constexpr uint8_t kSetupSectorsIfZero = 4;

// The file is at least kFieldsEnd bytes.
template <typename T>
T ReadAt(std::span<const std::byte> file, size_t offset) {
  T value;
  std::memcpy(&value, file.data() + offset, sizeof value);
  return value;
}

std::string_view FindParts(std::span<const std::byte> file, LinuxImage& image) {
  const auto sectors = ReadAt<uint8_t>(file, kSetupSectors);
  image.kernel_offset = (1 + size_t{sectors == 0 ? kSetupSectorsIfZero : sectors}) * kSector;
  image.kernel_bytes = size_t{ReadAt<uint32_t>(file, kParagraphs)} * kParagraph;
  image.header_bytes = kMagic + ReadAt<uint8_t>(file, kHeaderEndByte) - kLinuxHeader;
  if (image.kernel_bytes == 0) return "it has no kernel behind its setup code";
  if (image.kernel_offset > file.size() || image.kernel_bytes > file.size() - image.kernel_offset) {
    return "it is not wholly in the file";
  }
  return {};
}

std::string_view FindPlace(std::span<const std::byte> file, const MemoryMap& memory,
                           LinuxImage& image) {
  const auto preferred = ReadAt<uint64_t>(file, kPreferredAddress);
  const uint64_t size = std::max<uint64_t>(ReadAt<uint32_t>(file, kInitSize), image.kernel_bytes);
  if (preferred < k4GBytes && size <= k4GBytes - preferred &&
      memory.IsRam({preferred, preferred + size})) {
    image.memory = {preferred, preferred + size};
    return {};
  }
  if (ReadAt<uint8_t>(file, kIsRelocatable) == 0) {
    return "it cannot be moved, and the addresses that it wants are not L1's RAM below 4 GBytes";
  }
  const auto alignment = ReadAt<uint32_t>(file, kAlignment);
  if (!std::has_single_bit(alignment)) return "its alignment is not a power of 2";
  const auto place = memory.FindHighest(size, alignment, k4GBytes, {});
  if (!place) return "it is too large for L1's RAM below 4 GBytes";
  image.memory = *place;
  return {};
}

}  // namespace

std::string_view ReadLinuxImage(std::span<const std::byte> file, const MemoryMap& memory,
                                LinuxImage& image) {
  constexpr std::string_view kMagicText = "HdrS";
  if (file.size() < kFieldsEnd ||
      std::memcmp(file.data() + kMagic, kMagicText.data(), kMagicText.size()) != 0) {
    return "it is not a Linux kernel (bzImage): \"HdrS\" is missing at offset 202H";
  }
  if (ReadAt<uint16_t>(file, kProtocol) < kOldestProtocol) {
    return "its boot protocol is older than 2.10 (Linux 2.6.31)";
  }
  if ((ReadAt<uint8_t>(file, kLoadFlags) & kLoadedHigh) == 0) {
    return "it is a zImage, which is loaded below 1 MByte; build a bzImage";
  }
  image = {};
  if (const std::string_view why = FindParts(file, image); !why.empty()) return why;
  image.initrd_end = uint64_t{ReadAt<uint32_t>(file, kInitrdLast)} + 1;
  image.longest_command_line = ReadAt<uint32_t>(file, kCommandLineSize);
  return FindPlace(file, memory, image);
}

}  // namespace nvmx::metal
