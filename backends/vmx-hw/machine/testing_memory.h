// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_MACHINE_TESTING_MEMORY_H_
#define NVMX_BACKENDS_VMX_HW_MACHINE_TESTING_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "backends/vmx-hw/machine/physical_memory.h"

namespace nvmx::metal {

// The first bytes of physical memory, for a test to fill.
class TestMemory final : public PhysicalMemory {
 public:
  explicit TestMemory(size_t bytes) : bytes_(bytes) {}

  const std::byte* At(uint64_t address, size_t bytes) const override {
    if (address > bytes_.size() || bytes > bytes_.size() - address) return nullptr;
    return bytes_.data() + address;
  }
  template <typename T>
  void Put(uint64_t address, T value) {
    std::memcpy(bytes_.data() + address, &value, sizeof value);
  }
  void PutText(uint64_t address, std::string_view text) {
    std::memcpy(bytes_.data() + address, text.data(), text.size());
  }
  // Makes the bytes add up to 0 modulo 256 by the one at `checksum`.
  void FixSum(uint64_t address, size_t bytes, uint64_t checksum) {
    Put<uint8_t>(checksum, 0);
    unsigned sum = 0;
    for (size_t i = 0; i < bytes; ++i) sum += std::to_integer<unsigned>(bytes_[address + i]);
    Put<uint8_t>(checksum, static_cast<uint8_t>(0x100 - (sum & 0xFF)));
  }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_MACHINE_TESTING_MEMORY_H_
