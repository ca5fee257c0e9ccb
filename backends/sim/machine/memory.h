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

// The machine's physical memory: one window for each CPU (lhv/layout.h), and L0's own if there is
// one; nothing elsewhere. Pages of the windows come into being, zeroed, when they are first written.
class Memory {
 public:
  explicit Memory(uint32_t cpus);

  // L0's own memory lies at `address` from now on; the bytes are L0's to read and write directly.
  void AddL0Memory(uint64_t address, std::span<std::byte> bytes) {
    l0_address_ = address;
    l0_bytes_ = bytes;
  }

  // Copies from or to `address`. False, with nothing done, if some byte is not backed.
  bool Read(uint64_t address, std::span<std::byte> bytes) const;
  bool Write(uint64_t address, std::span<const std::byte> bytes);

  // Whether all the bytes lie in the windows, which follow each other without a gap.
  bool IsBacked(uint64_t address, uint64_t length) const;
  // The same of L0's memory.
  bool IsL0Memory(uint64_t address, uint64_t length) const {
    const uint64_t offset = address - l0_address_;
    return offset < l0_bytes_.size() && length <= l0_bytes_.size() - offset;
  }

  // A digest of the contents of one CPU's window. Costs what changed since the last call.
  uint64_t WindowDigest(uint32_t cpu);

  // One window's contents, to go back to.
  class Snapshot;
  std::unique_ptr<Snapshot> SaveWindow(uint32_t cpu);
  // Costs what changed since the last SaveWindow() or RestoreWindow(), which must have been of this
  // snapshot; or, after MarkWindowChanged(), what there is.
  void RestoreWindow(uint32_t cpu, const Snapshot& snapshot);
  void MarkWindowChanged(uint32_t cpu);

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
  uint64_t l0_address_ = 0;
  std::span<std::byte> l0_bytes_;
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
