// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_MEMORY_H_
#define NVMX_BACKENDS_SIM_MACHINE_MEMORY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/x86/address.h"

namespace nvmx::sim {

// The machine's physical memory: one window for each CPU (lhv/layout.h), nothing elsewhere. Pages
// come into being, zeroed, when they are first written.
class Memory {
 public:
  explicit Memory(uint32_t cpus);

  // Copies from or to `address`. False, with nothing done, if some byte is not backed.
  bool Read(uint64_t address, std::span<std::byte> bytes) const;
  bool Write(uint64_t address, std::span<const std::byte> bytes);

  // Whether all the bytes lie in the windows, which follow each other without a gap.
  bool IsBacked(uint64_t address, uint64_t length) const;

  // A digest of the contents of one CPU's window. Costs what changed since the last call.
  uint64_t WindowDigest(uint32_t cpu);

  // One window's contents, to go back to.
  class Snapshot;
  std::unique_ptr<Snapshot> SaveWindow(uint32_t cpu);
  void RestoreWindow(uint32_t cpu, const Snapshot& snapshot);

 private:
  using Bytes = std::array<std::byte, kPageSize>;
  struct Page {
    std::unique_ptr<Bytes> bytes;
    uint64_t digest = 0;
    bool digest_is_current = true;  // an absent page has digest 0
    bool changed_since_snapshot = false;
  };
  struct Window {
    std::vector<Page> pages;
    uint64_t digest = 0;
    std::vector<size_t> stale;  // pages whose digest is not current
  };

  // Calls access(page, offset in page, part of bytes) for each page touched.
  template <typename Self, typename Byte, typename Access>
  static bool ForEachPage(Self& self, uint64_t address, std::span<Byte> bytes, Access access);
  static uint64_t PageDigest(size_t number, const Bytes& bytes);
  void Touch(Window& window, size_t number);

  std::vector<Window> windows_;
};

class Memory::Snapshot {
 public:
  friend class Memory;

 private:
  struct SavedPage {
    size_t number;
    Bytes bytes;
  };
  std::vector<SavedPage> pages_;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_MEMORY_H_
