// SPDX-License-Identifier: Apache-2.0
#include "lhv/image/program_pack.h"

#include <cstring>

namespace nvmx::lhv {

PackReader::PackReader(std::span<const std::byte> pack) : rest_(pack) {
  const std::span<const std::byte> magic = Take(sizeof kPackMagic);
  if (failed_ || std::memcmp(magic.data(), kPackMagic, sizeof kPackMagic) != 0) {
    failed_ = true;
    return;
  }
  count_ = TakeNumber();
}

std::optional<PackedProgram> PackReader::Next() {
  if (failed_ || taken_ == count_) return std::nullopt;
  const uint32_t name = TakeNumber();
  const uint32_t length = TakeNumber();
  const PackedProgram program{Take(name), Take(length)};
  if (failed_) return std::nullopt;
  ++taken_;
  return program;
}

uint32_t PackReader::TakeNumber() {
  const std::span<const std::byte> bytes = Take(sizeof(uint32_t));
  uint32_t number = 0;
  for (size_t i = bytes.size(); i > 0; --i) {
    number = number << 8 | std::to_integer<uint32_t>(bytes[i - 1]);
  }
  return number;
}

std::span<const std::byte> PackReader::Take(size_t count) {
  if (count > rest_.size()) failed_ = true;
  if (failed_) return {};
  const std::span<const std::byte> taken = rest_.first(count);
  rest_ = rest_.subspan(count);
  return taken;
}

}  // namespace nvmx::lhv
