// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_MEMORY_H_
#define NVMX_BACKENDS_SIM_MACHINE_MEMORY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backends/sim/machine/left_open.h"
#include "core/x86/address.h"

namespace nvmx::sim {

// The machine's physical memory: one window for each CPU (lhv/layout.h), which guest programs own,
// and beside the windows what L0 keeps for itself. Pages of a window come into being, zeroed, when
// they are first written.
class Memory {
 public:
  explicit Memory(uint32_t cpus);

  // --- What guest programs own. `Read` and `Write` copy from or to `address`; false, with nothing
  // done, if some byte lies outside the windows.
  bool Read(uint64_t address, std::span<std::byte> bytes) const;
  bool Write(uint64_t address, std::span<const std::byte> bytes);
  // Whether all the bytes lie in the windows, which follow each other without a gap.
  bool IsBacked(uint64_t address, uint64_t length) const;

  // --- The whole physical address space, as processors reach it. A byte that nothing answers for
  // reads as FFH and ignores writes.
  void ReadPhysical(uint64_t address, std::span<std::byte> bytes) const;
  void WritePhysical(uint64_t address, std::span<const std::byte> bytes);
  // The same for an integer that is aligned to its size.
  template <typename T>
  T Load(uint64_t address) const;
  template <typename T>
  void Store(uint64_t address, T value);
  // Makes the caller's storage answer from `physical` on, for as long as this memory lives. Both
  // are aligned to pages, and what is there has not been there before. No digest covers it, and no
  // snapshot holds it.
  void MapHostPages(uint64_t physical, std::span<std::byte> bytes);

  // Who looks on at what is done with the memory; null if nobody does. It must outlive this.
  LeftOpenWatch* watch() const { return watch_; }
  void set_watch(LeftOpenWatch* watch) { watch_ = watch; }

  // Zeroes the windows, as they were at first. Costs what was written since the last time.
  void Clear();

  // A digest of the contents of one CPU's window. Costs what changed since the last call.
  uint64_t WindowDigest(uint32_t cpu);

  // One window's contents, to go back to. Going back costs what was written since the save, or
  // since the last time; only the latest snapshot of a window can be gone back to.
  class Snapshot;
  std::unique_ptr<Snapshot> SaveWindow(uint32_t cpu);
  void RestoreWindow(uint32_t cpu, const Snapshot& snapshot);
  // Whether the window holds the same bytes as that of the other memory, wherever one of the two
  // has been written since its last save or restore. Costs what was written.
  bool IsSameWhereWritten(const Memory& other, uint32_t cpu) const;

 private:
  using Bytes = std::array<std::byte, kPageSize>;
  struct Page {
    std::unique_ptr<Bytes> bytes;
    uint64_t digest = 0;  // an absent page has digest 0
    // In which lists of its window the page stands.
    bool used = false;
    bool stale = false;
    bool changed = false;
    // Of a changed page: all that was written lies from here on, and before `end`.
    size_t begin = 0, end = 0;
  };
  struct Window {
    uint64_t digest = 0;
    std::vector<size_t> used;     // pages written since Clear(); all others are zero
    std::vector<size_t> stale;    // pages whose digest is not current
    std::vector<size_t> changed;  // pages written since the last save or restore
  };
  struct HostPages {
    uint64_t physical;
    std::span<std::byte> bytes;
  };

  static uint64_t PageDigest(size_t number, const Bytes& bytes);
  // Calls access(address, part of bytes) for each page touched.
  template <typename Byte, typename Access>
  static void ForEachPage(uint64_t address, std::span<Byte> bytes, Access access);
  void ReadInPage(uint64_t address, std::span<std::byte> bytes) const;
  void WriteInPage(uint64_t address, std::span<const std::byte> bytes);
  // The byte of the host pages at the address; null if none is there.
  std::byte* HostByte(uint64_t address) const;
  // Before the bytes from `begin` to `end` of the page, by its position in `pages_`, are written.
  Bytes& Touch(size_t position, size_t begin, size_t end);
  // Whether what has been written of the page since the last save or restore is the same in
  // `other`.
  bool IsSamePage(const Memory& other, size_t position) const;
  void MarkStale(Window& window, size_t position);

  std::vector<Page> pages_;  // of all the windows, in order
  std::vector<Window> windows_;
  std::vector<HostPages> host_pages_;
  LeftOpenWatch* watch_ = nullptr;
};

class Memory::Snapshot {
 public:
  friend class Memory;

 private:
  struct SavedPage {
    size_t position;
    Bytes bytes;
  };
  std::vector<SavedPage> pages_;  // by position
};

template <typename T>
T Memory::Load(uint64_t address) const {
  T value;
  ReadInPage(address, std::as_writable_bytes(std::span<T, 1>(&value, 1)));
  return value;
}

template <typename T>
void Memory::Store(uint64_t address, T value) {
  WriteInPage(address, std::as_bytes(std::span<const T, 1>(&value, 1)));
}

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_MEMORY_H_
