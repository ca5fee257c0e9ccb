// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/memory.h"

#include <algorithm>
#include <cstring>

#include "lhv/layout.h"
#include "xxhash.h"

namespace nvmx::sim {

Memory::Memory(uint32_t cpus) : windows_(cpus) {
  for (Window& window : windows_) window.pages.resize(lhv::kWindowBytes / kPageSize);
}

bool Memory::IsBacked(uint64_t address, uint64_t length) const {
  const uint64_t size = windows_.size() * lhv::kWindowBytes;
  if (address < lhv::kWindowBase) return false;
  const uint64_t offset = address - lhv::kWindowBase;
  return offset < size && length <= size - offset;
}

template <typename Self, typename Byte, typename Access>
bool Memory::ForEachPage(Self& self, uint64_t address, std::span<Byte> bytes, Access access) {
  if (!self.IsBacked(address, bytes.size())) return false;
  uint64_t offset = address - lhv::kWindowBase;
  while (!bytes.empty()) {
    const size_t in_page = std::min<size_t>(bytes.size(), kPageSize - PageOffset(offset));
    auto& window = self.windows_[offset / lhv::kWindowBytes];
    access(window, offset % lhv::kWindowBytes / kPageSize, PageOffset(offset),
           bytes.first(in_page));
    bytes = bytes.subspan(in_page);
    offset += in_page;
  }
  return true;
}

bool Memory::Read(uint64_t address, std::span<std::byte> bytes) const {
  if (IsL0Memory(address, bytes.size())) {
    std::memcpy(bytes.data(), l0_bytes_.data() + (address - l0_address_), bytes.size());
    return true;
  }
  return ForEachPage(
      *this, address, bytes,
      [](const Window& window, size_t number, size_t offset, std::span<std::byte> part) {
        const Page& page = window.pages[number];
        if (page.bytes) {
          std::memcpy(part.data(), page.bytes->data() + offset, part.size());
        } else {
          std::memset(part.data(), 0, part.size());
        }
      });
}

bool Memory::Write(uint64_t address, std::span<const std::byte> bytes) {
  if (IsL0Memory(address, bytes.size())) {
    std::memcpy(l0_bytes_.data() + (address - l0_address_), bytes.data(), bytes.size());
    return true;
  }
  return ForEachPage(
      *this, address, bytes,
      [this](Window& window, size_t number, size_t offset, std::span<const std::byte> part) {
        Touch(window, number);
        std::memcpy(window.pages[number].bytes->data() + offset, part.data(), part.size());
      });
}

void Memory::Touch(Window& window, size_t number) {
  Page& page = window.pages[number];
  if (!page.bytes) page.bytes = std::make_unique<Bytes>();
  page.changed_since_snapshot = true;
  if (page.digest_is_current) {
    page.digest_is_current = false;
    window.stale.push_back(number);
  }
}

// A page of zeros counts as one that is not there: after RestoreWindow() the two must not differ.
uint64_t Memory::PageDigest(size_t number, const Bytes& bytes) {
  static constexpr Bytes kZeros{};
  if (bytes == kZeros) return 0;
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), number + 1);
}

uint64_t Memory::WindowDigest(uint32_t cpu) {
  Window& window = windows_[cpu];
  // The window's digest is the exclusive or of the pages', so that one page can be taken out and
  // put in again.
  for (size_t number : window.stale) {
    Page& page = window.pages[number];
    window.digest ^= page.digest;
    page.digest = PageDigest(number, *page.bytes);
    window.digest ^= page.digest;
    page.digest_is_current = true;
  }
  window.stale.clear();
  return window.digest;
}

std::unique_ptr<Memory::Snapshot> Memory::SaveWindow(uint32_t cpu) {
  auto snapshot = std::make_unique<Snapshot>();
  Window& window = windows_[cpu];
  for (size_t number = 0; number < window.pages.size(); ++number) {
    Page& page = window.pages[number];
    page.changed_since_snapshot = false;
    if (page.bytes) snapshot->pages_.push_back({number, *page.bytes});
  }
  return snapshot;
}

void Memory::RestoreWindow(uint32_t cpu, const Snapshot& snapshot) {
  Window& window = windows_[cpu];
  auto saved = snapshot.pages_.begin();
  for (size_t number = 0; number < window.pages.size(); ++number) {
    const bool was_there = saved != snapshot.pages_.end() && saved->number == number;
    Page& page = window.pages[number];
    if (page.changed_since_snapshot) {
      Touch(window, number);
      if (was_there) {
        *page.bytes = saved->bytes;
      } else {
        page.bytes->fill(std::byte{0});
      }
      page.changed_since_snapshot = false;
    }
    if (was_there) ++saved;
  }
}

void Memory::MarkWindowChanged(uint32_t cpu) {
  for (Page& page : windows_[cpu].pages) page.changed_since_snapshot = page.bytes != nullptr;
}

}  // namespace nvmx::sim
