// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_HOST_PAGES_H_
#define NVMX_CORE_NESTED_HOST_PAGES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/x86/address.h"

namespace nvmx {

// A 4-KByte page of L0's own memory that the processor reads while L2 runs: a paging structure of
// EPT02, or a bitmap of VMCS02.
struct alignas(kPageSize) HostPage {
  std::array<uint64_t, kPageSize / sizeof(uint64_t)> words;
};
static_assert(sizeof(HostPage) == kPageSize);

// The host pages of one CPU. They lie one behind the other in physical memory, zeroed at first, and
// no address that L1 can name leads to them. The storage is the embedder's.
struct HostPages {
  std::span<HostPage> pages;
  PhysicalAddress first;

  PhysicalAddress AddressOf(size_t index) const { return first + index * kPageSize; }
  // The page at that address; it is one of them.
  HostPage& At(PhysicalAddress address) const {
    return pages[(address.value - first.value) / kPageSize];
  }
};

// What the first pages are for; EPT02 is built in those from kFirstEpt02Page on.
inline constexpr size_t kMsrBitmapPage = 0;    // of VMCS02
inline constexpr size_t kMsrBitmap01Page = 1;  // of VMCS01
inline constexpr size_t kFirstEpt02Page = 2;
// With fewer there could be an instruction of L2 that never gets all its translations at the same
// time. The most are needed by an event delivery in IA-32e mode of which the gate, the two
// descriptors' worth of GDT, the part of the TSS and the stack frame all cross a page: 8 pages,
// each reached through 4 paging structures of its own and one that they share, make 41
// guest-physical addresses, each with at most 4 EPT paging structures of its own, and the root.
inline constexpr size_t kFewestEpt02Pages = 8 * 5 * 4 + 4 + 1;
// More than these are not used.
inline constexpr size_t kMostEpt02Pages = 4096;

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_HOST_PAGES_H_
