// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_MACHINE_PHYSICAL_MEMORY_H_
#define NVMX_BACKENDS_VMX_HW_MACHINE_PHYSICAL_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

namespace nvmx::metal {

// Physical memory as a parser of firmware's and boot loader's tables reads it: the machine's, or
// bytes of a test.
class PhysicalMemory {
 public:
  // Where `bytes` bytes from the address can be read; nullptr if they cannot.
  virtual const std::byte* At(uint64_t address, size_t bytes) const = 0;

  // The object at the address, which need not be aligned.
  template <typename T>
  std::optional<T> Read(uint64_t address) const {
    const std::byte* from = At(address, sizeof(T));
    if (from == nullptr) return std::nullopt;
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
  }

 protected:
  ~PhysicalMemory() = default;
};

// The first 4 GiB, by the identity mapping that an image starts with.
class LowMemory final : public PhysicalMemory {
 public:
  const std::byte* At(uint64_t address, size_t bytes) const override {
    constexpr uint64_t kEnd = uint64_t{1} << 32;
    if (address >= kEnd || bytes > kEnd - address) return nullptr;
    return reinterpret_cast<const std::byte*>(static_cast<uintptr_t>(address));
  }
};

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_MACHINE_PHYSICAL_MEMORY_H_
