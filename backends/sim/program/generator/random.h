// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROGRAM_GENERATOR_RANDOM_H_
#define NVMX_BACKENDS_SIM_PROGRAM_GENERATOR_RANDOM_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>

namespace nvmx::sim {

// Numbers that look random and follow from the seed alone, on every machine. (SplitMix64: G. Steele,
// D. Lea, C. Flood, "Fast Splittable Pseudorandom Number Generators", 2014.)
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    state_ += 0x9E3779B97F4A7C15;
    uint64_t z = state_;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
  }
  // 0 to bound - 1; bound is not 0. The bias is below 2^-32 for the bounds that occur.
  uint64_t Below(uint64_t bound) { return (Next() >> 32) * bound >> 32; }
  // lowest to highest.
  uint64_t Between(uint64_t lowest, uint64_t highest) { return lowest + Below(highest - lowest + 1); }
  // True once in n times.
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  uint64_t Bit(unsigned width) { return uint64_t{1} << Below(width); }

  template <typename T>
  const T& Of(std::span<const T> choices) {
    return choices[Below(choices.size())];
  }
  template <typename T, size_t kSize>
  const T& Of(const T (&choices)[kSize]) {
    return choices[Below(kSize)];
  }
  template <typename T>
  T Of(std::initializer_list<T> choices) {
    return choices.begin()[Below(choices.size())];
  }

  // A value of `width` bits that programs get wrong: near 0, near a power of two, all ones, an
  // address that is not canonical, or any.
  uint64_t Awkward(unsigned width) {
    const uint64_t mask = width == 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1;
    switch (Below(7)) {
      case 0:
        return Below(4);
      case 1:
        return mask - Below(4);
      case 2:
        return Bit(width);
      case 3:
        return (Bit(width) - 1) & mask;
      case 4:
        return uint64_t{0x0000'8000'0000'0000} & mask;
      case 5:
        return Bit(width) | Bit(width);
      default:
        return Next() & mask;
    }
  }

 private:
  uint64_t state_;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_GENERATOR_RANDOM_H_
