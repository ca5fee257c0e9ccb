// SPDX-License-Identifier: Apache-2.0
//
// Physical addresses as two types that do not convert into each other. What L1 calls physical is a
// GuestPhysicalAddress; it becomes a PhysicalAddress only through L0's translation.
#ifndef NVMX_CORE_X86_ADDRESS_H_
#define NVMX_CORE_X86_ADDRESS_H_

#include <compare>
#include <concepts>
#include <cstdint>

namespace nvmx {

// An address in the physical address space that L0 gives to L1.
struct GuestPhysicalAddress {
  uint64_t value = 0;
  friend constexpr auto operator<=>(GuestPhysicalAddress, GuestPhysicalAddress) = default;
};

// An address in the physical address space of the machine that L0 runs on.
struct PhysicalAddress {
  uint64_t value = 0;
  friend constexpr auto operator<=>(PhysicalAddress, PhysicalAddress) = default;
};

template <typename T>
concept AnyPhysicalAddress =
    std::same_as<T, GuestPhysicalAddress> || std::same_as<T, PhysicalAddress>;

// The address `bytes` further up. Wraps modulo 2^64; use IsWithinWidth first.
template <AnyPhysicalAddress T>
constexpr T operator+(T address, uint64_t bytes) {
  return T{address.value + bytes};
}

inline constexpr unsigned kPageShift = 12;
inline constexpr uint64_t kPageSize = uint64_t{1} << kPageShift;
inline constexpr uint64_t kPageOffsetMask = kPageSize - 1;

// The offset of the byte in its 4-KByte page.
constexpr uint64_t PageOffset(uint64_t address) { return address & kPageOffsetMask; }
template <AnyPhysicalAddress T>
constexpr uint64_t PageOffset(T address) {
  return PageOffset(address.value);
}

// The first byte of the 4-KByte page that holds the address.
constexpr uint64_t PageBase(uint64_t address) { return address & ~kPageOffsetMask; }
template <AnyPhysicalAddress T>
constexpr T PageBase(T address) {
  return T{PageBase(address.value)};
}

// True if the address is a multiple of `alignment` bytes, a power of two.
constexpr bool IsAligned(uint64_t address, uint64_t alignment = kPageSize) {
  return (address & (alignment - 1)) == 0;
}
template <AnyPhysicalAddress T>
constexpr bool IsAligned(T address, uint64_t alignment = kPageSize) {
  return IsAligned(address.value, alignment);
}

// True if bits 63:linear_bits-1 of the linear address are all equal; linear_bits is the
// linear-address width: 48, or 57 with 5-level paging. SDM Vol. 1, 3.3.7.1 "Canonical Addressing".
constexpr bool IsCanonical(uint64_t linear, unsigned linear_bits = 48) {
  const uint64_t upper = linear >> (linear_bits - 1);
  const uint64_t all_ones = ~uint64_t{0} >> (linear_bits - 1);
  return upper == 0 || upper == all_ones;
}

// The bits of a physical address that the CPU has, its width being CPUID.80000008H:EAX[7:0].
constexpr uint64_t PhysicalAddressMask(unsigned physical_address_width) {
  return physical_address_width >= 64 ? ~uint64_t{0} : (uint64_t{1} << physical_address_width) - 1;
}

// True if every one of the `length` bytes from `first` on lies below 2^physical_address_width. A
// range that runs past the end of the 64-bit number line is outside; an empty range is inside.
constexpr bool IsWithinWidth(uint64_t first, uint64_t length, unsigned physical_address_width) {
  const uint64_t last_possible = PhysicalAddressMask(physical_address_width);
  if (length == 0) return true;
  // Subtracting on the side that cannot wrap: first + length may be 2^64 or beyond.
  return first <= last_possible && length - 1 <= last_possible - first;
}
template <AnyPhysicalAddress T>
constexpr bool IsWithinWidth(T first, uint64_t length, unsigned physical_address_width) {
  return IsWithinWidth(first.value, length, physical_address_width);
}

}  // namespace nvmx

#endif  // NVMX_CORE_X86_ADDRESS_H_
