// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_PORTS_GUEST_MEMORY_H_
#define NVMX_CORE_PORTS_GUEST_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/x86/address.h"

namespace nvmx {

// What L1 calls physical memory. L0's own memory is not part of it: an address in L0's range is not
// backed.
class GuestMemory {
 public:
  // Copies bytes.size() bytes from the address; false, with nothing copied, if any of them is not
  // backed by memory.
  virtual bool Read(GuestPhysicalAddress address, std::span<std::byte> bytes) = 0;
  // Copies the bytes to the address; false, with nothing written, if any of them is not backed by
  // memory.
  virtual bool Write(GuestPhysicalAddress address, std::span<const std::byte> bytes) = 0;

  // The object of type T at the address; false if it is not wholly backed.
  template <typename T>
  bool ReadValue(GuestPhysicalAddress address, T& value) {
    return Read(address, std::as_writable_bytes(std::span<T, 1>(&value, 1)));
  }
  template <typename T>
  bool WriteValue(GuestPhysicalAddress address, const T& value) {
    return Write(address, std::as_bytes(std::span<const T, 1>(&value, 1)));
  }

  // Makes the 8 bytes at the address, which is a multiple of 8, `desired` if they are `expected`,
  // in one step with respect to all CPUs of L1; false, with nothing written, if they are not or
  // cannot be written. A machine whose CPUs run at the same time overrides it.
  virtual bool CompareExchange(GuestPhysicalAddress address, uint64_t expected, uint64_t desired) {
    uint64_t value = 0;
    return ReadValue(address, value) && value == expected && WriteValue(address, desired);
  }

 protected:
  ~GuestMemory() = default;
};

}  // namespace nvmx

#endif  // NVMX_CORE_PORTS_GUEST_MEMORY_H_
