// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/memory.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "lhv/layout.h"
#include "xxhash.h"

namespace nvmx::sim {
namespace {

constexpr size_t kPagesPerWindow = lhv::kWindowBytes / kPageSize;

}  // namespace

Memory::Memory(uint32_t cpus) : pages_(cpus * kPagesPerWindow), windows_(cpus) {}

bool Memory::IsBacked(uint64_t address, uint64_t length) const {
  const uint64_t size = windows_.size() * lhv::kWindowBytes;
  if (address < lhv::kWindowBase) return false;
  const uint64_t offset = address - lhv::kWindowBase;
  return offset < size && length <= size - offset;
}

bool Memory::Read(uint64_t address, std::span<std::byte> bytes) const {
  if (!IsBacked(address, bytes.size())) return false;
  ReadPhysical(address, bytes);
  return true;
}

bool Memory::Write(uint64_t address, std::span<const std::byte> bytes) {
  if (!IsBacked(address, bytes.size())) return false;
  WritePhysical(address, bytes);
  return true;
}

template <typename Byte, typename Access>
void Memory::ForEachPage(uint64_t address, std::span<Byte> bytes, Access access) {
  while (!bytes.empty()) {
    const size_t in_page = std::min<size_t>(bytes.size(), kPageSize - PageOffset(address));
    access(address, bytes.first(in_page));
    bytes = bytes.subspan(in_page);
    address += in_page;
  }
}

void Memory::ReadPhysical(uint64_t address, std::span<std::byte> bytes) const {
  ForEachPage(address, bytes,
              [this](uint64_t at, std::span<std::byte> part) { ReadInPage(at, part); });
}

void Memory::WritePhysical(uint64_t address, std::span<const std::byte> bytes) {
  ForEachPage(address, bytes,
              [this](uint64_t at, std::span<const std::byte> part) { WriteInPage(at, part); });
}

void Memory::ReadInPage(uint64_t address, std::span<std::byte> bytes) const {
  const uint64_t position = (address - lhv::kWindowBase) / kPageSize;
  if (position < pages_.size()) {
    const Page& page = pages_[position];
    if (page.bytes) {
      std::memcpy(bytes.data(), page.bytes->data() + PageOffset(address), bytes.size());
    } else {
      std::memset(bytes.data(), 0, bytes.size());
    }
  } else if (const std::byte* host = HostByte(address)) {
    std::memcpy(bytes.data(), host, bytes.size());
  } else {
    std::memset(bytes.data(), 0xFF, bytes.size());
  }
}

void Memory::WriteInPage(uint64_t address, std::span<const std::byte> bytes) {
  const uint64_t position = (address - lhv::kWindowBase) / kPageSize;
  if (position < pages_.size()) {
    const size_t offset = PageOffset(address);
    std::memcpy(Touch(position, offset, offset + bytes.size()).data() + offset, bytes.data(),
                bytes.size());
  } else if (std::byte* host = HostByte(address)) {
    std::memcpy(host, bytes.data(), bytes.size());
  }
}

void Memory::MapHostPages(uint64_t physical, std::span<std::byte> bytes) {
  assert(IsAligned(physical) && IsAligned(bytes.size()));
  host_pages_.push_back({physical, bytes});
}

std::byte* Memory::HostByte(uint64_t address) const {
  for (const HostPages& host : host_pages_) {
    const uint64_t offset = address - host.physical;
    if (offset < host.bytes.size()) return host.bytes.data() + offset;
  }
  return nullptr;
}

Memory::Bytes& Memory::Touch(size_t position, size_t begin, size_t end) {
  Page& page = pages_[position];
  page.begin = page.changed ? std::min(page.begin, begin) : begin;
  page.end = page.changed ? std::max(page.end, end) : end;
  if (!page.used || !page.stale || !page.changed) {
    Window& window = windows_[position / kPagesPerWindow];
    if (!page.bytes) page.bytes = std::make_unique<Bytes>();
    if (!page.used) window.used.push_back(position);
    if (!page.changed) window.changed.push_back(position);
    page.used = page.changed = true;
    MarkStale(window, position);
  }
  return *page.bytes;
}

void Memory::MarkStale(Window& window, size_t position) {
  if (!pages_[position].stale) window.stale.push_back(position);
  pages_[position].stale = true;
}

void Memory::Clear() {
  for (Window& window : windows_) {
    for (size_t position : window.used) {
      Page& page = pages_[position];
      page.bytes->fill(std::byte{0});
      page.digest = 0;
      page.used = page.stale = page.changed = false;
    }
    window.digest = 0;
    window.used.clear();
    window.stale.clear();
    window.changed.clear();
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
  for (size_t position : window.stale) {
    Page& page = pages_[position];
    window.digest ^= page.digest;
    page.digest = PageDigest(position % kPagesPerWindow, *page.bytes);
    window.digest ^= page.digest;
    page.stale = false;
  }
  window.stale.clear();
  return window.digest;
}

std::unique_ptr<Memory::Snapshot> Memory::SaveWindow(uint32_t cpu) {
  auto snapshot = std::make_unique<Snapshot>();
  Window& window = windows_[cpu];
  std::sort(window.used.begin(), window.used.end());
  for (size_t position : window.used) {
    snapshot->pages_.push_back({position, *pages_[position].bytes});
    pages_[position].changed = false;
  }
  window.changed.clear();
  return snapshot;
}

void Memory::RestoreWindow(uint32_t cpu, const Snapshot& snapshot) {
  Window& window = windows_[cpu];
  for (size_t position : window.changed) {
    Page& page = pages_[position];
    const auto saved = std::lower_bound(snapshot.pages_.begin(), snapshot.pages_.end(), position,
                                        [](const Snapshot::SavedPage& candidate, size_t wanted) {
                                          return candidate.position < wanted;
                                        });
    std::byte* const written = page.bytes->data() + page.begin;
    if (saved != snapshot.pages_.end() && saved->position == position) {
      std::memcpy(written, saved->bytes.data() + page.begin, page.end - page.begin);
    } else {
      std::memset(written, 0, page.end - page.begin);
    }
    page.changed = false;
    MarkStale(window, position);
  }
  window.changed.clear();
}

bool Memory::IsSamePage(const Memory& other, size_t position) const {
  static constexpr Bytes kZeros{};
  const Page& page = pages_[position];
  const Page& other_page = other.pages_[position];
  const Bytes& bytes = other_page.bytes ? *other_page.bytes : kZeros;
  return std::memcmp(page.bytes->data() + page.begin, bytes.data() + page.begin,
                     page.end - page.begin) == 0;
}

bool Memory::IsSameWhereWritten(const Memory& other, uint32_t cpu) const {
  const auto is_same = [](const Memory& a, const Memory& b, const Window& window) {
    return std::all_of(window.changed.begin(), window.changed.end(),
                       [&](size_t position) { return a.IsSamePage(b, position); });
  };
  return is_same(*this, other, windows_[cpu]) && is_same(other, *this, other.windows_[cpu]);
}

}  // namespace nvmx::sim
