// SPDX-License-Identifier: Apache-2.0
//
// Many programs in one file, which a boot loader hands to the image. All numbers are little-endian.
//
//   header        4 bytes "NVPK", 4 bytes number of programs
//   each program  4 bytes length of the name, 4 bytes length of the program, the name, the program
//                 in the form of lhv/binary_program.h
#ifndef NVMX_LHV_IMAGE_PROGRAM_PACK_H_
#define NVMX_LHV_IMAGE_PROGRAM_PACK_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace nvmx::lhv {

inline constexpr char kPackMagic[4] = {'N', 'V', 'P', 'K'};

struct PackedProgram {
  std::span<const std::byte> name;
  std::span<const std::byte> bytes;
};

// The programs of a pack, one after the other. Any bytes are a pack or none.
class PackReader {
 public:
  explicit PackReader(std::span<const std::byte> pack);

  // The bytes are no pack, or end before it does.
  bool failed() const { return failed_; }
  uint32_t count() const { return count_; }
  // The next program; nothing behind the last, or if there is an error.
  std::optional<PackedProgram> Next();

 private:
  uint32_t TakeNumber();
  std::span<const std::byte> Take(size_t count);

  std::span<const std::byte> rest_;
  uint32_t count_ = 0;
  uint32_t taken_ = 0;
  bool failed_ = false;
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_IMAGE_PROGRAM_PACK_H_
